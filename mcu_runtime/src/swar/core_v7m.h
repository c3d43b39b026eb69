/* SPDX-License-Identifier: Apache-2.0
 *
 * Cortex-M3: the same loops with MLA, SMLAL, SXTB of any byte, SSAT.
 */
#ifndef HWCMP_SWAR_CORE_V7M_H
#define HWCMP_SWAR_CORE_V7M_H

#include "../hwcmp_internal.h"

static inline int32_t hwcmp_swar_high_mul(int32_t a, int32_t m)
{
    return hwcmp_high_mul(a, m);
}

/* sum += x * r5 */
#define HWCMP_SWAR_MAC(sum, x) "mla " sum ", " x ", r5, " sum "\n\t"

/* The weights of the word r7, one after the other, to r5; each is followed by `use`. */
#define HWCMP_SWAR_WEIGHTS(use)          \
    "sxtb r5, r7\n\t" use                \
    "sxtb.w r5, r7, ror #8\n\t" use      \
    "sxtb.w r5, r7, ror #16\n\t" use     \
    "asrs r5, r7, #24\n\t" use
/* Code bytes of a word's load and four weights, each used by an LDM and HWCMP_SWAR_MAC_FOUR. */
#define HWCMP_SWAR_WORD_CODE "86"

/* hwcmp_swar_scale() of r0 to r0, saturated. r4 multiplier, r5 offset, r6 shift, r12 2^31. */
#define HWCMP_SWAR_CONSTANTS "mov r12, #0x80000000\n\t"
#define HWCMP_SWAR_SCALE                 \
    "add r2, r5, r0, asr #31\n\t"        \
    "lsls r0, r0, #1\n\t"                \
    "mov r1, r12\n\t"                    \
    "smlal r1, r2, r0, r4\n\t"           \
    "asrs r2, r6\n\t"                    \
    "ssat r0, #8, r2\n\t"

/* The same without saturation for 0 < r0, to r1. */
#define HWCMP_SWAR_SCALE_POSITIVE        \
    "mov r2, r5\n\t"                     \
    "lsls r0, r0, #1\n\t"                \
    "mov r1, r12\n\t"                    \
    "smlal r1, r2, r0, r4\n\t"           \
    "asr r1, r2, r6\n\t"

/* Two entries of a list times a column: gaps in r7, r3 free, r0 activations, r2 sum. 8 instructions with the load. */
#define HWCMP_SWAR_RUN_SUM_FIRST         \
    "and r3, r7, #15\n\t"                \
    "adds r0, r0, r3\n\t"                \
    "ldrsb r3, [r0], #1\n\t"             \
    "adds r2, r2, r3\n\t"
#define HWCMP_SWAR_RUN_SUM_SECOND        \
    "add r0, r0, r7, lsr #4\n\t"         \
    "ldrsb r3, [r0], #1\n\t"             \
    "adds r2, r2, r3\n\t"
/* One entry, its gap in r3. */
#define HWCMP_SWAR_RUN_SUM_WIDE          \
    "adds r0, r0, r3\n\t"                \
    "ldrsb r3, [r0], #1\n\t"             \
    "adds r2, r2, r3\n\t"
#define HWCMP_SWAR_RUN_SUM_ODD ""

/* One activation for four rows, 9 instructions: r0 end of x, r1 x, r2-r4 r6 rows, r5 activation, r7 weight. */
#define HWCMP_SWAR_BEGIN_ELEMENTS "adds r0, r0, r1\n\t"
#define HWCMP_SWAR_ELEMENT               \
    "ldrsb r5, [r1], #1\n\t"             \
    "ldrsb r7, [r2], #1\n\t"             \
    HWCMP_SWAR_MAC("r8", "r7")           \
    "ldrsb r7, [r3], #1\n\t"             \
    HWCMP_SWAR_MAC("r9", "r7")           \
    "ldrsb r7, [r4], #1\n\t"             \
    HWCMP_SWAR_MAC("r10", "r7")          \
    "ldrsb r7, [r6], #1\n\t"             \
    HWCMP_SWAR_MAC("r11", "r7")
#define HWCMP_SWAR_ELEMENT_CODE "36"
#define HWCMP_SWAR_NEXT_ELEMENTS(loop) "cmp r1, r0\n\tbne " loop "\n\t"

/* (a * affine_a + b * affine_b + affine_c) >> shift, saturated, from r3 bytes before the ends r0 of a and r1 of b to r7:
 * r4 affine_a, r5 affine_b, r8 affine_c, r9 shift. */
#define HWCMP_SWAR_AFFINE                \
    "ldrsb r6, [r0, r3]\n\t"             \
    "mla r6, r6, r4, r8\n\t"             \
    "ldrsb r7, [r1, r3]\n\t"             \
    "mla r6, r7, r5, r6\n\t"             \
    "asr r6, r6, r9\n\t"                 \
    "ssat r7, #8, r6\n\t"

#endif
