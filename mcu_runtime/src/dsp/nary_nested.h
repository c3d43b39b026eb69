/* SPDX-License-Identifier: Apache-2.0
 *
 * nary in the layout `nested`, as the kernels read it: src/unpack_nary_nested.c has the layout.
 */
#ifndef HWCMP_DSP_NARY_NESTED_H
#define HWCMP_DSP_NARY_NESTED_H

#include "../hwcmp_nary_nested.h"
#include "nested_single.h"

HWCMP_DSP_SHARED void hwcmp_dsp_nary_rest(const hwcmp_dsp_nested_rows *rows, const uint32_t *columns, uint32_t first,
                                          uint32_t count, uint32_t *sums);

/* The first rows of the last group; `sums` has room for all of them. */
HWCMP_DSP_SHARED void hwcmp_dsp_nary_rest(const hwcmp_dsp_nested_rows *rows, const uint32_t *columns, uint32_t first,
                                          uint32_t count, uint32_t *sums)
{
    (void)count;
    hwcmp_dsp_nested_sums(rows, columns, first / HWCMP_NESTED_ROWS, 1U, sums);
}

HWCMP_DSP_NAKED void hwcmp_dsp_nary_single_2bit(const hwcmp_dsp_nested_job *job);
HWCMP_DSP_NAKED void hwcmp_dsp_nary_single_4bit(const hwcmp_dsp_nested_job *job);

HWCMP_DSP_NAKED void hwcmp_dsp_nary_single_2bit(const hwcmp_dsp_nested_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(HWCMP_NESTED_SINGLE(HWCMP_NESTED_EIGHT_2BIT, HWCMP_NESTED_EIGHT_2BIT_CODE, HWCMP_NESTED_END_KEPT,
                                         HWCMP_NESTED_TAIL_2BIT, HWCMP_NESTED_TAKE_CODES("6", "4", "2")));
}

HWCMP_DSP_NAKED void hwcmp_dsp_nary_single_4bit(const hwcmp_dsp_nested_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(HWCMP_NESTED_SINGLE(HWCMP_NESTED_EIGHT_4BIT, HWCMP_NESTED_EIGHT_4BIT_CODE, HWCMP_NESTED_END,
                                         HWCMP_NESTED_TAIL_4BIT, HWCMP_NESTED_TAKE_CODES("12", "8", "4")));
}

/* dot2, dot4: for codes of 2 and of 4 bits; columns: how many they multiply with. */
static inline hwcmp_dsp_nested_rows hwcmp_dsp_nary_rows(const hwcmp_weights *weights, hwcmp_dsp_nested_dot dot2,
                                                        hwcmp_dsp_nested_dot dot4, uint32_t columns)
{
    const hwcmp_nary_nested_shape shape = hwcmp_nary_nested_shape_of(weights);
    const hwcmp_dsp_nested_rows rows = {.dot = shape.bits == 4U ? dot4 : dot2,
                                        .rest = hwcmp_dsp_nary_rest,
                                        .groups = hwcmp_nary_nested_groups(weights, &shape),
                                        .sums = HWCMP_NESTED_ROWS * columns,
                                        .unit_bytes = 2U * shape.bits,
                                        .length = hwcmp_nested_length(weights),
                                        .part = hwcmp_dsp_nested_part(weights),
                                        .grid = weights->payload,
                                        .grid_step = shape.table_step,
                                        .sign = shape.bits == 4U ? 8U : 0U};
    return rows;
}

#endif
