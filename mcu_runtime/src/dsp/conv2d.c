/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d.c, compared bit for bit by tests/test_runtime_dsp.py.
 * Four pixels at a time are gathered into interleaved int16 columns, then every weight row passes over them. With fewer
 * than four pixels three weight rows at a time pass over one column instead.
 */
#include "dot_pixels.h"
#include "dot_rows.h"
#include "windows.h"

/* Output channels whose constants are prepared at a time; a TILE format takes tile_rows. */
enum { TABLE_ROWS = 64 };

/* Scratch, each part a multiple of 4 bytes: columns | constants | window | rows. */
typedef struct {
    uint32_t *columns;
    hwcmp_dsp_channel *table;
    int8_t *window; /* one gathered window, or, if windows are read in place, one tap of padding */
    int8_t *rows;
} scratch_parts;

static bool works_in_blocks(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w >= WINDOW_PIXELS;
}

static int32_t rows_at_once(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const int32_t rows = hwcmp_rows_at_once(weights, params->tile_rows);
    return hwcmp_weights_are_plain(weights) && works_in_blocks(params) ? hwcmp_min(rows, TABLE_ROWS) : rows;
}

static size_t columns_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return hwcmp_dsp_columns_bytes(weights->row_length, works_in_blocks(params) ? WINDOW_PIXELS : 1U);
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

static scratch_parts parts_of(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                              const hwcmp_weights *weights)
{
    int8_t *table = (int8_t *)scratch->buf + columns_bytes(params, weights);
    int8_t *window = table + table_bytes(params, weights);
    const scratch_parts all = {scratch->buf, (void *)table, window, window + window_bytes(params, weights)};
    return all;
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

/* Four pixels, every row of `rows`; output: the first pixel's first channel. */
static void multiply_block(const scratch_parts *scratch, const hwcmp_dsp_rows *rows, uint32_t length,
                           uint32_t pixel_step, int8_t *output)
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
static void convolve_blocks(const window_source *source, const scratch_parts *scratch, const hwcmp_dsp_rows *rows,
                            int8_t *output)
{
    const hwcmp_conv_params *params = source->params;
    const int32_t pixels = (int32_t)params->output.h * params->output.w;
    const uint32_t depth = (uint32_t)params->output.c;

    for (int32_t pixel = 0; pixel < pixels; pixel += WINDOW_PIXELS) {
        const int32_t from = hwcmp_min(pixel, pixels - WINDOW_PIXELS);
        put_pixels(source, from, WINDOW_PIXELS, scratch->columns);
        multiply_block(scratch, rows, source->length, depth, output + (uint32_t)from * depth);
    }
}

/* The same for fewer than four pixels, one after the other. */
static void convolve_pixels(const window_source *source, const scratch_parts *scratch, const hwcmp_output_stage *stage,
                            int32_t first, const hwcmp_dsp_rows *rows, int8_t *output)
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
