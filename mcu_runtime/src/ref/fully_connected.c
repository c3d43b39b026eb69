/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "fully_connected.h"

size_t hwcmp_fully_connected_s8_scratch_bytes(const hwcmp_fully_connected_params *params, const hwcmp_weights *weights)
{
    return hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

hwcmp_status hwcmp_fully_connected_s8(const hwcmp_scratch *scratch, const hwcmp_fully_connected_params *params,
                                      const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                                      int8_t *output)
{
    hwcmp_status status = hwcmp_fully_connected_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_fully_connected_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_fully_connected_stage(params, channels);
    const size_t length = (size_t)params->input_length;
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    int8_t *tile = scratch == NULL ? NULL : scratch->buf;

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, tile);
        for (size_t item = 0; item < (size_t)params->batch; item++) {
            const hwcmp_window window = {input + item * length, length, length, 1U};
            hwcmp_dot_channels(&window, rows, length, &stage, first, count, output + item * weights->rows + first);
        }
    }
    return HWCMP_OK;
}
