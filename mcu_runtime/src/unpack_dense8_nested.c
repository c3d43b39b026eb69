/* SPDX-License-Identifier: Apache-2.0
 *
 * dense8 in the layout `nested`: a group of four rows a, b, c, d is, for each pair of positions, a word of the halves
 * a + 256 b and a word of the halves c + 256 d; rows % 4 rows behind the last group are plain int8.
 */
#include <string.h>

#include "hwcmp_nested.h"

/* a + 256 b of int8 a and b; above it the high part would be 128. */
enum { LARGEST_HALF = 0x7F7F, ROW_OF_GROUPS = ~(HWCMP_NESTED_ROWS - 1) };

/* The half of rows a and b (pair 0) or c and d (pair 1) of a group, at one position. */
static uint32_t half_at(const uint8_t *group, uint32_t pair, uint32_t position)
{
    const uint32_t half = hwcmp_nested_half(position);
    return hwcmp_nested_load_half(group, 2U * (half & ~1U) + 2U * pair + (half & 1U));
}

static bool group_is_valid(const uint8_t *group, uint32_t row_length, uint32_t length)
{
    for (uint32_t i = 0; i < 2U * length; i++) {
        const uint32_t half = hwcmp_nested_load_half(group, i);
        if (half > LARGEST_HALF && half < 0x8000U) {
            return false;
        }
    }
    for (uint32_t at = row_length; at < length; at++) {
        if (half_at(group, 0, at) != 0U || half_at(group, 1, at) != 0U) {
            return false;
        }
    }
    return true;
}

/* Whether rows b (pair 0) or d (pair 1) of a group can be added up whole. */
static bool sums_fit(const uint8_t *group, uint32_t pair, uint32_t row_length)
{
    const uint32_t most = hwcmp_nested_largest_sum(8U);
    uint32_t sum = 0;

    for (uint32_t at = 0; at < row_length && sum <= most; at++) {
        const int32_t value = (int8_t)(uint8_t)((half_at(group, pair, at) + 0x80U) >> 8);
        sum += (uint32_t)(value < 0 ? -value : value);
    }
    return sum <= most;
}

static hwcmp_status check_dense8_nested(const hwcmp_weights *weights)
{
    const uint32_t length = hwcmp_nested_length(weights);
    const uint32_t grouped = weights->rows & (uint32_t)ROW_OF_GROUPS;

    /* 128 * row_length bounds every sum */
    const bool sums_are_free = weights->param != 0U || weights->row_length <= hwcmp_nested_largest_sum(8U) / 128U;

    if (weights->param != 0U && weights->param != HWCMP_NESTED_PARTS) {
        return HWCMP_ERR_HEADER;
    }
    if ((uint64_t)weights->rows * length != weights->payload_bytes) {
        return HWCMP_ERR_PAYLOAD;
    }
    for (uint32_t row = 0; row < grouped; row += HWCMP_NESTED_ROWS) {
        const uint8_t *group = weights->payload + (size_t)row * length;
        if (!group_is_valid(group, weights->row_length, length) ||
            !(sums_are_free || (sums_fit(group, 0, weights->row_length) && sums_fit(group, 1, weights->row_length)))) {
            return HWCMP_ERR_PAYLOAD;
        }
    }
    for (uint32_t row = grouped; row < weights->rows; row++) {
        if (!hwcmp_padding_is_zero(weights->payload + (size_t)row * length, weights->row_length)) {
            return HWCMP_ERR_PAYLOAD;
        }
    }
    return HWCMP_OK;
}

static void unpack_row(const uint8_t *group, uint32_t member, uint32_t row_length, int8_t *out)
{
    for (uint32_t at = 0; at < row_length; at++) {
        const uint32_t half = half_at(group, member >> 1, at);
        /* b is the high byte, and one more where a is negative and took one from it */
        const uint32_t value = (member & 1U) == 0U ? half : (half + 0x80U) >> 8;
        out[at] = (int8_t)(uint8_t)value;
    }
}

static void unpack_dense8_nested(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count,
                                 uint32_t row_stride, int8_t *out)
{
    const uint32_t length = hwcmp_nested_length(weights);
    const uint32_t grouped = weights->rows & (uint32_t)ROW_OF_GROUPS;

    for (uint32_t row = first_row; row < first_row + row_count; row++) {
        if (row < grouped) {
            const uint32_t member = row % HWCMP_NESTED_ROWS;
            unpack_row(weights->payload + (size_t)(row - member) * length, member, weights->row_length, out);
        } else {
            memcpy(out, weights->payload + (size_t)row * length, weights->row_length);
        }
        out += row_stride;
    }
}

const struct hwcmp_format_ops hwcmp_dense8_nested_format = {
    .id = HWCMP_FORMAT_DENSE8_NESTED,
    .kind = HWCMP_KIND_DIRECT,
    .check = check_dense8_nested,
    .unpack_rows = unpack_dense8_nested,
};
