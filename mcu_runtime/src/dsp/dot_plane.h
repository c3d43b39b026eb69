/* SPDX-License-Identifier: Apache-2.0
 *
 * 3x3 windows over an int16 plane of one channel, four neighbours at a time: the inner loop of depthwise_conv2d.
 */
#ifndef HWCMP_DSP_DOT_PLANE_H
#define HWCMP_DSP_DOT_PLANE_H

#include "dsp.h"

/* The assembly below reads these words by offset. */
typedef struct {
    const int16_t *line;       /*  0: first of the three lines of the first output line, 4-byte aligned */
    uint32_t line_bytes;       /*  4: from line to line, a multiple of 4 */
    uint32_t line_step;        /*  8: bytes in the plane from output line to output line */
    uint32_t lines;            /* 12: output lines, >= 1 */
    uint32_t last_block;       /* 16: bytes in the plane from the first to the last block of four outputs */
    int8_t *output;            /* 20 */
    uint32_t output_step;      /* 24: bytes from output to output in a line */
    uint32_t output_line_step; /* 28: bytes from output line to output line */
    const int16_t *taps;       /* 32: t0 t1 t1 t2 of each line */
    uint32_t last_outputs;     /* 36: outputs in the last block, 1..4 */
    hwcmp_dsp_channel channel; /* 40: multiplier, offset, shift (not 0), bias */
} hwcmp_dsp_plane_job;

/* Windows 1 or 2 lanes apart. A line holds 4 * blocks * stride + 2 values. */
static void hwcmp_dsp_dot_plane_stride1(const hwcmp_dsp_plane_job *job);
static void hwcmp_dsp_dot_plane_stride2(const hwcmp_dsp_plane_job *job);

/* r0-r3 sums of four outputs, r4-r6 values (x0 x1) (x2 x3) (x4 x5), r7 taps (t0 t1), r8 taps (t1 t2), r9 plane,
 * r10 output, r11 line_bytes, r12 taps, lr from the third line to the next block. */
#define HWCMP_PLANE_LINE_STRIDE1(taps)     \
    "ldm r9, {r4-r6}\n\t"                  \
    "ldrd r7, r8, [r12, #" taps "]\n\t"    \
    "smlad r0, r4, r7, r0\n\t"             \
    "smlatb r1, r4, r7, r1\n\t"            \
    "smlad r2, r5, r7, r2\n\t"             \
    "smlatb r3, r5, r7, r3\n\t"            \
    "smlabt r0, r5, r8, r0\n\t"            \
    "smlad r1, r5, r8, r1\n\t"             \
    "smlabt r2, r6, r8, r2\n\t"            \
    "smlad r3, r6, r8, r3\n\t"
#define HWCMP_PLANE_LINE_STRIDE2(taps)     \
    "ldm r9, {r4-r6}\n\t"                  \
    "ldrd r7, r8, [r12, #" taps "]\n\t"    \
    "smlad r0, r4, r7, r0\n\t"             \
    "smlad r1, r5, r7, r1\n\t"             \
    "smlabt r0, r5, r8, r0\n\t"            \
    "smlad r2, r6, r7, r2\n\t"             \
    "smlabt r1, r6, r8, r1\n\t"            \
    "ldrd r4, r5, [r9, #12]\n\t"           \
    "smlabt r2, r4, r8, r2\n\t"            \
    "smlad r3, r4, r7, r3\n\t"             \
    "smlabt r3, r5, r8, r3\n\t"
/* hwcmp_dsp_scale(): r4 multiplier, r5 offset, r6 right shift. */
#define HWCMP_PLANE_OUT(sum, address)      \
    "add r8, r5, " sum ", asr #31\n\t"     \
    "lsl " sum ", " sum ", #1\n\t"         \
    "smmlar r8, " sum ", r4, r8\n\t"       \
    "asr r8, r8, r6\n\t"                   \
    "ssat r8, #8, r8\n\t"                  \
    "strb r8, " address "\n\t"
/* Stack: 0..55 the job; its line, lines and output move on from line to line. 56 last block of the line. */
#define HWCMP_PLANE_LOOP(LINE, block_bytes)   \
    "push {r4-r11, lr}\n\t"                   \
    "sub sp, sp, #60\n\t"                     \
    "ldmia r0!, {r1-r7}\n\t"                  \
    "stmia sp, {r1-r7}\n\t"                   \
    "ldmia r0!, {r1-r7}\n\t"                  \
    "add r0, sp, #28\n\t"                     \
    "stmia r0!, {r1-r7}\n\t"                  \
    "ldr r11, [sp, #4]\n\t"                   \
    "ldr r12, [sp, #32]\n\t"                  \
    "rsb lr, r11, #0\n\t"                     \
    "lsl lr, lr, #1\n\t"                      \
    "add lr, lr, #" block_bytes "\n"          \
    "1:\n\t"                                  \
    "ldrd r9, r10, [sp]\n\t"                  \
    "ldrd r0, r1, [sp, #8]\n\t"               \
    "ldr r2, [sp, #16]\n\t"                   \
    "add r0, r0, r9\n\t"                      \
    "sub r1, r1, #1\n\t"                      \
    "str r0, [sp]\n\t"                        \
    "str r1, [sp, #12]\n\t"                   \
    "add r2, r2, r9\n\t"                      \
    "add r2, r2, #" block_bytes "\n\t"        \
    "str r2, [sp, #56]\n\t"                   \
    "ldr r10, [sp, #20]\n\t"                  \
    "ldr r0, [sp, #28]\n\t"                   \
    "add r0, r0, r10\n\t"                     \
    "str r0, [sp, #20]\n"                     \
    "2:\n\t"                                  \
    "ldr r0, [sp, #52]\n\t"                   \
    "mov r1, r0\n\t"                          \
    "mov r2, r0\n\t"                          \
    "mov r3, r0\n\t"                          \
    LINE("0")                                 \
    "add r9, r9, r11\n\t"                     \
    LINE("8")                                 \
    "add r9, r9, r11\n\t"                     \
    LINE("16")                                \
    "add r9, r9, lr\n\t"                      \
    "ldrd r4, r5, [sp, #40]\n\t"              \
    "ldr r6, [sp, #48]\n\t"                   \
    "ldr r7, [sp, #56]\n\t"                   \
    "cmp r9, r7\n\t"                          \
    "ldr r7, [sp, #24]\n\t"                   \
    "beq 3f\n\t"                              \
    HWCMP_PLANE_OUT("r0", "[r10]")            \
    HWCMP_PLANE_OUT("r1", "[r10, r7]")        \
    "add r10, r10, r7, lsl #1\n\t"            \
    HWCMP_PLANE_OUT("r2", "[r10]")            \
    HWCMP_PLANE_OUT("r3", "[r10, r7]")        \
    "add r10, r10, r7, lsl #1\n\t"            \
    "b 2b\n"                                  \
    "3:\n\t"                                  \
    HWCMP_PLANE_OUT("r0", "[r10]")            \
    "ldr r0, [sp, #36]\n\t"                   \
    "cmp r0, #2\n\t"                          \
    "blt 4f\n\t"                              \
    HWCMP_PLANE_OUT("r1", "[r10, r7]")        \
    "cmp r0, #3\n\t"                          \
    "blt 4f\n\t"                              \
    "add r10, r10, r7, lsl #1\n\t"            \
    HWCMP_PLANE_OUT("r2", "[r10]")            \
    "cmp r0, #4\n\t"                          \
    "blt 4f\n\t"                              \
    HWCMP_PLANE_OUT("r3", "[r10, r7]")        \
    "4:\n\t"                                  \
    "ldr r0, [sp, #12]\n\t"                   \
    "cmp r0, #0\n\t"                          \
    "bne 1b\n\t"                              \
    "add sp, sp, #60\n\t"                     \
    "pop {r4-r11, pc}\n"

static __attribute__((naked, noinline)) void hwcmp_dsp_dot_plane_stride1(const hwcmp_dsp_plane_job *job
                                                                             HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(HWCMP_PLANE_LOOP(HWCMP_PLANE_LINE_STRIDE1, "8"));
}

static __attribute__((naked, noinline)) void hwcmp_dsp_dot_plane_stride2(const hwcmp_dsp_plane_job *job
                                                                             HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(HWCMP_PLANE_LOOP(HWCMP_PLANE_LINE_STRIDE2, "16"));
}

#endif
