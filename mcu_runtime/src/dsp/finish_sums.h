/* SPDX-License-Identifier: Apache-2.0
 *
 * From the sums of one column times weight rows to outputs: fully_connected, and conv2d with few pixels.
 */
#ifndef HWCMP_DSP_FINISH_SUMS_H
#define HWCMP_DSP_FINISH_SUMS_H

#include "dsp.h"

/* output[i] = channel ch + i, saturated to int8; sums without the bias. */
static inline void hwcmp_dsp_finish_sums(const hwcmp_output_stage *stage, int32_t ch, int32_t count,
                                         const uint32_t *sums, int8_t *output)
{
    const hwcmp_channels *channels = stage->channels;
    const int32_t step = channels->channel_step;
    const int32_t *bias = channels->bias + ch;
    const int32_t *multipliers = channels->multiplier + ch * step;
    const int8_t *shifts = channels->shift + ch * step;
    const int32_t zero_point = stage->zero_point;

    for (const int8_t *end = output + count; output != end; output++) {
        const int32_t total = (int32_t)(*sums++ + (uint32_t)*bias++);
        const int32_t multiplier = *multipliers;
        const int32_t right = -*shifts;
        multipliers += step;
        shifts += step;
        /* the second term: |total| < 2^30 */
        if (hwcmp_dsp_scale_is_fast(multiplier, right) && (uint32_t)total + 0x40000000U < 0x80000000U) {
            *output = (int8_t)hwcmp_dsp_scale(total, multiplier, hwcmp_dsp_offset(zero_point, right), right);
        } else {
            *output = hwcmp_dsp_scale_literally(total, multiplier, -right, zero_point);
        }
    }
}

#endif
