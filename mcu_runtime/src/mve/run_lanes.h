/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of positions times 16 pixels: the inner loop of conv2d_runs.
 *
 * The tile has 16 bytes for each position of a window: the activations of 16 pixels. An entry of a list adds such a
 * line to 16 lanes of 16 bits in q0 and q1. The lanes wrap, but the difference of the two sums of a group does not: at
 * most 255 weights in a group (the format's rule), |x| <= 128, so it is at most 32640.
 */
#ifndef HWCMP_MVE_RUN_LANES_H
#define HWCMP_MVE_RUN_LANES_H

#include "mve.h"

/* MAX_DEPTH: output channels, so that seven pixels are an uint16_t away */
enum { HWCMP_MVE_LANES = 16, HWCMP_MVE_LANES_MAX_DEPTH = 9362 };

/* The assembly below reads these words by offset. */
typedef struct {
    const uint8_t *groups;            /*  0: of the first row */
    const int8_t *tile;               /*  4 */
    uint32_t segment_bytes;           /*  8: of the tile, from segment to segment */
    const hwcmp_mve_channel *channel; /* 12: constants of the first row */
    const hwcmp_mve_channel *end;     /* 16: behind those of the last row */
    int8_t *output;                   /* 20: 16 pixels, first row's channel */
    uint32_t pixel_step;              /* 24: bytes from pixel to pixel */
    uint32_t is_wide;                 /* 28: gaps of 8 bits */
    int32_t low, high;                /* 32, 36 */
    uint16_t offsets[8];              /* 40: of eight pixels */
} hwcmp_mve_lanes_job;

HWCMP_MVE_SHARED void hwcmp_mve_finish_lanes(const int32_t *sums, const hwcmp_mve_channel *channel, int8_t *output,
                                             const hwcmp_mve_lanes_job *job);
HWCMP_MVE_NAKED void hwcmp_mve_run_lanes(const hwcmp_mve_lanes_job *job);

/* Channels for which the short requantization is not exact. The sums contain the bias. */
HWCMP_MVE_SHARED __attribute__((used)) void hwcmp_mve_finish_lanes(const int32_t *sums,
                                                                   const hwcmp_mve_channel *channel, int8_t *output,
                                                                   const hwcmp_mve_lanes_job *job)
{
    const int32_t shift = channel->offset >> 16;
    const int32_t zero_point = (int16_t)(channel->offset & 0xFFFF);

    for (uint32_t i = 0; i < HWCMP_MVE_LANES; i++) {
        const int32_t scaled = hwcmp_requantize(sums[i], channel->multiplier, shift);
        *output = (int8_t)hwcmp_clamp(hwcmp_wrap_add(scaled, zero_point), job->low, job->high);
        output += job->pixel_step;
    }
}

/* One entry: gap in bits [bit, bit + bits) of r8, tile line in r6. 6 instructions for 16 pixels. */
#define HWCMP_MVE_RUN_ENTRY(label, bit, bits) \
    label ":\n\t"                             \
    "ubfx r0, r8, #" bit ", #" bits "\n\t"    \
    "add.w r6, r6, r0, lsl #4\n\t"            \
    "vldrb.s16 q2, [r6], #8\n\t"              \
    "vadd.i16 q0, q0, q2\n\t"                 \
    "vldrb.s16 q3, [r6], #8\n\t"              \
    "vadd.i16 q1, q1, q3\n\t"
/* The list whose length is at bit `at` of the head in r2 and whose gaps begin at r1; leaves r1 behind it. Words are
 * loaded so that the last ends with the list; the first turn jumps over what lies before its beginning. An empty list
 * goes to label 89. length = 8 * words + unused, or 4 * words + unused; to_words is the shift to 4 * words. */
#define HWCMP_MVE_RUN_LIST(mask, at, unused_bits, to_bytes, to_words) \
    "ands r9, r2, #" mask "\n\t"                 \
    "beq.w 89f\n\t"                              \
    "ubfx r0, r2, #" at ", #" unused_bits "\n\t" \
    "sub r1, r1, r0" to_bytes "\n\t"             \
    "add r9, r1, r9" to_words "\n\t"             \
    "mov r6, r3\n\t"                             \
    "ldr r8, [r1], #4\n\t"                       \
    "tbb [pc, r0]\n"                             \
    "80:\n\t"
#define HWCMP_MVE_RUN_LIST_END   \
    "cmp r1, r9\n\t"             \
    "bne.w 81b\n\t"
#define HWCMP_MVE_RUN_NARROW(mask, at, to_words)                                                              \
    HWCMP_MVE_RUN_LIST(mask, at, "3", ", lsr #1", to_words)                                                   \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n\t"                                            \
    ".byte (74f-80b)/2, (75f-80b)/2, (76f-80b)/2, (77f-80b)/2\n"                                              \
    "81:\n\t"                                                                                                 \
    "ldr r8, [r1], #4\n"                                                                                      \
    HWCMP_MVE_RUN_ENTRY("70", "0", "4") HWCMP_MVE_RUN_ENTRY("71", "4", "4")                                   \
    HWCMP_MVE_RUN_ENTRY("72", "8", "4") HWCMP_MVE_RUN_ENTRY("73", "12", "4")                                  \
    HWCMP_MVE_RUN_ENTRY("74", "16", "4") HWCMP_MVE_RUN_ENTRY("75", "20", "4")                                 \
    HWCMP_MVE_RUN_ENTRY("76", "24", "4") HWCMP_MVE_RUN_ENTRY("77", "28", "4") HWCMP_MVE_RUN_LIST_END
#define HWCMP_MVE_RUN_WIDE(mask, at, to_words)                                                                \
    HWCMP_MVE_RUN_LIST(mask, at, "2", "", to_words)                                                           \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n"                                              \
    "81:\n\t"                                                                                                 \
    "ldr r8, [r1], #4\n"                                                                                      \
    HWCMP_MVE_RUN_ENTRY("70", "0", "8") HWCMP_MVE_RUN_ENTRY("71", "8", "8")                                   \
    HWCMP_MVE_RUN_ENTRY("72", "16", "8") HWCMP_MVE_RUN_ENTRY("73", "24", "8") HWCMP_MVE_RUN_LIST_END
#define HWCMP_MVE_RUN_NEGATE                                                                                  \
    "vneg.s16 q0, q0\n\t"                                                                                     \
    "vneg.s16 q1, q1\n"                                                                                       \
    "89:\n\t"
/* Even and odd lanes of a register of sums, times the value in r0, to two accumulators. */
#define HWCMP_MVE_RUN_SCALE(sums, even, odd)   \
    "vmovlb.s16 q2, " sums "\n\t"              \
    "vmla.s32 " even ", q2, r0\n\t"            \
    "vmovlt.s16 q3, " sums "\n\t"              \
    "vmla.s32 " odd ", q3, r0\n\t"
/* hwcmp_mve_scale() of two accumulators, as eight pixels in q2: r0 multiplier, r8 offset, r9 shift. */
#define HWCMP_MVE_RUN_OUT(even, odd)           \
    "vshr.s32 q2, " even ", #31\n\t"           \
    "vadd.i32 q2, q2, r8\n\t"                  \
    "vqrdmlah.s32 q2, " even ", r0\n\t"        \
    "vshl.s32 q2, r9\n\t"                      \
    "vshr.s32 q3, " odd ", #31\n\t"            \
    "vadd.i32 q3, q3, r8\n\t"                  \
    "vqrdmlah.s32 q3, " odd ", r0\n\t"         \
    "vshl.s32 q3, r9\n\t"                      \
    "vqmovnb.s32 q2, q2\n\t"                   \
    "vqmovnt.s32 q2, q3\n\t"

/* r0 scratch, r1 next group or word of gaps, r2 head, r3 tile of the segment, r4 segment_bytes, r5 channel, r6 tile
 * line, r7 output, r8 gaps, r9 end of list, r10 job, r11 end of channels, lr is_wide. q0 q1 sums, q2 q3 lines, q4-q7
 * accumulators: even and odd pixels of the first eight, of the second eight. Stack: 0..63 sums for finish_lanes. */
HWCMP_MVE_NAKED void hwcmp_mve_run_lanes(const hwcmp_mve_lanes_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(
        "push {r3-r11, lr}\n\t"
        "vpush {d8-d15}\n\t"
        "sub sp, sp, #64\n\t"
        "mov r10, r0\n\t"
        "ldr r1, [r0]\n\t"
        "ldr r4, [r0, #8]\n\t"
        "ldrd r5, r11, [r0, #12]\n\t"
        "ldr r7, [r0, #20]\n\t"
        "ldr lr, [r0, #28]\n"
        /* a row */
        "1:\n\t"
        "ldr r3, [r10, #4]\n\t"
        "ldr r0, [r5, #12]\n\t"
        "vdup.32 q4, r0\n\t"
        "vdup.32 q5, r0\n\t"
        "vdup.32 q6, r0\n\t"
        "vdup.32 q7, r0\n"
        /* a group */
        "2:\n\t"
        "ldr r2, [r1], #4\n\t"
        "vmov.i32 q0, #0\n\t"
        "vmov.i32 q1, #0\n\t"
        "cmp lr, #0\n\t"
        "bne.w 3f\n\t"
        HWCMP_MVE_RUN_NARROW("0xF8", "0", ", lsr #1")
        HWCMP_MVE_RUN_NEGATE
        HWCMP_MVE_RUN_NARROW("0xF800", "8", ", lsr #9")
        "89:\n\t"
        "b 4f\n"
        "3:\n\t"
        HWCMP_MVE_RUN_WIDE("0xFC", "0", "")
        HWCMP_MVE_RUN_NEGATE
        HWCMP_MVE_RUN_WIDE("0xFC00", "8", ", lsr #8")
        "89:\n"
        "4:\n\t"
        "sbfx r0, r2, #16, #8\n\t"
        HWCMP_MVE_RUN_SCALE("q0", "q4", "q5")
        HWCMP_MVE_RUN_SCALE("q1", "q6", "q7")
        "lsls r2, r2, #1\n\t"
        "bcs 5f\n\t"
        /* another group, perhaps of the next segment */
        "it mi\n\t"
        "addmi r3, r3, r4\n\t"
        "b 2b\n"
        /* outputs of a row */
        "5:\n\t"
        "ldmia r5!, {r0, r8, r9, r12}\n\t"
        "cmp r9, #0\n\t"
        "beq 7f\n\t"
        "ldrd r2, r12, [r10, #32]\n\t"
        "vldrh.16 q0, [r10, #40]\n\t"
        HWCMP_MVE_RUN_OUT("q4", "q5")
        "vdup.16 q4, r2\n\t"
        "vdup.16 q5, r12\n\t"
        "vmax.s16 q2, q2, q4\n\t"
        "vmin.s16 q1, q2, q5\n\t"
        HWCMP_MVE_RUN_OUT("q6", "q7")
        "ldr r0, [r10, #24]\n\t"
        "vmax.s16 q2, q2, q4\n\t"
        "vmin.s16 q2, q2, q5\n\t"
        "add r0, r7, r0, lsl #3\n\t"
        "vstrb.16 q1, [r7, q0]\n\t"
        "vstrb.16 q2, [r0, q0]\n"
        "6:\n\t"
        "adds r7, r7, #1\n\t"
        "cmp r5, r11\n\t"
        "bne.w 1b\n\t"
        "add sp, sp, #64\n\t"
        "vpop {d8-d15}\n\t"
        "pop {r3-r11, pc}\n"
        "7:\n\t"
        "mov r9, r1\n\t"
        "mov r0, sp\n\t"
        "vst20.32 {q4, q5}, [r0]\n\t"
        "vst21.32 {q4, q5}, [r0]!\n\t"
        "vst20.32 {q6, q7}, [r0]\n\t"
        "vst21.32 {q6, q7}, [r0]\n\t"
        "mov r0, sp\n\t"
        "sub r1, r5, #16\n\t"
        "mov r2, r7\n\t"
        "mov r3, r10\n\t"
        "bl hwcmp_mve_finish_lanes\n\t"
        "mov r1, r9\n\t"
        "ldr lr, [r10, #28]\n\t"
        "b 6b\n");
}

#endif
