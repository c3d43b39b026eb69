/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns of four neighbouring pixels for kernels three wide: their windows overlap, so each of the six input pixels
 * of a kernel row is expanded once and stored up to three times.
 */
#ifndef HWCMP_DSP_NEIGHBOURS_H
#define HWCMP_DSP_NEIGHBOURS_H

#include "columns.h"

enum { HWCMP_DSP_NEIGHBOURS = 6 };

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *zeros;                   /* what pixels outside the input read, `groups` * 8 bytes */
    uint32_t tap_bytes;                    /* in the columns from tap to tap */
    uint32_t groups;                       /* of eight channels, >= 1 */
    int32_t offsets[HWCMP_DSP_NEIGHBOURS]; /* of the six pixels in the input row in bytes; negative: outside */
} hwcmp_dsp_neighbours;

HWCMP_DSP_NAKED void hwcmp_dsp_put_neighbours(uint32_t *to, const int8_t *row, const hwcmp_dsp_neighbours *neighbours);

/* r0 first place of the input pixel, r1 row, r2 offsets, r3 r9 r10 places, r4-r7 expanded group, r8 input pixel,
 * r11 from a tap's place to the next tap's (one pixel earlier), r12 groups, lr groups left. Stack: 0 zeros. */
#define HWCMP_NEIGHBOUR(more_places, more_stores) \
    "ldr.w r8, [r2], #4\n\t"               \
    "cmp r8, #0\n\t"                       \
    "ite ge\n\t"                           \
    "addge r8, r8, r1\n\t"                 \
    "ldrlt.w r8, [sp]\n\t"                 \
    "mov lr, r12\n\t"                      \
    "mov r9, r0\n\t"                       \
    more_places                            \
    "1:\n\t"                               \
    "ldr r4, [r8], #4\n\t"                 \
    "ldr r6, [r8], #4\n\t"                 \
    "sxtb16 r5, r4, ror #8\n\t"            \
    "sxtb16 r4, r4\n\t"                    \
    "sxtb16 r7, r6, ror #8\n\t"            \
    "sxtb16 r6, r6\n\t"                    \
    "stmia.w r9, {r4-r7}\n\t"              \
    "add r9, r9, #64\n\t"                  \
    more_stores                            \
    "subs lr, lr, #1\n\t"                  \
    "bne 1b\n\t"
#define HWCMP_SECOND_PLACE "add r10, r0, r11\n\t"
#define HWCMP_SECOND_STORE "stmia.w r10, {r4-r7}\n\tadd r10, r10, #64\n\t"
#define HWCMP_THIRD_PLACE "add r3, r10, r11\n\t"
#define HWCMP_THIRD_STORE "stmia.w r3, {r4-r7}\n\tadd r3, r3, #64\n\t"
#define HWCMP_ONE_PLACE HWCMP_NEIGHBOUR("", "")
#define HWCMP_TWO_PLACES HWCMP_NEIGHBOUR(HWCMP_SECOND_PLACE, HWCMP_SECOND_STORE)
#define HWCMP_THREE_PLACES \
    HWCMP_NEIGHBOUR(HWCMP_SECOND_PLACE HWCMP_THIRD_PLACE, HWCMP_SECOND_STORE HWCMP_THIRD_STORE)
#define HWCMP_NEXT_PIXEL "add r0, r0, #16\n\t"
#define HWCMP_NEXT_TAP "add r0, r0, r11\n\tadd r0, r0, #16\n\t"

/* One kernel row of four interleaved columns from `to` on. Input pixel j is tap t of pixel j - t. */
HWCMP_DSP_NAKED void hwcmp_dsp_put_neighbours(uint32_t *to HWCMP_DSP_IN_REGISTER,
                                              const int8_t *row HWCMP_DSP_IN_REGISTER,
                                              const hwcmp_dsp_neighbours *neighbours HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "ldmia r2!, {r3, r11, r12}\n\t"
                     "push {r3}\n\t"
                     "sub r11, r11, #16\n\t"
                     HWCMP_ONE_PLACE HWCMP_NEXT_PIXEL
                     HWCMP_TWO_PLACES HWCMP_NEXT_PIXEL
                     HWCMP_THREE_PLACES HWCMP_NEXT_PIXEL
                     HWCMP_THREE_PLACES HWCMP_NEXT_TAP
                     HWCMP_TWO_PLACES HWCMP_NEXT_TAP
                     HWCMP_ONE_PLACE
                     "add sp, sp, #4\n\t"
                     "pop {r4-r11, pc}\n");
}

#endif
