/* SPDX-License-Identifier: Apache-2.0
 *
 * fully_connected with nested weights of any kind: one column times all groups of rows.
 */
#ifndef HWCMP_DSP_NESTED_ROWS_H
#define HWCMP_DSP_NESTED_ROWS_H

#include "columns.h"
#include "../ref/fully_connected.h"
#include "finish_sums.h"
#include "nested.h"

HWCMP_DSP_SHARED void hwcmp_dsp_nested_finish(const hwcmp_dsp_nested_rows *rows, const hwcmp_output_stage *stage,
                                              const uint32_t *column, int32_t count, int8_t *output);

/* Sums of products with codes to sums of products with weights; `sums` of rows [first, first + count), first % 4 == 0. */
static void apply_grids(const hwcmp_dsp_nested_rows *rows, uint32_t input_sum, uint32_t first, uint32_t count,
                        uint32_t *sums)
{
    const uint8_t *grid = rows->grid + (size_t)first * rows->grid_step;

    for (uint32_t i = 3; i < count; i += HWCMP_NESTED_ROWS) {
        sums[i] += rows->sign * input_sum;
    }
    for (uint32_t i = 0; i < count;) {
        const uint32_t end = rows->grid_step == 0U ? count : i + 1U;
        const uint32_t offset = input_sum * (uint32_t)(int8_t)grid[0];
        const uint32_t step = grid[1];
        for (; i < end; i++) {
            sums[i] = sums[i] * step + offset;
        }
        grid += rows->grid_step;
    }
}

static uint32_t input_sum_of(const hwcmp_dsp_nested_rows *rows, const uint32_t *column)
{
    uint32_t sums[2] = {0U, 0U};

    for (const uint32_t *end = column + rows->length / 2U; rows->grid != NULL && column != end; column += 2) {
        sums[0] = hwcmp_dsp_dual_mac(column[0], 0x00010001U, sums[0]);
        sums[1] = hwcmp_dsp_dual_mac(column[1], 0x00010001U, sums[1]);
    }
    return sums[0] + sums[1];
}

/* output[i] = channel i, saturated to int8, for all `count` rows. */
HWCMP_DSP_SHARED void hwcmp_dsp_nested_finish(const hwcmp_dsp_nested_rows *rows, const hwcmp_output_stage *stage,
                                              const uint32_t *column, int32_t count, int8_t *output)
{
    const int32_t grouped = count - count % HWCMP_NESTED_ROWS;
    uint32_t sums[HWCMP_DSP_NESTED_SUMS];
    const uint32_t input_sum = input_sum_of(rows, column);

    for (int32_t first = 0; first < count;) {
        int32_t more = hwcmp_min(grouped - first, HWCMP_DSP_NESTED_SUMS);
        if (more > 0) {
            hwcmp_dsp_nested_sums(rows, column, (uint32_t)(first / HWCMP_NESTED_ROWS),
                                  (uint32_t)(more / HWCMP_NESTED_ROWS), sums);
        } else {
            more = count - first;
            rows->rest(rows, column, (uint32_t)first, (uint32_t)more, sums);
        }
        if (rows->grid != NULL) {
            apply_grids(rows, input_sum, (uint32_t)first, (uint32_t)more, sums);
        }
        hwcmp_dsp_finish_sums(stage, first, more, sums, output + first);
        first += more;
    }
}

/* ERR_FORMAT or ERR_LAYOUT for other weights. */
static inline hwcmp_status hwcmp_dsp_nested_rows_check(const hwcmp_fully_connected_params *params,
                                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                       const int8_t *input, const int8_t *output, uint8_t format)
{
    const hwcmp_status status =
        hwcmp_direct_fully_connected_check(params, weights, channels, input, output, format);
    return status == HWCMP_OK && weights->layout != HWCMP_LAYOUT_NESTED ? HWCMP_ERR_LAYOUT : status;
}

static inline size_t hwcmp_dsp_nested_fully_connected_bytes(const hwcmp_weights *weights)
{
    return hwcmp_dsp_columns_bytes(weights->row_length, 1U);
}

HWCMP_DSP_SHARED hwcmp_status hwcmp_dsp_nested_fully_connected(const hwcmp_scratch *scratch,
                                                               const hwcmp_fully_connected_params *params,
                                                               const hwcmp_weights *weights,
                                                               const hwcmp_channels *channels,
                                                               const hwcmp_dsp_nested_rows *rows, const int8_t *input,
                                                               int8_t *output);

/* The whole operator; everything but scratch is checked. */
HWCMP_DSP_SHARED hwcmp_status hwcmp_dsp_nested_fully_connected(const hwcmp_scratch *scratch,
                                                               const hwcmp_fully_connected_params *params,
                                                               const hwcmp_weights *weights,
                                                               const hwcmp_channels *channels,
                                                               const hwcmp_dsp_nested_rows *rows, const int8_t *input,
                                                               int8_t *output)
{
    const hwcmp_status status = hwcmp_scratch_fits(scratch, hwcmp_dsp_nested_fully_connected_bytes(weights));
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_fully_connected_stage(params, channels);
    const uint32_t length = weights->row_length;
    const hwcmp_dsp_column column = hwcmp_dsp_first_column(scratch->buf, length, 1U);

    for (size_t item = 0; item < (size_t)params->batch; item++) {
        hwcmp_dsp_put(&column, input + item * length, length);
        hwcmp_dsp_nested_finish(rows, &stage, column.groups, weights->rows, output + item * weights->rows);
    }
    hwcmp_dsp_activate(output, (uint32_t)params->batch * weights->rows, stage.low, stage.high);
    return HWCMP_OK;
}

#endif
