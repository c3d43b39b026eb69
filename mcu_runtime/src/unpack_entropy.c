/* SPDX-License-Identifier: Apache-2.0
 *
 * entropy: prefix codes for the gaps between non-zero weights and for their values, in tiles of whole rows.
 *
 * payload = nibbles (counts of code lengths), gap symbols, levels, index, padding, tiles. See FORMAT.md.
 * A token is a gap code and a value code: `advance` weights, zeros but for the last. A run is a token without a value
 * code, whose last weight is zero like the others. Tiles are read backwards, bit 7 first, so that reading ahead stays
 * in the blob: in front of a tile there are other tiles, or at least 4 bytes of payload and the header.
 */
#include "hwcmp_format_ops.h"

#define LONGEST ((uint32_t)HWCMP_ENTROPY_MAX_LENGTH)
#define MAX_GAPS (HWCMP_ENTROPY_RUN + 1U)
#define MAX_LEVELS 256U
#define NIBBLE_ESCAPE 15U
#define SPARE_BITS 7U
#define PADDING_BITS 24U
#define TOKEN_BITS (2U * LONGEST)

/* param */
#define ROWS_LOG2_MASK 7U
#define INDEX_SHIFT 3U
#define INDEX_MASK 3U
#define INDEX_LOG2_MAX 2U

#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#define UNLIKELY(condition) __builtin_expect((condition), 0)
#else
#define NOINLINE
#define UNLIKELY(condition) (condition)
#endif

/* A canonical code. Codes of `length` bits are below limit[length] when LONGEST bits are compared;
 * symbol = offset[length] + code, modulo 2^16. */
struct prefix_code {
    uint16_t limit[HWCMP_ENTROPY_MAX_LENGTH + 1];
    uint16_t offset[HWCMP_ENTROPY_MAX_LENGTH + 1];
    uint16_t symbols;
};

struct model {
    struct prefix_code gap;
    struct prefix_code value;
    const uint8_t *gaps; /* a byte for each gap symbol, or null: they ascend but for the run */
    const int8_t *levels;
    const uint8_t *index;
    const uint8_t *tiles;
    const uint8_t *end;
    uint32_t run_at;
    uint32_t tile_count;
    uint32_t index_bytes; /* of one entry */
};

/* Four bytes at most, so that it is returned in a register. */
struct token {
    uint8_t length; /* bits */
    uint8_t advance;
    int8_t value;
};

/* ---- the model ----------------------------------------------------------------------------------------- */

struct nibbles {
    const uint8_t *bytes;
    uint32_t byte_count;
    uint32_t at;
};

/* Zero behind the end, which the caller notices by `at`. */
static NOINLINE uint32_t next_nibble(struct nibbles *nibbles)
{
    const uint32_t at = nibbles->at++;

    return at >> 1 < nibbles->byte_count ? ((uint32_t)nibbles->bytes[at >> 1] >> (4U * (at & 1U))) & 15U : 0U;
}

static uint32_t next_count(struct nibbles *nibbles)
{
    uint32_t count = next_nibble(nibbles);

    if (count == NIBBLE_ESCAPE) {
        count = next_nibble(nibbles);
        count |= next_nibble(nibbles) << 4;
        count |= next_nibble(nibbles) << 8;
    }
    return count;
}

/* Reads counts until the code is complete; false if it does not become so with `most` symbols. */
static NOINLINE bool read_code(struct nibbles *nibbles, uint32_t most, struct prefix_code *code)
{
    uint32_t next = 0; /* first code of the length */
    uint32_t symbols = 0;

    for (uint32_t length = 0; length <= LONGEST; length++) {
        const uint32_t count = next_count(nibbles);
        const uint32_t room = (UINT32_C(1) << length) - next;
        if (count > room || symbols + count > most) {
            return false;
        }
        code->offset[length] = (uint16_t)(symbols - next);
        symbols += count;
        next += count;
        code->limit[length] = (uint16_t)(next << (LONGEST - length));
        if (count == room) {
            code->symbols = (uint16_t)symbols;
            return true;
        }
        next <<= 1;
    }
    return false;
}

/* Fills `model`; OK if everything in front of the tiles is valid. */
static hwcmp_status read_model(const hwcmp_weights *weights, struct model *model)
{
    const uint32_t index_log2 = (weights->param >> INDEX_SHIFT) & INDEX_MASK;
    const bool listed = (weights->param & HWCMP_ENTROPY_LISTED) != 0;
    struct nibbles nibbles = {weights->payload, weights->payload_bytes, 0};

    if (index_log2 > INDEX_LOG2_MAX || weights->param >= 2 * HWCMP_ENTROPY_LISTED) {
        return HWCMP_ERR_HEADER;
    }
    if (!read_code(&nibbles, MAX_GAPS, &model->gap) || !read_code(&nibbles, MAX_LEVELS, &model->value) ||
        (model->gap.symbols == 1U && (listed || model->value.symbols == 1U))) {
        return HWCMP_ERR_PAYLOAD;
    }
    if ((nibbles.at & 1U) != 0U && next_nibble(&nibbles) != 0U) {
        return HWCMP_ERR_PAYLOAD;
    }
    const uint32_t gap_bytes = listed ? model->gap.symbols : (model->gap.symbols > 1U ? 1U : 0U);
    model->tile_count = ((weights->rows - 1U) >> (weights->param & ROWS_LOG2_MASK)) + 1U;
    model->index_bytes = UINT32_C(1) << index_log2;
    const uint32_t model_bytes = (nibbles.at >> 1) + gap_bytes + model->value.symbols;
    const uint32_t head_bytes = model_bytes + (model->tile_count - 1U) * model->index_bytes;
    if (head_bytes > weights->payload_bytes) {
        return HWCMP_ERR_PAYLOAD;
    }
    const uint8_t *alphabet = weights->payload + (nibbles.at >> 1);
    model->gaps = listed ? alphabet : NULL;
    model->run_at = !listed && gap_bytes != 0U ? *alphabet : 0U;
    model->levels = (const int8_t *)alphabet + gap_bytes;
    model->index = weights->payload + model_bytes;
    model->tiles = weights->payload + head_bytes;
    model->end = weights->payload + weights->payload_bytes;
    return model->run_at < model->gap.symbols ? HWCMP_OK : HWCMP_ERR_PAYLOAD;
}

static NOINLINE uint32_t gap_symbol(const struct model *model, uint32_t symbol)
{
    if (model->gaps != NULL) {
        return model->gaps[symbol];
    }
    if (model->gap.symbols == 1U || symbol < model->run_at) {
        return symbol;
    }
    return symbol == model->run_at ? HWCMP_ENTROPY_RUN + model->gap.symbols - 2U : symbol - 1U;
}

/* Bytes of tile `tile`, which is not the first. */
static NOINLINE uint32_t tile_bytes(const struct model *model, uint32_t tile)
{
    const uint8_t *entry = model->index + (size_t)(tile - 1U) * model->index_bytes;
    uint32_t bytes = 0;

    for (uint32_t i = model->index_bytes; i-- > 0U;) {
        bytes = (bytes << 8) | entry[i];
    }
    return bytes;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

/* The symbol whose code, of at least `found` bits, `bits` begins with at bit 31; its length is added to *length. */
static uint32_t read_symbol(const struct prefix_code *code, uint32_t bits, uint32_t found, uint32_t *length)
{
    const uint32_t window = bits >> (32U - LONGEST);

    while (window >= code->limit[found]) {
        found++;
    }
    *length += found;
    return (uint16_t)(code->offset[found] + (window >> (LONGEST - found)));
}

/* The token at the top of `bits`, of which the first TOKEN_BITS count. */
static NOINLINE struct token read_token(const struct model *model, uint32_t bits)
{
    uint32_t length = 0;
    const uint32_t symbol = gap_symbol(model, read_symbol(&model->gap, bits, 0, &length));
    const bool run = symbol >= HWCMP_ENTROPY_RUN;
    const int8_t value = run ? (int8_t)0 : model->levels[read_symbol(&model->value, bits << length, 0, &length)];
    const uint32_t advance = run ? symbol - HWCMP_ENTROPY_RUN + 1U : symbol + 1U;
    const struct token token = {(uint8_t)length, (uint8_t)advance, value};

    return token;
}

/* ---- check --------------------------------------------------------------------------------------------- */

/* True if the bytes [first, end) hold the tokens of `weights` weights and at most `spare` bits more, all zero. */
static bool tile_is_valid(const struct model *model, const uint8_t *first, const uint8_t *end, uint32_t weights,
                          uint32_t spare)
{
    uint32_t bits = 0;
    uint32_t ready = 0;
    uint32_t absent = 0; /* of the ready bits, those that no byte has */

    while (weights > 0U) {
        for (; ready < TOKEN_BITS; ready += 8U) {
            if (end != first) {
                bits |= (uint32_t)*--end << (24U - ready);
            } else {
                absent += 8U;
            }
        }
        const struct token token = read_token(model, bits);
        bits <<= token.length;
        ready -= token.length;
        if (ready < absent) {
            return false;
        }
        weights -= token.advance < weights ? token.advance : weights;
    }
    for (; end != first && ready <= spare; ready += 8U) {
        bits |= *--end;
    }
    return bits == 0U && ready - absent <= spare;
}

static hwcmp_status check_entropy(const hwcmp_weights *weights)
{
    const uint32_t rows_log2 = weights->param & ROWS_LOG2_MASK;
    struct model model;

    const hwcmp_status status = read_model(weights, &model);
    if (status != HWCMP_OK) {
        return status;
    }
    uint32_t left = (uint32_t)(model.end - model.tiles);
    uint32_t rows = weights->rows - ((model.tile_count - 1U) << rows_log2);
    /* From the last tile to the first, which has what is left. rows * row_length is below 2^31. */
    for (uint32_t tile = model.tile_count; tile-- > 0U;) {
        const uint32_t bytes = tile > 0U ? tile_bytes(&model, tile) : left;
        const uint32_t spare = tile > 0U ? SPARE_BITS : SPARE_BITS + PADDING_BITS;
        if (bytes > left) {
            return HWCMP_ERR_PAYLOAD;
        }
        left -= bytes;
        const uint8_t *first = model.tiles + left;
        if (!tile_is_valid(&model, first, first + bytes, rows * weights->row_length, spare)) {
            return HWCMP_ERR_PAYLOAD;
        }
        rows = UINT32_C(1) << rows_log2;
    }
    return HWCMP_OK;
}

/* ---- lookup tables ------------------------------------------------------------------------------------- */

/* What the next TOKEN_LOOKUP bits begin with. An entry: the last weight in bits 0-7, advance in bits 8-11, length in
 * bits 12-14. Bit 15: this is the gap code alone and a value code follows, or, where advance is 0, read_token() must
 * look. An entry of `values`, for the next VALUE_LOOKUP bits: weight and length, 0 if the code is longer. */
#define TOKEN_LOOKUP 7U
#define VALUE_LOOKUP 7U
#define LENGTH_SHIFT 12U
#define LENGTH_MASK 7U
#define ADVANCE_SHIFT 8U
#define ADVANCE_MASK 15U
#define OPEN (1U << 15)

struct lookup {
    uint16_t tokens[1U << TOKEN_LOOKUP];
    uint16_t values[1U << VALUE_LOOKUP];
};

static NOINLINE void fill(uint16_t *out, const uint16_t *end, uint32_t entry)
{
    while (out != end) {
        *out++ = (uint16_t)entry;
    }
}

/* The entries [out, out + 2^window): entry + length and level of the value code, `open` where it is longer than
 * `window`. Returns whether no code is. */
static NOINLINE bool fill_values(const struct model *model, uint32_t window, uint32_t entry, uint32_t open, uint16_t *out)
{
    const uint16_t *const end = out + (1U << window);
    const uint16_t *const begin = out;
    const int8_t *level = model->levels;

    for (uint32_t length = 0; length <= window && out != end; length++) {
        const uint16_t *const limit = begin + (model->value.limit[length] >> (LONGEST - window));
        while (out != limit) {
            uint16_t *const next = out + (1U << (window - length));
            fill(out, next, entry + (length << LENGTH_SHIFT) + (uint8_t)*level++);
            out = next;
        }
    }
    fill(out, end, open);
    return out == end;
}

/* The entries [out, end) of a gap symbol whose code has `length` bits. */
static bool fill_gap(const struct model *model, uint32_t symbol, uint32_t length, uint16_t *out, const uint16_t *end)
{
    const bool run = symbol >= HWCMP_ENTROPY_RUN;
    const uint32_t advance = run ? symbol - HWCMP_ENTROPY_RUN + 1U : symbol + 1U;
    const uint32_t entry = (advance << ADVANCE_SHIFT) + (length << LENGTH_SHIFT);

    if (advance <= ADVANCE_MASK && !run) {
        return fill_values(model, TOKEN_LOOKUP - length, entry, entry + OPEN, out);
    }
    fill(out, end, advance <= ADVANCE_MASK ? entry : OPEN);
    return true;
}

/* Adds the token behind a run to the entries of the run, `first`, where TOKEN_LOOKUP bits hold both: runs are short,
 * and most gaps are a few runs and a rest. From the last entry on, because the code of a frequent run is zeros: the
 * entries for what is behind it are then complete. */
static void join_runs(uint16_t *tokens, uint16_t *first)
{
    const uint32_t run = *first;
    const uint32_t window = TOKEN_LOOKUP - (run >> LENGTH_SHIFT);

    for (uint32_t i = 1U << window; i-- > 0U;) {
        const uint32_t next = tokens[i << (TOKEN_LOOKUP - window)];
        const uint32_t advance = (next >> ADVANCE_SHIFT) & ADVANCE_MASK;
        const uint32_t both = (run >> ADVANCE_SHIFT & ADVANCE_MASK) + advance;
        if (advance != 0U && both <= ADVANCE_MASK && (next >> LENGTH_SHIFT & LENGTH_MASK) <= window) {
            first[i] = (uint16_t)(next + run);
        }
    }
}

static void fill_lookup(const struct model *model, struct lookup *lookup)
{
    uint16_t *out = lookup->tokens;
    const uint16_t *const end = out + (1U << TOKEN_LOOKUP);
    uint16_t *run = NULL;
    uint32_t symbol = 0;
    bool complete = true;

    for (uint32_t length = 0; length <= TOKEN_LOOKUP && out != end; length++) {
        const uint16_t *const limit = lookup->tokens + (model->gap.limit[length] >> (LONGEST - TOKEN_LOOKUP));
        while (out != limit) {
            const uint32_t gap = gap_symbol(model, symbol++);
            uint16_t *const next = out + ((1U << TOKEN_LOOKUP) >> length);
            complete = fill_gap(model, gap, length, out, next) && complete;
            run = gap >= HWCMP_ENTROPY_RUN && *out != OPEN ? out : run;
            out = next;
        }
    }
    fill(out, end, OPEN);
    if (run != NULL) {
        join_runs(lookup->tokens, run);
    }
    if (!complete) {
        (void)fill_values(model, VALUE_LOOKUP, 0, 0, lookup->values);
    }
}

/* ---- unpack -------------------------------------------------------------------------------------------- */

/* The value code at the top of `bits`, longer than VALUE_LOOKUP, as an entry of `values`. */
static NOINLINE uint32_t read_value(const struct model *model, uint32_t bits)
{
    uint32_t length = 0;
    const int8_t value = model->levels[read_symbol(&model->value, bits, VALUE_LOOKUP + 1U, &length)];

    return (length << LENGTH_SHIFT) + (uint8_t)value;
}

/* Rows of a tile: `skip` that are not wanted and are written where the first wanted one comes, then `take`. */
struct rows {
    int8_t *out;
    uint32_t stride;
    uint32_t length;
    uint32_t skip;
    uint32_t take;
};

/* The last weight of the next row, whose weights are set to zero; null behind the last row. */
static NOINLINE int8_t *next_row(struct rows *rows)
{
    int8_t *const row = rows->out;

    if (rows->skip > 0U) {
        rows->skip--;
    } else if (rows->take > 0U) {
        rows->take--;
        rows->out += rows->stride;
    } else {
        return NULL;
    }
    hwcmp_fill_zeros(row, rows->length);
    return row + (rows->length - 1U);
}

static uint32_t load_u16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8);
}

/* Between tokens the top 16 + `spare` bits of `bits` are valid, spare 0 to 16. last[at] is the last weight of the last
 * token, last[0] that of its row. Behind the last token of a tile at most one more is read, from bytes in front of the
 * tile, without effect: its weights lie behind the last row. A token takes up to 24 bits, so spare >= -16 at the end. */
static NOINLINE void unpack_tile(const struct model *model, const struct lookup *lookup, const uint8_t *end,
                                 struct rows *rows)
{
    const uint16_t *const tokens = lookup->tokens;
    const uint8_t *next = end - 4;
    uint32_t bits = load_u16(next) | (load_u16(next + 2) << 16);
    int32_t spare = 16;
    int8_t *last = NULL;
    int32_t at = 0;

    for (;;) {
        do {
            const uint32_t entry = tokens[bits >> (32U - TOKEN_LOOKUP)];
            uint32_t length = entry >> LENGTH_SHIFT;
            uint32_t advance = (entry >> ADVANCE_SHIFT) & ADVANCE_MASK;
            uint32_t value = entry;
            if (UNLIKELY(entry >= OPEN)) {
                length &= LENGTH_MASK;
                value = advance != 0U ? lookup->values[(bits << length) >> (32U - VALUE_LOOKUP)] : 0U;
                if (value == 0U) {
                    if (spare < 8) {
                        bits |= (uint32_t)*--next << (8 - spare);
                        spare += 8;
                    }
                    if (advance != 0U) {
                        value = read_value(model, bits << length);
                    } else {
                        const struct token token = read_token(model, bits);
                        length = token.length;
                        advance = token.advance;
                        value = (uint8_t)token.value;
                    }
                }
                length += value >> LENGTH_SHIFT;
            }
            at += (int32_t)advance;
            while (UNLIKELY(at > 0)) {
                last = next_row(rows);
                if (last == NULL) {
                    return;
                }
                at -= (int32_t)rows->length;
            }
            last[at] = (int8_t)(uint8_t)value;
            bits <<= length;
            spare -= (int32_t)length;
        } while (spare >= 0);
        next -= 2;
        bits |= load_u16(next) << -spare;
        spare += 16;
    }
}

/* The end of a tile. */
static const uint8_t *tile_end(const struct model *model, uint32_t tile)
{
    const uint8_t *end = model->end;

    while (++tile < model->tile_count) {
        end -= tile_bytes(model, tile);
    }
    return end;
}

static void unpack_entropy(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                           int8_t *out)
{
    const uint32_t rows_log2 = weights->param & ROWS_LOG2_MASK;
    const uint32_t tile_rows = UINT32_C(1) << rows_log2;
    struct model model;
    struct lookup lookup;

    if (row_count == 0U || read_model(weights, &model) != HWCMP_OK) {
        return;
    }
    fill_lookup(&model, &lookup);
    uint32_t tile = first_row >> rows_log2;
    uint32_t skip = first_row & (tile_rows - 1U);
    const uint8_t *end = tile_end(&model, tile);
    for (;;) {
        const uint32_t take = row_count < tile_rows - skip ? row_count : tile_rows - skip;
        struct rows rows = {out, row_stride, weights->row_length, skip, take};
        unpack_tile(&model, &lookup, end, &rows);
        row_count -= take;
        if (row_count == 0U) {
            return;
        }
        out += (size_t)take * row_stride;
        skip = 0;
        end += tile_bytes(&model, ++tile);
    }
}

const struct hwcmp_format_ops hwcmp_entropy_format = {
    .id = HWCMP_FORMAT_ENTROPY,
    .kind = HWCMP_KIND_OF_ENTROPY,
    .check = check_entropy,
    .unpack_rows = unpack_entropy,
};
