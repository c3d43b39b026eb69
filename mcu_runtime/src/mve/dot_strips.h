/* SPDX-License-Identifier: Apache-2.0
 *
 * Strips: the activations that a line of depthwise outputs needs, sixteen channels side by side, and the products of a
 * channel with its taps.
 *
 * A column of a strip holds, for each of sixteen channels, a word with four values across the line: 64 bytes in all.
 * Four columns of a channel are sixteen values, gathered as four words and multiplied at once.
 */
#ifndef HWCMP_MVE_DOT_STRIPS_H
#define HWCMP_MVE_DOT_STRIPS_H

#include "mve.h"

enum { HWCMP_MVE_STRIP_ROWS = 4, HWCMP_MVE_COLUMN_BYTES = 64, HWCMP_MVE_LANES = 4 };

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *from[HWCMP_MVE_STRIP_ROWS]; /*  0: first column of each line */
    uint32_t step[HWCMP_MVE_STRIP_ROWS];      /* 16: from column to column, 0 for a line that repeats one value */
    uint32_t channels;                        /* 32: 1..16; the others read as zero */
} hwcmp_mve_lines;

/* `count` >= 1 columns of four lines. */
HWCMP_MVE_NAKED void hwcmp_mve_put_columns(int8_t *to, const hwcmp_mve_lines *lines, uint32_t count);

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *strip;              /*  0: the first channel's word in the first column of the first output */
    const int8_t *weights;            /*  4: of the first channel, sixteen for each gather */
    uint32_t column_step;             /*  8: from column to column of a window */
    uint32_t lane_step;               /* 12: from window to window */
    int8_t *output;                   /* 16 */
    uint32_t output_step;             /* 20: from output to output */
    uint32_t count;                   /* 24: outputs, >= 1 */
    const hwcmp_mve_channel *channel; /* 28: constants of the first channel */
    uint32_t channels;                /* 32 */
    int32_t low, high;                /* 36, 40 */
    const uint32_t *gathers;          /* 44: where the gathers of a window begin */
    uint32_t gather_count;            /* 48 */
} hwcmp_mve_strip_job;

/* Neighbouring channels with short requantization, windows that fit one gather and begin 1 or 2 columns apart. */
HWCMP_MVE_NAKED void hwcmp_mve_dot_strip_stride1(const hwcmp_mve_strip_job *job);
HWCMP_MVE_NAKED void hwcmp_mve_dot_strip_stride2(const hwcmp_mve_strip_job *job);
/* One channel, any windows. */
HWCMP_MVE_NAKED void hwcmp_mve_dot_strip_any(const hwcmp_mve_strip_job *job);
HWCMP_MVE_SHARED void hwcmp_mve_finish_lanes(const int32_t *sums, const hwcmp_mve_strip_job *job, int8_t *output,
                                             uint32_t lanes);

/* r0 to, r3-r6 lines, r7-r10 steps: 14 instructions for 64 values. */
HWCMP_MVE_NAKED void hwcmp_mve_put_columns(int8_t *to HWCMP_MVE_IN_REGISTER,
                                           const hwcmp_mve_lines *lines HWCMP_MVE_IN_REGISTER,
                                           uint32_t count HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile("push {r4-r10, lr}\n\t"
                     "mov r12, r1\n\t"
                     "ldm r12!, {r3-r10}\n\t"
                     "ldr r12, [r12]\n\t"
                     "vctp.8 r12\n\t"
                     "dls lr, r2\n"
                     "1:\n\t"
                     "vpstttt\n\t"
                     "vldrbt.8 q0, [r3]\n\t"
                     "vldrbt.8 q1, [r4]\n\t"
                     "vldrbt.8 q2, [r5]\n\t"
                     "vldrbt.8 q3, [r6]\n\t"
                     "add r3, r3, r7\n\t"
                     "add r4, r4, r8\n\t"
                     "add r5, r5, r9\n\t"
                     "add r6, r6, r10\n\t"
                     "vst40.8 {q0, q1, q2, q3}, [r0]\n\t"
                     "vst41.8 {q0, q1, q2, q3}, [r0]\n\t"
                     "vst42.8 {q0, q1, q2, q3}, [r0]\n\t"
                     "vst43.8 {q0, q1, q2, q3}, [r0]!\n\t"
                     "le lr, 1b\n\t"
                     "pop {r4-r10, pc}\n");
}

/* 0, 1, 2, 3 times `step` plus `first`. */
#define HWCMP_MVE_RAMP(q, step)               \
    "movs r2, #0\n\t"                         \
    "vidup.u32 " q ", r2, #1\n\t"             \
    "vmul.i32 " q ", " q ", " step "\n\t"

/* r0 r2 r4 r6 sums of four outputs (accumulators must be even registers), r1 multiplier, r3 offset, r5 shift, r7 bias,
 * r8 from four windows to the next, r9 output, r10 four output steps, r11 weights, r12 outputs behind the blocks of
 * four. q0 weights, q1 addresses of four columns, q4 offsets of four outputs, q5 addresses of the channel's first four
 * columns, q6 low, q7 high. Stack: 0 output of the channel, 4 channels left, 8 channel, 12 blocks, 16 rest. */
#define HWCMP_MVE_WINDOW(sum, x, from)     \
    "vldrw.u32 " x ", [q1, #" from "]\n\t" \
    "vmladav.s8 " sum ", " x ", q0\n\t"
/* 22 instructions for four outputs. */
#define HWCMP_MVE_STRIP_LOOP(second, third, fourth) \
    "push {r4-r11, lr}\n\t"                \
    "vpush {d8-d15}\n\t"                   \
    "sub sp, sp, #20\n\t"                  \
    "ldrd r6, r11, [r0]\n\t"               \
    "ldrd r3, r8, [r0, #8]\n\t"            \
    HWCMP_MVE_RAMP("q5", "r3")             \
    "vadd.i32 q5, q5, r6\n\t"              \
    "lsl r8, r8, #2\n\t"                   \
    "ldrd r4, r5, [r0, #16]\n\t"           \
    HWCMP_MVE_RAMP("q4", "r5")             \
    "lsl r10, r5, #2\n\t"                  \
    "ldrd r6, r7, [r0, #24]\n\t"           \
    "ldr r5, [r0, #32]\n\t"                \
    "strd r4, r5, [sp]\n\t"                \
    "lsr r4, r6, #2\n\t"                   \
    "strd r7, r4, [sp, #8]\n\t"            \
    "and r6, r6, #3\n\t"                   \
    "str r6, [sp, #16]\n\t"                \
    "ldrd r1, r3, [r0, #36]\n\t"           \
    "vdup.32 q6, r1\n\t"                   \
    "vdup.32 q7, r3\n"                     \
    "1:\n\t"                               \
    "ldrd r9, r12, [sp, #8]\n\t"           \
    "ldm r9!, {r1, r3, r5, r7}\n\t"        \
    "str r9, [sp, #8]\n\t"                 \
    "vldrb.8 q0, [r11], #16\n\t"           \
    "movs r2, #4\n\t"                      \
    "vmov q1, q5\n\t"                      \
    "vadd.i32 q5, q5, r2\n\t"              \
    "vctp.32 r2\n\t"                       \
    "ldr r9, [sp]\n\t"                     \
    "add r4, r9, #1\n\t"                   \
    "str r4, [sp]\n\t"                     \
    "wls lr, r12, 3f\n\t"                  \
    "mov r12, #0\n"                        \
    "2:\n\t"                               \
    HWCMP_MVE_WINDOW("r0", "q2", "0")      \
    HWCMP_MVE_WINDOW("r2", "q3", second)   \
    HWCMP_MVE_WINDOW("r4", "q2", third)    \
    HWCMP_MVE_WINDOW("r6", "q3", fourth)   \
    "vadd.i32 q1, q1, r8\n\t"              \
    "vmov q2[2], q2[0], r0, r4\n\t"        \
    "vmov q2[3], q2[1], r2, r6\n\t"        \
    "vadd.i32 q2, q2, r7\n\t"              \
    "vshr.s32 q3, q2, #31\n\t"             \
    "vadd.i32 q3, q3, r3\n\t"              \
    "vqrdmlah.s32 q3, q2, r1\n\t"          \
    "vshl.s32 q3, r5\n\t"                  \
    "vmax.s32 q3, q3, q6\n\t"              \
    "vmin.s32 q3, q3, q7\n\t"              \
    "vpst\n\t"                             \
    "vstrbt.32 q3, [r9, q4]\n\t"           \
    "add r9, r9, r10\n\t"                  \
    "le lr, 2b\n"                          \
    "3:\n\t"                               \
    "cmp r12, #0\n\t"                      \
    "bne 4f\n\t"                           \
    "ldr r12, [sp, #16]\n\t"               \
    "vctp.32 r12\n\t"                      \
    "cmp r12, #0\n\t"                      \
    "mov lr, #1\n\t"                       \
    "bne 2b\n"                             \
    "4:\n\t"                               \
    "ldr r4, [sp, #4]\n\t"                 \
    "subs r4, r4, #1\n\t"                  \
    "str r4, [sp, #4]\n\t"                 \
    "bne 1b\n\t"                           \
    "add sp, sp, #20\n\t"                  \
    "vpop {d8-d15}\n\t"                    \
    "pop {r4-r11, pc}\n"

HWCMP_MVE_NAKED void hwcmp_mve_dot_strip_stride1(const hwcmp_mve_strip_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(HWCMP_MVE_STRIP_LOOP("64", "128", "192"));
}

HWCMP_MVE_NAKED void hwcmp_mve_dot_strip_stride2(const hwcmp_mve_strip_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(HWCMP_MVE_STRIP_LOOP("128", "256", "384"));
}

/* A channel for which the short requantization is not exact. */
HWCMP_MVE_SHARED void hwcmp_mve_finish_lanes(const int32_t *sums, const hwcmp_mve_strip_job *job, int8_t *output,
                                             uint32_t lanes)
{
    const uint32x4_t outputs = vmulq_n_u32(vidupq_n_u32(0, 1), job->output_step);
    const int32x4_t scaled = hwcmp_mve_scale(job->channel, vldrwq_s32(sums));
    const int32x4_t clamped = vminq_s32(vmaxq_s32(scaled, vdupq_n_s32(job->low)), vdupq_n_s32(job->high));

    vstrbq_scatter_offset_p_s32(output, outputs, clamped, vctp32q(lanes));
}

/* r0 r2 r4 r6 sums of four outputs, later the constants, r1 address, r3 weights, r5 gathers, r7 outputs left, r8
 * lane_step, r9 output, r10 job, r11 from four windows to the next, r12 four output steps. q0-q7 as above. */
#define HWCMP_MVE_ANY_WINDOW(sum)          \
    "vldrw.u32 q2, [q1]\n\t"               \
    "vmladava.s8 " sum ", q2, q0\n\t"
#define HWCMP_MVE_NEXT_WINDOW "vadd.i32 q1, q1, r8\n\t"

HWCMP_MVE_NAKED void hwcmp_mve_dot_strip_any(const hwcmp_mve_strip_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile("push {r3-r11, lr}\n\t"
                     "vpush {d8-d15}\n\t"
                     "mov r10, r0\n\t"
                     "ldrd r3, r8, [r0, #8]\n\t"
                     HWCMP_MVE_RAMP("q5", "r3")
                     "ldr r6, [r0]\n\t"
                     "vadd.i32 q5, q5, r6\n\t"
                     "lsl r11, r8, #2\n\t"
                     "ldrd r9, r5, [r0, #16]\n\t"
                     HWCMP_MVE_RAMP("q4", "r5")
                     "lsl r12, r5, #2\n\t"
                     "ldr r7, [r0, #24]\n\t"
                     "ldrd r1, r3, [r0, #36]\n\t"
                     "vdup.32 q6, r1\n\t"
                     "vdup.32 q7, r3\n"
                     "1:\n\t"
                     "ldrd r5, r1, [r10, #44]\n\t"
                     "ldr r3, [r10, #4]\n\t"
                     "movs r0, #0\n\t"
                     "movs r2, #0\n\t"
                     "movs r4, #0\n\t"
                     "movs r6, #0\n\t"
                     "dls lr, r1\n"
                     "2:\n\t"
                     "ldr r1, [r5], #4\n\t"
                     "vadd.i32 q1, q5, r1\n\t"
                     "vldrb.8 q0, [r3], #16\n\t"
                     HWCMP_MVE_ANY_WINDOW("r0") HWCMP_MVE_NEXT_WINDOW
                     HWCMP_MVE_ANY_WINDOW("r2") HWCMP_MVE_NEXT_WINDOW
                     HWCMP_MVE_ANY_WINDOW("r4") HWCMP_MVE_NEXT_WINDOW
                     HWCMP_MVE_ANY_WINDOW("r6")
                     "le lr, 2b\n\t"
                     "vadd.i32 q5, q5, r11\n\t"
                     "vmov q2[2], q2[0], r0, r4\n\t"
                     "vmov q2[3], q2[1], r2, r6\n\t"
                     "ldr r1, [r10, #28]\n\t"
                     "ldm r1, {r0, r2, r4, r6}\n\t"
                     "cbz r4, 4f\n\t"
                     "vadd.i32 q2, q2, r6\n\t"
                     "vshr.s32 q3, q2, #31\n\t"
                     "vadd.i32 q3, q3, r2\n\t"
                     "vqrdmlah.s32 q3, q2, r0\n\t"
                     "vshl.s32 q3, r4\n\t"
                     "vmax.s32 q3, q3, q6\n\t"
                     "vmin.s32 q3, q3, q7\n\t"
                     "vctp.32 r7\n\t"
                     "vpst\n\t"
                     "vstrbt.32 q3, [r9, q4]\n"
                     "3:\n\t"
                     "add r9, r9, r12\n\t"
                     "subs r7, r7, #4\n\t"
                     "bgt 1b\n\t"
                     "vpop {d8-d15}\n\t"
                     "pop {r3-r11, pc}\n"
                     "4:\n\t"
                     "sub sp, sp, #16\n\t"
                     "mov r0, sp\n\t"
                     "vstrw.32 q2, [r0]\n\t"
                     "mov r1, r10\n\t"
                     "mov r2, r9\n\t"
                     "mov r3, r7\n\t"
                     "bl hwcmp_mve_finish_lanes\n\t"
                     "add sp, sp, #16\n\t"
                     "ldr r12, [r10, #20]\n\t"
                     "lsl r12, r12, #2\n\t"
                     "b 3b\n");
}

#endif
