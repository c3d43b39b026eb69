/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums of four neighbouring channels over pixels: what average_pool and mean have in common.
 */
#ifndef HWCMP_DSP_SUM_PIXELS_H
#define HWCMP_DSP_SUM_PIXELS_H

#include "dsp.h"

/* Half a word holds the sum of so many int8 values: 256 * -128 = -2^15. */
enum { HWCMP_DSP_HALF_SUMMANDS = 256 };

/* Rows of pixels; the steps are bytes. */
typedef struct {
    int32_t rows, columns;
    size_t row_step, column_step;
} hwcmp_dsp_pixels;

/* Rows that follow each other are one. */
static inline hwcmp_dsp_pixels hwcmp_dsp_pixels_of(int32_t rows, size_t row_step, int32_t columns, size_t column_step)
{
    const bool joined = row_step == (size_t)columns * column_step;
    const hwcmp_dsp_pixels pixels = {joined ? 1 : rows, joined ? rows * columns : columns, row_step, column_step};
    return pixels;
}

static inline uint32_t hwcmp_dsp_add_even(uint32_t halves, uint32_t bytes)
{
    __asm__("sxtab16 %0, %0, %1" : "+r"(halves) : "r"(bytes));
    return halves;
}

static inline uint32_t hwcmp_dsp_add_odd(uint32_t halves, uint32_t bytes)
{
    __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(halves) : "r"(bytes));
    return halves;
}

/* Adds `count` pixels, at most HWCMP_DSP_HALF_SUMMANDS, to the sums of four channels. */
static inline void hwcmp_dsp_add_run(const int8_t *from, size_t step, int32_t count, int32_t sums[4])
{
    uint32_t even = 0;
    uint32_t odd = 0;

    for (int32_t left = count >> 1; left > 0; left--) {
        const uint32_t first = hwcmp_dsp_load(from);
        const uint32_t second = hwcmp_dsp_load(from + step);
        from += 2U * step;
        even = hwcmp_dsp_add_even(hwcmp_dsp_add_even(even, first), second);
        odd = hwcmp_dsp_add_odd(hwcmp_dsp_add_odd(odd, first), second);
    }
    if ((count & 1) != 0) {
        const uint32_t last = hwcmp_dsp_load(from);
        even = hwcmp_dsp_add_even(even, last);
        odd = hwcmp_dsp_add_odd(odd, last);
    }
    sums[0] += (int16_t)(even & 0xFFFFU);
    sums[1] += (int16_t)(odd & 0xFFFFU);
    sums[2] += (int32_t)even >> 16;
    sums[3] += (int32_t)odd >> 16;
}

/* Adds all pixels to the sums of the four channels that begin at `from`. */
HWCMP_DSP_SHARED void hwcmp_dsp_add_pixels(const hwcmp_dsp_pixels *pixels, const int8_t *from, int32_t sums[4]);

HWCMP_DSP_SHARED void hwcmp_dsp_add_pixels(const hwcmp_dsp_pixels *pixels, const int8_t *from, int32_t sums[4])
{
    const size_t step = pixels->column_step;

    for (int32_t row = 0; row < pixels->rows; row++) {
        const int8_t *run = from;
        for (int32_t left = pixels->columns; left > 0; left -= HWCMP_DSP_HALF_SUMMANDS) {
            hwcmp_dsp_add_run(run, step, hwcmp_min(left, HWCMP_DSP_HALF_SUMMANDS), sums);
            run += HWCMP_DSP_HALF_SUMMANDS * step;
        }
        from += pixels->row_step;
    }
}

#endif
