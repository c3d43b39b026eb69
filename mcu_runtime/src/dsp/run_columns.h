/* SPDX-License-Identifier: Apache-2.0
 *
 * All rows of weights in the format `runs` times one column of activations.
 */
#ifndef HWCMP_DSP_RUN_COLUMNS_H
#define HWCMP_DSP_RUN_COLUMNS_H

#include "dsp.h"
#include "run_dot.h"

HWCMP_DSP_SHARED void hwcmp_dsp_run_column(const hwcmp_output_stage *stage, const hwcmp_weights *weights,
                                           const int8_t *column, int8_t *output);

/* The outputs are saturated to int8 only. */
HWCMP_DSP_SHARED void hwcmp_dsp_run_column(const hwcmp_output_stage *stage, const hwcmp_weights *weights,
                                           const int8_t *column, int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const uint32_t is_wide = hwcmp_runs_is_wide(&shape) ? 1U : 0U;
    const hwcmp_channels *channels = stage->channels;
    const int32_t *bias = channels->bias;
    const int32_t *multiplier = channels->multiplier;
    const int8_t *shift = channels->shift;
    const uint32_t step = channels->channel_step;
    const int32_t zero_point = stage->zero_point;
    const uint32_t rows = weights->rows;
    const uint32_t limit = UINT32_C(1) << 30; /* of hwcmp_dsp_scale() */
    const uint8_t *at = weights->payload;

    for (const int8_t *end = output + rows; output != end; output++) {
        const uint64_t dot = hwcmp_dsp_run_dot(column, at, shape.width, is_wide);
        const int32_t sum = hwcmp_wrap_add(*bias++, (int32_t)(uint32_t)dot);
        at = (const uint8_t *)(uintptr_t)(dot >> 32);
        const int32_t right = -*shift;
        const bool is_small = (uint32_t)sum + (limit - 1U) < 2U * limit - 1U;
        if (is_small && hwcmp_dsp_scale_is_fast(*multiplier, right)) {
            const int32_t offset = hwcmp_dsp_offset(zero_point, right);
            *output = (int8_t)hwcmp_dsp_scale(sum, *multiplier, offset, right);
        } else {
            *output = hwcmp_dsp_scale_literally(sum, *multiplier, *shift, zero_point);
        }
        multiplier += step;
        shift += step;
    }
}

#endif
