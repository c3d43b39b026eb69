/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/fully_connected.c, compared bit for bit by tests/test_runtime_dsp.py.
 * The activations are expanded to int16 once; every three weight rows pass over them.
 */
#include "../ref/fully_connected.h"
#include "dot_rows.h"

static size_t column_bytes(const hwcmp_weights *weights)
{
    return hwcmp_dsp_columns_bytes(weights->row_length, 1U);
}

size_t hwcmp_fully_connected_s8_scratch_bytes(const hwcmp_fully_connected_params *params, const hwcmp_weights *weights)
{
    return column_bytes(weights) +
           hwcmp_dsp_rows_bytes(weights, hwcmp_rows_at_once(weights, params->tile_rows));
}

hwcmp_status hwcmp_fully_connected_s8(const hwcmp_scratch *scratch, const hwcmp_fully_connected_params *params,
                                      const hwcmp_weights *weights, const hwcmp_channels *channels,
                                      const int8_t *input, int8_t *output)
{
    hwcmp_status status = hwcmp_fully_connected_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_fully_connected_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_fully_connected_stage(params, channels);
    const uint32_t length = weights->row_length;
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    uint32_t *buffer = scratch->buf;
    int8_t *tile = (int8_t *)scratch->buf + column_bytes(weights);
    const hwcmp_dsp_column column = hwcmp_dsp_first_column(buffer, length, 1U);

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const hwcmp_dsp_rows rows =
            hwcmp_dsp_rows_at(weights, first, hwcmp_min(at_once, weights->rows - first), tile);
        for (size_t item = 0; item < (size_t)params->batch; item++) {
            if (first == 0 || params->batch > 1) {
                hwcmp_dsp_put(&column, input + item * length, length);
            }
            hwcmp_dsp_finish_rows(&stage, &rows, buffer, length, first, output + item * weights->rows + first);
        }
    }
    hwcmp_dsp_activate(output, (uint32_t)params->batch * weights->rows, stage.low, stage.high);
    return HWCMP_OK;
}
