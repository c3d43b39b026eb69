/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of positions times one column of activations: the inner loop of fully_connected_runs, and of conv2d_runs for a
 * few pixels. Armv7E-M and Armv8-M with the DSP extension, so the arms for DSP and for MVE.
 *
 * An entry moves a pointer with UXTAB and loads what it points to. UMAAL adds two activations at once: it computes
 * a * b + c + d, here a * 1 + c + d, and the lower half of the result is right modulo 2^32 whatever the signs.
 */
#ifndef HWCMP_DSP_RUN_DOT_H
#define HWCMP_DSP_RUN_DOT_H

#include "../hwcmp_runs.h"

/* The dot product of the row whose first group is at `groups` with `x`, modulo 2^32, in the lower half; where the next
 * row begins in the upper one. A segment has `width` positions; `is_wide`: gaps have 8 bits. */
__attribute__((weak, noinline, naked, aligned(4))) uint64_t hwcmp_dsp_run_dot(
    const int8_t *x __attribute__((unused)), const uint8_t *groups __attribute__((unused)),
    uint32_t width __attribute__((unused)), uint32_t is_wide __attribute__((unused)));

/* An entry whose gap is in the lowest byte of `gaps`, rotated. r2 activations. */
#define HWCMP_RUN_DOT_LOAD(label, to, gaps, rotation) \
    label ":\n\t"                               \
    "uxtab r2, r2, " gaps rotation "\n\t"       \
    "ldrsb " to ", [r2], #1\n\t"
#define HWCMP_RUN_DOT_ADD_TWO "umaal r0, r9, r8, r10\n\t"
#define HWCMP_RUN_DOT_TWO(first, second, a, b, rotation_a, rotation_b) \
    HWCMP_RUN_DOT_LOAD(first, "r8", a, rotation_a)   \
    HWCMP_RUN_DOT_LOAD(second, "r9", b, rotation_b)  \
    HWCMP_RUN_DOT_ADD_TWO
/* Eight gaps of 4 bits in r6: those of even entries to the bytes of r5, those of odd ones to the bytes of r6. */
#define HWCMP_RUN_DOT_SPLIT       \
    "and r5, r3, r6\n\t"          \
    "and r6, r3, r6, lsr #4\n\t"
/* The list whose length is at bit `at` of the head in r7 and whose gaps begin at r1, which is moved behind it. Words
 * are loaded so that the last ends with the list; the first turn of two words jumps over what lies before its
 * beginning, where r8 stands for the first of two entries that is missing. An empty list goes to label 89.
 * length = 8 * words + unused, or 4 * words + unused: with one bit more than `unused` it says where in two words. */
#define HWCMP_RUN_DOT_HEAD(mask, at, bits, unused_bits, to_bytes, to_words) \
    "ands r4, r7, #" mask "\n\t"                  \
    "beq.w 89f\n\t"                               \
    "ubfx r5, r7, #" at ", #" unused_bits "\n\t"  \
    "ubfx r9, r7, #" at ", #" bits "\n\t"         \
    "sub r1, r1, r5" to_bytes "\n\t"              \
    "add r4, r1, r4" to_words "\n\t"              \
    "ldr r6, [r1], #4\n\t"                        \
    "mov r2, r12\n\t"                             \
    "movs r8, #0\n\t"
#define HWCMP_RUN_DOT_END    \
    "cmp r1, r4\n\t"         \
    "bne 81b\n\t"
#define HWCMP_RUN_DOT_EIGHT(e0, e1, e2, e3, e4, e5, e6, e7)                     \
    HWCMP_RUN_DOT_TWO(e0, e1, "r5", "r6", "", "")                               \
    HWCMP_RUN_DOT_TWO(e2, e3, "r5", "r6", ", ror #8", ", ror #8")               \
    HWCMP_RUN_DOT_TWO(e4, e5, "r5", "r6", ", ror #16", ", ror #16")             \
    HWCMP_RUN_DOT_TWO(e6, e7, "r5", "r6", ", ror #24", ", ror #24")
#define HWCMP_RUN_DOT_FOUR(e0, e1, e2, e3)                                      \
    HWCMP_RUN_DOT_TWO(e0, e1, "r6", "r6", "", ", ror #8")                       \
    HWCMP_RUN_DOT_TWO(e2, e3, "r6", "r6", ", ror #16", ", ror #24")
#define HWCMP_RUN_DOT_NARROW(mask, at, to_words)                                \
    HWCMP_RUN_DOT_HEAD(mask, at, "4", "3", ", lsr #1", to_words)                \
    HWCMP_RUN_DOT_SPLIT                                                         \
    "tbb [pc, r9]\n"                                                            \
    "80:\n\t"                                                                   \
    ".byte (60f-80b)/2, (61f-80b)/2, (62f-80b)/2, (63f-80b)/2\n\t"              \
    ".byte (64f-80b)/2, (65f-80b)/2, (66f-80b)/2, (67f-80b)/2\n\t"              \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n\t"              \
    ".byte (74f-80b)/2, (75f-80b)/2, (76f-80b)/2, (77f-80b)/2\n"                \
    "81:\n\t"                                                                   \
    "ldr r6, [r1], #4\n\t"                                                      \
    HWCMP_RUN_DOT_SPLIT                                                         \
    HWCMP_RUN_DOT_EIGHT("60", "61", "62", "63", "64", "65", "66", "67")         \
    "ldr r6, [r1], #4\n\t"                                                      \
    HWCMP_RUN_DOT_SPLIT                                                         \
    HWCMP_RUN_DOT_EIGHT("70", "71", "72", "73", "74", "75", "76", "77")         \
    HWCMP_RUN_DOT_END
#define HWCMP_RUN_DOT_WIDE(mask, at, to_words)                                  \
    HWCMP_RUN_DOT_HEAD(mask, at, "3", "2", "", to_words)                        \
    "tbb [pc, r9]\n"                                                            \
    "80:\n\t"                                                                   \
    ".byte (60f-80b)/2, (61f-80b)/2, (62f-80b)/2, (63f-80b)/2\n\t"              \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n"                \
    "81:\n\t"                                                                   \
    "ldr r6, [r1], #4\n\t"                                                      \
    HWCMP_RUN_DOT_FOUR("60", "61", "62", "63")                                  \
    "ldr r6, [r1], #4\n\t"                                                      \
    HWCMP_RUN_DOT_FOUR("70", "71", "72", "73")                                  \
    HWCMP_RUN_DOT_END
#define HWCMP_RUN_DOT_NEGATE  \
    "rsbs r0, r0, #0\n"       \
    "89:\n\t"

/* r0 sum of the group, r1 stream, r2 activation, r3 mask of gaps, or 0 if they have 8 bits, r4 end of the list, r5 r6
 * gaps, r7 head, r8 r9 activations, r10 1, r11 sum of the row, r12 activations of the segment, lr width. */
__attribute__((weak, noinline, naked, aligned(4))) uint64_t hwcmp_dsp_run_dot(
    const int8_t *x __attribute__((unused)), const uint8_t *groups __attribute__((unused)),
    uint32_t width __attribute__((unused)), uint32_t is_wide __attribute__((unused)))
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "mov r12, r0\n\t"
        "mov lr, r2\n\t"
        "subs r3, r3, #1\n\t"
        "and r3, r3, #0x0F0F0F0F\n\t"
        "movs r10, #1\n\t"
        "mov r11, #0\n"
        /* a group */
        "1:\n\t"
        "ldr r7, [r1], #4\n\t"
        "movs r0, #0\n\t"
        "cmp r3, #0\n\t"
        "beq.w 2f\n\t"
        HWCMP_RUN_DOT_NARROW("0xF8", "0", ", lsr #1")
        HWCMP_RUN_DOT_NEGATE
        HWCMP_RUN_DOT_NARROW("0xF800", "8", ", lsr #9")
        "89:\n"
        "3:\n\t"
        "sbfx r8, r7, #16, #8\n\t"
        "mla r11, r0, r8, r11\n\t"
        "lsls r7, r7, #1\n\t"
        "bcs 4f\n\t"
        "it mi\n\t"
        "addmi r12, r12, lr\n\t"
        "b 1b\n"
        "4:\n\t"
        "mov r0, r11\n\t"
        "pop {r4-r11, pc}\n"
        "2:\n\t"
        HWCMP_RUN_DOT_WIDE("0xFC", "0", "")
        HWCMP_RUN_DOT_NEGATE
        HWCMP_RUN_DOT_WIDE("0xFC00", "8", ", lsr #8")
        "89:\n\t"
        "b 3b\n");
}

#endif
