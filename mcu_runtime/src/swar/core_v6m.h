/* SPDX-License-Identifier: Apache-2.0
 *
 * Cortex-M0, M0+, M1: 16-bit instructions, MULS with a 32-bit result, no multiply-accumulate, no saturation.
 */
#ifndef HWCMP_SWAR_CORE_V6M_H
#define HWCMP_SWAR_CORE_V6M_H

#include <stdint.h>

/* floor((a * m + 2^30) / 2^31) from four products of 32 bits, for |a| < 2^29 and 0 <= m < 2^31: with
 * a = ah * 2^15 + al and m = mh * 2^16 + ml it is ah * mh + floor((2 * al * mh + ah * ml + 2^15 + floor(al * ml / 2^15))
 * / 2^16). 2^30 more keeps the sum in 0..2^32 - 1: 2 * al * mh < 2^31 - 2^17, al * ml / 2^15 < 2^16, |ah * ml| < 2^30. */
static inline int32_t hwcmp_swar_high_mul(int32_t a, int32_t m)
{
    const uint32_t al = (uint32_t)a & 0x7FFFU;
    const int32_t ah = a >> 15;
    const uint32_t ml = (uint32_t)m & 0xFFFFU;
    const uint32_t mh = (uint32_t)m >> 16;
    const uint32_t middle = ((al * ml) >> 15) + al * (2U * mh) + (uint32_t)ah * ml + 0x40008000U;

    return ah * (int32_t)mh + (int32_t)(middle >> 16) - 0x4000;
}

/* sum += x * r5; x is lost. */
#define HWCMP_SWAR_MAC(sum, x)    \
    "muls " x ", r5\n\t"          \
    "add " sum ", " x "\n\t"

/* The weights of the word r7, one after the other, to r5; each is followed by `use`. */
#define HWCMP_SWAR_WEIGHTS(use)   \
    "sxtb r5, r7\n\t" use         \
    "lsls r5, r7, #16\n\t"        \
    "asrs r5, r5, #24\n\t" use    \
    "lsls r5, r7, #8\n\t"         \
    "asrs r5, r5, #24\n\t" use    \
    "asrs r5, r7, #24\n\t" use
/* Code bytes of a word's load and four weights, each used by an LDM and HWCMP_SWAR_MAC_FOUR. */
#define HWCMP_SWAR_WORD_CODE "86"

/* hwcmp_swar_scale() of r0 to r0, saturated. From r4 multiplier, r5 offset, r6 shift to r4 ml, r5 2 * mh, r6 mh,
 * r7 shift, r12 the constant of the middle, lr offset - 2^14. */
#define HWCMP_SWAR_CONSTANTS      \
    "mov r7, r6\n\t"              \
    "movs r0, #1\n\t"             \
    "lsls r1, r0, #14\n\t"        \
    "subs r1, r5, r1\n\t"         \
    "mov lr, r1\n\t"              \
    "lsls r1, r0, #30\n\t"        \
    "lsls r0, r0, #15\n\t"        \
    "adds r0, r0, r1\n\t"         \
    "mov r12, r0\n\t"             \
    "lsrs r6, r4, #16\n\t"        \
    "uxth r4, r4\n\t"             \
    "lsls r5, r6, #1\n\t"
#define HWCMP_SWAR_SCALE          \
    "lsls r2, r0, #17\n\t"        \
    "lsrs r2, r2, #17\n\t"        \
    "movs r3, r2\n\t"             \
    "muls r3, r4\n\t"             \
    "lsrs r3, r3, #15\n\t"        \
    "muls r2, r5\n\t"             \
    "adds r2, r2, r3\n\t"         \
    "asrs r1, r0, #15\n\t"        \
    "movs r3, r1\n\t"             \
    "muls r3, r4\n\t"             \
    "adds r2, r2, r3\n\t"         \
    "add r2, r12\n\t"             \
    "lsrs r2, r2, #16\n\t"        \
    "muls r1, r6\n\t"             \
    "adds r1, r1, r2\n\t"         \
    "asrs r0, r0, #31\n\t"        \
    "adds r1, r1, r0\n\t"         \
    "add r1, lr\n\t"              \
    "asrs r1, r7\n\t"             \
    "sxtb r0, r1\n\t"             \
    "cmp r0, r1\n\t"              \
    "beq 0f\n\t"                  \
    "asrs r1, r1, #31\n\t"        \
    "movs r0, #127\n\t"           \
    "eors r0, r1\n"               \
    "0:\n\t"

/* The same without the last step for 0 < r0, to r1: no sign, and it can only be too large. */
#define HWCMP_SWAR_SCALE_POSITIVE \
    "lsls r2, r0, #17\n\t"        \
    "lsrs r2, r2, #17\n\t"        \
    "movs r3, r2\n\t"             \
    "muls r3, r4\n\t"             \
    "lsrs r3, r3, #15\n\t"        \
    "muls r2, r5\n\t"             \
    "adds r2, r2, r3\n\t"         \
    "lsrs r1, r0, #15\n\t"        \
    "movs r3, r1\n\t"             \
    "muls r3, r4\n\t"             \
    "adds r2, r2, r3\n\t"         \
    "add r2, r12\n\t"             \
    "lsrs r2, r2, #16\n\t"        \
    "muls r1, r6\n\t"             \
    "adds r1, r1, r2\n\t"         \
    "add r1, lr\n\t"              \
    "asrs r1, r7\n\t"

/* Two entries of a list times a column: gaps in r7, r3 free, r0 activations, of which the second one is found one ahead,
 * r4 0, r5 1, r2 sum. 11 instructions with the load of r7. */
#define HWCMP_SWAR_RUN_SUM_FIRST  \
    "lsls r3, r7, #28\n\t"        \
    "lsrs r3, r3, #28\n\t"        \
    "adds r0, r0, r3\n\t"         \
    "ldrsb r3, [r0, r4]\n\t"      \
    "adds r2, r2, r3\n\t"
#define HWCMP_SWAR_RUN_SUM_SECOND \
    "lsrs r7, r7, #4\n\t"         \
    "adds r0, r0, r7\n\t"         \
    "ldrsb r3, [r0, r5]\n\t"      \
    "adds r2, r2, r3\n\t"         \
    "adds r0, r0, #2\n\t"
/* One entry, its gap in r3. */
#define HWCMP_SWAR_RUN_SUM_WIDE   \
    "adds r0, r0, r3\n\t"         \
    "ldrsb r3, [r0, r4]\n\t"      \
    "adds r2, r2, r3\n\t"         \
    "adds r0, r0, #1\n\t"
/* Where the list of length r2 begins with a second entry. */
#define HWCMP_SWAR_RUN_SUM_ODD    \
    "movs r5, #1\n\t"             \
    "ands r5, r2\n\t"             \
    "subs r0, r0, r5\n\t"

/* One activation for four rows, 14 instructions: r1 x, r2-r4 r6 rows, r5 activation, r7 weight. Pointers are moved to
 * their ends and indexed by r0, which goes up from -length. */
#define HWCMP_SWAR_BEGIN_ELEMENTS \
    "adds r1, r1, r0\n\t"         \
    "adds r2, r2, r0\n\t"         \
    "adds r3, r3, r0\n\t"         \
    "adds r4, r4, r0\n\t"         \
    "adds r6, r6, r0\n\t"         \
    "rsbs r0, r0, #0\n\t"
#define HWCMP_SWAR_ELEMENT        \
    "ldrsb r5, [r1, r0]\n\t"      \
    "ldrsb r7, [r2, r0]\n\t"      \
    HWCMP_SWAR_MAC("r8", "r7")    \
    "ldrsb r7, [r3, r0]\n\t"      \
    HWCMP_SWAR_MAC("r9", "r7")    \
    "ldrsb r7, [r4, r0]\n\t"      \
    HWCMP_SWAR_MAC("r10", "r7")   \
    "ldrsb r7, [r6, r0]\n\t"      \
    HWCMP_SWAR_MAC("r11", "r7")   \
    "adds r0, r0, #1\n\t"
#define HWCMP_SWAR_ELEMENT_CODE "28"
#define HWCMP_SWAR_NEXT_ELEMENTS(loop) "bne " loop "\n\t"

/* (a * affine_a + b * affine_b + affine_c) >> shift, saturated, from r3 bytes before the ends r0 of a and r1 of b to r7:
 * r4 affine_a, r5 affine_b, r8 affine_c, r9 shift. */
#define HWCMP_SWAR_AFFINE         \
    "ldrsb r6, [r0, r3]\n\t"      \
    "muls r6, r4\n\t"             \
    "ldrsb r7, [r1, r3]\n\t"      \
    "muls r7, r5\n\t"             \
    "adds r6, r6, r7\n\t"         \
    "add r6, r8\n\t"              \
    "mov r7, r9\n\t"              \
    "asrs r6, r7\n\t"             \
    "sxtb r7, r6\n\t"             \
    "cmp r7, r6\n\t"              \
    "beq 0f\n\t"                  \
    "asrs r6, r6, #31\n\t"        \
    "movs r7, #127\n\t"           \
    "eors r7, r6\n"               \
    "0:\n\t"

#endif
