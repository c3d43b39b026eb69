/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t depth = params->input.c;

    memset(pixel, params->activation_min, (size_t)depth);
    for (int32_t y = rows.begin; y < rows.end; y++) {
        for (int32_t x = columns.begin; x < columns.end; x++) {
            const int8_t *tap = input + (y * params->input.w + x) * depth;
            for (int32_t ch = 0; ch < depth; ch++) {
                pixel[ch] = tap[ch] > pixel[ch] ? tap[ch] : pixel[ch];
            }
        }
    }
    for (int32_t ch = 0; ch < depth; ch++) {
        pixel[ch] = (int8_t)hwcmp_min(pixel[ch], params->activation_max);
    }
}

hwcmp_status hwcmp_max_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
