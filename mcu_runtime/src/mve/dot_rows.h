/* SPDX-License-Identifier: Apache-2.0
 *
 * One run of activations times any number of weight rows, four at a time: fully_connected, and conv2d with few pixels.
 */
#ifndef HWCMP_MVE_DOT_ROWS_H
#define HWCMP_MVE_DOT_ROWS_H

#include "mve.h"

enum { HWCMP_MVE_ROWS = 4 };

HWCMP_MVE_NAKED int32x4_t hwcmp_mve_dot_rows(const int8_t *x, const int8_t *const *rows, uint32_t length);
HWCMP_MVE_SHARED void hwcmp_mve_finish_rows(const hwcmp_output_stage *stage, const int8_t *x, const int8_t *rows,
                                            uint32_t length, int32_t first, int32_t count, int8_t *output);

/* The products of x with each of four rows: 10 instructions for 64 of them, the tail predicated by the loop.
 * r0 r2 r4 r6 sums (accumulators must be even registers), r3 x, r5 r7 r8 r9 rows. */
HWCMP_MVE_NAKED int32x4_t hwcmp_mve_dot_rows(const int8_t *x HWCMP_MVE_IN_REGISTER,
                                             const int8_t *const *rows HWCMP_MVE_IN_REGISTER,
                                             uint32_t length HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile("push {r4-r9, lr}\n\t"
                     "mov r3, r0\n\t"
                     "ldrd r5, r7, [r1]\n\t"
                     "ldrd r8, r9, [r1, #8]\n\t"
                     "movs r0, #0\n\t"
                     "movs r4, #0\n\t"
                     "movs r6, #0\n\t"
                     "dlstp.8 lr, r2\n\t"
                     "movs r2, #0\n"
                     "1:\n\t"
                     "vldrb.8 q0, [r3], #16\n\t"
                     "vldrb.8 q1, [r5], #16\n\t"
                     "vmladava.s8 r0, q1, q0\n\t"
                     "vldrb.8 q2, [r7], #16\n\t"
                     "vmladava.s8 r2, q2, q0\n\t"
                     "vldrb.8 q1, [r8], #16\n\t"
                     "vmladava.s8 r4, q1, q0\n\t"
                     "vldrb.8 q2, [r9], #16\n\t"
                     "vmladava.s8 r6, q2, q0\n\t"
                     "letp lr, 1b\n\t"
                     "vmov q0[2], q0[0], r0, r4\n\t"
                     "vmov q0[3], q0[1], r2, r6\n\t"
                     "pop {r4-r9, pc}\n");
}

/* output[i] = channel first + i for `count` >= 1 rows of `length` weights. The last four rows overlap the ones before
 * them if need be; fewer than four are filled up with the last. */
HWCMP_MVE_SHARED void hwcmp_mve_finish_rows(const hwcmp_output_stage *stage, const int8_t *x, const int8_t *rows,
                                            uint32_t length, int32_t first, int32_t count, int8_t *output)
{
    const hwcmp_channels *channels = stage->channels;
    const mve_pred16_t lanes = vctp32q((uint32_t)count);

    for (int32_t row = 0; row < count; row += HWCMP_MVE_ROWS) {
        const int32_t top = hwcmp_max(hwcmp_min(row, count - HWCMP_MVE_ROWS), 0);
        const int32_t ch = first + top;
        const int8_t *four[HWCMP_MVE_ROWS];
        for (int32_t i = 0; i < HWCMP_MVE_ROWS; i++) {
            four[i] = rows + (size_t)hwcmp_min(top + i, count - 1) * length;
        }
        const int32x4_t sums = hwcmp_mve_dot_rows(x, four, length);
        const int32x4_t values = vaddq_s32(sums, vldrwq_z_s32(channels->bias + ch, lanes));
        int32x4_t multipliers = vdupq_n_s32(channels->multiplier[0]);
        int32x4_t shifts = vdupq_n_s32(channels->shift[0]);
        if (channels->channel_step != 0U) {
            multipliers = vldrwq_z_s32(channels->multiplier + ch, lanes);
            shifts = vldrbq_z_s32(channels->shift + ch, lanes);
        }
        vstrbq_p_s32(output + top, hwcmp_mve_finish(stage, values, multipliers, shifts), lanes);
    }
}

#endif
