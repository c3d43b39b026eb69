/* SPDX-License-Identifier: Apache-2.0
 *
 * nary: n in 2..16 levels; as many base-n digits in a byte as fit, the first weight in the lowest digit.
 *
 * payload = level table (n int8 for the tensor, or n for each row), padded to 4;
 *           codes, each row from a byte boundary, padded to 4.
 */
#include "hwcmp_format_ops.h"

#define LEVELS_MASK (HWCMP_NARY_PER_CHANNEL - 1)

struct nary_shape {
    uint32_t levels;
    uint32_t codes_per_byte;
    uint32_t row_bytes;
    uint32_t table_step;  /* from one row's table to the next: 0 when all rows share one */
    uint32_t table_bytes; /* without padding; at most 16 * 65535 */
};

typedef void (*unpack_row_fn)(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out);

/* floor(8 / log2(levels)): the largest k with levels^k <= 256. */
static uint32_t codes_per_byte(uint32_t levels)
{
    if (levels <= 4U) {
        return levels == 2U ? 8U : levels == 3U ? 5U : 4U;
    }
    return levels <= 6U ? 3U : 2U;
}

static struct nary_shape shape_of(const hwcmp_weights *weights)
{
    struct nary_shape shape;

    shape.levels = weights->param & LEVELS_MASK;
    shape.codes_per_byte = codes_per_byte(shape.levels);
    shape.row_bytes = (weights->row_length + shape.codes_per_byte - 1U) / shape.codes_per_byte;
    shape.table_step = (weights->param & HWCMP_NARY_PER_CHANNEL) != 0 ? shape.levels : 0U;
    shape.table_bytes = shape.table_step != 0U ? shape.levels * weights->rows : shape.levels;
    return shape;
}

/* ---- check --------------------------------------------------------------------------------------------- */

static bool tables_ascend(const int8_t *table, uint32_t bytes, uint32_t levels)
{
    for (uint32_t first = 0; first < bytes; first += levels) {
        for (uint32_t i = first + 1U; i < first + levels; i++) {
            if (table[i] < table[i - 1U]) {
                return false;
            }
        }
    }
    return true;
}

static uint32_t power(uint32_t base, uint32_t exponent)
{
    uint32_t result = 1U;

    for (uint32_t i = 0; i < exponent; i++) {
        result *= base;
    }
    return result;
}

/* All digits are below `levels` if the byte is below levels^digits; the last byte of a row may hold fewer. */
static bool codes_are_valid(const uint8_t *codes, uint32_t rows, uint32_t row_length, const struct nary_shape *shape)
{
    const uint32_t last = shape->row_bytes - 1U;
    const uint32_t limit = power(shape->levels, shape->codes_per_byte);
    const uint32_t last_limit = power(shape->levels, row_length - last * shape->codes_per_byte);

    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t i = 0; i < last; i++) {
            if (codes[i] >= limit) {
                return false;
            }
        }
        if (codes[last] >= last_limit) {
            return false;
        }
        codes += shape->row_bytes;
    }
    return true;
}

static hwcmp_status check_nary(const hwcmp_weights *weights)
{
    const uint32_t levels = weights->param & LEVELS_MASK;

    if (levels < HWCMP_MIN_LEVELS || levels > HWCMP_MAX_LEVELS) {
        return HWCMP_ERR_HEADER;
    }
    const struct nary_shape shape = shape_of(weights);
    const uint32_t table_section = (uint32_t)hwcmp_section_bytes(shape.table_bytes);
    const uint64_t code_bytes = (uint64_t)shape.row_bytes * weights->rows;
    if (table_section + hwcmp_section_bytes(code_bytes) != weights->payload_bytes) {
        return HWCMP_ERR_PAYLOAD;
    }
    /* The payload is in memory, so code_bytes fits 32 bits from here on. */
    const uint8_t *codes = weights->payload + table_section;
    if (!tables_ascend((const int8_t *)weights->payload, shape.table_bytes, levels) ||
        !hwcmp_padding_is_zero(weights->payload, shape.table_bytes) ||
        !codes_are_valid(codes, weights->rows, weights->row_length, &shape) ||
        !hwcmp_padding_is_zero(codes, (uint32_t)code_bytes)) {
        return HWCMP_ERR_PAYLOAD;
    }
    return HWCMP_OK;
}

/* ---- unpack -------------------------------------------------------------------------------------------- */

/* ceil(2^16 / n): (x * reciprocal[n]) >> 16 == x / n for every x <= 255 (a test tries them all). */
#define RECIPROCAL(n) ((65536U + (n)-1U) / (n))
static const uint16_t reciprocal[HWCMP_MAX_LEVELS + 1] = {
    0,
    0,
    RECIPROCAL(2U),
    RECIPROCAL(3U),
    RECIPROCAL(4U),
    RECIPROCAL(5U),
    RECIPROCAL(6U),
    RECIPROCAL(7U),
    RECIPROCAL(8U),
    RECIPROCAL(9U),
    RECIPROCAL(10U),
    RECIPROCAL(11U),
    RECIPROCAL(12U),
    RECIPROCAL(13U),
    RECIPROCAL(14U),
    RECIPROCAL(15U),
    RECIPROCAL(16U),
};

/* The first `count` digits of the last, partly filled byte of a row; any number of levels. */
static void unpack_tail(uint32_t code, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t rest = (code * reciprocal[levels]) >> 16;
        out[i] = table[code - rest * levels];
        code = rest;
    }
}

static void unpack_row_2(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    for (; count >= 8U; count -= 8U) {
        const uint32_t code = *codes++;
        out[0] = table[code & 1U];
        out[1] = table[(code >> 1) & 1U];
        out[2] = table[(code >> 2) & 1U];
        out[3] = table[(code >> 3) & 1U];
        out[4] = table[(code >> 4) & 1U];
        out[5] = table[(code >> 5) & 1U];
        out[6] = table[(code >> 6) & 1U];
        out[7] = table[code >> 7];
        out += 8;
    }
    if (count != 0U) {
        unpack_tail(*codes, count, levels, table, out);
    }
}

/* code / 243 as a fixed-point fraction of 30 bits, rounded up; each multiplication by 3 moves the highest digit that
 * is left into bits 30-31. Exact because the error, below 242 / 2^30, stays below 1 / 243, the spacing of the
 * fractions. code = 5 = 00012 in base 3: out[0] = table[2], out[1] = table[1], then three times table[0]. */
#define FRACTION_BITS 30
#define FRACTION_MASK ((1U << FRACTION_BITS) - 1U)
#define FRACTION_OF_243 (((1U << FRACTION_BITS) + 242U) / 243U)

static void unpack_row_3(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    for (; count >= 5U; count -= 5U) {
        uint32_t fraction = *codes++ * FRACTION_OF_243 * 3U;
        out[4] = table[fraction >> FRACTION_BITS];
        fraction = (fraction & FRACTION_MASK) * 3U;
        out[3] = table[fraction >> FRACTION_BITS];
        fraction = (fraction & FRACTION_MASK) * 3U;
        out[2] = table[fraction >> FRACTION_BITS];
        fraction = (fraction & FRACTION_MASK) * 3U;
        out[1] = table[fraction >> FRACTION_BITS];
        fraction = (fraction & FRACTION_MASK) * 3U;
        out[0] = table[fraction >> FRACTION_BITS];
        out += 5;
    }
    if (count != 0U) {
        unpack_tail(*codes, count, levels, table, out);
    }
}

static void unpack_row_4(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    for (; count >= 4U; count -= 4U) {
        const uint32_t code = *codes++;
        out[0] = table[code & 3U];
        out[1] = table[(code >> 2) & 3U];
        out[2] = table[(code >> 4) & 3U];
        out[3] = table[code >> 6];
        out += 4;
    }
    if (count != 0U) {
        unpack_tail(*codes, count, levels, table, out);
    }
}

static void unpack_row_5_6(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    const uint32_t factor = reciprocal[levels];

    for (; count >= 3U; count -= 3U) {
        const uint32_t code = *codes++;
        const uint32_t upper = (code * factor) >> 16;
        const uint32_t top = (upper * factor) >> 16;
        out[0] = table[code - upper * levels];
        out[1] = table[upper - top * levels];
        out[2] = table[top];
        out += 3;
    }
    if (count != 0U) {
        unpack_tail(*codes, count, levels, table, out);
    }
}

static void unpack_row_7_15(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    const uint32_t factor = reciprocal[levels];

    for (; count >= 2U; count -= 2U) {
        const uint32_t code = *codes++;
        const uint32_t top = (code * factor) >> 16;
        out[0] = table[code - top * levels];
        out[1] = table[top];
        out += 2;
    }
    if (count != 0U) {
        unpack_tail(*codes, count, levels, table, out);
    }
}

static void unpack_row_16(const uint8_t *codes, uint32_t count, uint32_t levels, const int8_t *table, int8_t *out)
{
    for (; count >= 2U; count -= 2U) {
        const uint32_t code = *codes++;
        out[0] = table[code & 15U];
        out[1] = table[code >> 4];
        out += 2;
    }
    if (count != 0U) {
        unpack_tail(*codes, count, levels, table, out);
    }
}

static unpack_row_fn row_function(uint32_t levels)
{
    switch (levels) {
    case 2U:
        return unpack_row_2;
    case 3U:
        return unpack_row_3;
    case 4U:
        return unpack_row_4;
    case 5U:
    case 6U:
        return unpack_row_5_6;
    case 16U:
        return unpack_row_16;
    default:
        return unpack_row_7_15;
    }
}

static void unpack_nary(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                        int8_t *out)
{
    const struct nary_shape shape = shape_of(weights);
    const unpack_row_fn unpack_row = row_function(shape.levels);
    const int8_t *table = (const int8_t *)weights->payload + (size_t)first_row * shape.table_step;
    const uint8_t *codes = weights->payload + (size_t)hwcmp_section_bytes(shape.table_bytes) +
                           (size_t)first_row * shape.row_bytes;

    for (uint32_t i = 0; i < row_count; i++) {
        unpack_row(codes, weights->row_length, shape.levels, table, out + (size_t)i * row_stride);
        codes += shape.row_bytes;
        table += shape.table_step;
    }
}

const struct hwcmp_format_ops hwcmp_nary_format = {
    .id = HWCMP_FORMAT_NARY,
    .kind = HWCMP_KIND_OF_NARY,
    .check = check_nary,
    .unpack_rows = unpack_nary,
};
