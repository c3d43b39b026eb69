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

/* per_tap: weights for each tap of a window. */
static inline hwcmp_status hwcmp_conv_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                            const hwcmp_channels *channels, const int8_t *input,
                                            const int8_t *output, int64_t per_tap)
{
    if (!hwcmp_conv_params_valid(params) || weights == NULL || input == NULL || output == NULL ||
        !hwcmp_channels_valid(channels, params->output.c)) {
        return HWCMP_ERR_ARGUMENT;
    }
    return hwcmp_weights_fit(weights, params->output.c, per_tap * params->kernel_h * params->kernel_w);
}

/* All checks of a convolution but the scratch's. */
static inline hwcmp_status hwcmp_conv2d_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                              const hwcmp_channels *channels, const int8_t *input,
                                              const int8_t *output)
{
    return hwcmp_conv_check(params, weights, channels, input, output, params == NULL ? 0 : params->input.c);
}

static inline hwcmp_status hwcmp_depthwise_conv2d_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                                        const hwcmp_channels *channels, const int8_t *input,
                                                        const int8_t *output)
{
    const hwcmp_status status = hwcmp_conv_check(params, weights, channels, input, output, 1);
    return status == HWCMP_OK && params->output.c % params->input.c != 0 ? HWCMP_ERR_SHAPE : status;
}

/* All checks but the scratch's, for a kernel that runs weights of one format as stored. */
static inline hwcmp_status hwcmp_direct_conv_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                                   const hwcmp_channels *channels, const int8_t *input,
                                                   const int8_t *output, int32_t format)
{
    if (weights == NULL || weights->ops == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    return weights->ops->id == format ? hwcmp_conv2d_check(params, weights, channels, input, output)
                                      : HWCMP_ERR_FORMAT;
}

static inline hwcmp_output_stage hwcmp_conv_stage(const hwcmp_conv_params *params, const hwcmp_channels *channels)
{
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    return stage;
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
