/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/average_pool.c, compared bit for bit by tests/test_runtime_dsp.py. Four channels at a time; the
 * division is the core's.
 */
#include "../ref/pool.h"
#include "sum_pixels.h"

static void put_means(const hwcmp_pool_params *params, const int32_t sums[], int32_t channels, int32_t count,
                      int8_t *output)
{
    for (int32_t i = 0; i < channels; i++) {
        const int32_t mean = hwcmp_rounded_mean(sums[i], count);
        output[i] = (int8_t)hwcmp_clamp(mean, params->activation_min, params->activation_max);
    }
}

/* The last four channels may overlap the four before. */
static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t depth = params->input.c;
    const int32_t width = columns.end - columns.begin;
    const int32_t count = (rows.end - rows.begin) * width;
    const size_t row_step = (size_t)params->input.w * (size_t)depth;
    const int8_t *first = input + (size_t)rows.begin * row_step + (size_t)columns.begin * (size_t)depth;
    const hwcmp_dsp_pixels pixels = hwcmp_dsp_pixels_of(rows.end - rows.begin, row_step, width, (size_t)depth);

    for (int32_t next = 0; depth >= 4 && next < depth; next += 4) {
        const int32_t ch = hwcmp_min(next, depth - 4);
        int32_t sums[4] = {0, 0, 0, 0};
        hwcmp_dsp_add_pixels(&pixels, first + ch, sums);
        put_means(params, sums, 4, count, pixel + ch);
    }
    for (int32_t ch = 0; depth < 4 && ch < depth; ch++) {
        const int32_t sum = hwcmp_pool_sum(params, input + ch, rows, columns);
        put_means(params, &sum, 1, count, pixel + ch);
    }
}

hwcmp_status hwcmp_average_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
