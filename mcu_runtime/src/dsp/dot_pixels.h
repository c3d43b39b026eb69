/* SPDX-License-Identifier: Apache-2.0
 *
 * Four pixels times any number of weight rows: the inner loop of conv2d.
 */
#ifndef HWCMP_DSP_DOT_PIXELS_H
#define HWCMP_DSP_DOT_PIXELS_H

#include "columns.h"

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *row;                /*  0: first weight row */
    const uint32_t *columns;          /*  4: four interleaved columns */
    const uint32_t *columns_end;      /*  8: behind their groups of eight */
    uint32_t tail;                    /* 12: 1 if a group of four follows */
    int8_t *output;                   /* 16: first pixel, first row's channel */
    uint32_t pixel_step;              /* 20: bytes from pixel to pixel */
    const hwcmp_dsp_channel *end;     /* 24: behind the constants of the last row */
    const hwcmp_dsp_channel *channel; /* 28: constants of the first row */
    uint32_t row_gap;                 /* 32: bytes between the columns' length and the next row, 0 or negative */
} hwcmp_dsp_pixels_job;

HWCMP_DSP_SHARED void hwcmp_dsp_finish_pixels(const int32_t sums[4], const hwcmp_dsp_channel *channel, int8_t *output,
                                              uint32_t pixel_step);
HWCMP_DSP_NAKED void hwcmp_dsp_dot_pixels(const hwcmp_dsp_pixels_job *job);

/* The channels for which hwcmp_dsp_scale() is not exact. Marked as used because only assembly calls it. */
HWCMP_DSP_SHARED __attribute__((used)) void hwcmp_dsp_finish_pixels(const int32_t sums[4], const hwcmp_dsp_channel *channel, int8_t *output,
                                              uint32_t pixel_step)
{
    for (int32_t pixel = 0; pixel < 4; pixel++) {
        *output = hwcmp_dsp_finish(channel, sums[pixel]);
        output += pixel_step;
    }
}

/* r0-r3 sums, r4-r7 eight weights as pairs, r8-r11 eight activations, r12 column, lr weight row.
 * Stack: 0..35 the job, 36 entry of the loop, 40..55 sums for finish_pixels; output and channel move on from row to
 * row. */
#define HWCMP_PIXEL(sum)                   \
    "ldmia r12!, {r8-r11}\n\t"             \
    "smlad " sum ", r4, r8, " sum "\n\t"   \
    "smlad " sum ", r5, r9, " sum "\n\t"   \
    "smlad " sum ", r6, r10, " sum "\n\t"  \
    "smlad " sum ", r7, r11, " sum "\n\t"
/* Eight weights for four pixels: 26 instructions, all of 4 bytes. */
#define HWCMP_EIGHT                        \
    "ldr.w r5, [lr], #4\n\t"               \
    "ldr.w r7, [lr], #4\n\t"               \
    "sxtb16 r4, r5\n\t"                    \
    "sxtb16 r5, r5, ror #8\n\t"            \
    "sxtb16 r6, r7\n\t"                    \
    "sxtb16 r7, r7, ror #8\n\t"            \
    HWCMP_PIXEL("r0") HWCMP_PIXEL("r1") HWCMP_PIXEL("r2") HWCMP_PIXEL("r3")
#define HWCMP_EIGHT_BYTES "104"
#define HWCMP_PIXEL_TAIL(sum)              \
    "ldrd r8, r9, [r12], #8\n\t"           \
    "smlad " sum ", r4, r8, " sum "\n\t"   \
    "smlad " sum ", r5, r9, " sum "\n\t"
/* hwcmp_dsp_scale(): r4 multiplier, r5 offset, r6 right shift. */
#define HWCMP_PIXEL_OUT(sum, address)      \
    "add r8, r5, " sum ", asr #31\n\t"     \
    "lsl " sum ", " sum ", #1\n\t"         \
    "smmlar r8, " sum ", r4, r8\n\t"       \
    "asr r8, r8, r6\n\t"                   \
    "ssat r8, #8, r8\n\t"                  \
    "strb r8, " address "\n\t"

HWCMP_DSP_NAKED void hwcmp_dsp_dot_pixels(const hwcmp_dsp_pixels_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        "push {r3-r11, lr}\n\t"
        "sub sp, sp, #56\n\t"
        "ldmia r0!, {r1-r8}\n\t"
        "stmia sp, {r1-r8}\n\t"
        "ldr r4, [r0]\n\t"
        "str r4, [sp, #32]\n\t"
        /* n groups in turns of four: the first turn enters behind (-n mod 4) of them */
        "sub r4, r3, r2\n\t"
        "rsb r4, r4, #0\n\t"
        "ubfx r4, r4, #6, #2\n\t"
        "mov r5, #" HWCMP_EIGHT_BYTES "\n\t"
        "adr.w r6, 2f\n\t"
        "mla r4, r4, r5, r6\n\t"
        "cmp r2, r3\n\t"
        "it eq\n\t"
        "adreq.w r4, 3f\n\t"
        "orr r4, r4, #1\n\t"
        "str r4, [sp, #36]\n\t"
        "ldr.w lr, [sp]\n"

        "1:\n\t"
        "ldr r4, [sp, #28]\n\t"
        "ldr r0, [r4, #12]\n\t"
        "mov r1, r0\n\t"
        "mov r2, r0\n\t"
        "mov r3, r0\n\t"
        "ldr.w r12, [sp, #4]\n\t"
        "ldr.w pc, [sp, #36]\n"
        "2:\n\t" HWCMP_EIGHT HWCMP_EIGHT HWCMP_EIGHT HWCMP_EIGHT
        "ldr r4, [sp, #8]\n\t"
        "cmp r12, r4\n\t"
        "bne.w 2b\n"
        "3:\n\t"
        "ldr r4, [sp, #12]\n\t"
        "cbz r4, 4f\n\t"
        "ldr.w r5, [lr], #4\n\t"
        "sxtb16 r4, r5\n\t"
        "sxtb16 r5, r5, ror #8\n\t"
        HWCMP_PIXEL_TAIL("r0") HWCMP_PIXEL_TAIL("r1") HWCMP_PIXEL_TAIL("r2") HWCMP_PIXEL_TAIL("r3")
        "4:\n\t"
        "ldrd r10, r11, [sp, #16]\n\t"
        "ldr.w r9, [sp, #28]\n\t"
        "ldmia r9!, {r4-r7}\n\t"
        "str.w r9, [sp, #28]\n\t"
        "add r7, r10, #1\n\t"
        "str r7, [sp, #16]\n\t"
        "cbnz r6, 5f\n\t"
        "add r7, sp, #40\n\t"
        "stmia r7, {r0-r3}\n\t"
        "mov r0, r7\n\t"
        "sub r1, r9, #16\n\t"
        "mov r2, r10\n\t"
        "mov r3, r11\n\t"
        "str.w lr, [sp]\n\t"
        "bl hwcmp_dsp_finish_pixels\n\t"
        "ldr.w lr, [sp]\n\t"
        "b 6f\n"
        "5:\n\t"
        HWCMP_PIXEL_OUT("r0", "[r10]")
        HWCMP_PIXEL_OUT("r1", "[r10, r11]")
        HWCMP_PIXEL_OUT("r2", "[r10, r11, lsl #1]")
        "add r10, r10, r11\n\t"
        HWCMP_PIXEL_OUT("r3", "[r10, r11, lsl #1]")
        "6:\n\t"
        "ldr r4, [sp, #32]\n\t"
        "ldr r5, [sp, #24]\n\t"
        "add lr, lr, r4\n\t"
        "cmp r9, r5\n\t"
        "bne.w 1b\n\t"
        "add sp, sp, #56\n\t"
        "pop {r3-r11, pc}\n");
}

#endif
