/* SPDX-License-Identifier: Apache-2.0
 *
 * Two columns times groups of four nested weight rows: the inner loop of conv2d.
 *
 * Columns of two pixels: for four positions the words (0, 2) of pixel 0, (0, 2) of pixel 1, (1, 3) of pixel 0, (1, 3) of
 * pixel 1. HWCMP_NESTED_PAIRS(unit, unit_bytes, take_apart, bias) is the body of a function for one kind of weights:
 *   unit         four positions of a group, unit_bytes of code; r0-r7 sums, r8-r11 free, r12 columns, lr weights
 *   take_apart   leaves the sums of row a in r0 (pixel 0) and r1 (pixel 1), of row b in r2 and r3, ...
 *   bias         HWCMP_NESTED_BIAS: constants are hwcmp_dsp_channel; or HWCMP_NESTED_BIAS_OF_CODES: hwcmp_dsp_nested_channel
 */
#ifndef HWCMP_DSP_NESTED_PAIRS_H
#define HWCMP_DSP_NESTED_PAIRS_H

#include "nested.h"

/* hwcmp_dsp_scale() of both pixels of a channel, whose sums are x0 and x1; lr constants. bias(x0, x1) adds the bias and leaves
 * the multiplier in r8, the offset in r9 and the right shift in r10. */
#define HWCMP_NESTED_CHANNEL(x0, x1, bias)             \
    bias(x0, x1)                                       \
    "add r11, r9, " x0 ", asr #31\n\t"                 \
    "lsl " x0 ", " x0 ", #1\n\t"                       \
    "smmlar " x0 ", " x0 ", r8, r11\n\t"               \
    "add r11, r9, " x1 ", asr #31\n\t"                 \
    "lsl " x1 ", " x1 ", #1\n\t"                       \
    "smmlar " x1 ", " x1 ", r8, r11\n\t"               \
    "asr " x0 ", " x0 ", r10\n\t"                      \
    "asr " x1 ", " x1 ", r10\n\t"                      \
    "ssat " x0 ", #8, " x0 "\n\t"                      \
    "ssat " x1 ", #8, " x1 "\n\t"
#define HWCMP_NESTED_BIAS(x0, x1)                      \
    "ldmia.w lr!, {r8-r11}\n\t"                        \
    "add " x0 ", " x0 ", r11\n\t"                      \
    "add " x1 ", " x1 ", r11\n\t"
/* The same for products of codes: x * step + sum of the inputs * base. */
#define HWCMP_NESTED_BIAS_OF_CODES(x0, x1)             \
    "ldmia.w lr!, {r8-r10}\n\t"                        \
    "ldr.w r11, [sp, #36]\n\t"                         \
    "mla r11, r11, r9, r8\n\t"                         \
    "mla " x0 ", " x0 ", r10, r11\n\t"                 \
    "ldr.w r11, [sp, #40]\n\t"                         \
    "mla r11, r11, r9, r8\n\t"                         \
    "mla " x1 ", " x1 ", r10, r11\n\t"                 \
    "ldmia.w lr!, {r8-r10}\n\t"

/* Stack: 0..43 the job, 44 entry of the loop, 48 what follows it: 4 (outputs) or 5 (sums). groups, sums, channels and output
 * move on from group to group; 8 keeps the weights. */
#define HWCMP_NESTED_PAIRS(unit, unit_bytes, take_apart, bias) \
    "push {r3-r11, lr}\n\t"                            \
    "sub sp, sp, #56\n\t"                              \
    "ldmia r0!, {r1-r8}\n\t"                           \
    "stmia sp, {r1-r8}\n\t"                            \
    "ldmia r0!, {r4, r5, r7}\n\t"                      \
    "add r8, sp, #32\n\t"                              \
    "stmia.w r8, {r4, r5, r7}\n\t"                     \
    "mov lr, r3\n\t"                                   \
    /* n units in turns of eight: the first turn enters behind (-n mod 8) of them */ \
    "sub r4, r1, r2\n\t"                               \
    "ubfx r4, r4, #4, #3\n\t"                          \
    "mov r5, #" unit_bytes "\n\t"                      \
    "adr.w r7, 2f\n\t"                                 \
    "mla r4, r4, r5, r7\n\t"                           \
    "orr r4, r4, #1\n\t"                               \
    "adr.w r5, 5f\n\t"                                 \
    "cmp r6, #0\n\t"                                   \
    "it eq\n\t"                                        \
    "adreq.w r5, 4f\n\t"                               \
    "orr r5, r5, #1\n\t"                               \
    "strd r4, r5, [sp, #44]\n"                         \
    "1:\n\t"                                           \
    "ldr.w r12, [sp]\n\t"                              \
    "mov r0, #0\n\t"                                   \
    "mov r1, #0\n\t"                                   \
    "mov r2, #0\n\t"                                   \
    "mov r3, #0\n\t"                                   \
    "mov r4, #0\n\t"                                   \
    "mov r5, #0\n\t"                                   \
    "mov r6, #0\n\t"                                   \
    "mov r7, #0\n\t"                                   \
    "ldr.w pc, [sp, #44]\n"                            \
    "2:\n\t" unit unit unit unit unit unit unit unit   \
    "ldr.w r8, [sp, #4]\n\t"                           \
    "cmp r12, r8\n\t"                                  \
    "bne.w 2b\n\t"                                     \
    take_apart                                         \
    "ldr.w pc, [sp, #48]\n"                            \
    "4:\n\t"                                           \
    "str.w lr, [sp, #8]\n\t"                           \
    "ldr.w lr, [sp, #24]\n\t"                          \
    HWCMP_NESTED_CHANNEL("r0", "r1", bias)             \
    HWCMP_NESTED_CHANNEL("r2", "r3", bias)             \
    HWCMP_NESTED_CHANNEL("r4", "r5", bias)             \
    HWCMP_NESTED_CHANNEL("r6", "r7", bias)             \
    "str.w lr, [sp, #24]\n\t"                          \
    "ldr.w lr, [sp, #8]\n\t"                           \
    "ldrd r8, r9, [sp, #28]\n\t"                       \
    "bfi r0, r2, #8, #8\n\t"                           \
    "bfi r0, r4, #16, #8\n\t"                          \
    "bfi r0, r6, #24, #8\n\t"                          \
    "bfi r1, r3, #8, #8\n\t"                           \
    "bfi r1, r5, #16, #8\n\t"                          \
    "bfi r1, r7, #24, #8\n\t"                          \
    "str.w r1, [r8, r9]\n\t"                           \
    "str.w r0, [r8], #4\n\t"                           \
    "str.w r8, [sp, #28]\n\t"                          \
    "b 6f\n"                                           \
    "5:\n\t"                                           \
    "ldr.w r8, [sp, #20]\n\t"                          \
    "stmia.w r8!, {r0-r7}\n\t"                         \
    "str.w r8, [sp, #20]\n"                            \
    "6:\n\t"                                           \
    "ldrd r8, r9, [sp, #12]\n\t"                       \
    "add lr, lr, r8\n\t"                               \
    "subs.w r9, r9, #1\n\t"                            \
    "str.w r9, [sp, #16]\n\t"                          \
    "bne.w 1b\n\t"                                     \
    "add sp, sp, #56\n\t"                              \
    "pop {r3-r11, pc}\n"

/* ---- int8: a word of a + 256 b, a word of c + 256 d for each pair -------------------------------------- */

#define HWCMP_NESTED_PAIR_INT8                         \
    "ldrd r8, r9, [lr], #8\n\t"                        \
    "ldrd r10, r11, [r12], #8\n\t"                     \
    "smlad r2, r8, r10, r2\n\t"                        \
    "smlad r3, r8, r11, r3\n\t"                        \
    "smlad r6, r9, r10, r6\n\t"                        \
    "smlad r7, r9, r11, r7\n\t"                        \
    "sxtb16 r8, r8\n\t"                                \
    "sxtb16 r9, r9\n\t"                                \
    "smlad r0, r8, r10, r0\n\t"                        \
    "smlad r1, r8, r11, r1\n\t"                        \
    "smlad r4, r9, r10, r4\n\t"                        \
    "smlad r5, r9, r11, r5\n\t"
/* 24 instructions for 32 products. */
#define HWCMP_NESTED_UNIT_INT8 HWCMP_NESTED_PAIR_INT8 HWCMP_NESTED_PAIR_INT8
#define HWCMP_NESTED_UNIT_INT8_CODE "96"
#define HWCMP_NESTED_APART(high, low, shift)           \
    "sub " high ", " high ", " low "\n\t"              \
    "asr " high ", " high ", #" shift "\n\t"
#define HWCMP_NESTED_APART_INT8                        \
    HWCMP_NESTED_APART("r2", "r0", "8") HWCMP_NESTED_APART("r3", "r1", "8") \
    HWCMP_NESTED_APART("r6", "r4", "8") HWCMP_NESTED_APART("r7", "r5", "8")

/* ---- codes: a word of four rows for each pair (4 bits), or for two (2 bits) ---------------------------- */

#define HWCMP_NESTED_BOTH(x0, x1, word)                \
    "smlad " x0 ", " word ", r10, " x0 "\n\t"          \
    "smlad " x1 ", " word ", r11, " x1 "\n\t"
#define HWCMP_NESTED_PAIR_4BIT(word)                   \
    "ldrd r10, r11, [r12], #8\n\t"                     \
    HWCMP_NESTED_BOTH("r6", "r7", word)                \
    "bic " word ", " word ", #0xF000F000\n\t"          \
    HWCMP_NESTED_BOTH("r4", "r5", word)                \
    "uxtb16 " word ", " word "\n\t"                    \
    HWCMP_NESTED_BOTH("r2", "r3", word)                \
    "and " word ", " word ", #0x000F000F\n\t"          \
    HWCMP_NESTED_BOTH("r0", "r1", word)
/* 25 instructions for 32 products. */
#define HWCMP_NESTED_UNIT_4BIT                         \
    "ldrd r8, r9, [lr], #8\n\t" HWCMP_NESTED_PAIR_4BIT("r8") HWCMP_NESTED_PAIR_4BIT("r9")
#define HWCMP_NESTED_UNIT_4BIT_CODE "100"

#define HWCMP_NESTED_PAIR_2BIT(rotation)               \
    "ldrd r10, r11, [r12], #8\n\t"                     \
    "uxtb16 r9, r8" rotation "\n\t"                    \
    HWCMP_NESTED_BOTH("r6", "r7", "r9")                \
    "and r9, r9, #0x003F003F\n\t"                      \
    HWCMP_NESTED_BOTH("r4", "r5", "r9")                \
    "and r9, r9, #0x000F000F\n\t"                      \
    HWCMP_NESTED_BOTH("r2", "r3", "r9")                \
    "and r9, r9, #0x00030003\n\t"                      \
    HWCMP_NESTED_BOTH("r0", "r1", "r9")
/* 27 instructions for 32 products. */
#define HWCMP_NESTED_UNIT_2BIT                         \
    "ldr.w r8, [lr], #4\n\t" HWCMP_NESTED_PAIR_2BIT("") HWCMP_NESTED_PAIR_2BIT(", ror #8")
#define HWCMP_NESTED_UNIT_2BIT_CODE "108"
#define HWCMP_NESTED_APART_CODES(d, c, b)              \
    HWCMP_NESTED_APART("r6", "r4", d) HWCMP_NESTED_APART("r7", "r5", d) \
    HWCMP_NESTED_APART("r4", "r2", c) HWCMP_NESTED_APART("r5", "r3", c) \
    HWCMP_NESTED_APART("r2", "r0", b) HWCMP_NESTED_APART("r3", "r1", b)

#endif
