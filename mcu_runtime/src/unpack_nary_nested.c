/* SPDX-License-Identifier: Apache-2.0
 *
 * nary in the layout `nested`: weight = base + step * code. With codes of 4 bits a group of four rows a, b, c, d is a
 * word for each pair of positions, of the halves a + 16 b + 256 c + 4096 (d xor 8); with codes of 2 bits it is the byte
 * a + 4 b + 16 c + 64 d for each position. Codes that fill up rows and groups are 0.
 */
#include "hwcmp_nary_nested.h"

static uint32_t code_at(const uint8_t *group, uint32_t bits, uint32_t member, uint32_t position)
{
    if (bits == 2U) {
        return (group[position] >> (2U * member)) & 3U;
    }
    const uint32_t half = hwcmp_nested_load_half(group, hwcmp_nested_half(position));
    return ((half >> (4U * member)) & 15U) ^ (member == 3U ? 8U : 0U);
}

/* Whether no code of a row gives a value above int8. */
static bool values_are_int8(const uint8_t *table, const uint8_t *group, uint32_t bits, uint32_t member,
                            uint32_t row_length)
{
    const uint32_t room = (uint32_t)(INT8_MAX - (int8_t)table[0]);
    const uint32_t step = table[1];

    if (((1U << bits) - 1U) * step <= room) {
        return true;
    }
    for (uint32_t at = 0; at < row_length; at++) {
        if (code_at(group, bits, member, at) * step > room) {
            return false;
        }
    }
    return true;
}

static bool filling_is_zero(const uint8_t *group, uint32_t bits, uint32_t member, uint32_t from, uint32_t to)
{
    for (uint32_t at = from; at < to; at++) {
        if (code_at(group, bits, member, at) != 0U) {
            return false;
        }
    }
    return true;
}

/* Whether a row can be added up whole. In row d codes of 4 bits count from -8 on. */
static bool sum_fits(const uint8_t *group, uint32_t bits, uint32_t member, uint32_t row_length)
{
    const uint32_t most = hwcmp_nested_largest_sum(bits * member);
    const int32_t zero = member == 3U && bits == 4U ? 8 : 0;
    uint32_t sum = 0;

    if (member == 0U || row_length <= most / (1U << bits)) {
        return true;
    }
    for (uint32_t at = 0; at < row_length && sum <= most; at++) {
        const int32_t value = (int32_t)code_at(group, bits, member, at) - zero;
        sum += (uint32_t)(value < 0 ? -value : value);
    }
    return sum <= most;
}

static bool rows_are_valid(const hwcmp_weights *weights, const hwcmp_nary_nested_shape *shape, uint32_t groups)
{
    const uint8_t *table = weights->payload;
    const uint8_t *group = hwcmp_nary_nested_groups(weights, shape);
    const uint32_t length = hwcmp_nested_length(weights);
    const bool cut = (weights->param & HWCMP_NESTED_PARTS) != 0;

    for (uint32_t row = 0; row < groups * HWCMP_NESTED_ROWS; row++) {
        const uint32_t member = row % HWCMP_NESTED_ROWS;
        const uint32_t used = row < weights->rows ? weights->row_length : 0U;
        if (!values_are_int8(table, group, shape->bits, member, used) ||
            !filling_is_zero(group, shape->bits, member, used, length) ||
            !(cut || sum_fits(group, shape->bits, member, used))) {
            return false;
        }
        table += row + 1U < weights->rows ? shape->table_step : 0U;
        group += member == HWCMP_NESTED_ROWS - 1U ? shape->group_bytes : 0U;
    }
    return true;
}

static hwcmp_status check_nary_nested(const hwcmp_weights *weights)
{
    const uint32_t levels = weights->param & HWCMP_NARY_NESTED_LEVELS;

    if (levels != 4U && levels != 16U) {
        return HWCMP_ERR_HEADER;
    }
    const hwcmp_nary_nested_shape shape = hwcmp_nary_nested_shape_of(weights);
    const uint32_t table_section = (uint32_t)hwcmp_section_bytes(shape.table_bytes);
    const uint32_t groups = (weights->rows + HWCMP_NESTED_ROWS - 1U) / HWCMP_NESTED_ROWS;
    if (table_section + (uint64_t)groups * shape.group_bytes != weights->payload_bytes) {
        return HWCMP_ERR_PAYLOAD;
    }
    if (!hwcmp_padding_is_zero(weights->payload, shape.table_bytes) || !rows_are_valid(weights, &shape, groups)) {
        return HWCMP_ERR_PAYLOAD;
    }
    return HWCMP_OK;
}

static void unpack_nary_nested(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count,
                               uint32_t row_stride, int8_t *out)
{
    const hwcmp_nary_nested_shape shape = hwcmp_nary_nested_shape_of(weights);
    const uint8_t *groups = hwcmp_nary_nested_groups(weights, &shape);

    for (uint32_t row = first_row; row < first_row + row_count; row++) {
        const uint8_t *table = weights->payload + (size_t)row * shape.table_step;
        const uint8_t *group = groups + (size_t)(row / HWCMP_NESTED_ROWS) * shape.group_bytes;
        for (uint32_t at = 0; at < weights->row_length; at++) {
            const uint32_t code = code_at(group, shape.bits, row % HWCMP_NESTED_ROWS, at);
            out[at] = (int8_t)((int8_t)table[0] + (int32_t)(table[1] * code));
        }
        out += row_stride;
    }
}

const struct hwcmp_format_ops hwcmp_nary_nested_format = {
    .id = HWCMP_FORMAT_NARY_NESTED,
    .kind = HWCMP_KIND_DIRECT,
    .check = check_nary_nested,
    .unpack_rows = unpack_nary_nested,
};
