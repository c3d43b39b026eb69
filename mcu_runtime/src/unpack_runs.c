/* SPDX-License-Identifier: Apache-2.0
 *
 * runs: per row and magnitude the positions of the weights, as gaps. FORMAT.md describes the stream.
 */
#include <string.h>

#include "hwcmp_runs.h"

/* A walk along a list. `position` is -1 before the first entry and INT32_MAX behind the last. */
typedef struct {
    const uint8_t *gaps;
    uint32_t slot, end;
    int32_t position;
    bool is_wide;
} list_walk;

static list_walk walk_along(const hwcmp_runs_shape *shape, const hwcmp_runs_list *list)
{
    const bool is_wide = hwcmp_runs_is_wide(shape);
    const uint32_t first = is_wide ? 0U : list->entries % 2U;
    const list_walk walk = {list->gaps, first, first + list->entries, -1, is_wide};
    return walk;
}

static void step(list_walk *walk)
{
    const uint32_t slot = walk->slot;

    if (slot == walk->end) {
        walk->position = INT32_MAX;
        return;
    }
    walk->position += 1 + (walk->is_wide ? walk->gaps[slot] : (walk->gaps[slot / 2U] >> (slot % 2U * 4U)) & 15);
    walk->slot++;
}

/* ---- check --------------------------------------------------------------------------------------------- */

/* Positions of one segment that hold a weight. */
typedef struct {
    uint32_t words[HWCMP_RUNS_SEGMENT / 32];
} weight_set;

/* True if the position was not in the set. */
static bool add_weight(weight_set *set, int32_t position)
{
    const uint32_t bit = UINT32_C(1) << ((uint32_t)position % 32U);
    uint32_t *word = &set->words[(uint32_t)position / 32U];
    const bool is_new = (*word & bit) == 0U;

    *word |= bit;
    return is_new;
}

static bool is_length_possible(const hwcmp_runs_shape *shape, uint32_t length)
{
    return length == 0U || length >= shape->slots;
}

static bool is_unused_slot_zero(const list_walk *walk)
{
    return walk->slot == 0U || (walk->gaps[0] & 15U) == 0U;
}

/* Walks both lists at once. A position in both is a filler; the others are weights: inside the segment, in no other
 * group of it, and 1 to RUNS_MAX_TERMS of them. A minus list has no weights if -value is no int8. */
static bool check_positions(const hwcmp_runs_shape *shape, const hwcmp_runs_group *group, int32_t width,
                            weight_set *set)
{
    list_walk minus = walk_along(shape, &group->minus);
    list_walk plus = walk_along(shape, &group->plus);
    uint32_t terms = 0;

    if (!is_unused_slot_zero(&minus) || !is_unused_slot_zero(&plus)) {
        return false;
    }
    step(&minus);
    step(&plus);
    while (minus.position != INT32_MAX || plus.position != INT32_MAX) {
        list_walk *first = plus.position < minus.position ? &plus : &minus;
        if (first->position >= width) {
            return false;
        }
        if (minus.position == plus.position) {
            step(&plus);
        } else if ((first == &minus && group->value == INT8_MIN) || !add_weight(set, first->position)) {
            return false;
        } else {
            terms++;
        }
        step(first);
    }
    return terms - 1U < HWCMP_RUNS_MAX_TERMS;
}

/* Whether the head at `at` is readable and its lists end before `end`. */
static bool is_group_inside(const hwcmp_runs_shape *shape, const uint8_t *at, const uint8_t *end)
{
    if (end - at < HWCMP_RUNS_HEAD_BYTES || !is_length_possible(shape, at[0]) || !is_length_possible(shape, at[1])) {
        return false;
    }
    const uint32_t bytes = hwcmp_runs_list_at(shape, at, at[0]).bytes + hwcmp_runs_list_at(shape, at, at[1]).bytes;
    return (uint32_t)(end - at) - HWCMP_RUNS_HEAD_BYTES >= bytes;
}

/* The groups of one segment from `at` on. Null if there is anything wrong, otherwise where they end.
 * end_flags: what the last of them has. */
static const uint8_t *check_segment(const hwcmp_runs_shape *shape, const uint8_t *at, const uint8_t *end,
                                    uint32_t end_flags, int32_t width)
{
    weight_set set = {{0}};
    const uint8_t *first = at;
    hwcmp_runs_group group;

    do {
        if (!is_group_inside(shape, at, end)) {
            return NULL;
        }
        group = hwcmp_runs_group_at(shape, at);
        const bool is_empty_segment = at == first && group.flags != 0U && (at[0] | at[1] | at[2]) == 0U;
        if ((group.flags != 0U && group.flags != end_flags) ||
            (!is_empty_segment && (group.value == 0 || !check_positions(shape, &group, width, &set)))) {
            return NULL;
        }
        at = hwcmp_runs_group_end(&group);
    } while (group.flags == 0U);
    return at;
}

static hwcmp_status check_runs(const hwcmp_weights *weights)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const uint8_t *at = weights->payload;
    const uint8_t *end = at + weights->payload_bytes;

    if (shape.segments == 0U) {
        return HWCMP_ERR_HEADER;
    }
    for (uint32_t row = 0; row < weights->rows; row++) {
        for (uint32_t left = shape.segments; left > 0U; left--) {
            const uint32_t end_flags = HWCMP_RUNS_END_SEGMENT | (left == 1U ? (uint32_t)HWCMP_RUNS_END_ROW : 0U);
            at = check_segment(&shape, at, end, end_flags, (int32_t)(left == 1U ? shape.last_width : shape.width));
            if (at == NULL) {
                return HWCMP_ERR_PAYLOAD;
            }
        }
    }
    const uint32_t used = (uint32_t)(at - weights->payload);
    return hwcmp_section_bytes(used) == weights->payload_bytes && hwcmp_padding_is_zero(weights->payload, used)
               ? HWCMP_OK
               : HWCMP_ERR_PAYLOAD;
}

/* ---- unpack -------------------------------------------------------------------------------------------- */

/* A filler adds `value` in one list and takes it away in the other. */
static void add_list(const hwcmp_runs_shape *shape, const hwcmp_runs_list *list, int32_t value, int8_t *out)
{
    list_walk walk = walk_along(shape, list);

    for (step(&walk); walk.position != INT32_MAX; step(&walk)) {
        out[walk.position] = (int8_t)(out[walk.position] + value);
    }
}

static const uint8_t *unpack_row(const hwcmp_runs_shape *shape, const uint8_t *at, uint32_t row_length, int8_t *out)
{
    hwcmp_runs_group group;

    memset(out, 0, row_length);
    do {
        group = hwcmp_runs_group_at(shape, at);
        add_list(shape, &group.plus, group.value, out);
        add_list(shape, &group.minus, -group.value, out);
        out += group.flags == HWCMP_RUNS_END_SEGMENT ? shape->width : 0U;
        at = hwcmp_runs_group_end(&group);
    } while ((group.flags & HWCMP_RUNS_END_ROW) == 0U);
    return at;
}

static void unpack_runs(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                        int8_t *out)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const uint8_t *at = hwcmp_runs_row(&shape, weights, row_count > 0U ? first_row : 0U);

    for (uint32_t row = 0; row < row_count; row++) {
        at = unpack_row(&shape, at, weights->row_length, out + (size_t)row * row_stride);
    }
}

const struct hwcmp_format_ops hwcmp_runs_format = {
    .id = HWCMP_FORMAT_RUNS,
    .kind = HWCMP_KIND_OF_RUNS,
    .check = check_runs,
    .unpack_rows = unpack_runs,
};
