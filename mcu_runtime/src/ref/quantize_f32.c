/* SPDX-License-Identifier: Apache-2.0 */
#include "../hwcmp_internal.h"

/* Beyond this many steps from the zero point every int8 output is saturated. */
#define FAR 1024.0F

/* Rounds ties away from zero without libm; NaN gives 0. */
static int32_t rounded_steps(float steps)
{
    if (!(steps > -FAR)) {
        return steps <= -FAR ? -(int32_t)FAR : 0;
    }
    if (steps >= FAR) {
        return (int32_t)FAR;
    }
    const int32_t whole = (int32_t)steps;
    const float rest = steps - (float)whole; /* exact, so 0.49999997 is not rounded up */
    if (rest >= 0.5F) {
        return whole + 1;
    }
    return rest <= -0.5F ? whole - 1 : whole;
}

hwcmp_status hwcmp_quantize_f32_s8(const hwcmp_affine_params *params, int32_t count, const float *input, int8_t *output)
{
    if (params == NULL || !(params->scale > 0.0F) || !hwcmp_is_int8(params->zero_point) || count < 1 || input == NULL ||
        output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (int32_t i = 0; i < count; i++) {
        const int32_t value = rounded_steps(input[i] / params->scale) + params->zero_point;
        output[i] = (int8_t)hwcmp_clamp(value, INT8_MIN, INT8_MAX);
    }
    return HWCMP_OK;
}
