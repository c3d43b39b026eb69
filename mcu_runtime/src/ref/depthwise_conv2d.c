/* SPDX-License-Identifier: Apache-2.0
 *
 * One output channel after the other: its kernel_h * kernel_w weights stay in use for the whole plane.
 */
#include "conv.h"

size_t hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

/* Steps between neighbouring taps in the plane of one channel, in bytes, and what is subtracted from activations. */
typedef struct {
    size_t row_step, column_step;
    int32_t kernel_w, zero_point;
} tap_walk;

/* Kernel taps [begin, end) of one axis that lie in the input. */
typedef struct {
    int32_t begin, end;
} tap_span;

static tap_span clip(int32_t first, int32_t taps, int32_t dilation, int32_t extent)
{
    tap_span span = {0, taps};

    while (span.begin < span.end && first + span.begin * dilation < 0) {
        span.begin++;
    }
    while (span.begin < span.end && first + (span.end - 1) * dilation >= extent) {
        span.end--;
    }
    return span;
}

/* Sum of (activation - zero point) * weight over the taps inside; x: the first of them. */
static HWCMP_NOINLINE uint32_t sum_taps(const tap_walk *walk, const int8_t *x, const int8_t *weights, tap_span rows,
                                        tap_span columns)
{
    const size_t count = (size_t)(columns.end - columns.begin);
    const size_t step = walk->column_step;
    const int32_t zero_point = walk->zero_point;
    uint32_t sum = 0;

    for (int32_t row = rows.begin; row < rows.end; row++) {
        const int8_t *w = weights + row * walk->kernel_w + columns.begin;
        const int8_t *run = x + (size_t)(row - rows.begin) * walk->row_step;
        for (size_t tap = 0; tap < count; tap++) {
            sum += (uint32_t)((run[tap * step] - zero_point) * w[tap]);
        }
    }
    return sum;
}

/* One output channel; plane and output point at its first element in the input and output tensors. Taps outside read
 * as the input zero point: with it subtracted from every activation they add nothing, and zero point * sum(weights)
 * goes back into the bias. */
static void convolve(const hwcmp_conv_params *params, hwcmp_channel channel, const int8_t *weights, const int8_t *plane,
                     int8_t *output)
{
    const size_t column_step = (size_t)params->input.c;
    const size_t row_step = (size_t)params->input.w * column_step;
    const size_t dilation_h = (size_t)params->dilation_h;
    const size_t dilation_w = (size_t)params->dilation_w;
    const tap_walk walk = {row_step * dilation_h, column_step * dilation_w, params->kernel_w, params->input_zero_point};

    for (int32_t i = 0; i < params->kernel_h * params->kernel_w; i++) {
        channel.bias = hwcmp_wrap_add(channel.bias, params->input_zero_point * weights[i]);
    }
    for (int32_t out_y = 0; out_y < params->output.h; out_y++) {
        const int32_t y = hwcmp_first_tap(out_y, params->stride_h, params->pad_top);
        const tap_span rows = clip(y, params->kernel_h, params->dilation_h, params->input.h);
        const size_t row = (size_t)(y + rows.begin * params->dilation_h) * row_step;
        for (int32_t out_x = 0; out_x < params->output.w; out_x++) {
            const int32_t x = hwcmp_first_tap(out_x, params->stride_w, params->pad_left);
            const tap_span columns = clip(x, params->kernel_w, params->dilation_w, params->input.w);
            uint32_t sum = 0;
            if (rows.begin < rows.end && columns.begin < columns.end) {
                const size_t first = row + (size_t)(x + columns.begin * params->dilation_w) * column_step;
                sum = sum_taps(&walk, plane + first, weights, rows, columns);
            }
            *output = hwcmp_finish(channel, sum);
            output += params->output.c;
        }
    }
}

hwcmp_status hwcmp_depthwise_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                       const int8_t *input, int8_t *output)
{
    hwcmp_status status = hwcmp_depthwise_conv2d_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_depthwise_conv2d_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_conv_stage(params, channels);
    const int32_t multiplier = params->output.c / params->input.c;
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    int8_t *tile = scratch == NULL ? NULL : scratch->buf;

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, tile);
        for (int32_t ch = first; ch < first + count; ch++) {
            convolve(params, hwcmp_channel_at(&stage, ch), rows, input + ch / multiplier, output + ch);
            rows += weights->row_length;
        }
    }
    return HWCMP_OK;
}
