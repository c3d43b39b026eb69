/* SPDX-License-Identifier: Apache-2.0
 *
 * A window that lies inside the input is read in place. Others (at a border, or with dilated columns) are gathered
 * into a column of kernel_h * kernel_w * input.c bytes in which the taps outside hold the input zero point.
 */
#include "conv.h"
#include "dot.h"
#include "gather.h"

static bool columns_are_neighbours(const hwcmp_conv_params *params)
{
    return params->dilation_w == 1 || params->kernel_w == 1;
}

static size_t column_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const bool in_place = columns_are_neighbours(params) &&
                          hwcmp_axis_inside(params->output.h, params->stride_h, params->pad_top, params->kernel_h,
                                            params->dilation_h, params->input.h) &&
                          hwcmp_axis_inside(params->output.w, params->stride_w, params->pad_left, params->kernel_w,
                                            params->dilation_w, params->input.w);
    return in_place ? 0U : hwcmp_align4(weights->row_length);
}

size_t hwcmp_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return column_bytes(params, weights) + hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

/* The window whose first tap is input row y, column x. */
static hwcmp_window window_at(const hwcmp_conv_params *params, const int8_t *input, int32_t y, int32_t x,
                              int8_t *column)
{
    const size_t depth = (size_t)params->input.c;
    const size_t row_bytes = (size_t)params->input.w * depth;
    const size_t run = (size_t)params->kernel_w * depth;
    const size_t dilation = (size_t)params->dilation_h;
    hwcmp_window window = {column, run, run, (size_t)params->kernel_h};

    if (columns_are_neighbours(params) && hwcmp_taps_inside(y, params->kernel_h, params->dilation_h, params->input.h) &&
        hwcmp_taps_inside(x, params->kernel_w, params->dilation_w, params->input.w)) {
        window.x = input + (size_t)y * row_bytes + (size_t)x * depth;
        window.step = row_bytes * dilation;
    } else {
        hwcmp_gather(params, input, y, x, column);
    }
    if (window.step == run) {
        window.run = run * window.rows;
        window.rows = 1U;
    }
    return window;
}

/* Output channels [first, first + count) of every pixel; `rows` are their weights. */
static void convolve(const hwcmp_conv_params *params, const hwcmp_weights *weights, const hwcmp_output_stage *stage,
                     int32_t first, int32_t count, const int8_t *rows, const int8_t *input, int8_t *column,
                     int8_t *output)
{
    int8_t *pixel = output + first;

    for (int32_t out_y = 0; out_y < params->output.h; out_y++) {
        const int32_t y = hwcmp_first_tap(out_y, params->stride_h, params->pad_top);
        for (int32_t out_x = 0; out_x < params->output.w; out_x++) {
            const int32_t x = hwcmp_first_tap(out_x, params->stride_w, params->pad_left);
            const hwcmp_window window = window_at(params, input, y, x, column);
            hwcmp_dot_channels(&window, rows, weights->row_length, stage, first, count, pixel);
            pixel += params->output.c;
        }
    }
}

hwcmp_status hwcmp_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                             const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                             int8_t *output)
{
    hwcmp_status status = hwcmp_conv2d_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_conv2d_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_conv_stage(params, channels);
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    int8_t *column = scratch == NULL ? NULL : scratch->buf;
    int8_t *tile = column == NULL ? NULL : column + column_bytes(params, weights);

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, tile);
        convolve(params, weights, &stage, first, count, rows, input, column, output);
    }
    return HWCMP_OK;
}
