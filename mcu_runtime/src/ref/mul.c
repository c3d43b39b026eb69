/* SPDX-License-Identifier: Apache-2.0 */
#include "binary.h"

static int32_t combine(const hwcmp_binary_params *params, int32_t a, int32_t b)
{
    return hwcmp_requantize(a * b, params->output_multiplier, params->output_shift);
}

hwcmp_status hwcmp_mul_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output)
{
    return hwcmp_binary(params, a, b, output, combine);
}
