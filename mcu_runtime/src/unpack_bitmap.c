/* SPDX-License-Identifier: Apache-2.0
 *
 * bitmap: a bit for every weight that is not zero, or for every group of four that are not all zero; then the weights
 * that have a bit, as they are or as codes of 1, 2 or 4 bits.
 *
 * payload = levels, count of set bits of each row, maps (rows from a byte boundary), codes (of all rows without a gap),
 *           padded to 4. Everything begins with the low bits.
 */
#include "hwcmp_format_ops.h"

/* param */
#define CODE_LOG2_MASK 3U
#define COUNT_SHIFT 3U
#define COUNT_LOG2_MAX 2U

struct bitmap {
    const int8_t *levels;
    const uint8_t *counts;
    const uint8_t *maps;
    const uint8_t *codes;
    uint32_t code_bits;
    uint32_t level_count; /* 0 where codes are weights */
    uint32_t per_bit;     /* weights that a bit stands for */
    uint32_t units;       /* bits of a row's map */
    uint32_t map_bytes;
    uint32_t count_bytes;
};

/* All but the pointers. */
static struct bitmap shape_of(const hwcmp_weights *weights)
{
    struct bitmap map = {NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0};

    map.code_bits = UINT32_C(1) << (weights->param & CODE_LOG2_MASK);
    map.level_count = map.code_bits == 8U ? 0U : UINT32_C(1) << map.code_bits;
    map.per_bit = (weights->param & HWCMP_BITMAP_GROUPS) != 0 ? (uint32_t)HWCMP_BITMAP_GROUP : 1U;
    map.units = (weights->row_length + map.per_bit - 1U) / map.per_bit;
    map.map_bytes = (map.units + 7U) / 8U;
    map.count_bytes = UINT32_C(1) << (weights->param >> COUNT_SHIFT);
    return map;
}

/* The pointers, once the payload is known to hold levels, counts and maps. */
static void locate(const hwcmp_weights *weights, struct bitmap *map)
{
    map->levels = (const int8_t *)weights->payload;
    map->counts = weights->payload + map->level_count;
    map->maps = map->counts + (size_t)map->count_bytes * weights->rows;
    map->codes = map->maps + (size_t)map->map_bytes * weights->rows;
}

static uint32_t count_of(const struct bitmap *map, uint32_t row)
{
    const uint8_t *entry = map->counts + (size_t)row * map->count_bytes;
    uint32_t count = 0;

    for (uint32_t i = map->count_bytes; i-- > 0U;) {
        count = (count << 8) | entry[i];
    }
    return count;
}

/* Codes in front of those of `row`. */
static uint64_t codes_before(const struct bitmap *map, uint32_t row)
{
    uint64_t bits = 0;

    for (uint32_t i = 0; i < row; i++) {
        bits += count_of(map, i);
    }
    return bits * map->per_bit;
}

/* ---- check --------------------------------------------------------------------------------------------- */

static uint32_t set_bits(const uint8_t *bytes, uint32_t count)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t byte = bytes[i]; byte != 0U; byte &= byte - 1U) {
            bits++;
        }
    }
    return bits;
}

/* True if each row's map has as many bits as its count says, none behind the end of the row. */
static bool maps_are_valid(const hwcmp_weights *weights, const struct bitmap *map)
{
    const uint8_t *bytes = map->maps;
    const uint32_t last = map->map_bytes - 1U;

    for (uint32_t row = 0; row < weights->rows; row++) {
        if ((uint32_t)bytes[last] >> (map->units - 8U * last) != 0U || set_bits(bytes, map->map_bytes) != count_of(map, row)) {
            return false;
        }
        bytes += map->map_bytes;
    }
    return true;
}

static bool code_is_zero(const struct bitmap *map, uint64_t at)
{
    const uint64_t bit = at * map->code_bits;

    return ((map->codes[bit >> 3] >> (bit & 7U)) & ((1U << map->code_bits) - 1U)) == 0U;
}

/* True if the codes of the last group of each row are zero where they stand for no weight. */
static bool codes_behind_rows_are_zero(const hwcmp_weights *weights, const struct bitmap *map)
{
    const uint32_t behind = map->units * map->per_bit - weights->row_length;
    const uint8_t *last = map->maps + (map->units - 1U) / 8U;
    uint64_t end = 0;

    for (uint32_t row = 0; row < weights->rows; row++) {
        end += (uint64_t)count_of(map, row) * map->per_bit;
        const bool used = ((uint32_t)*last >> ((map->units - 1U) & 7U)) != 0U;
        for (uint32_t i = used ? behind : 0U; i > 0U; i--) {
            if (!code_is_zero(map, end - i)) {
                return false;
            }
        }
        last += map->map_bytes;
    }
    return true;
}

static hwcmp_status check_bitmap(const hwcmp_weights *weights)
{
    if (weights->param >> COUNT_SHIFT > COUNT_LOG2_MAX) {
        return HWCMP_ERR_HEADER;
    }
    struct bitmap map = shape_of(weights);
    const uint64_t head = map.level_count + (uint64_t)weights->rows * (map.count_bytes + map.map_bytes);
    if (head > weights->payload_bytes) {
        return HWCMP_ERR_PAYLOAD;
    }
    locate(weights, &map);
    if (!maps_are_valid(weights, &map)) {
        return HWCMP_ERR_PAYLOAD;
    }
    const uint64_t code_bits = codes_before(&map, weights->rows) * map.code_bits;
    const uint64_t bytes = head + (code_bits + 7U) / 8U;
    if (hwcmp_section_bytes(bytes) != weights->payload_bytes ||
        !hwcmp_padding_is_zero(weights->payload, (uint32_t)bytes) ||
        ((code_bits & 7U) != 0U && weights->payload[bytes - 1U] >> (code_bits & 7U) != 0) ||
        !codes_behind_rows_are_zero(weights, &map)) {
        return HWCMP_ERR_PAYLOAD;
    }
    return HWCMP_OK;
}

/* ---- unpack -------------------------------------------------------------------------------------------- */

/* The codes that come next. `bits` holds what is left of a byte, and a one above it; weights do not need it. */
struct codes {
    const uint8_t *next;
    const int8_t *levels;
    uint32_t bits;
    uint32_t width;
    uint32_t mask;
};

static inline int8_t next_weight(struct codes *codes, bool are_weights)
{
    if (are_weights) {
        return *(const int8_t *)codes->next++;
    }
    if (codes->bits == 1U) {
        codes->bits = *codes->next++ | 0x100U;
    }
    const int8_t level = codes->levels[codes->bits & codes->mask];
    codes->bits >>= codes->width;
    return level;
}

/* Unrolled, and once for weights and once for codes: with a loop over the bits it takes twice the instructions. Bits
 * behind the end of the row are zero. */
static inline void unpack_bits(const uint8_t *map, uint32_t map_bytes, struct codes *codes, bool are_weights, int8_t *out)
{
    for (; map_bytes > 0U; map_bytes--) {
        const uint32_t bits = *map++;
        if ((bits & 1U) != 0U) {
            out[0] = next_weight(codes, are_weights);
        }
        if ((bits & 2U) != 0U) {
            out[1] = next_weight(codes, are_weights);
        }
        if ((bits & 4U) != 0U) {
            out[2] = next_weight(codes, are_weights);
        }
        if ((bits & 8U) != 0U) {
            out[3] = next_weight(codes, are_weights);
        }
        if ((bits & 16U) != 0U) {
            out[4] = next_weight(codes, are_weights);
        }
        if ((bits & 32U) != 0U) {
            out[5] = next_weight(codes, are_weights);
        }
        if ((bits & 64U) != 0U) {
            out[6] = next_weight(codes, are_weights);
        }
        if ((bits & 128U) != 0U) {
            out[7] = next_weight(codes, are_weights);
        }
        out += 8;
    }
}

static struct codes unpack_weights(const uint8_t *map, uint32_t map_bytes, struct codes codes, int8_t *out)
{
    unpack_bits(map, map_bytes, &codes, true, out);
    return codes;
}

static struct codes unpack_codes(const uint8_t *map, uint32_t map_bytes, struct codes codes, int8_t *out)
{
    unpack_bits(map, map_bytes, &codes, false, out);
    return codes;
}

/* A row of groups, of which the last may be cut off. */
static struct codes unpack_groups(const uint8_t *map, uint32_t row_length, struct codes codes, int8_t *out)
{
    const bool are_weights = codes.mask == 0U;
    const int8_t *const end = out + row_length;
    uint32_t bits = 1;

    for (; out < end; out += HWCMP_BITMAP_GROUP) {
        if (bits == 1U) {
            bits = *map++ | 0x100U;
        }
        const bool used = (bits & 1U) != 0U;
        bits >>= 1;
        for (int32_t i = 0; used && i < HWCMP_BITMAP_GROUP; i++) {
            const int8_t weight = next_weight(&codes, are_weights);
            if (i < end - out) {
                out[i] = weight;
            }
        }
    }
    return codes;
}

/* The codes from number `at` on. */
static struct codes codes_from(const struct bitmap *map, uint64_t at)
{
    const uint64_t bit = at * map->code_bits;
    const uint32_t used = (uint32_t)bit & 7U;
    struct codes codes = {map->codes + (size_t)(bit >> 3), map->levels, 1U, map->code_bits, map->level_count - 1U};

    if (map->level_count == 0U) {
        codes.mask = 0U;
    } else if (used != 0U) {
        codes.bits = (*codes.next++ | 0x100U) >> used;
    }
    return codes;
}

static void unpack_bitmap(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                          int8_t *out)
{
    struct bitmap map = shape_of(weights);

    locate(weights, &map);
    struct codes codes = codes_from(&map, codes_before(&map, first_row));
    const uint8_t *bytes = map.maps + (size_t)first_row * map.map_bytes;
    for (; row_count > 0U; row_count--) {
        hwcmp_fill_zeros(out, weights->row_length);
        if (map.per_bit != 1U) {
            codes = unpack_groups(bytes, weights->row_length, codes, out);
        } else if (map.level_count == 0U) {
            codes = unpack_weights(bytes, map.map_bytes, codes, out);
        } else {
            codes = unpack_codes(bytes, map.map_bytes, codes, out);
        }
        bytes += map.map_bytes;
        out += row_stride;
    }
}

const struct hwcmp_format_ops hwcmp_bitmap_format = {
    .id = HWCMP_FORMAT_BITMAP,
    .kind = HWCMP_KIND_OF_BITMAP,
    .check = check_bitmap,
    .unpack_rows = unpack_bitmap,
};
