/* SPDX-License-Identifier: Apache-2.0
 *
 * fully_connected with weights in the format `runs`, as stored: adds activations, one multiplication per pair of lists.
 */
#include "../hwcmp_runs.h"
#include "fully_connected.h"

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
    const hwcmp_status status =
        hwcmp_direct_fully_connected_check(params, weights, channels, input, output, HWCMP_FORMAT_RUNS);
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_fully_connected_stage(params, channels);
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
