/* SPDX-License-Identifier: Apache-2.0
 *
 * One column times any number of weight rows, three at a time: fully_connected, and conv2d with few pixels.
 */
#ifndef HWCMP_DSP_DOT_ROWS_H
#define HWCMP_DSP_DOT_ROWS_H

#include "columns.h"
#include "finish_sums.h"

/* The assembly below reads these words by offset. */
typedef struct {
    const uint32_t *column_end; /*  0: behind the groups of eight */
    uint32_t tail;              /*  4: 1 if a group of four follows */
    uint32_t turns;             /*  8: three rows each, >= 1 */
    uint32_t step;              /* 12: bytes from turn to turn */
    const int8_t *row0;         /* 16: the rows of the first turn */
    const uint32_t *column;     /* 20 */
    const int8_t *row1;         /* 24 */
    const int8_t *row2;         /* 28 */
    uint32_t aligned;           /* 32: 1 if every row is 4-byte aligned */
} hwcmp_dsp_rows_job;

HWCMP_DSP_NAKED void hwcmp_dsp_dot_rows(const hwcmp_dsp_rows_job *job, uint32_t *sums);
HWCMP_DSP_SHARED void hwcmp_dsp_finish_rows(const hwcmp_output_stage *stage, const hwcmp_dsp_rows *rows,
                                            const uint32_t *column, uint32_t length, int32_t first, int8_t *output);

/* r0-r2 sums, r3 row 0, r12 row 1, lr row 2, r11 column, r4-r7 eight activations, r8 r9 eight weights of a row as
 * bytes, r10 two of them. Stack: 0..31 the job without `aligned`, 32 entry of the loop, 36 sums; turns, rows and sums
 * move on from turn to turn. */
#define HWCMP_ROW_EIGHT(sum, load)         \
    load                                   \
    "sxtb16 r10, r8\n\t"                   \
    "smlad " sum ", r10, r4, " sum "\n\t"  \
    "sxtb16 r8, r8, ror #8\n\t"            \
    "smlad " sum ", r8, r5, " sum "\n\t"   \
    "sxtb16 r10, r9\n\t"                   \
    "smlad " sum ", r10, r6, " sum "\n\t"  \
    "sxtb16 r9, r9, ror #8\n\t"            \
    "smlad " sum ", r9, r7, " sum "\n\t"
#define HWCMP_LOAD_ALIGNED(row) "ldrd r8, r9, [" row "], #8\n\t"
#define HWCMP_LOAD_ANY(row) "ldr.w r8, [" row "], #4\n\tldr.w r9, [" row "], #4\n\t"
/* Eight weights for three rows: 28 instructions of 4 bytes (aligned), 31 (any). */
#define HWCMP_ROWS_EIGHT(load)             \
    "ldmia.w r11!, {r4-r7}\n\t"            \
    HWCMP_ROW_EIGHT("r0", load("r3"))      \
    HWCMP_ROW_EIGHT("r1", load("r12"))     \
    HWCMP_ROW_EIGHT("r2", load("lr"))
#define HWCMP_ROWS_EIGHT_BYTES "112"
#define HWCMP_ROWS_FOUR_EIGHTS             \
    HWCMP_ROWS_EIGHT(HWCMP_LOAD_ALIGNED) HWCMP_ROWS_EIGHT(HWCMP_LOAD_ALIGNED) \
    HWCMP_ROWS_EIGHT(HWCMP_LOAD_ALIGNED) HWCMP_ROWS_EIGHT(HWCMP_LOAD_ALIGNED)
#define HWCMP_ROW_TAIL(sum, row)           \
    "ldr.w r8, [" row "]\n\t"              \
    "sxtb16 r10, r8\n\t"                   \
    "smlad " sum ", r10, r4, " sum "\n\t"  \
    "sxtb16 r8, r8, ror #8\n\t"            \
    "smlad " sum ", r8, r5, " sum "\n\t"

HWCMP_DSP_NAKED void hwcmp_dsp_dot_rows(const hwcmp_dsp_rows_job *job HWCMP_DSP_IN_REGISTER,
                                        uint32_t *sums HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "sub sp, sp, #40\n\t"
        "str r1, [sp, #36]\n\t"
        "ldmia r0!, {r4-r11}\n\t"
        "stmia sp, {r4-r11}\n\t"
        /* n groups in turns of eight: the first turn enters behind (-n mod 8) of them; r4 end, r9 column */
        "sub r9, r9, r4\n\t"
        "ubfx r5, r9, #4, #3\n\t"
        "mov r6, #" HWCMP_ROWS_EIGHT_BYTES "\n\t"
        "adr.w r7, 2f\n\t"
        "mla r5, r5, r6, r7\n\t"
        "ldr r6, [r0]\n\t"
        "cmp r6, #0\n\t"
        "it eq\n\t"
        "adreq.w r5, 3f\n\t"
        "cmp r9, #0\n\t"
        "it eq\n\t"
        "adreq.w r5, 4f\n\t"
        "orr r5, r5, #1\n\t"
        "str r5, [sp, #32]\n"

        "1:\n\t"
        "add r0, sp, #16\n\t"
        "ldmia.w r0, {r3, r11, r12, lr}\n\t"
        "mov r0, #0\n\t"
        "mov r1, #0\n\t"
        "mov r2, #0\n\t"
        "ldr.w pc, [sp, #32]\n"
        "2:\n\t" HWCMP_ROWS_FOUR_EIGHTS HWCMP_ROWS_FOUR_EIGHTS
        "ldr r4, [sp]\n\t"
        "cmp r11, r4\n\t"
        "bne.w 2b\n\t"
        "b 4f\n"
        "3:\n\t" HWCMP_ROWS_EIGHT(HWCMP_LOAD_ANY)
        "ldr r4, [sp]\n\t"
        "cmp r11, r4\n\t"
        "bne 3b\n"
        "4:\n\t"
        "ldrd r10, r6, [sp, #4]\n\t"
        "cmp r10, #0\n\t"
        "beq 5f\n\t"
        "ldrd r4, r5, [r11]\n\t"
        HWCMP_ROW_TAIL("r0", "r3") HWCMP_ROW_TAIL("r1", "r12") HWCMP_ROW_TAIL("r2", "lr")
        "5:\n\t"
        "ldr r4, [sp, #36]\n\t"
        "stmia r4!, {r0-r2}\n\t"
        "str r4, [sp, #36]\n\t"
        "subs r6, r6, #1\n\t"
        "beq 6f\n\t"
        "str r6, [sp, #8]\n\t"
        "add r0, sp, #12\n\t"
        "ldmia r0!, {r1-r5}\n\t"
        "add r2, r2, r1\n\t"
        "add r4, r4, r1\n\t"
        "add r5, r5, r1\n\t"
        "add r0, sp, #16\n\t"
        "stmia r0!, {r2-r5}\n\t"
        "b.w 1b\n"
        "6:\n\t"
        "add sp, sp, #40\n\t"
        "pop {r4-r11, pc}\n");
}

enum { HWCMP_DSP_TURNS = 16 };

/* output[i] = channel first + i, saturated to int8, for every row of `rows`. */
HWCMP_DSP_SHARED void hwcmp_dsp_finish_rows(const hwcmp_output_stage *stage, const hwcmp_dsp_rows *rows,
                                            const uint32_t *column, uint32_t length, int32_t first, int8_t *output)
{
    const int32_t count = rows->count;
    const size_t stride = rows->stride;
    const bool last_in_place = rows->last == rows->first + (size_t)(count - 1) * stride;
    const int32_t whole = (last_in_place ? count : count - 1) / 3 * 3;
    uint32_t sums[3 * HWCMP_DSP_TURNS];
    hwcmp_dsp_rows_job job = {.column = column,
                              .column_end = column + 4U * ((length + 3U) / 8U),
                              .tail = (length + 3U) / 4U % 2U,
                              .step = 3U * rows->stride,
                              .aligned = (((uintptr_t)rows->first | stride) & 3U) == 0U};

    for (int32_t row = 0; row < count;) {
        int32_t top = row;
        int32_t outputs = hwcmp_min(whole - row, 3 * HWCMP_DSP_TURNS);
        if (outputs == 0) {
            /* the rows left: one turn that repeats earlier ones rather than reading beyond the last */
            outputs = hwcmp_min(count, 3);
            top = count - outputs;
        }
        job.turns = ((uint32_t)outputs + 2U) / 3U;
        job.row0 = rows->first + (size_t)top * stride;
        job.row1 = job.row0 + stride;
        job.row2 = job.row1 + stride;
        if (top + 3 > whole) {
            job.row0 = count == 1 ? rows->last : job.row0;
            job.row1 = count <= 2 ? rows->last : job.row1;
            job.row2 = rows->last;
        }
        hwcmp_dsp_dot_rows(&job, sums);
        hwcmp_dsp_finish_sums(stage, first + top, outputs, sums, output + top);
        row = top + outputs;
    }
}

#endif
