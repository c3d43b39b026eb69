/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d.c, compared bit for bit by tests/test_runtime_mve.py.
 * The windows of four pixels at a time are gathered into interleaved columns, then every pair of weight rows passes
 * over them. With fewer than four pixels four weight rows at a time pass over one window instead.
 */
#include "../hwcmp_windows.h"
#include "dot_pixels.h"
#include "dot_rows.h"

enum {
    /* output channels whose constants are prepared at a time; formats that are unpacked take tile_rows */
    TABLE_ROWS = 64,
    /* so that three pixels and a channel are an uint16_t away */
    MAX_DEPTH = 21844
};

/* Scratch, each part a multiple of 4 bytes: columns | constants | window | rows. */
typedef struct {
    int8_t *columns;
    hwcmp_mve_channel *table;
    int8_t *window;
    int8_t *rows;
} scratch_parts;

static bool works_in_blocks(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w >= HWCMP_MVE_PIXELS && params->output.c <= MAX_DEPTH;
}

static int32_t rows_at_once(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const int32_t rows = hwcmp_rows_at_once(weights, params->tile_rows);
    return hwcmp_weights_are_plain(weights) && works_in_blocks(params) ? hwcmp_min(rows, TABLE_ROWS) : rows;
}

/* Whether taps fill whole groups of a column, so that windows are gathered where they are needed. */
static bool is_wide(const hwcmp_conv_params *params)
{
    return params->input.c % HWCMP_MVE_BYTES == 0;
}

static size_t columns_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return works_in_blocks(params) ? hwcmp_mve_columns_bytes(weights->row_length) : 0U;
}

static size_t window_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return works_in_blocks(params) && is_wide(params) ? 0U : (weights->row_length + HWCMP_MVE_BYTES - 1U) / HWCMP_MVE_BYTES * HWCMP_MVE_BYTES;
}

/* Constants come in pairs. */
static size_t table_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const size_t rows = (size_t)hwcmp_max(rows_at_once(params, weights), 2);
    return works_in_blocks(params) ? sizeof(hwcmp_mve_channel) * rows : 0U;
}

size_t hwcmp_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return columns_bytes(params, weights) + table_bytes(params, weights) + window_bytes(params, weights) +
           hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

/* ---- from windows to columns -------------------------------------------------------------------------- */

/* To the groups of one pixel's column; count is a multiple of 16. */
static inline int8_t *put_groups(int8_t *to, const int8_t *from, uint32_t count)
{
    __asm__ volatile("dls lr, %[groups]\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[to]], #64\n\t"
                     "le lr, 1b"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [groups] "r"(count / HWCMP_MVE_BYTES)
                     : "q0", "lr", "memory");
    return to;
}

static HWCMP_NOINLINE int8_t *fill_groups(int8_t *to, int32_t value, uint32_t count)
{
    for (; count > 0U; count -= HWCMP_MVE_BYTES) {
        vstrbq_s8(to, vdupq_n_s8((int8_t)value));
        to += HWCMP_MVE_GROUP_BYTES;
    }
    return to;
}

/* One after the other. */
static inline int8_t *put_bytes(int8_t *to, const int8_t *from, uint32_t count)
{
    int8_t *at = to;

    __asm__ volatile("dlstp.8 lr, %[count]\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[at]], #16\n\t"
                     "letp lr, 1b"
                     : [at] "+r"(at), [from] "+r"(from)
                     : [count] "r"(count)
                     : "q0", "lr", "memory");
    return to + count;
}

static HWCMP_NOINLINE int8_t *fill_bytes(int8_t *to, int32_t value, uint32_t count)
{
    int8_t *at = to;

    for (int32_t left = (int32_t)count; left > 0; left -= HWCMP_MVE_BYTES) {
        vstrbq_p_s8(at, vdupq_n_s8((int8_t)value), vctp8q((uint32_t)left));
        at += HWCMP_MVE_BYTES;
    }
    return to + count;
}

static HWCMP_NOINLINE void put_wide_column(const hwcmp_windows *windows, int8_t *column)
{
    const hwcmp_window_writer writer = {put_groups, fill_groups};
    hwcmp_windows_put(windows, column, writer);
}

static HWCMP_NOINLINE void put_window(const hwcmp_windows *windows, int8_t *window)
{
    const hwcmp_window_writer writer = {put_bytes, fill_bytes};
    hwcmp_windows_put(windows, window, writer);
}

/* By way of `window`, whose bytes behind the length do not matter. */
static void put_column(const hwcmp_windows *windows, uint32_t length, int8_t *window, int8_t *column)
{
    const uint32_t first = hwcmp_mve_first_group(length);

    put_window(windows, window);
    vstrbq_s8(column, vldrbq_s8(window));
    if (length > first) {
        put_groups(column + HWCMP_MVE_GROUP_BYTES, window + first, length - first);
    }
}

/* The interleaved columns of four output pixels. */
static void put_pixels(hwcmp_windows *windows, uint32_t length, const scratch_parts *scratch)
{
    int8_t *column = scratch->columns;

    for (int32_t pixel = 0; pixel < HWCMP_MVE_PIXELS; pixel++) {
        if (windows->depth % HWCMP_MVE_BYTES == 0U) {
            put_wide_column(windows, column);
        } else {
            put_column(windows, length, scratch->window, column);
        }
        column += HWCMP_MVE_BYTES;
        hwcmp_windows_next(windows);
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

/* Four pixels, `count` rows; an odd last row goes with the one before it, a single row with itself. */
static void multiply_block(hwcmp_mve_pixels_job *job, int32_t count)
{
    const int8_t *const row = job->row;
    const hwcmp_mve_channel *const channel = job->channel;
    int8_t *const output = job->output;

    if (count >= 2) {
        job->end = channel + (count & ~1);
        hwcmp_mve_dot_pixels(job);
    }
    if (count % 2 != 0) {
        const int32_t from = hwcmp_max(count - 2, 0);
        job->row = row + (size_t)from * job->row_step;
        job->channel = channel + from;
        job->end = job->channel + 2;
        job->output = output + from;
        hwcmp_mve_dot_pixels(job);
    }
    job->row = row;
    job->channel = channel;
}

/* Channels [first, first + count) of every pixel, four pixels at a time; the last block overlaps the one before it if
 * need be. */
static void convolve_blocks(const hwcmp_conv_params *params, const scratch_parts *scratch, uint32_t length,
                            const int8_t *rows, int32_t count, const int8_t *input, int8_t *output)
{
    const int32_t pixels = (int32_t)params->output.h * params->output.w;
    const uint32_t depth = (uint32_t)params->output.c;
    hwcmp_mve_pixels_job job = {.row = rows,
                                .row_step = count == 1 ? 0U : length,
                                .columns = scratch->columns,
                                .first = hwcmp_mve_first_group(length),
                                .columns_end = scratch->columns + hwcmp_mve_columns_bytes(length),
                                .channel = scratch->table,
                                .low = params->activation_min,
                                .high = params->activation_max};

    for (uint32_t pixel = 0; pixel < HWCMP_MVE_PIXELS; pixel++) {
        job.offsets[2U * pixel] = (uint16_t)(pixel * depth);
        job.offsets[2U * pixel + 1U] = (uint16_t)(pixel * depth + (count == 1 ? 0U : 1U));
    }
    hwcmp_windows windows = hwcmp_windows_from(params, input, 0);
    for (int32_t pixel = 0; pixel < pixels; pixel += HWCMP_MVE_PIXELS) {
        const int32_t from = hwcmp_min(pixel, pixels - HWCMP_MVE_PIXELS);
        if (from != pixel) {
            windows = hwcmp_windows_from(params, input, from);
        }
        put_pixels(&windows, length, scratch);
        job.output = output + (uint32_t)from * depth;
        multiply_block(&job, count);
    }
}

/* The same one pixel after the other. */
static void convolve_pixels(const hwcmp_conv_params *params, const scratch_parts *scratch,
                            const hwcmp_output_stage *stage, uint32_t length, int32_t first, const int8_t *rows,
                            int32_t count, const int8_t *input, int8_t *output)
{
    const int32_t pixels = (int32_t)params->output.h * params->output.w;
    hwcmp_windows windows = hwcmp_windows_from(params, input, 0);

    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        const int8_t *window = hwcmp_windows_in_place(&windows);
        if (window == NULL) {
            put_window(&windows, scratch->window);
            window = scratch->window;
        }
        hwcmp_mve_finish_rows(stage, window, rows, length, first, count, output);
        output += params->output.c;
        hwcmp_windows_next(&windows);
    }
}

static void convolve(const hwcmp_conv_params *params, const scratch_parts *scratch, const hwcmp_weights *weights,
                     const hwcmp_output_stage *stage, const int8_t *input, int8_t *output)
{
    const int32_t at_once = rows_at_once(params, weights);
    const uint32_t length = weights->row_length;

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, scratch->rows);
        if (works_in_blocks(params)) {
            for (int32_t i = 0; i < hwcmp_max(count, 2); i++) {
                scratch->table[i] = hwcmp_mve_channel_at(stage, first + hwcmp_min(i, count - 1));
            }
            convolve_blocks(params, scratch, length, rows, count, input, output + first);
        } else {
            convolve_pixels(params, scratch, stage, length, first, rows, count, input, output + first);
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
    int8_t *columns = scratch->buf;
    int8_t *table = columns + columns_bytes(params, weights);
    int8_t *window = table + table_bytes(params, weights);
    const scratch_parts parts = {columns, (void *)table, window, window + window_bytes(params, weights)};

    convolve(params, &parts, weights, &stage, input, output);
    return HWCMP_OK;
}
