/* SPDX-License-Identifier: Apache-2.0
 *
 * Four neighbouring outputs of a line times the taps of a window: the inner loop of depthwise_conv2d.
 *
 * Activations are words in a plane, laid out such that what a tap needs for four neighbouring outputs lies side by side.
 */
#ifndef HWCMP_SWAR_DOT_LANES_H
#define HWCMP_SWAR_DOT_LANES_H

#include "swar.h"

enum { HWCMP_SWAR_LANES = 4, HWCMP_SWAR_TAP_TURN = 3 };

/* A weight, and how far from a window's first word its activation lies, in bytes. */
typedef struct {
    int32_t weight;
    uint32_t offset;
} hwcmp_swar_tap;

/* The assembly below reads these words by offset. */
typedef struct {
    const int32_t *plane;              /*  0: of the first output */
    const hwcmp_swar_tap *taps;        /*  4 */
    const hwcmp_swar_tap *taps_end;    /*  8: a multiple of HWCMP_SWAR_TAP_TURN behind them */
    uint32_t blocks;                   /* 12: of four outputs, >= 1 */
    const hwcmp_swar_channel *channel; /* 16 */
    int8_t *output;                    /* 20 */
    uint32_t output_step;              /* 24: bytes from output to output */
} hwcmp_swar_lanes_job;

HWCMP_SWAR_NAKED void hwcmp_swar_dot_lanes(const hwcmp_swar_lanes_job *job);

/* r0 activations of a tap, r1-r4 those of four outputs, r5 weight, r6 taps, r7 offset, r8-r11 sums, r12 plane, lr
 * taps_end. Stack: 0..27 the job, 28..43 sums for hwcmp_swar_finish_four; plane, blocks and output move on. */
#define HWCMP_SWAR_LANES_TAP        \
    "ldmia r6!, {r5, r7}\n\t"       \
    "mov r0, r12\n\t"               \
    "adds r0, r0, r7\n\t"           \
    "ldmia r0!, {r1-r4}\n\t"        \
    HWCMP_SWAR_MAC_FOUR

HWCMP_SWAR_NAKED void hwcmp_swar_dot_lanes(const hwcmp_swar_lanes_job *job HWCMP_SWAR_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_SWAR_UNIFIED
        HWCMP_SWAR_PUSH_ALL
        "sub sp, sp, #44\n\t"
        "mov r7, sp\n\t"
        "ldmia r0!, {r1-r6}\n\t"
        "stmia r7!, {r1-r6}\n\t"
        "ldr r1, [r0]\n\t"
        "str r1, [r7]\n"

        "1:\n\t"
        "ldr r3, [sp]\n\t"
        "mov r12, r3\n\t"
        "adds r3, r3, #16\n\t"
        "str r3, [sp]\n\t"
        "ldr r6, [sp, #4]\n\t"
        "ldr r0, [sp, #8]\n\t"
        "mov lr, r0\n\t"
        "ldr r0, [sp, #16]\n\t"
        "ldr r0, [r0, #12]\n\t"
        HWCMP_SWAR_SET_SUMS("r0", "r0", "r0", "r0")
        "2:\n\t"
        HWCMP_SWAR_LANES_TAP HWCMP_SWAR_LANES_TAP HWCMP_SWAR_LANES_TAP
        "cmp r6, lr\n\t"
        "bne 2b\n\t"
        "ldr r3, [sp, #16]\n\t"
        HWCMP_SWAR_FINISH("20", "24")
        "3:\n\t"
        "ldr r0, [sp, #24]\n\t"
        "lsls r0, r0, #2\n\t"
        "ldr r1, [sp, #20]\n\t"
        "adds r1, r1, r0\n\t"
        "str r1, [sp, #20]\n\t"
        "ldr r0, [sp, #12]\n\t"
        "subs r0, r0, #1\n\t"
        "str r0, [sp, #12]\n\t"
        "beq 4f\n\t"
        "b 1b\n"
        "4:\n\t"
        "add sp, sp, #44\n\t"
        HWCMP_SWAR_POP_ALL

        "8:\n\t"
        "add r0, sp, #28\n\t"
        HWCMP_SWAR_GET_SUMS
        "stmia r0!, {r1-r4}\n\t"
        "subs r0, r0, #16\n\t"
        "ldr r1, [sp, #16]\n\t"
        "ldr r2, [sp, #20]\n\t"
        "ldr r3, [sp, #24]\n\t"
        "bl hwcmp_swar_finish_four\n\t"
        "b 3b\n");
}

#endif
