/* SPDX-License-Identifier: Apache-2.0 */
#include "binary.h"

static int32_t combine(const hwcmp_binary_params *params, int32_t a, int32_t b)
{
    const int32_t difference = hwcmp_wrap_sub(hwcmp_scaled_a(params, a), hwcmp_scaled_b(params, b));
    return hwcmp_requantize(difference, params->output_multiplier, params->output_shift);
}

hwcmp_status hwcmp_sub_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output)
{
    return hwcmp_binary(params, a, b, output, combine);
}
