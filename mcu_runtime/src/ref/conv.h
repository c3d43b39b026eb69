/* SPDX-License-Identifier: Apache-2.0
 *
 * What conv2d and depthwise_conv2d have in common: argument checks and the geometry of windows.
 */
#ifndef HWCMP_REF_CONV_H
#define HWCMP_REF_CONV_H

#include "../hwcmp_internal.h"

static inline bool hwcmp_conv_params_valid(const hwcmp_conv_params *params)
{
    return params != NULL && hwcmp_dims_valid(params->input) && hwcmp_dims_valid(params->output) &&
           params->kernel_h >= 1 && params->kernel_w >= 1 && params->stride_h >= 1 && params->stride_w >= 1 &&
           params->dilation_h >= 1 && params->dilation_w >= 1 && params->pad_top >= 0 && params->pad_left >= 0 &&
           params->tile_rows >= 1 && hwcmp_is_int8(params->input_zero_point) &&
           hwcmp_is_int8(params->output_zero_point) &&
           hwcmp_range_valid(params->activation_min, params->activation_max);
}

/* Everything but the pointers to activations; row_length: weights per output channel that the layer expects. */
static inline hwcmp_status hwcmp_conv_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                            const hwcmp_channels *channels, int64_t row_length)
{
    if (weights == NULL || !hwcmp_channels_valid(channels, params->output.c)) {
        return HWCMP_ERR_ARGUMENT;
    }
    return hwcmp_weights_fit(weights, params->output.c, row_length);
}

/* All checks but the scratch's, for a kernel that runs weights of one format as stored. */
static inline hwcmp_status hwcmp_direct_conv_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                                   const hwcmp_channels *channels, const int8_t *input,
                                                   const int8_t *output, int32_t format)
{
    if (!hwcmp_conv_params_valid(params) || weights == NULL || weights->ops == NULL || input == NULL ||
        output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const int64_t row_length = (int64_t)params->kernel_h * params->kernel_w * params->input.c;
    return weights->ops->id == format ? hwcmp_conv_check(params, weights, channels, row_length) : HWCMP_ERR_FORMAT;
}

/* Input coordinate of the first tap of output coordinate `at`; fits int32_t for any int16_t fields. */
static inline int32_t hwcmp_first_tap(int32_t at, int32_t stride, int32_t pad)
{
    return at * stride - pad;
}

/* Whether all `taps` taps, `dilation` apart from coordinate `first`, lie in an axis of `extent`. */
static inline bool hwcmp_taps_inside(int32_t first, int32_t taps, int32_t dilation, int32_t extent)
{
    return first >= 0 && first + (taps - 1) * dilation < extent;
}

/* Whether no window of the layer reaches beyond the input along one axis. */
static inline bool hwcmp_axis_inside(int32_t outputs, int32_t stride, int32_t pad, int32_t taps, int32_t dilation,
                                     int32_t extent)
{
    return hwcmp_taps_inside(hwcmp_first_tap(0, stride, pad), taps, dilation, extent) &&
           hwcmp_taps_inside(hwcmp_first_tap(outputs - 1, stride, pad), taps, dilation, extent);
}

#endif
