/* SPDX-License-Identifier: Apache-2.0
 *
 * fully_connected with weights in the format `runs`, as stored: adds activations, one multiplication per pair of lists.
 */
#include "../hwcmp_internal.h"
#include "../hwcmp_runs.h"

static hwcmp_status check(const hwcmp_fully_connected_params *params, const hwcmp_weights *weights,
                          const hwcmp_channels *channels, const int8_t *input, const int8_t *output)
{
    if (params == NULL || weights == NULL || weights->ops == NULL || input == NULL || output == NULL ||
        params->batch < 1 || params->input_length < 1 || params->tile_rows < 1 ||
        !hwcmp_is_int8(params->input_zero_point) || !hwcmp_is_int8(params->output_zero_point) ||
        !hwcmp_range_valid(params->activation_min, params->activation_max) ||
        !hwcmp_channels_valid(channels, weights->rows)) {
        return HWCMP_ERR_ARGUMENT;
    }
    return weights->ops->id == HWCMP_FORMAT_RUNS ? hwcmp_weights_fit(weights, weights->rows, params->input_length)
                                                 : HWCMP_ERR_FORMAT;
}

size_t hwcmp_fully_connected_runs_s8_scratch_bytes(const hwcmp_fully_connected_params *params,
                                                   const hwcmp_weights *weights)
{
    (void)params;
    (void)weights;
    return 0U;
}

hwcmp_status hwcmp_fully_connected_runs_s8(const hwcmp_scratch *scratch, const hwcmp_fully_connected_params *params,
                                           const hwcmp_weights *weights, const hwcmp_channels *channels,
                                           const int8_t *input, int8_t *output)
{
    const hwcmp_status status = check(params, weights, channels, input, output);
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);

    (void)scratch;
    for (int32_t item = 0; item < params->batch; item++) {
        const uint8_t *at = weights->payload;
        for (int32_t ch = 0; ch < weights->rows; ch++) {
            *output++ = hwcmp_finish(hwcmp_channel_at(&stage, ch), hwcmp_runs_dot(&shape, &at, input));
        }
        input += params->input_length;
    }
    return HWCMP_OK;
}
