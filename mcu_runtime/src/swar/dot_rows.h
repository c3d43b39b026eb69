/* SPDX-License-Identifier: Apache-2.0
 *
 * One run of activations times any number of weight rows, four at a time: fully_connected, and conv2d with few pixels.
 */
#ifndef HWCMP_SWAR_DOT_ROWS_H
#define HWCMP_SWAR_DOT_ROWS_H

#include "swar.h"

enum { HWCMP_SWAR_ROWS = 4 };

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *x;                     /*  0 */
    const int8_t *rows[HWCMP_SWAR_ROWS]; /*  4 */
    uint32_t length;                     /* 20: of all, >= 1 */
} hwcmp_swar_rows_job;

HWCMP_SWAR_NAKED void hwcmp_swar_dot_rows(const hwcmp_swar_rows_job *job, int32_t *sums);
HWCMP_SWAR_SHARED void hwcmp_swar_finish_rows(const hwcmp_output_stage *stage, const int8_t *x, const int8_t *rows,
                                              uint32_t stride, uint32_t length, int32_t first, int32_t count,
                                              int8_t *output);

/* r0 how far, r1 x, r2-r4 r6 rows, r5 activation, r7 weight, r8-r11 sums, r12 sums in memory. */
HWCMP_SWAR_NAKED void hwcmp_swar_dot_rows(const hwcmp_swar_rows_job *job HWCMP_SWAR_IN_REGISTER,
                                          int32_t *sums HWCMP_SWAR_IN_REGISTER)
{
    __asm__ volatile(HWCMP_SWAR_UNIFIED
                     HWCMP_SWAR_PUSH_ALL
                     "mov r12, r1\n\t"
                     "movs r2, #0\n\t"
                     HWCMP_SWAR_SET_SUMS("r2", "r2", "r2", "r2")
                     "ldmia r0!, {r1-r6}\n\t"
                     "mov r0, r6\n\t"
                     "mov r6, r5\n\t"
                     /* length in turns of four: the first turn enters behind (-length mod 4) elements */
                     "rsbs r7, r0, #0\n\t"
                     "lsls r7, r7, #30\n\t"
                     "lsrs r7, r7, #30\n\t"
                     "movs r5, #" HWCMP_SWAR_ELEMENT_CODE "\n\t"
                     "muls r7, r5, r7\n\t"
                     "adr r5, 1f\n\t"
                     "adds r7, r7, r5\n\t"
                     HWCMP_SWAR_BEGIN_ELEMENTS
                     "mov pc, r7\n\t"
                     ".balign 4\n"
                     "1:\n\t"
                     HWCMP_SWAR_ELEMENT HWCMP_SWAR_ELEMENT HWCMP_SWAR_ELEMENT HWCMP_SWAR_ELEMENT
                     ".ifne . - 1b - 4 * " HWCMP_SWAR_ELEMENT_CODE "\n\t"
                     ".error \"HWCMP_SWAR_ELEMENT_CODE\"\n\t"
                     ".endif\n\t"
                     HWCMP_SWAR_NEXT_ELEMENTS("1b")
                     "mov r0, r12\n\t"
                     HWCMP_SWAR_GET_SUMS
                     "stmia r0!, {r1-r4}\n\t"
                     HWCMP_SWAR_POP_ALL);
}

/* output[i] = channel ch + i, saturated to int8; sums without the bias. */
static inline void hwcmp_swar_finish_sums(const hwcmp_output_stage *stage, int32_t ch, int32_t count,
                                          const int32_t *sums, int8_t *output)
{
    const hwcmp_channels *channels = stage->channels;
    const int32_t step = channels->channel_step;
    const int32_t *bias = channels->bias + ch;
    const int32_t *multipliers = channels->multiplier + ch * step;
    const int8_t *shifts = channels->shift + ch * step;
    const int32_t zero_point = stage->zero_point;

    for (const int8_t *end = output + count; output != end; output++) {
        const int32_t total = hwcmp_wrap_add(*sums++, *bias++);
        const int32_t multiplier = *multipliers;
        const int32_t right = -*shifts;
        multipliers += step;
        shifts += step;
        /* the second term: |total| < 2^29 */
        if (hwcmp_swar_scale_is_fast(multiplier, right) && (uint32_t)total + 0x20000000U < 0x40000000U) {
            const int32_t offset = hwcmp_swar_offset(zero_point, right);
            *output = (int8_t)hwcmp_swar_scale(total, multiplier, offset, right);
        } else {
            *output = hwcmp_swar_scale_literally(total, multiplier, -right, zero_point);
        }
    }
}

/* output[i] = channel first + i, saturated to int8, for `count` >= 1 rows of `length` weights,
 * `stride` bytes apart. The last four rows overlap the ones before them if need be; fewer than four are filled up with
 * the last. */
HWCMP_SWAR_SHARED void hwcmp_swar_finish_rows(const hwcmp_output_stage *stage, const int8_t *x, const int8_t *rows,
                                              uint32_t stride, uint32_t length, int32_t first, int32_t count,
                                              int8_t *output)
{
    const int32_t outputs = hwcmp_min(count, HWCMP_SWAR_ROWS);
    hwcmp_swar_rows_job job;

    job.x = x;
    job.length = length;
    for (int32_t row = 0; row < count; row += HWCMP_SWAR_ROWS) {
        const int32_t top = hwcmp_min(row, count - outputs);
        const int8_t *from = rows + (size_t)top * stride;
        int32_t sums[HWCMP_SWAR_ROWS];
        for (int32_t i = 0; i < HWCMP_SWAR_ROWS; i++) {
            job.rows[i] = from;
            from += i + 1 < outputs ? stride : 0U;
        }
        hwcmp_swar_dot_rows(&job, sums);
        hwcmp_swar_finish_sums(stage, first + top, outputs, sums, output + top);
    }
}

#endif
