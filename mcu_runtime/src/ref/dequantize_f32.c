/* SPDX-License-Identifier: Apache-2.0 */
#include "../hwcmp_internal.h"

hwcmp_status hwcmp_dequantize_s8_f32(const hwcmp_affine_params *params, int32_t count, const int8_t *input,
                                     float *output)
{
    if (params == NULL || !(params->scale > 0.0F) || !hwcmp_is_int8(params->zero_point) || count < 1 || input == NULL ||
        output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (int32_t i = 0; i < count; i++) {
        output[i] = params->scale * (float)(input[i] - params->zero_point);
    }
    return HWCMP_OK;
}
