/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d.c, compared bit for bit by tests/test_runtime_dsp.py.
 * Four pixels at a time are gathered into interleaved int16 columns, then every weight row passes over them. With fewer
 * than four pixels three weight rows at a time pass over one column instead.
 */
#include "../ref/conv.h"
#include "dot_pixels.h"
#include "dot_rows.h"
#include "neighbours.h"

enum {
    PIXELS = 4,
    /* output channels whose constants are prepared at a time; a TILE format takes tile_rows */
    TABLE_ROWS = 64
};

/* Scratch, each part a multiple of 4 bytes: columns | constants | window | rows. */
typedef struct {
    uint32_t *columns;
    hwcmp_dsp_channel *table;
    int8_t *window; /* one gathered window, or, if windows are read in place, one tap of padding */
    int8_t *rows;
} scratch_parts;

/* How windows become columns. */
typedef enum {
    ONE_TAP, /* 1x1: a window is a run of any length */
    GROUPS,  /* every tap fills whole groups of eight */
    GATHERED /* bytes are gathered first */
} window_kind;

typedef struct {
    const hwcmp_conv_params *params;
    const int8_t *input;
    int8_t *window;
    uint32_t length; /* of a column */
    window_kind kind;
    bool overlaps; /* hwcmp_dsp_put_neighbours() can be used */
} window_source;

static bool works_in_blocks(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w >= PIXELS;
}

static window_kind kind_of(const hwcmp_conv_params *params)
{
    if (params->kernel_h == 1 && params->kernel_w == 1) {
        return ONE_TAP;
    }
    return params->input.c % 8 == 0 ? GROUPS : GATHERED;
}

static int32_t rows_at_once(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const int32_t rows = hwcmp_rows_at_once(weights, params->tile_rows);
    return hwcmp_weights_are_plain(weights) && works_in_blocks(params) ? hwcmp_min(rows, TABLE_ROWS) : rows;
}

static size_t columns_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return hwcmp_dsp_columns_bytes(weights->row_length, works_in_blocks(params) ? PIXELS : 1U);
}

static size_t table_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return works_in_blocks(params) ? sizeof(hwcmp_dsp_channel) * (size_t)rows_at_once(params, weights) : 0U;
}

static size_t window_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    if (kind_of(params) == GATHERED) {
        return hwcmp_align4(weights->row_length);
    }
    const bool inside = hwcmp_axis_inside(params->output.h, params->stride_h, params->pad_top, params->kernel_h,
                                          params->dilation_h, params->input.h) &&
                        hwcmp_axis_inside(params->output.w, params->stride_w, params->pad_left, params->kernel_w,
                                          params->dilation_w, params->input.w);
    return inside ? 0U : hwcmp_align4((size_t)params->input.c);
}

size_t hwcmp_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return columns_bytes(params, weights) + table_bytes(params, weights) + window_bytes(params, weights) +
           hwcmp_dsp_rows_bytes(weights, rows_at_once(params, weights));
}

static scratch_parts parts_of(const hwcmp_scratch *scratch, const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    int8_t *table = (int8_t *)scratch->buf + columns_bytes(params, weights);
    int8_t *window = table + table_bytes(params, weights);
    const scratch_parts all = {scratch->buf, (void *)table, window, window + window_bytes(params, weights)};
    return all;
}

/* ---- from windows to columns -------------------------------------------------------------------------- */

static bool is_inside(int32_t at, int32_t extent)
{
    return at >= 0 && at < extent;
}

/* Whether the kernel rows of the window whose first tap is input row y, column x are runs of input bytes. */
static bool is_runs(const hwcmp_conv_params *params, int32_t y, int32_t x)
{
    return params->dilation_w == 1 && hwcmp_taps_inside(x, params->kernel_w, 1, params->input.w) &&
           hwcmp_taps_inside(y, params->kernel_h, params->dilation_h, params->input.h);
}

/* Null outside the input. */
static const int8_t *pixel_at(const window_source *source, int32_t y, int32_t x)
{
    const hwcmp_conv_params *params = source->params;

    if (!is_inside(y, params->input.h) || !is_inside(x, params->input.w)) {
        return NULL;
    }
    return source->input + ((size_t)y * (size_t)params->input.w + (size_t)x) * (size_t)params->input.c;
}

/* The runs of a window: `bytes` each, `step` apart in the input. */
typedef struct {
    const int8_t *from;
    uint32_t bytes, step, count;
} window_runs;

static window_runs runs_of(const window_source *source, int32_t y, int32_t x)
{
    const hwcmp_conv_params *params = source->params;
    const uint32_t depth = (uint32_t)params->input.c;
    const window_runs runs = {pixel_at(source, y, x), (uint32_t)params->kernel_w * depth,
                              (uint32_t)params->input.w * depth * (uint32_t)params->dilation_h,
                              (uint32_t)params->kernel_h};
    return runs;
}

/* memcpy for a few bytes, without the call. */
static inline int8_t *copy(int8_t *to, const int8_t *from, uint32_t count)
{
    for (const int8_t *end = from + (count & ~3U); from != end; from += 4) {
        hwcmp_dsp_store(to, hwcmp_dsp_load(from));
        to += 4;
    }
    if ((count & 2U) != 0U) {
        __builtin_memcpy(to, from, 2U);
        to += 2;
        from += 2;
    }
    if ((count & 1U) != 0U) {
        *to++ = *from;
    }
    return to;
}

static __attribute__((noinline)) void gather_runs(window_runs runs, int8_t *to)
{
    for (; runs.count > 0U; runs.count--) {
        to = copy(to, runs.from, runs.bytes);
        runs.from += runs.step;
    }
}

static __attribute__((noinline)) void gather_taps(const window_source *source, int32_t y, int32_t x, int8_t *to)
{
    const hwcmp_conv_params *params = source->params;
    const uint32_t depth = (uint32_t)params->input.c;

    for (int32_t row = 0; row < params->kernel_h; row++) {
        for (int32_t tap = 0; tap < params->kernel_w; tap++) {
            const int8_t *pixel =
                pixel_at(source, y + row * params->dilation_h, x + tap * params->dilation_w);
            if (pixel != NULL) {
                to = copy(to, pixel, depth);
            } else {
                memset(to, params->input_zero_point, depth);
                to += depth;
            }
        }
    }
}

static __attribute__((noinline)) void put_runs(window_runs runs, uint32_t *to, uint32_t step)
{
    for (; runs.count > 0U; runs.count--) {
        to = hwcmp_dsp_put_groups(to, step, runs.from, runs.bytes / 8U);
        runs.from += runs.step;
    }
}

static __attribute__((noinline)) void put_taps(const window_source *source, int32_t y, int32_t x, uint32_t *to,
                                               uint32_t step)
{
    const hwcmp_conv_params *params = source->params;

    for (int32_t row = 0; row < params->kernel_h; row++) {
        for (int32_t tap = 0; tap < params->kernel_w; tap++) {
            const int8_t *pixel =
                pixel_at(source, y + row * params->dilation_h, x + tap * params->dilation_w);
            to = hwcmp_dsp_put_groups(to, step, pixel != NULL ? pixel : source->window, (uint32_t)params->input.c / 8U);
        }
    }
}

static void put_gathered(const window_source *source, int32_t y, int32_t x, const hwcmp_dsp_column *column)
{
    if (is_runs(source->params, y, x)) {
        gather_runs(runs_of(source, y, x), source->window);
    } else {
        gather_taps(source, y, x, source->window);
    }
    hwcmp_dsp_put(column, source->window, source->length);
}

static void put_groups(const window_source *source, int32_t y, int32_t x, const hwcmp_dsp_column *column)
{
    if (is_runs(source->params, y, x)) {
        put_runs(runs_of(source, y, x), column->groups, column->step);
    } else {
        put_taps(source, y, x, column->groups, column->step);
    }
}

static void put_one_tap(const window_source *source, int32_t y, int32_t x, const hwcmp_dsp_column *column)
{
    const int8_t *pixel = pixel_at(source, y, x);
    hwcmp_dsp_put(column, pixel != NULL ? pixel : source->window, source->length);
}

/* Four interleaved columns: their windows are neighbours, the first tap of the first is input row y, column x. */
static void put_overlapping(const window_source *source, int32_t y, int32_t x, const hwcmp_dsp_column *column)
{
    const hwcmp_conv_params *params = source->params;
    const int32_t depth = params->input.c;
    const size_t row_bytes = (size_t)params->input.w * (size_t)depth;
    const uint32_t tap_words = (uint32_t)depth / 8U * column->step;
    hwcmp_dsp_neighbours row = {.zeros = source->window, .tap_bytes = 4U * tap_words, .groups = (uint32_t)depth / 8U};
    hwcmp_dsp_neighbours outside = row;
    uint32_t *to = column->groups;

    for (int32_t i = 0; i < HWCMP_DSP_NEIGHBOURS; i++, x++) {
        row.offsets[i] = is_inside(x, params->input.w) ? x * depth : -1;
        outside.offsets[i] = -1;
    }
    for (int32_t tap = 0; tap < params->kernel_h; tap++, y += params->dilation_h) {
        if (is_inside(y, params->input.h)) {
            hwcmp_dsp_put_neighbours(to, source->input + (size_t)y * row_bytes, &row);
        } else {
            hwcmp_dsp_put_neighbours(to, source->input, &outside);
        }
        to += 3U * tap_words;
    }
}

/* The column of the window whose first tap is input row y, column x. */
static void put_window(const window_source *source, int32_t y, int32_t x, const hwcmp_dsp_column *column)
{
    switch (source->kind) {
    case ONE_TAP:
        put_one_tap(source, y, x, column);
        break;
    case GROUPS:
        put_groups(source, y, x, column);
        break;
    default:
        put_gathered(source, y, x, column);
        break;
    }
}

/* The columns of `count` output pixels from number `first` on, interleaved. */
static __attribute__((noinline)) void put_pixels(const window_source *source, int32_t first, int32_t count,
                                                 uint32_t *columns)
{
    const hwcmp_conv_params *params = source->params;
    const int32_t out_y = first / params->output.w;
    int32_t out_x = first - out_y * params->output.w;
    int32_t y = hwcmp_first_tap(out_y, params->stride_h, params->pad_top);
    hwcmp_dsp_column column = hwcmp_dsp_first_column(columns, source->length, (uint32_t)count);

    if (source->overlaps && count == PIXELS && out_x + PIXELS <= params->output.w) {
        put_overlapping(source, y, hwcmp_first_tap(out_x, 1, params->pad_left), &column);
        return;
    }
    for (int32_t pixel = 0; pixel < count; pixel++) {
        put_window(source, y, hwcmp_first_tap(out_x, params->stride_w, params->pad_left), &column);
        column.groups += 4;
        column.tail += 2;
        out_x++;
        if (out_x == params->output.w) {
            out_x = 0;
            y += params->stride_h;
        }
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

/* Four pixels, every row of `rows`; output: the first pixel's first channel. */
static void multiply_block(const scratch_parts *scratch, const hwcmp_dsp_rows *rows, uint32_t length, uint32_t pixel_step,
                           int8_t *output)
{
    const bool last_apart = rows->last != rows->first + (size_t)(rows->count - 1) * rows->stride;
    hwcmp_dsp_pixels_job job = {.row = rows->first,
                                .columns = scratch->columns,
                                .columns_end = scratch->columns + 16U * ((length + 3U) / 8U),
                                .tail = (length + 3U) / 4U % 2U,
                                .output = output,
                                .pixel_step = pixel_step,
                                .end = scratch->table + (last_apart ? rows->count - 1 : rows->count),
                                .channel = scratch->table,
                                .row_gap = rows->stride - (uint32_t)hwcmp_align4(length)};

    if (job.channel != job.end) {
        hwcmp_dsp_dot_pixels(&job);
    }
    if (last_apart) {
        job.row = rows->last;
        job.output += rows->count - 1;
        job.channel = job.end;
        job.end++;
        hwcmp_dsp_dot_pixels(&job);
    }
}

/* Channels [first, first + rows->count) of every pixel, four pixels at a time; the last block overlaps the one before
 * it if need be. */
static void convolve_blocks(const window_source *source, const scratch_parts *scratch, const hwcmp_dsp_rows *rows, int8_t *output)
{
    const hwcmp_conv_params *params = source->params;
    const int32_t pixels = (int32_t)params->output.h * params->output.w;
    const uint32_t depth = (uint32_t)params->output.c;

    for (int32_t pixel = 0; pixel < pixels; pixel += PIXELS) {
        const int32_t from = hwcmp_min(pixel, pixels - PIXELS);
        put_pixels(source, from, PIXELS, scratch->columns);
        multiply_block(scratch, rows, source->length, depth, output + (uint32_t)from * depth);
    }
}

/* The same for fewer than four pixels, one after the other. */
static void convolve_pixels(const window_source *source, const scratch_parts *scratch, const hwcmp_output_stage *stage, int32_t first,
                            const hwcmp_dsp_rows *rows, int8_t *output)
{
    const hwcmp_conv_params *params = source->params;
    const int32_t pixels = (int32_t)params->output.h * params->output.w;

    for (int32_t pixel = 0; pixel < pixels; pixel++) {
        if (first == 0 || pixels > 1) {
            put_pixels(source, pixel, 1, scratch->columns);
        }
        hwcmp_dsp_finish_rows(stage, rows, scratch->columns, source->length, first, output);
        output += params->output.c;
    }
}

static void convolve(const window_source *source, const scratch_parts *scratch, const hwcmp_weights *weights,
                     const hwcmp_output_stage *stage, int8_t *output)
{
    const int32_t at_once = rows_at_once(source->params, weights);

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const hwcmp_dsp_rows rows = hwcmp_dsp_rows_at(weights, first, count, scratch->rows);
        if (works_in_blocks(source->params)) {
            for (int32_t i = 0; i < count; i++) {
                scratch->table[i] = hwcmp_dsp_channel_at(stage, first + i, source->length);
            }
            convolve_blocks(source, scratch, &rows, output + first);
        } else {
            convolve_pixels(source, scratch, stage, first, &rows, output + first);
        }
    }
}

static hwcmp_status check(const hwcmp_scratch *scratch, const hwcmp_conv_params *params, const hwcmp_weights *weights,
                          const hwcmp_channels *channels, const int8_t *input, const int8_t *output)
{
    if (!hwcmp_conv_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const int64_t row_length = (int64_t)params->kernel_h * params->kernel_w * params->input.c;
    const hwcmp_status status = hwcmp_conv_check(params, weights, channels, row_length);
    if (status != HWCMP_OK) {
        return status;
    }
    return hwcmp_scratch_fits(scratch, hwcmp_conv2d_s8_scratch_bytes(params, weights));
}

hwcmp_status hwcmp_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                             const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                             int8_t *output)
{
    const hwcmp_status status = check(scratch, params, weights, channels, input, output);
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    const scratch_parts all = parts_of(scratch, params, weights);
    const bool overlaps =
        kind_of(params) == GROUPS && params->kernel_w == 3 && params->stride_w == 1 && params->dilation_w == 1;
    const window_source source = {params, input, all.window, weights->row_length, kind_of(params), overlaps};

    if (source.kind != GATHERED && window_bytes(params, weights) != 0U) {
        memset(all.window, params->input_zero_point, (size_t)params->input.c);
    }
    convolve(&source, &all, weights, &stage, output);
    hwcmp_dsp_activate(output, (uint32_t)((int32_t)params->output.h * params->output.w * params->output.c), stage.low,
                       stage.high);
    return HWCMP_OK;
}
