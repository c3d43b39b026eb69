/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums of four neighbouring channels over pixels: what average_pool and mean have in common.
 */
#ifndef HWCMP_MVE_SUM_PIXELS_H
#define HWCMP_MVE_SUM_PIXELS_H

#include "mve.h"

enum { HWCMP_MVE_SUM_LANES = 4 };

/* Rows of pixels; the steps are bytes. */
typedef struct {
    int32_t rows, columns;
    size_t row_step, column_step;
} hwcmp_mve_pixels;

/* `sums` and all pixels of the channels that begin at `from`; only those of `lanes` are read. */
static inline int32x4_t hwcmp_mve_add_pixels(const hwcmp_mve_pixels *pixels, const int8_t *from, mve_pred16_t lanes,
                                             int32x4_t sums)
{
    const hwcmp_mve_pixels own = *pixels;

    for (int32_t row = 0; row < own.rows; row++) {
        const int8_t *pixel = from;
        for (int32_t column = 0; column < own.columns; column++) {
            sums = vaddq_s32(sums, vldrbq_z_s32(pixel, lanes));
            pixel += own.column_step;
        }
        from += own.row_step;
    }
    return sums;
}

#endif
