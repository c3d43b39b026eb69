/* SPDX-License-Identifier: Apache-2.0
 *
 * How the format `runs` is read: by its check, by unpack_rows and by the kernels that run it as stored.
 * FORMAT.md describes the stream. Everything here relies on opened weights, unless it says otherwise.
 */
#ifndef HWCMP_RUNS_H
#define HWCMP_RUNS_H

#include "hwcmp_format_ops.h"

/* How rows are cut: positions of segment i begin at i * width; the last segment may be shorter. */
typedef struct {
    uint32_t segments, width, last_width;
    uint32_t slots; /* gaps in 32 bits: 8 of 4 bits or 4 of 8 bits */
} hwcmp_runs_shape;

/* A list as stored: gaps from the lowest bits of `gaps` on, except that the lowest four bits are unused if gaps of 4
 * bits are odd in number. */
typedef struct {
    const uint8_t *gaps;
    uint32_t entries, bytes;
} hwcmp_runs_list;

typedef struct {
    hwcmp_runs_list minus, plus;
    int32_t value;
    uint32_t flags;
} hwcmp_runs_group;

enum { HWCMP_RUNS_HEAD_BYTES = 4, HWCMP_RUNS_SEGMENTS_MASK = HWCMP_RUNS_WIDE - 1 };

/* For weights that are not opened yet, too: segments is 0 if rows cannot be cut as `param` says. */
static inline hwcmp_runs_shape hwcmp_runs_shape_of(const hwcmp_weights *weights)
{
    const uint32_t segments = weights->param & HWCMP_RUNS_SEGMENTS_MASK;
    hwcmp_runs_shape shape = {0U, 0U, 0U, (weights->param & HWCMP_RUNS_WIDE) != 0 ? 4U : 8U};

    if (segments != 0U) {
        shape.width = (weights->row_length + segments - 1U) / segments;
        shape.last_width = weights->row_length - (segments - 1U) * shape.width; /* wraps if there is none */
        shape.segments = shape.width <= HWCMP_RUNS_SEGMENT && shape.last_width - 1U < shape.width ? segments : 0U;
    }
    return shape;
}

static inline bool hwcmp_runs_is_wide(const hwcmp_runs_shape *shape)
{
    return shape->slots == 4U;
}

/* `length`: the byte of a head, entries rounded up to full words plus what that adds. */
static inline hwcmp_runs_list hwcmp_runs_list_at(const hwcmp_runs_shape *shape, const uint8_t *gaps, uint32_t length)
{
    const uint32_t entries = length - 2U * (length % shape->slots);
    const hwcmp_runs_list list = {gaps, entries, hwcmp_runs_is_wide(shape) ? entries : (entries + 1U) / 2U};
    return list;
}

/* The group whose head, which must be readable, is at `at`. */
static inline hwcmp_runs_group hwcmp_runs_group_at(const hwcmp_runs_shape *shape, const uint8_t *at)
{
    const hwcmp_runs_list minus = hwcmp_runs_list_at(shape, at + HWCMP_RUNS_HEAD_BYTES, at[0]);
    const hwcmp_runs_list plus = hwcmp_runs_list_at(shape, minus.gaps + minus.bytes, at[1]);
    const hwcmp_runs_group group = {minus, plus, (int8_t)at[2], at[3]};
    return group;
}

/* Where the next group begins. */
static inline const uint8_t *hwcmp_runs_group_end(const hwcmp_runs_group *group)
{
    return group->plus.gaps + group->plus.bytes;
}

/* Sum of x over the positions of a list; x: the activations of the segment. */
static inline int32_t hwcmp_runs_sum(const hwcmp_runs_shape *shape, const hwcmp_runs_list *list, const int8_t *x)
{
    const bool is_wide = hwcmp_runs_is_wide(shape);
    const uint8_t *gaps = list->gaps;
    const uint8_t *end = gaps + list->bytes;
    int32_t sum = 0;

    if (!is_wide && list->entries % 2U != 0U) {
        x += *gaps++ >> 4U;
        sum += *x++;
    }
    for (; gaps < end; gaps++) {
        x += is_wide ? *gaps : *gaps & 15U;
        sum += *x++;
        if (!is_wide) {
            x += *gaps >> 4U;
            sum += *x++;
        }
    }
    return sum;
}

/* Sum of the products of one row with `x`, wrapping; moves `at` from the row's first group behind its last. */
static inline uint32_t hwcmp_runs_dot(const hwcmp_runs_shape *shape, const uint8_t **at, const int8_t *x)
{
    hwcmp_runs_group group;
    uint32_t total = 0;

    do {
        group = hwcmp_runs_group_at(shape, *at);
        const int32_t sum = hwcmp_runs_sum(shape, &group.plus, x) - hwcmp_runs_sum(shape, &group.minus, x);
        total += (uint32_t)(group.value * sum);
        x += group.flags == HWCMP_RUNS_END_SEGMENT ? shape->width : 0U;
        *at = hwcmp_runs_group_end(&group);
    } while ((group.flags & HWCMP_RUNS_END_ROW) == 0U);
    return total;
}

/* The first group of a row. */
static inline const uint8_t *hwcmp_runs_row(const hwcmp_runs_shape *shape, const hwcmp_weights *weights, uint32_t row)
{
    const uint8_t *at = weights->payload;

    while (row > 0U) {
        const hwcmp_runs_group group = hwcmp_runs_group_at(shape, at);
        row -= (group.flags & HWCMP_RUNS_END_ROW) != 0U ? 1U : 0U;
        at = hwcmp_runs_group_end(&group);
    }
    return at;
}

#endif
