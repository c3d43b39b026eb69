/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows of any size over an int16 plane of one channel, four neighbours at a time: the inner loop of
 * depthwise_conv2d for all layers that dot_plane.h does not serve.
 */
#ifndef HWCMP_DSP_DOT_WINDOWS_H
#define HWCMP_DSP_DOT_WINDOWS_H

#include "dot_plane.h"

/* Taps come in pairs; they and the bias are doubled. The assembly reads the words by offset. */
typedef struct {
    hwcmp_dsp_channel channel; /*  0: multiplier, offset, shift (not 0), bias */
    const int16_t *taps;       /* 16: 4-byte aligned */
    const int16_t *taps_end;   /* 20 */
    uint32_t row_bytes;        /* 24: of a line of taps, a multiple of 4 */
    uint32_t next_line;        /* 28: bytes in the plane from behind a line of taps to the next line */
    uint32_t stride_bytes;     /* 32: from window to window */
    uint32_t output_step;      /* 36: bytes from output to output */
    uint32_t outputs;          /* 40: of a line, >= 1 */
    uint32_t lines;            /* 44: output lines, >= 1 */
    uint32_t line_step;        /* 48: bytes in the plane from output line to output line */
    uint32_t output_line_step; /* 52 */
} hwcmp_dsp_windows_job;

/* x: the first value of the first window. Values of up to three windows behind the last of a line are read. */
static void hwcmp_dsp_dot_windows(const hwcmp_dsp_windows_job *job, const int16_t *x, int8_t *output);

/* r0-r3 sums, r4 taps (t0 t1), r5 values (x0 x1), r7 stride_bytes, r8 first window, r9 third window, r10 taps, r11 the
 * end of their line, r12 job, lr next_line. Stack: first window, output, outputs left in the line; then the same for the next
 * line, and lines left. */
static __attribute__((naked, noinline)) void hwcmp_dsp_dot_windows(
    const hwcmp_dsp_windows_job *job HWCMP_DSP_IN_REGISTER, const int16_t *x HWCMP_DSP_IN_REGISTER,
    int8_t *output HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "mov r12, r0\n\t"
                     "ldr r3, [r12, #44]\n\t"
                     "push {r1-r3}\n\t"
                     "sub sp, sp, #12\n"
                     "0:\n\t"
                     "ldrd r4, r5, [r12, #48]\n\t"
                     "ldr r3, [r12, #40]\n\t"
                     "add r4, r4, r1\n\t"
                     "add r5, r5, r2\n\t"
                     "stm sp, {r1-r5}\n"
                     "1:\n\t"
                     "ldr r8, [sp]\n\t"
                     "ldrd lr, r7, [r12, #28]\n\t"
                     "ldr r10, [r12, #16]\n\t"
                     "ldr r0, [r12, #12]\n\t"
                     "add r9, r8, r7, lsl #1\n\t"
                     "add r3, r9, r7, lsl #1\n\t"
                     "str r3, [sp]\n\t"
                     "mov r1, r0\n\t"
                     "mov r2, r0\n\t"
                     "mov r3, r0\n"
                     "2:\n\t"
                     "ldrd r6, r11, [r12, #20]\n\t"
                     "add r11, r11, r10\n"
                     "3:\n\t"
                     "ldr r4, [r10], #4\n\t"
                     "ldr r5, [r8, r7]\n\t"
                     "smlad r1, r5, r4, r1\n\t"
                     "ldr r5, [r8], #4\n\t"
                     "smlad r0, r5, r4, r0\n\t"
                     "ldr r5, [r9, r7]\n\t"
                     "smlad r3, r5, r4, r3\n\t"
                     "ldr r5, [r9], #4\n\t"
                     "smlad r2, r5, r4, r2\n\t"
                     "cmp r10, r11\n\t"
                     "bne 3b\n\t"
                     "add r8, r8, lr\n\t"
                     "add r9, r9, lr\n\t"
                     "cmp r10, r6\n\t"
                     "bne 2b\n\t"
                     "ldrd r10, r11, [sp, #4]\n\t"
                     "ldr r7, [r12, #36]\n\t"
                     "ldm r12, {r4-r6}\n\t"
                     HWCMP_PLANE_OUT_HALVES("r0", "[r10]")
                     "cmp r11, #2\n\t"
                     "blo 4f\n\t"
                     HWCMP_PLANE_OUT_HALVES("r1", "[r10, r7]")
                     "beq 4f\n\t"
                     "add r10, r10, r7, lsl #1\n\t"
                     "cmp r11, #4\n\t"
                     HWCMP_PLANE_OUT_HALVES("r2", "[r10]")
                     "blo 4f\n\t"
                     HWCMP_PLANE_OUT_HALVES("r3", "[r10, r7]")
                     "add r10, r10, r7, lsl #1\n\t"
                     "subs r11, r11, #4\n\t"
                     "strd r10, r11, [sp, #4]\n\t"
                     "bhi 1b\n"
                     "4:\n\t"
                     "ldrd r1, r2, [sp, #12]\n\t"
                     "ldr r3, [sp, #20]\n\t"
                     "subs r3, r3, #1\n\t"
                     "str r3, [sp, #20]\n\t"
                     "bne 0b\n\t"
                     "add sp, sp, #24\n\t"
                     "pop {r4-r11, pc}\n");
}

#endif
