/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

static int32_t sum_channel(const hwcmp_pool_params *params, const int8_t *channel, hwcmp_span rows, hwcmp_span columns)
{
    const int32_t depth = params->input.c;
    int32_t sum = 0;

    for (int32_t y = rows.begin; y < rows.end; y++) {
        const int8_t *row = channel + y * params->input.w * depth;
        for (int32_t x = columns.begin; x < columns.end; x++) {
            sum += row[x * depth];
        }
    }
    return sum;
}

/* Rounds ties away from zero. */
static int32_t rounded_mean(int32_t sum, int32_t count)
{
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t count = (rows.end - rows.begin) * (columns.end - columns.begin);

    for (int32_t ch = 0; ch < params->input.c; ch++) {
        const int32_t mean = rounded_mean(sum_channel(params, input + ch, rows, columns), count);
        pixel[ch] = (int8_t)hwcmp_clamp(mean, params->activation_min, params->activation_max);
    }
}

hwcmp_status hwcmp_average_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
