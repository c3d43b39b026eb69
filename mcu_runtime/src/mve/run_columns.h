/* SPDX-License-Identifier: Apache-2.0
 *
 * All rows of weights in the format `runs` times one column of activations. Lanes do not help where nothing is shared
 * from position to position, so this is the DSP arm's loop.
 */
#ifndef HWCMP_MVE_RUN_COLUMNS_H
#define HWCMP_MVE_RUN_COLUMNS_H

#include "../dsp/run_dot.h"
#include "mve.h"

HWCMP_MVE_SHARED void hwcmp_mve_run_column(const hwcmp_output_stage *stage, const hwcmp_weights *weights,
                                           const int8_t *column, int8_t *output);

HWCMP_MVE_SHARED void hwcmp_mve_run_column(const hwcmp_output_stage *stage, const hwcmp_weights *weights,
                                           const int8_t *column, int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const uint32_t is_wide = hwcmp_runs_is_wide(&shape) ? 1U : 0U;
    const int32_t rows = weights->rows;
    const uint8_t *at = weights->payload;

    for (int32_t ch = 0; ch < rows; ch++) {
        const uint64_t dot = hwcmp_dsp_run_dot(column, at, shape.width, is_wide);
        at = (const uint8_t *)(uintptr_t)(dot >> 32);
        output[ch] = hwcmp_finish(hwcmp_channel_at(stage, ch), (uint32_t)dot);
    }
}

#endif
