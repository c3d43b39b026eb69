/* SPDX-License-Identifier: Apache-2.0
 *
 * What the formats in the layout `nested` share: rows in groups of four, each filled up to a multiple of four positions,
 * whose weights at one position lie in the same 16-bit half of a word.
 */
#ifndef HWCMP_NESTED_H
#define HWCMP_NESTED_H

#include "hwcmp_format_ops.h"

enum { HWCMP_NESTED_ROWS = 4 };

/* Positions of a row with those that fill it up; row_length is bounded, so this does not wrap. */
static inline uint32_t hwcmp_nested_length(const hwcmp_weights *weights)
{
    return (weights->row_length + 3U) & ~3U;
}

/* Which 16-bit half of a row of words holds position `at`: the pairs are (0, 2), (1, 3), (4, 6), (5, 7) ... */
static inline uint32_t hwcmp_nested_half(uint32_t at)
{
    return (at & ~3U) + 2U * (at & 1U) + ((at >> 1) & 1U);
}

static inline uint32_t hwcmp_nested_load_half(const uint8_t *halves, uint32_t index)
{
    return (uint32_t)halves[2U * index] | ((uint32_t)halves[2U * index + 1U] << 8);
}

/* The largest sum of |w| of a row that is nested `shift` bits above others which need not be cut into parts: times 128, the
 * largest activation, it is below 2^(31 - shift). */
static inline uint32_t hwcmp_nested_largest_sum(uint32_t shift)
{
    return (1U << (24U - shift)) - 1U;
}

#endif
