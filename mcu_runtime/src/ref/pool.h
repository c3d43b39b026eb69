/* SPDX-License-Identifier: Apache-2.0
 *
 * What average_pool and max_pool have in common: argument checks and the clipping of windows to the input.
 */
#ifndef HWCMP_REF_POOL_H
#define HWCMP_REF_POOL_H

#include "../hwcmp_internal.h"

/* Taps [begin, end) of an input axis. */
typedef struct {
    int32_t begin, end;
} hwcmp_span;

static inline hwcmp_span hwcmp_pool_span(int32_t at, int32_t stride, int32_t pad, int32_t filter, int32_t extent)
{
    const int32_t first = at * stride - pad;
    const hwcmp_span span = {hwcmp_max(first, 0), hwcmp_min(first + filter, extent)};
    return span;
}

/* The sum of so many int8 values is far from the ends of int32_t. */
enum { HWCMP_MAX_POOL_TAPS = 1 << 23 };

/* Every window must hold at least one element of the input. */
static inline bool hwcmp_pool_axis_valid(int32_t input, int32_t output, int32_t filter, int32_t stride, int32_t pad)
{
    return filter >= 1 && stride >= 1 && pad >= 0 && pad < filter && (output - 1) * stride - pad < input;
}

static inline bool hwcmp_pool_params_valid(const hwcmp_pool_params *params)
{
    return params != NULL && hwcmp_dims_valid(params->input) && hwcmp_dims_valid(params->output) &&
           params->input.c == params->output.c && (int32_t)params->filter_h * params->filter_w <= HWCMP_MAX_POOL_TAPS &&
           hwcmp_pool_axis_valid(params->input.h, params->output.h, params->filter_h, params->stride_h,
                                 params->pad_top) &&
           hwcmp_pool_axis_valid(params->input.w, params->output.w, params->filter_w, params->stride_w,
                                 params->pad_left) &&
           hwcmp_range_valid(params->activation_min, params->activation_max);
}

/* Of one channel, which begins at `channel`. */
static inline int32_t hwcmp_pool_sum(const hwcmp_pool_params *params, const int8_t *channel, hwcmp_span rows,
                                     hwcmp_span columns)
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
static inline int32_t hwcmp_rounded_mean(int32_t sum, int32_t count)
{
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

/* All channels of one output pixel from the given input rows and columns. */
typedef void (*hwcmp_pool_fn)(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                              int8_t *pixel);

static inline hwcmp_status hwcmp_pool(const hwcmp_pool_params *params, const int8_t *input, int8_t *output,
                                      hwcmp_pool_fn pool_pixel)
{
    if (!hwcmp_pool_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (int32_t y = 0; y < params->output.h; y++) {
        const hwcmp_span rows =
            hwcmp_pool_span(y, params->stride_h, params->pad_top, params->filter_h, params->input.h);
        for (int32_t x = 0; x < params->output.w; x++) {
            const hwcmp_span columns =
                hwcmp_pool_span(x, params->stride_w, params->pad_left, params->filter_w, params->input.w);
            pool_pixel(params, input, rows, columns, output);
            output += params->output.c;
        }
    }
    return HWCMP_OK;
}

#endif
