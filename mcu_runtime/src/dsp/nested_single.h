/* SPDX-License-Identifier: Apache-2.0
 *
 * One column times groups of four nested weight rows: the inner loop of fully_connected.
 *
 * HWCMP_NESTED_SINGLE(unit, unit_bytes, end, tail, take_apart) is the body of a function for one kind of weights:
 *   unit         eight positions of a group, unit_bytes of code; r0-r3 sums, r4-r11 free, r12 column, lr weights;
 *                r11 is the end of the units before the first
 *   end          compares r12 with the end of the units
 *   tail         four positions
 *   take_apart   leaves the sum of row a in r0, of row b in r1, ...
 */
#ifndef HWCMP_DSP_NESTED_SINGLE_H
#define HWCMP_DSP_NESTED_SINGLE_H

#include "nested.h"

/* Stack: 0 column, 4 its end without a tail, 8 tail?, 12 gap, 16 groups, 20 sums, 24 entry of the loop; groups and sums move
 * on from group to group. */
#define HWCMP_NESTED_SINGLE(unit, unit_bytes, end, tail, take_apart) \
    "push {r4-r11, lr}\n\t"                            \
    "sub sp, sp, #28\n\t"                              \
    "ldmia r0, {r1-r6}\n\t"                            \
    "mov lr, r3\n\t"                                   \
    /* n units in turns of four: the first turn enters behind (-n mod 4) of them */ \
    "sub r7, r2, r1\n\t"                               \
    "and r3, r7, #8\n\t"                               \
    "sub r2, r2, r3\n\t"                               \
    "stmia sp, {r1-r6}\n\t"                            \
    "sub r7, r1, r2\n\t"                               \
    "ubfx r4, r7, #4, #2\n\t"                          \
    "mov r5, #" unit_bytes "\n\t"                      \
    "adr.w r6, 2f\n\t"                                 \
    "mla r4, r4, r5, r6\n\t"                           \
    "cmp r1, r2\n\t"                                   \
    "it eq\n\t"                                        \
    "adreq.w r4, 3f\n\t"                               \
    "orr r4, r4, #1\n\t"                               \
    "str r4, [sp, #24]\n"                              \
    "1:\n\t"                                           \
    "ldr.w r12, [sp]\n\t"                              \
    "ldr.w r11, [sp, #4]\n\t"                          \
    "mov r0, #0\n\t"                                   \
    "mov r1, #0\n\t"                                   \
    "mov r2, #0\n\t"                                   \
    "mov r3, #0\n\t"                                   \
    "ldr.w pc, [sp, #24]\n"                            \
    "2:\n\t" unit unit unit unit                       \
    end                                                \
    "bne.w 2b\n"                                       \
    "3:\n\t"                                           \
    "ldr r4, [sp, #8]\n\t"                             \
    "cmp r4, #0\n\t"                                   \
    "beq 4f\n\t"                                       \
    tail                                               \
    "4:\n\t"                                           \
    take_apart                                         \
    "ldr r4, [sp, #20]\n\t"                            \
    "stmia r4!, {r0-r3}\n\t"                           \
    "str r4, [sp, #20]\n\t"                            \
    "ldrd r4, r5, [sp, #12]\n\t"                       \
    "add lr, lr, r4\n\t"                               \
    "subs r5, r5, #1\n\t"                              \
    "str r5, [sp, #16]\n\t"                            \
    "bne.w 1b\n\t"                                     \
    "add sp, sp, #28\n\t"                              \
    "pop {r4-r11, pc}\n"

#define HWCMP_NESTED_END "ldr r4, [sp, #4]\n\tcmp r12, r4\n\t"
#define HWCMP_NESTED_END_KEPT "cmp r12, r11\n\t" /* for units that leave r11 alone */
#define HWCMP_NESTED_ADD(sum, word, x) "smlad " sum ", " word ", " x ", " sum "\n\t"
#define HWCMP_NESTED_TAKE(high, low, shift)            \
    "sub " high ", " high ", " low "\n\t"              \
    "asr " high ", " high ", #" shift "\n\t"

/* ---- int8: a word of a + 256 b, a word of c + 256 d for each pair -------------------------------------- */

#define HWCMP_NESTED_FOUR_INT8(x0, x1)                 \
    "ldmia.w lr!, {r8-r11}\n\t"                        \
    HWCMP_NESTED_ADD("r1", "r8", x0) HWCMP_NESTED_ADD("r3", "r9", x0) \
    HWCMP_NESTED_ADD("r1", "r10", x1) HWCMP_NESTED_ADD("r3", "r11", x1) \
    "sxtb16 r8, r8\n\t"                                \
    "sxtb16 r9, r9\n\t"                                \
    "sxtb16 r10, r10\n\t"                              \
    "sxtb16 r11, r11\n\t"                              \
    HWCMP_NESTED_ADD("r0", "r8", x0) HWCMP_NESTED_ADD("r2", "r9", x0) \
    HWCMP_NESTED_ADD("r0", "r10", x1) HWCMP_NESTED_ADD("r2", "r11", x1)
/* 27 instructions for 32 products. */
#define HWCMP_NESTED_EIGHT_INT8                        \
    "ldmia.w r12!, {r4-r7}\n\t" HWCMP_NESTED_FOUR_INT8("r4", "r5") HWCMP_NESTED_FOUR_INT8("r6", "r7")
#define HWCMP_NESTED_EIGHT_INT8_CODE "108"
#define HWCMP_NESTED_TAIL_INT8 "ldrd r4, r5, [r12]\n\t" HWCMP_NESTED_FOUR_INT8("r4", "r5")
#define HWCMP_NESTED_TAKE_INT8 HWCMP_NESTED_TAKE("r1", "r0", "8") HWCMP_NESTED_TAKE("r3", "r2", "8")

/* ---- codes: a word of four rows for each pair (4 bits), or for two (2 bits) ---------------------------- */

#define HWCMP_NESTED_PAIR_OF_4BIT(word, x)             \
    HWCMP_NESTED_ADD("r3", word, x)                    \
    "bic " word ", " word ", #0xF000F000\n\t"          \
    HWCMP_NESTED_ADD("r2", word, x)                    \
    "uxtb16 " word ", " word "\n\t"                    \
    HWCMP_NESTED_ADD("r1", word, x)                    \
    "and " word ", " word ", #0x000F000F\n\t"          \
    HWCMP_NESTED_ADD("r0", word, x)
/* 30 instructions for 32 products. */
#define HWCMP_NESTED_EIGHT_4BIT                        \
    "ldmia.w r12!, {r4-r7}\n\t"                        \
    "ldmia.w lr!, {r8-r11}\n\t"                        \
    HWCMP_NESTED_PAIR_OF_4BIT("r8", "r4") HWCMP_NESTED_PAIR_OF_4BIT("r9", "r5") \
    HWCMP_NESTED_PAIR_OF_4BIT("r10", "r6") HWCMP_NESTED_PAIR_OF_4BIT("r11", "r7")
#define HWCMP_NESTED_EIGHT_4BIT_CODE "120"
#define HWCMP_NESTED_TAIL_4BIT                         \
    "ldrd r4, r5, [r12]\n\t"                           \
    "ldrd r8, r9, [lr], #8\n\t"                        \
    HWCMP_NESTED_PAIR_OF_4BIT("r8", "r4") HWCMP_NESTED_PAIR_OF_4BIT("r9", "r5")

#define HWCMP_NESTED_PAIR_OF_2BIT(word, rotation, x)   \
    "uxtb16 r10, " word rotation "\n\t"                \
    HWCMP_NESTED_ADD("r3", "r10", x)                   \
    "and r10, r10, #0x003F003F\n\t"                    \
    HWCMP_NESTED_ADD("r2", "r10", x)                   \
    "and r10, r10, #0x000F000F\n\t"                    \
    HWCMP_NESTED_ADD("r1", "r10", x)                   \
    "and r10, r10, #0x00030003\n\t"                    \
    HWCMP_NESTED_ADD("r0", "r10", x)
#define HWCMP_NESTED_FOUR_2BIT(word, x0, x1)           \
    HWCMP_NESTED_PAIR_OF_2BIT(word, "", x0) HWCMP_NESTED_PAIR_OF_2BIT(word, ", ror #8", x1)
/* 34 instructions for 32 products. */
#define HWCMP_NESTED_EIGHT_2BIT                        \
    "ldmia.w r12!, {r4-r7}\n\t"                        \
    "ldrd r8, r9, [lr], #8\n\t"                        \
    HWCMP_NESTED_FOUR_2BIT("r8", "r4", "r5") HWCMP_NESTED_FOUR_2BIT("r9", "r6", "r7")
#define HWCMP_NESTED_EIGHT_2BIT_CODE "136"
#define HWCMP_NESTED_TAIL_2BIT                         \
    "ldrd r4, r5, [r12]\n\t"                           \
    "ldr.w r8, [lr], #4\n\t" HWCMP_NESTED_FOUR_2BIT("r8", "r4", "r5")
#define HWCMP_NESTED_TAKE_CODES(d, c, b)               \
    HWCMP_NESTED_TAKE("r3", "r2", d) HWCMP_NESTED_TAKE("r2", "r1", c) HWCMP_NESTED_TAKE("r1", "r0", b)

#endif
