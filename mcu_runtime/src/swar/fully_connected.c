/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/fully_connected.c, compared bit for bit by tests/test_runtime_swar.py.
 */
#include "dot_rows.h"

size_t hwcmp_fully_connected_s8_scratch_bytes(const hwcmp_fully_connected_params *params, const hwcmp_weights *weights)
{
    return hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

static hwcmp_status check(const hwcmp_scratch *scratch, const hwcmp_fully_connected_params *params,
                          const hwcmp_weights *weights, const hwcmp_channels *channels)
{
    if (params == NULL || weights == NULL || params->batch < 1 || params->input_length < 1 || params->tile_rows < 1 ||
        !hwcmp_is_int8(params->input_zero_point) || !hwcmp_is_int8(params->output_zero_point) ||
        !hwcmp_range_valid(params->activation_min, params->activation_max) ||
        !hwcmp_channels_valid(channels, weights->rows)) {
        return HWCMP_ERR_ARGUMENT;
    }
    const hwcmp_status status = hwcmp_weights_fit(weights, weights->rows, params->input_length);
    if (status != HWCMP_OK) {
        return status;
    }
    return hwcmp_scratch_fits(scratch, hwcmp_fully_connected_s8_scratch_bytes(params, weights));
}

hwcmp_status hwcmp_fully_connected_s8(const hwcmp_scratch *scratch, const hwcmp_fully_connected_params *params,
                                      const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                                      int8_t *output)
{
    const hwcmp_status status =
        input == NULL || output == NULL ? HWCMP_ERR_ARGUMENT : check(scratch, params, weights, channels);
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    const uint32_t length = weights->row_length;
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    int8_t *tile = scratch == NULL ? NULL : scratch->buf;

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, tile);
        for (size_t item = 0; item < (size_t)params->batch; item++) {
            hwcmp_swar_finish_rows(&stage, input + item * length, rows, length, length, first, count,
                                   output + item * weights->rows + first);
        }
    }
    hwcmp_swar_activate(output, (uint32_t)params->batch * weights->rows, stage.low, stage.high);
    return HWCMP_OK;
}
