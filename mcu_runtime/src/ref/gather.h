/* SPDX-License-Identifier: Apache-2.0
 *
 * Gathers a window of activations into a column of kernel_h * kernel_w * input.c bytes, the order of a weight row.
 */
#ifndef HWCMP_REF_GATHER_H
#define HWCMP_REF_GATHER_H

#include "conv.h"

/* One kernel row of a window from input column x on; `row` is its input row. */
static inline int8_t *hwcmp_gather_row(const hwcmp_conv_params *params, const int8_t *row, int32_t x,
                                       int8_t *column)
{
    const size_t depth = (size_t)params->input.c;

    for (int32_t tap = 0; tap < params->kernel_w; tap++) {
        if (x >= 0 && x < params->input.w) {
            memcpy(column, row + (size_t)x * depth, depth);
        } else {
            memset(column, params->input_zero_point, depth);
        }
        x += params->dilation_w;
        column += depth;
    }
    return column;
}

/* The window whose first tap is input row y, column x; taps outside the input read as its zero point. */
static inline void hwcmp_gather(const hwcmp_conv_params *params, const int8_t *input, int32_t y, int32_t x,
                                int8_t *column)
{
    const size_t depth = (size_t)params->input.c;

    for (int32_t tap = 0; tap < params->kernel_h; tap++) {
        if (y >= 0 && y < params->input.h) {
            column = hwcmp_gather_row(params, input + (size_t)y * (size_t)params->input.w * depth, x, column);
        } else {
            memset(column, params->input_zero_point, (size_t)params->kernel_w * depth);
            column += (size_t)params->kernel_w * depth;
        }
        y += params->dilation_h;
    }
}

#endif
