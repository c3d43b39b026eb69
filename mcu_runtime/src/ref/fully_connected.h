/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fully connected kernels of every arm and format have in common.
 */
#ifndef HWCMP_REF_FULLY_CONNECTED_H
#define HWCMP_REF_FULLY_CONNECTED_H

#include "../hwcmp_internal.h"

/* All checks but the scratch's. */
static inline hwcmp_status hwcmp_fully_connected_check(const hwcmp_fully_connected_params *params,
                                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                       const int8_t *input, const int8_t *output)
{
    if (params == NULL || weights == NULL || input == NULL || output == NULL || params->batch < 1 ||
        params->input_length < 1 || params->tile_rows < 1 || !hwcmp_is_int8(params->input_zero_point) ||
        !hwcmp_is_int8(params->output_zero_point) ||
        !hwcmp_range_valid(params->activation_min, params->activation_max) ||
        !hwcmp_channels_valid(channels, weights->rows)) {
        return HWCMP_ERR_ARGUMENT;
    }
    return hwcmp_weights_fit(weights, weights->rows, params->input_length);
}

/* The same for a kernel that runs weights of one format as stored. */
static inline hwcmp_status hwcmp_direct_fully_connected_check(const hwcmp_fully_connected_params *params,
                                                              const hwcmp_weights *weights,
                                                              const hwcmp_channels *channels, const int8_t *input,
                                                              const int8_t *output, int32_t format)
{
    if (weights == NULL || weights->ops == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    return weights->ops->id == format ? hwcmp_fully_connected_check(params, weights, channels, input, output)
                                      : HWCMP_ERR_FORMAT;
}

static inline hwcmp_output_stage hwcmp_fully_connected_stage(const hwcmp_fully_connected_params *params,
                                                             const hwcmp_channels *channels)
{
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    return stage;
}

#endif
