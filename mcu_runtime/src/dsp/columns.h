/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns: the activations that one output pixel multiplies with every weight row, expanded to int16.
 *
 * Eight neighbours k..k+7 become four words (k, k+2) (k+1, k+3) (k+4, k+6) (k+5, k+7): the order in which SXTB16
 * takes weights apart. The columns of `pixels` pixels are interleaved, eight values of each in turn, then four of each
 * if the length (rounded up to a multiple of 4) leaves four. Values behind the length are zero, so whatever a weight
 * row is followed by is multiplied away.
 */
#ifndef HWCMP_DSP_COLUMNS_H
#define HWCMP_DSP_COLUMNS_H

#include "dsp.h"

typedef struct {
    uint32_t *groups; /* this pixel's first group of eight */
    uint32_t *tail;   /* this pixel's group of four, if any */
    uint32_t count;   /* groups of eight */
    uint32_t step;    /* words from one to the next */
} hwcmp_dsp_column;

static inline size_t hwcmp_dsp_columns_bytes(uint32_t length, uint32_t pixels)
{
    return hwcmp_align4(length) * 2U * pixels;
}

/* The first pixel's; the next one's begins 4 words behind it, and its tail 2. */
static inline hwcmp_dsp_column hwcmp_dsp_first_column(uint32_t *buffer, uint32_t length, uint32_t pixels)
{
    const uint32_t count = (length + 3U) / 8U;
    const hwcmp_dsp_column column = {buffer, buffer + 4U * pixels * count, count, 4U * pixels};
    return column;
}

/* `count` >= 1 groups of eight bytes to groups `step` words apart, 10 instructions each; returns the next group. */
static inline uint32_t *hwcmp_dsp_put_groups(uint32_t *to, uint32_t step, const int8_t *from, uint32_t count)
{
    __asm__ volatile("1:\n\t"
                     "ldr r8, [%[from]], #4\n\t"
                     "ldr r10, [%[from]], #4\n\t"
                     "sxtb16 r9, r8, ror #8\n\t"
                     "sxtb16 r8, r8\n\t"
                     "sxtb16 r11, r10, ror #8\n\t"
                     "sxtb16 r10, r10\n\t"
                     "stmia %[to], {r8-r11}\n\t"
                     "add %[to], %[to], %[step], lsl #2\n\t"
                     "subs %[count], %[count], #1\n\t"
                     "bne 1b"
                     : [to] "+r"(to), [from] "+r"(from), [count] "+r"(count)
                     : [step] "r"(step)
                     : "r8", "r9", "r10", "r11", "cc", "memory");
    return to;
}

static inline void hwcmp_dsp_put_four(uint32_t *to, uint32_t bytes)
{
    to[0] = hwcmp_dsp_even(bytes);
    to[1] = hwcmp_dsp_odd(bytes);
}

/* The whole column from `length` neighbouring bytes, of which none behind the last is read. */
HWCMP_DSP_SHARED void hwcmp_dsp_put(const hwcmp_dsp_column *column, const int8_t *from, uint32_t length);

HWCMP_DSP_SHARED void hwcmp_dsp_put(const hwcmp_dsp_column *column, const int8_t *from, uint32_t length)
{
    uint32_t *to = column->groups;
    uint32_t left = length % 8U;

    if (length >= 8U) {
        to = hwcmp_dsp_put_groups(to, column->step, from, length / 8U);
        from += length - left;
    }
    if (left > 4U) {
        hwcmp_dsp_put_four(to, hwcmp_dsp_load(from));
        from += 4;
        left -= 4U;
        to += 2;
    } else {
        to = column->tail;
    }
    if (left == 4U) {
        hwcmp_dsp_put_four(to, hwcmp_dsp_load(from));
    } else if (left > 0U) {
        uint32_t bytes = (uint8_t)from[0];
        for (uint32_t i = 1; i < left; i++) {
            bytes |= (uint32_t)(uint8_t)from[i] << (8U * i);
        }
        hwcmp_dsp_put_four(to, bytes);
    }
}

#endif
