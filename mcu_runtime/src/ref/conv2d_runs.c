/* SPDX-License-Identifier: Apache-2.0
 *
 * conv2d with weights in the format `runs`, as stored: adds activations, one multiplication per pair of lists. Every
 * window is gathered into a column, except for 1x1 kernels inside the input.
 */
#include "../hwcmp_runs.h"
#include "conv.h"
#include "gather.h"

static bool reads_in_place(const hwcmp_conv_params *params)
{
    return params->kernel_h == 1 && params->kernel_w == 1 &&
           hwcmp_axis_inside(params->output.h, params->stride_h, params->pad_top, 1, 1, params->input.h) &&
           hwcmp_axis_inside(params->output.w, params->stride_w, params->pad_left, 1, 1, params->input.w);
}

size_t hwcmp_conv2d_runs_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return reads_in_place(params) ? 0U : hwcmp_align4(weights->row_length);
}

/* The window whose first tap is input row y, column x; gathered unless `column` is null. */
static const int8_t *window_at(const hwcmp_conv_params *params, const int8_t *input, int32_t y, int32_t x,
                               int8_t *column)
{
    if (column == NULL) {
        return input + ((size_t)y * (size_t)params->input.w + (size_t)x) * (size_t)params->input.c;
    }
    hwcmp_gather(params, input, y, x, column);
    return column;
}

static void convolve_pixel(const hwcmp_weights *weights, const hwcmp_output_stage *stage, const int8_t *window,
                           int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const uint8_t *at = weights->payload;

    for (int32_t ch = 0; ch < weights->rows; ch++) {
        output[ch] = hwcmp_finish(hwcmp_channel_at(stage, ch), hwcmp_runs_dot(&shape, &at, window));
    }
}

hwcmp_status hwcmp_conv2d_runs_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                  const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                                  int8_t *output)
{
    hwcmp_status status = hwcmp_direct_conv_check(params, weights, channels, input, output, HWCMP_FORMAT_RUNS);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_conv2d_runs_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    int8_t *column = reads_in_place(params) ? NULL : scratch->buf;

    for (int32_t out_y = 0; out_y < params->output.h; out_y++) {
        const int32_t y = hwcmp_first_tap(out_y, params->stride_h, params->pad_top);
        for (int32_t out_x = 0; out_x < params->output.w; out_x++) {
            const int32_t x = hwcmp_first_tap(out_x, params->stride_w, params->pad_left);
            convolve_pixel(weights, &stage, window_at(params, input, y, x, column), output);
            output += params->output.c;
        }
    }
    return HWCMP_OK;
}
