/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t count = (rows.end - rows.begin) * (columns.end - columns.begin);

    for (int32_t ch = 0; ch < params->input.c; ch++) {
        const int32_t mean = hwcmp_rounded_mean(hwcmp_pool_sum(params, input + ch, rows, columns), count);
        pixel[ch] = (int8_t)hwcmp_clamp(mean, params->activation_min, params->activation_max);
    }
}

hwcmp_status hwcmp_average_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
