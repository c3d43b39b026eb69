/* SPDX-License-Identifier: Apache-2.0
 *
 * Four pixels times any number of weight rows: the inner loop of conv2d.
 *
 * Columns hold the activations of four windows as words, those of the four pixels next to each other: one LDM loads what
 * a weight is multiplied with. A window may be taken in parts, with the sums kept in between.
 */
#ifndef HWCMP_SWAR_DOT_PIXELS_H
#define HWCMP_SWAR_DOT_PIXELS_H

#include "swar.h"

enum { HWCMP_SWAR_PIXELS = 4, HWCMP_SWAR_TAP_BYTES = 16 };

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *row;                 /*  0: first weight row, 4-byte aligned if there are words */
    uint32_t row_gap;                  /*  4: bytes from the end of the part of a row to the next row's */
    const int32_t *columns;            /*  8 */
    const int32_t *words_end;          /* 12: behind the columns of weights that are read in words of four */
    const int32_t *columns_end;        /* 16: behind those that are read one by one */
    int32_t *sums;                     /* 20: of every row; null to begin with the bias */
    const hwcmp_swar_channel *channel; /* 24: constants of the first row */
    const hwcmp_swar_channel *end;     /* 28: behind those of the last row */
    int8_t *output;                    /* 32: first pixel, first row's channel; null to write the sums */
    uint32_t pixel_step;               /* 36: bytes from pixel to pixel */
} hwcmp_swar_pixels_job;

HWCMP_SWAR_NAKED void hwcmp_swar_dot_pixels(const hwcmp_swar_pixels_job *job);

/* r0 columns, r1-r4 activations of four pixels, r5 weight, r6 weight row, r7 four weights, r8-r11 sums, r12 words_end,
 * lr columns_end.
 * Stack: 0..39 the job, 40 entry of the loop, 44..59 sums for hwcmp_swar_finish_four; row, sums, channel and output move
 * on from row to row. */
#define HWCMP_SWAR_TAP "ldmia r0!, {r1-r4}\n\t" HWCMP_SWAR_MAC_FOUR
/* Four weights for four pixels: 43 instructions (25 on Armv7-M). */
#define HWCMP_SWAR_WORD "ldmia r6!, {r7}\n\t" HWCMP_SWAR_WEIGHTS(HWCMP_SWAR_TAP)

HWCMP_SWAR_NAKED void hwcmp_swar_dot_pixels(const hwcmp_swar_pixels_job *job HWCMP_SWAR_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_SWAR_UNIFIED
        HWCMP_SWAR_PUSH_ALL
        "sub sp, sp, #60\n\t"
        "mov r7, sp\n\t"
        "ldmia r0!, {r1-r6}\n\t"
        "stmia r7!, {r1-r6}\n\t"
        "ldmia r0!, {r1-r4}\n\t"
        "stmia r7!, {r1-r4}\n\t"
        /* n words in turns of four: the first turn enters behind (-n mod 4) of them */
        "ldr r0, [sp, #8]\n\t"
        "ldr r1, [sp, #12]\n\t"
        "subs r1, r0, r1\n\t"
        "beq 1f\n\t"
        "lsls r1, r1, #24\n\t"
        "lsrs r1, r1, #30\n\t"
        "movs r2, #" HWCMP_SWAR_WORD_CODE "\n\t"
        "muls r1, r2\n\t"
        "adr r2, 4f\n\t"
        "adds r1, r1, r2\n\t"
        "b 2f\n"
        "1:\n\t"
        "adr r1, 5f\n"
        "2:\n\t"
        "str r1, [sp, #40]\n"

        "1:\n\t"
        "ldr r6, [sp]\n\t"
        "ldr r0, [sp, #20]\n\t"
        "cmp r0, #0\n\t"
        "bne 2f\n\t"
        "ldr r0, [sp, #24]\n\t"
        "ldr r0, [r0, #12]\n\t"
        HWCMP_SWAR_SET_SUMS("r0", "r0", "r0", "r0")
        "b 3f\n"
        "2:\n\t"
        "ldmia r0!, {r1-r4}\n\t"
        HWCMP_SWAR_SET_SUMS("r1", "r2", "r3", "r4")
        "3:\n\t"
        "ldr r0, [sp, #12]\n\t"
        "mov r12, r0\n\t"
        "ldr r0, [sp, #16]\n\t"
        "mov lr, r0\n\t"
        "ldr r0, [sp, #8]\n\t"
        "ldr r1, [sp, #40]\n\t"
        "mov pc, r1\n\t"
        ".balign 4\n"
        "4:\n\t"
        HWCMP_SWAR_WORD HWCMP_SWAR_WORD HWCMP_SWAR_WORD HWCMP_SWAR_WORD
        ".ifne . - 4b - 4 * " HWCMP_SWAR_WORD_CODE "\n\t"
        ".error \"HWCMP_SWAR_WORD_CODE\"\n\t"
        ".endif\n\t"
        "cmp r0, r12\n\t"
        "beq 5f\n\t"
        "b 4b\n\t"
        ".balign 4\n"
        "5:\n\t"
        "mov r7, lr\n\t"
        "subs r7, r7, r0\n\t"
        "beq 7f\n\t"
        "lsrs r7, r7, #4\n\t"
        "adds r6, r6, r7\n\t"
        "rsbs r7, r7, #0\n"
        "6:\n\t"
        "ldrsb r5, [r6, r7]\n\t"
        HWCMP_SWAR_TAP
        "adds r7, r7, #1\n\t"
        "bne 6b\n"
        "7:\n\t"
        "ldr r0, [sp, #4]\n\t"
        "adds r6, r6, r0\n\t"
        "str r6, [sp]\n\t"
        "ldr r3, [sp, #24]\n\t"
        "ldr r0, [sp, #32]\n\t"
        "cmp r0, #0\n\t"
        "bne 6f\n\t"
        /* not the last part of the rows */
        "ldr r5, [sp, #20]\n\t"
        HWCMP_SWAR_GET_SUMS
        "stmia r5!, {r1-r4}\n\t"
        "b 7f\n"
        "6:\n\t"
        HWCMP_SWAR_FINISH("32", "36")
        "9:\n\t"
        "ldr r0, [sp, #32]\n\t"
        "adds r0, r0, #1\n\t"
        "str r0, [sp, #32]\n\t"
        "ldr r5, [sp, #20]\n\t"
        "cmp r5, #0\n\t"
        "beq 7f\n\t"
        "adds r5, r5, #16\n"
        "7:\n\t"
        "str r5, [sp, #20]\n\t"
        "ldr r3, [sp, #24]\n\t"
        "adds r3, r3, #16\n\t"
        "str r3, [sp, #24]\n\t"
        "ldr r0, [sp, #28]\n\t"
        "cmp r3, r0\n\t"
        "beq 7f\n\t"
        "b 1b\n"
        "7:\n\t"
        "add sp, sp, #60\n\t"
        HWCMP_SWAR_POP_ALL

        /* hwcmp_swar_finish_four(); r3 is behind the channel */
        "8:\n\t"
        "add r0, sp, #44\n\t"
        "subs r3, r3, #16\n\t"
        "mov r5, r3\n\t"
        HWCMP_SWAR_GET_SUMS
        "stmia r0!, {r1-r4}\n\t"
        "subs r0, r0, #16\n\t"
        "mov r1, r5\n\t"
        "ldr r2, [sp, #32]\n\t"
        "ldr r3, [sp, #36]\n\t"
        "bl hwcmp_swar_finish_four\n\t"
        "b 9b\n");
}

#endif
