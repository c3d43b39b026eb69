/* SPDX-License-Identifier: Apache-2.0
 *
 * dense8 in the layout `nested`, as the kernels read it: src/unpack_dense8_nested.c has the layout.
 */
#ifndef HWCMP_DSP_DENSE8_NESTED_H
#define HWCMP_DSP_DENSE8_NESTED_H

#include "nested_single.h"

HWCMP_DSP_SHARED void hwcmp_dsp_dense8_rest(const hwcmp_dsp_nested_rows *rows, const uint32_t *columns,
                                            uint32_t first, uint32_t count, uint32_t *sums);

/* Rows of plain int8 times one or two columns. */
HWCMP_DSP_SHARED void hwcmp_dsp_dense8_rest(const hwcmp_dsp_nested_rows *rows, const uint32_t *columns,
                                            uint32_t first, uint32_t count, uint32_t *sums)
{
    const bool pairs = rows->sums != HWCMP_NESTED_ROWS;
    const uint8_t *weights = rows->groups + (size_t)first * rows->length;

    for (; count > 0U; count--) {
        const uint32_t *at = columns;
        uint32_t sum0 = 0;
        uint32_t sum1 = 0;
        for (const uint8_t *end = weights + rows->length; weights != end; weights += 4) {
            const uint32_t even = hwcmp_dsp_even(hwcmp_dsp_load(weights));
            const uint32_t odd = hwcmp_dsp_odd(hwcmp_dsp_load(weights));
            sum0 = hwcmp_dsp_dual_mac(even, *at++, sum0);
            if (pairs) {
                sum1 = hwcmp_dsp_dual_mac(even, *at++, sum1);
            }
            sum0 = hwcmp_dsp_dual_mac(odd, *at++, sum0);
            if (pairs) {
                sum1 = hwcmp_dsp_dual_mac(odd, *at++, sum1);
            }
        }
        *sums++ = sum0;
        if (pairs) {
            *sums++ = sum1;
        }
    }
}

HWCMP_DSP_NAKED void hwcmp_dsp_dense8_single(const hwcmp_dsp_nested_job *job);

HWCMP_DSP_NAKED void hwcmp_dsp_dense8_single(const hwcmp_dsp_nested_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(HWCMP_NESTED_SINGLE(HWCMP_NESTED_EIGHT_INT8, HWCMP_NESTED_EIGHT_INT8_CODE, HWCMP_NESTED_END,
                                         HWCMP_NESTED_TAIL_INT8, HWCMP_NESTED_TAKE_INT8));
}

/* columns: how many `dot` multiplies with. */
static inline hwcmp_dsp_nested_rows hwcmp_dsp_dense8_rows(const hwcmp_weights *weights, hwcmp_dsp_nested_dot dot,
                                                          uint32_t columns)
{
    const hwcmp_dsp_nested_rows rows = {.dot = dot,
                                        .rest = hwcmp_dsp_dense8_rest,
                                        .groups = weights->payload,
                                        .sums = HWCMP_NESTED_ROWS * columns,
                                        .unit_bytes = 16U,
                                        .length = hwcmp_nested_length(weights),
                                        .part = hwcmp_dsp_nested_part(weights)};
    return rows;
}

#endif
