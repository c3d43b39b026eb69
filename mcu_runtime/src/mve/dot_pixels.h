/* SPDX-License-Identifier: Apache-2.0
 *
 * Four pixels times pairs of weight rows: the inner loop of conv2d.
 *
 * Columns hold the activations of a window in groups of sixteen, the groups of four pixels in turn. The first group has
 * 1..16 of them, the others are full; a column's bytes behind the first group's count meet weights that read as zero.
 */
#ifndef HWCMP_MVE_DOT_PIXELS_H
#define HWCMP_MVE_DOT_PIXELS_H

#include "mve.h"

enum { HWCMP_MVE_PIXELS = 4, HWCMP_MVE_GROUP_BYTES = HWCMP_MVE_PIXELS * HWCMP_MVE_BYTES };

/* Activations in the first group of a column of `length`. */
static inline uint32_t hwcmp_mve_first_group(uint32_t length)
{
    return (length - 1U) % HWCMP_MVE_BYTES + 1U;
}

static inline size_t hwcmp_mve_columns_bytes(uint32_t length)
{
    return (length + HWCMP_MVE_BYTES - 1U) / HWCMP_MVE_BYTES * HWCMP_MVE_GROUP_BYTES;
}

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *row;                /*  0: first weight row */
    uint32_t row_step;                /*  4: from row to row: the length of a row, or 0 if there is but one */
    const int8_t *columns;            /*  8 */
    uint32_t first;                   /* 12: activations in the first group */
    const int8_t *columns_end;        /* 16 */
    int8_t *output;                   /* 20: first pixel, first row's channel */
    const hwcmp_mve_channel *channel; /* 24: constants of the first row */
    const hwcmp_mve_channel *end;     /* 28: behind those of the last row; an even number of them */
    int32_t low, high;                /* 32, 36 */
    uint16_t offsets[8];              /* 40: of a pair of channels in the four output pixels, 0 1 c c+1 ... */
} hwcmp_mve_pixels_job;

HWCMP_MVE_SHARED void hwcmp_mve_finish_pair(const int32_t *sums, const hwcmp_mve_channel *channel, int8_t *output,
                                            const hwcmp_mve_pixels_job *job);
HWCMP_MVE_NAKED void hwcmp_mve_dot_pixels(const hwcmp_mve_pixels_job *job);

/* The pairs with a channel for which the short requantization is not exact. */
HWCMP_MVE_SHARED void hwcmp_mve_finish_pair(const int32_t *sums, const hwcmp_mve_channel *channel, int8_t *output,
                                            const hwcmp_mve_pixels_job *job)
{
    const int16x8_t first = vqmovnbq_s32(vdupq_n_s16(0), hwcmp_mve_scale(channel, vldrwq_s32(sums)));
    const int16x8_t both = vqmovntq_s32(first, hwcmp_mve_scale(channel + 1, vldrwq_s32(sums + 4)));
    const int16x8_t low = vdupq_n_s16((int16_t)job->low);
    const int16x8_t high = vdupq_n_s16((int16_t)job->high);

    vstrbq_scatter_offset_s16(output, vldrhq_u16(job->offsets), vminq_s16(vmaxq_s16(both, low), high));
}

/* r0 r2 r4 r6 sums of the first row, r8 r10 r12 lr of the second (accumulators must be even registers), r1 r3 weights,
 * r5 columns, r7 output, r9 channel, r11 end of columns. q0 q1 weights, q2-q4 activations, q5 offsets, q6 low, q7 high.
 * Stack: 0 row_step, 4 columns, 8 first, 12 end, 16 entry of the loop, 20 job, 24 r3, 32..63 sums for finish_pair. */
#define HWCMP_MVE_PIXEL(vmla, sum0, sum1, x)  \
    "vldrb.8 " x ", [r5], #16\n\t"            \
    vmla " " sum0 ", " x ", q0\n\t"           \
    vmla " " sum1 ", " x ", q1\n\t"
#define HWCMP_MVE_FOUR_PIXELS(vmla)           \
    HWCMP_MVE_PIXEL(vmla, "r0", "r8", "q2")   \
    HWCMP_MVE_PIXEL(vmla, "r2", "r10", "q3")  \
    HWCMP_MVE_PIXEL(vmla, "r4", "r12", "q4")  \
    HWCMP_MVE_PIXEL(vmla, "r6", "lr", "q2")
/* Sixteen weights of two rows for four pixels: 14 instructions of 4 bytes. */
#define HWCMP_MVE_GROUP                       \
    "vldrb.8 q0, [r1], #16\n\t"               \
    "vldrb.8 q1, [r3], #16\n\t"               \
    HWCMP_MVE_FOUR_PIXELS("vmladava.s8")
#define HWCMP_MVE_GROUP_CODE "56"
/* hwcmp_mve_scale(): t from sums x. */
#define HWCMP_MVE_SCALE(t, x, multiplier, offset, shift, bias) \
    "vadd.i32 " x ", " x ", " bias "\n\t"     \
    "vshr.s32 " t ", " x ", #31\n\t"          \
    "vadd.i32 " t ", " t ", " offset "\n\t"   \
    "vqrdmlah.s32 " t ", " x ", " multiplier "\n\t" \
    "vshl.s32 " t ", " shift "\n\t"

HWCMP_MVE_NAKED void hwcmp_mve_dot_pixels(const hwcmp_mve_pixels_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(
        "push {r3-r11, lr}\n\t"
        "vpush {d8-d15}\n\t"
        "sub sp, sp, #64\n\t"
        "str r0, [sp, #20]\n\t"
        "ldrd r2, r3, [r0, #32]\n\t"
        "vdup.16 q6, r2\n\t"
        "vdup.16 q7, r3\n\t"
        "vldrh.16 q5, [r0, #40]\n\t"
        "ldmia r0, {r1-r8}\n\t"
        "ldr r9, [r0, #24]\n\t"
        "strd r2, r3, [sp]\n\t"
        "str r4, [sp, #8]\n\t"
        "str r8, [sp, #12]\n\t"
        "mov r11, r5\n\t"
        "mov r7, r6\n\t"
        /* n groups behind the first in turns of four: the first turn enters behind (-n mod 4) of them */
        "sub r4, r11, r3\n\t"
        "sub r4, r4, #64\n\t"
        "rsb r5, r4, #0\n\t"
        "ubfx r5, r5, #6, #2\n\t"
        "mov r6, #" HWCMP_MVE_GROUP_CODE "\n\t"
        "adr.w r8, 2f\n\t"
        "mla r5, r5, r6, r8\n\t"
        "cmp r4, #0\n\t"
        "it eq\n\t"
        "adreq.w r5, 3f\n\t"
        "orr r5, r5, #1\n\t"
        "str r5, [sp, #16]\n"

        "1:\n\t"
        "ldrd r0, r5, [sp]\n\t"
        "add r3, r1, r0\n\t"
        "ldr r0, [sp, #8]\n\t"
        "vctp.8 r0\n\t"
        "vpstt\n\t"
        "vldrbt.8 q0, [r1]\n\t"
        "vldrbt.8 q1, [r3]\n\t"
        "add r1, r1, r0\n\t"
        "add r3, r3, r0\n\t"
        HWCMP_MVE_FOUR_PIXELS("vmladav.s8")
        "ldr.w pc, [sp, #16]\n"
        ".balign 4\n"
        "2:\n\t" HWCMP_MVE_GROUP HWCMP_MVE_GROUP HWCMP_MVE_GROUP HWCMP_MVE_GROUP
        "cmp r5, r11\n\t"
        "bne.w 2b\n"
        ".balign 4\n"
        "3:\n\t"
        "vmov q0[2], q0[0], r0, r4\n\t"
        "vmov q0[3], q0[1], r2, r6\n\t"
        "vmov q1[2], q1[0], r8, r12\n\t"
        "vmov q1[3], q1[1], r10, lr\n\t"
        "mov r1, r3\n\t"
        "ldmia r9!, {r0, r2, r4, r6, r8, r10, r12, lr}\n\t"
        "tst r4, r12\n\t"
        "beq 5f\n\t"
        HWCMP_MVE_SCALE("q2", "q0", "r0", "r2", "r4", "r6")
        HWCMP_MVE_SCALE("q3", "q1", "r8", "r10", "r12", "lr")
        "vqmovnb.s32 q2, q2\n\t"
        "vqmovnt.s32 q2, q3\n\t"
        "vmax.s16 q2, q2, q6\n\t"
        "vmin.s16 q2, q2, q7\n\t"
        "vstrb.16 q2, [r7, q5]\n"
        "4:\n\t"
        "ldr r0, [sp, #12]\n\t"
        "adds r7, r7, #2\n\t"
        "cmp r9, r0\n\t"
        "bne.w 1b\n\t"
        "add sp, sp, #64\n\t"
        "vpop {d8-d15}\n\t"
        "pop {r3-r11, pc}\n"

        "5:\n\t"
        "str r1, [sp, #24]\n\t"
        "add r0, sp, #32\n\t"
        "vstrw.32 q0, [r0]\n\t"
        "vstrw.32 q1, [r0, #16]\n\t"
        "sub r1, r9, #32\n\t"
        "mov r2, r7\n\t"
        "ldr r3, [sp, #20]\n\t"
        "bl hwcmp_mve_finish_pair\n\t"
        "ldr r1, [sp, #24]\n\t"
        "b 4b\n");
}

#endif
