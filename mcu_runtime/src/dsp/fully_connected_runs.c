/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/fully_connected_runs.c, compared bit for bit by tests/test_runtime_runs.py.
 */
#include "../ref/fully_connected.h"
#include "run_columns.h"

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
    const uint32_t rows = weights->rows;

    (void)scratch;
    for (uint32_t item = 0; item < (uint32_t)params->batch; item++) {
        hwcmp_dsp_run_column(&stage, weights, input + item * weights->row_length, output + item * rows);
    }
    hwcmp_dsp_activate(output, (uint32_t)params->batch * rows, stage.low, stage.high);
    return HWCMP_OK;
}
