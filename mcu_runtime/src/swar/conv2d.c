/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d.c, compared bit for bit by tests/test_runtime_swar.py.
 * Four pixels at a time are gathered into columns of words, then every weight row passes over them; long windows go in
 * parts, so that columns stay small. With fewer than four pixels four weight rows at a time pass over one window instead.
 */
#include "../hwcmp_windows.h"
#include "dot_pixels.h"
#include "dot_rows.h"

enum {
    /* output channels whose constants are prepared at a time; formats that are unpacked take tile_rows */
    TABLE_ROWS = 32,
    /* taps of a window in the columns at a time, a multiple of 4 */
    PART_TAPS = 144
};

/* Scratch, each part a multiple of 4 bytes: columns | constants | sums | window | rows. */
typedef struct {
    int32_t *columns;
    hwcmp_swar_channel *table;
    int32_t *sums;
    int8_t *window, *rows;
} scratch_parts;

/* Weight rows `stride` bytes apart. */
typedef struct {
    const int8_t *first;
    uint32_t stride, length;
    int32_t count;
} weight_rows;

static bool works_in_blocks(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w >= HWCMP_SWAR_PIXELS;
}

static int32_t rows_at_once(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const int32_t rows = hwcmp_rows_at_once(weights, params->tile_rows);
    return hwcmp_weights_are_plain(weights) && works_in_blocks(params) ? hwcmp_min(rows, TABLE_ROWS) : rows;
}

static size_t columns_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const size_t taps = weights->row_length < PART_TAPS ? weights->row_length : PART_TAPS;
    return works_in_blocks(params) ? HWCMP_SWAR_TAP_BYTES * taps : 0U;
}

static size_t table_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return works_in_blocks(params) ? sizeof(hwcmp_swar_channel) * (size_t)rows_at_once(params, weights) : 0U;
}

static size_t sums_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const bool has_parts = works_in_blocks(params) && weights->row_length > PART_TAPS;
    return has_parts ? HWCMP_SWAR_TAP_BYTES * (size_t)rows_at_once(params, weights) : 0U;
}

static size_t window_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return works_in_blocks(params) ? 0U : hwcmp_align4(weights->row_length);
}

/* Unpacked rows begin at words. */
static size_t rows_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const size_t rows = hwcmp_weights_are_plain(weights) ? 0U : (size_t)rows_at_once(params, weights);
    return rows * hwcmp_align4(weights->row_length);
}

size_t hwcmp_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return columns_bytes(params, weights) + table_bytes(params, weights) + sums_bytes(params, weights) +
           window_bytes(params, weights) + rows_bytes(params, weights);
}

static scratch_parts parts_of(const hwcmp_scratch *scratch, const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    int8_t *columns = scratch->buf;
    int8_t *table = columns + columns_bytes(params, weights);
    int8_t *sums = table + table_bytes(params, weights);
    int8_t *window = sums + sums_bytes(params, weights);
    const scratch_parts parts = {scratch->buf, (void *)table, (void *)sums, window,
                                 window + window_bytes(params, weights)};
    return parts;
}

/* ---- from windows to columns -------------------------------------------------------------------------- */

/* One value every 16 bytes. */
static inline int8_t *put_words(int8_t *to, const int8_t *from, uint32_t count)
{
    int32_t *word = (void *)to;

    for (const int8_t *end = from + (count & ~3U); from != end; from += 4) {
        word[0] = from[0];
        word[4] = from[1];
        word[8] = from[2];
        word[12] = from[3];
        word += 4 * HWCMP_SWAR_PIXELS;
    }
    for (const int8_t *end = from + (count & 3U); from != end; from++) {
        *word = *from;
        word += HWCMP_SWAR_PIXELS;
    }
    return (int8_t *)word;
}

static HWCMP_NOINLINE int8_t *fill_words(int8_t *to, int32_t value, uint32_t count)
{
    int32_t *word = (void *)to;

    for (; count > 0U; count--) {
        *word = value;
        word += HWCMP_SWAR_PIXELS;
    }
    return (int8_t *)word;
}

static HWCMP_NOINLINE void put_column(const hwcmp_windows *windows, int32_t *column)
{
    const hwcmp_window_writer writer = {put_words, fill_words};
    hwcmp_windows_put(windows, (int8_t *)column, writer);
}

static HWCMP_NOINLINE void put_part_of_column(const hwcmp_windows *windows, hwcmp_window_part part, int32_t *column)
{
    const hwcmp_window_writer writer = {put_words, fill_words};
    hwcmp_windows_put_part(windows, part, (int8_t *)column, writer);
}

static inline int8_t *put_bytes(int8_t *to, const int8_t *from, uint32_t count)
{
    memcpy(to, from, count);
    return to + count;
}

static inline int8_t *fill_bytes(int8_t *to, int32_t value, uint32_t count)
{
    memset(to, value, count);
    return to + count;
}

static HWCMP_NOINLINE void put_window(const hwcmp_windows *windows, int8_t *window)
{
    const hwcmp_window_writer writer = {put_bytes, fill_bytes};
    hwcmp_windows_put(windows, window, writer);
}

/* The same part of the windows of four output pixels, the first of which is *windows. */
static void put_columns(const hwcmp_windows *windows, uint32_t length, hwcmp_window_part part, int32_t *columns)
{
    hwcmp_windows pixel = *windows;

    for (int32_t i = 0; i < HWCMP_SWAR_PIXELS; i++) {
        if (part.count == length) {
            put_column(&pixel, columns + i);
        } else {
            put_part_of_column(&pixel, part, columns + i);
        }
        hwcmp_windows_next(&pixel);
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

static void begin_sums(const scratch_parts *scratch, int32_t count)
{
    int32_t *sum = scratch->sums;

    for (int32_t row = 0; row < count; row++) {
        for (int32_t pixel = 0; pixel < HWCMP_SWAR_PIXELS; pixel++) {
            *sum++ = scratch->table[row].bias;
        }
    }
}

/* Four pixels, the first of which is *windows, times every row; output: the first pixel's first channel. */
static void multiply_block(const hwcmp_windows *windows, const scratch_parts *scratch, const weight_rows *rows,
                           uint32_t pixel_step, int8_t *output)
{
    const bool has_words = (((uintptr_t)rows->first | rows->stride) & 3U) == 0U;
    const bool has_parts = rows->length > PART_TAPS;
    hwcmp_window_part part = {0, 0, 0U, 0U};

    if (has_parts) {
        begin_sums(scratch, rows->count);
    }
    for (uint32_t at = 0; at < rows->length; at += PART_TAPS) {
        const uint32_t left = rows->length - at;
        part.count = left < PART_TAPS ? left : PART_TAPS;
        put_columns(windows, rows->length, part, scratch->columns);
        const uint32_t in_words = has_words ? part.count & ~3U : 0U;
        const hwcmp_swar_pixels_job job = {.row = rows->first + at,
                                           .row_gap = rows->stride - part.count,
                                           .columns = scratch->columns,
                                           .words_end = scratch->columns + HWCMP_SWAR_PIXELS * in_words,
                                           .columns_end = scratch->columns + HWCMP_SWAR_PIXELS * part.count,
                                           .sums = has_parts ? scratch->sums : NULL,
                                           .channel = scratch->table,
                                           .end = scratch->table + rows->count,
                                           .output = left <= PART_TAPS ? output : NULL,
                                           .pixel_step = pixel_step};
        hwcmp_swar_dot_pixels(&job);
        part = hwcmp_windows_behind(windows, part);
    }
}

/* Channels of `rows` of every pixel, four pixels at a time; the last block overlaps the one before it if need be. */
static void convolve_blocks(const hwcmp_conv_params *params, const scratch_parts *scratch, const weight_rows *rows,
                            const int8_t *input, int8_t *output)
{
    const int32_t pixels = (int32_t)params->output.h * params->output.w;
    const uint32_t depth = (uint32_t)params->output.c;
    hwcmp_windows windows = hwcmp_windows_from(params, input, 0);

    for (int32_t pixel = 0; pixel < pixels; pixel += HWCMP_SWAR_PIXELS) {
        const int32_t from = hwcmp_min(pixel, pixels - HWCMP_SWAR_PIXELS);
        if (from != pixel) {
            windows = hwcmp_windows_from(params, input, from);
        }
        multiply_block(&windows, scratch, rows, depth, output + (uint32_t)from * depth);
        for (int32_t i = 0; i < HWCMP_SWAR_PIXELS; i++) {
            hwcmp_windows_next(&windows);
        }
    }
}

/* The same one pixel after the other; first: channel of the first row. */
static void convolve_pixels(const hwcmp_conv_params *params, const scratch_parts *scratch,
                            const hwcmp_output_stage *stage, int32_t first, const weight_rows *rows,
                            const int8_t *input, int8_t *output)
{
    const int32_t pixels = (int32_t)params->output.h * params->output.w;
    hwcmp_windows windows = hwcmp_windows_from(params, input, 0);

    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        const int8_t *window = hwcmp_windows_in_place(&windows);
        if (window == NULL) {
            put_window(&windows, scratch->window);
            window = scratch->window;
        }
        hwcmp_swar_finish_rows(stage, window, rows->first, rows->stride, rows->length, first, rows->count, output);
        output += params->output.c;
        hwcmp_windows_next(&windows);
    }
}

static weight_rows rows_at(const hwcmp_weights *weights, int32_t first, int32_t count, int8_t *scratch)
{
    weight_rows rows = {scratch, (uint32_t)hwcmp_align4(weights->row_length), weights->row_length, count};

    if (hwcmp_weights_are_plain(weights)) {
        rows.first = (const int8_t *)weights->payload + (size_t)first * weights->row_length;
        rows.stride = weights->row_length;
    } else {
        weights->ops->unpack_rows(weights, (uint32_t)first, (uint32_t)count, rows.stride, scratch);
    }
    return rows;
}

static void convolve(const hwcmp_conv_params *params, const scratch_parts *scratch, const hwcmp_weights *weights,
                     const hwcmp_output_stage *stage, const int8_t *input, int8_t *output)
{
    const int32_t at_once = rows_at_once(params, weights);

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const weight_rows rows = rows_at(weights, first, hwcmp_min(at_once, weights->rows - first), scratch->rows);
        if (works_in_blocks(params)) {
            for (int32_t i = 0; i < rows.count; i++) {
                scratch->table[i] = hwcmp_swar_channel_at(stage, first + i, rows.length);
            }
            convolve_blocks(params, scratch, &rows, input, output + first);
        } else {
            convolve_pixels(params, scratch, stage, first, &rows, input, output + first);
        }
    }
}

hwcmp_status hwcmp_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                             const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                             int8_t *output)
{
    hwcmp_status status = hwcmp_conv2d_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_conv2d_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_conv_stage(params, channels);
    const scratch_parts parts = parts_of(scratch, params, weights);

    convolve(params, &parts, weights, &stage, input, output);
    hwcmp_swar_activate(output, (uint32_t)((int32_t)params->output.h * params->output.w * params->output.c), stage.low,
                        stage.high);
    return HWCMP_OK;
}
