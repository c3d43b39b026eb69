/* SPDX-License-Identifier: Apache-2.0
 *
 * conv2d with nested weights of any kind: two pixels at a time are gathered into columns, then every group of rows passes
 * over them. A layer of one pixel works like fully_connected.
 */
#ifndef HWCMP_DSP_NESTED_CONV2D_H
#define HWCMP_DSP_NESTED_CONV2D_H

#include "nested_rows.h"
#include "nested_windows.h"

enum {
    HWCMP_DSP_NESTED_PIXELS = 2,
    HWCMP_DSP_NESTED_TABLE_ROWS = 64 /* output channels whose constants are prepared at a time */
};

typedef struct {
    const hwcmp_conv_params *params;
    hwcmp_output_stage stage;
    hwcmp_dsp_nested_rows rows;
    uint32_t *columns;
    void *table;   /* of hwcmp_dsp_nested_channel if weights are codes, otherwise of hwcmp_dsp_channel */
    int8_t *bytes; /* gathered windows, or one tap of padding */
} hwcmp_dsp_nested_layer;

static inline int32_t hwcmp_dsp_pixels_of(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w;
}

/* ---- scratch, each part a multiple of 4 bytes: columns | table | windows as bytes ----------------------- */

static inline size_t hwcmp_dsp_nested_columns_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const size_t pixels = hwcmp_dsp_pixels_of(params) > 1 ? HWCMP_DSP_NESTED_PIXELS : 1U;
    return 2U * hwcmp_nested_length(weights) * pixels;
}

static inline size_t hwcmp_dsp_nested_channel_bytes(bool has_grid)
{
    return has_grid ? sizeof(hwcmp_dsp_nested_channel) : sizeof(hwcmp_dsp_channel);
}

static inline size_t hwcmp_dsp_nested_table_bytes(const hwcmp_conv_params *params, bool has_grid)
{
    const int32_t rows = hwcmp_min(params->output.c, HWCMP_DSP_NESTED_TABLE_ROWS);
    return hwcmp_dsp_pixels_of(params) > 1
               ? hwcmp_dsp_nested_channel_bytes(has_grid) * (size_t)rows
               : 0U;
}

static inline bool hwcmp_dsp_nested_gathers(const hwcmp_conv_params *params)
{
    return params->input.c % 4 != 0 || hwcmp_dsp_pixels_of(params) == 1;
}

/* One or two gathered windows, or a tap of padding where windows are read in place but reach beyond the input. */
static inline size_t hwcmp_dsp_nested_windows_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    if (hwcmp_dsp_nested_gathers(params)) {
        return hwcmp_nested_length(weights) * (hwcmp_dsp_pixels_of(params) > 1 ? HWCMP_DSP_NESTED_PIXELS : 1U);
    }
    const bool inside = hwcmp_axis_inside(params->output.h, params->stride_h, params->pad_top, params->kernel_h,
                                          params->dilation_h, params->input.h) &&
                        hwcmp_axis_inside(params->output.w, params->stride_w, params->pad_left, params->kernel_w,
                                          params->dilation_w, params->input.w);
    return inside ? 0U : (size_t)params->input.c;
}

static inline size_t hwcmp_dsp_nested_conv2d_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                                   bool has_grid)
{
    return hwcmp_dsp_nested_columns_bytes(params, weights) + hwcmp_dsp_nested_table_bytes(params, has_grid) +
           hwcmp_dsp_nested_windows_bytes(params, weights);
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

/* ERR_FORMAT or ERR_LAYOUT for other weights. */
static inline hwcmp_status hwcmp_dsp_nested_conv2d_check(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                                                         const hwcmp_channels *channels, const int8_t *input,
                                                         const int8_t *output, uint8_t format)
{
    const hwcmp_status status = hwcmp_direct_conv_check(params, weights, channels, input, output, format);
    return status == HWCMP_OK && weights->layout != HWCMP_LAYOUT_NESTED ? HWCMP_ERR_LAYOUT : status;
}

HWCMP_DSP_SHARED hwcmp_status hwcmp_dsp_nested_conv2d(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                                      const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                      const hwcmp_dsp_nested_rows *rows, const int8_t *input,
                                                      int8_t *output);

/* Prepares the constants of channels [first, first + count); returns whether the assembly can finish all of them. */
static bool put_table(const hwcmp_dsp_nested_layer *layer, int32_t first, int32_t count)
{
    hwcmp_dsp_channel *plain = layer->table;
    hwcmp_dsp_nested_channel *coded = layer->table;
    bool fast = true;

    for (int32_t i = 0; i < count; i++) {
        const hwcmp_dsp_channel c = hwcmp_dsp_channel_at(&layer->stage, first + i, layer->rows.length);
        if (layer->rows.grid == NULL) {
            plain[i] = c;
        } else {
            const hwcmp_dsp_nested_grid grid = hwcmp_dsp_nested_grid_at(&layer->rows, (uint32_t)(first + i));
            coded[i] = (hwcmp_dsp_nested_channel){c.bias, grid, c.multiplier, c.offset, c.shift};
        }
        fast = fast && c.shift != 0;
    }
    return fast;
}

/* Both pixels of channels [first, first + count) of the table; two sums each. */
static void finish_pairs(const hwcmp_dsp_nested_layer *layer, int32_t first, int32_t count, const uint32_t *sums,
                         const uint32_t input_sums[2], int8_t *output)
{
    const hwcmp_dsp_channel *plain = layer->table;
    const hwcmp_dsp_nested_channel *coded = layer->table;

    for (int32_t i = first; i < first + count; i++) {
        hwcmp_dsp_nested_grid grid = {0U, 1U};
        hwcmp_dsp_channel channel;
        if (layer->rows.grid == NULL) {
            channel = plain[i];
        } else {
            grid = coded[i].grid;
            channel = (hwcmp_dsp_channel){coded[i].multiplier, coded[i].offset, coded[i].shift, coded[i].bias};
        }
        for (int32_t pixel = 0; pixel < HWCMP_DSP_NESTED_PIXELS; pixel++) {
            const uint32_t sum = *sums++ * grid.step + input_sums[pixel] * grid.base + (uint32_t)channel.bias;
            output[pixel * layer->params->output.c + i] = hwcmp_dsp_finish(&channel, (int32_t)sum);
        }
    }
}

/* Channels [first, first + count) of the two pixels whose columns are ready; output: the first of them. */
static void multiply_pairs(const hwcmp_dsp_nested_layer *layer, int32_t first, int32_t count, bool fast, int8_t *output)
{
    const hwcmp_dsp_nested_rows *rows = &layer->rows;
    const int32_t groups = count / HWCMP_NESTED_ROWS;
    uint32_t sums[HWCMP_DSP_NESTED_SUMS];
    hwcmp_dsp_nested_job job = {.columns = layer->columns,
                                .columns_end = layer->columns + rows->length,
                                .weights = rows->groups + (uint32_t)first / HWCMP_NESTED_ROWS * hwcmp_dsp_nested_group_bytes(rows),
                                .groups = (uint32_t)groups,
                                .channels = layer->table,
                                .output = output,
                                .pixel_step = (uint32_t)layer->params->output.c};
    int32_t done = 0;

    if (rows->grid != NULL) {
        hwcmp_dsp_nested_input_sums(layer->columns, rows->length, job.input_sums);
    }
    if (fast && groups > 0) {
        rows->dot(&job);
        done = groups * HWCMP_NESTED_ROWS;
    }
    while (done < count) {
        const int32_t whole = hwcmp_min(groups - done / HWCMP_NESTED_ROWS, HWCMP_DSP_NESTED_SUMS / 8);
        const int32_t more = whole > 0 ? whole * HWCMP_NESTED_ROWS : count - done;
        if (whole > 0) {
            hwcmp_dsp_nested_sums(rows, layer->columns, (uint32_t)(first + done) / HWCMP_NESTED_ROWS, (uint32_t)whole, sums);
        } else {
            rows->rest(rows, layer->columns, (uint32_t)(first + done), (uint32_t)more, sums);
        }
        finish_pairs(layer, done, more, sums, job.input_sums, output);
        done += more;
    }
}

/* The columns of pixels `pixel` and the next. */
static void put_columns(const hwcmp_dsp_nested_layer *layer, const int8_t *input, int32_t pixel)
{
    const uint32_t length = layer->rows.length;
    int8_t *second = layer->bytes + length;

    if (!hwcmp_dsp_nested_gathers(layer->params)) {
        hwcmp_dsp_put_two_windows(layer->params, input, pixel, layer->bytes, layer->columns);
        return;
    }
    hwcmp_dsp_gather(layer->params, input, pixel, layer->bytes, length);
    hwcmp_dsp_gather(layer->params, input, pixel + 1, second, length);
    hwcmp_dsp_put_both(layer->columns, layer->bytes, second, length / 4U);
}

/* Every pixel, two at a time. The last block overlaps the one before it if their number is odd. */
static void convolve_pairs(const hwcmp_dsp_nested_layer *layer, const int8_t *input, int8_t *output)
{
    const hwcmp_conv_params *params = layer->params;
    const int32_t pixels = hwcmp_dsp_pixels_of(params);
    const int32_t depth = params->output.c;

    for (int32_t first = 0; first < depth; first += HWCMP_DSP_NESTED_TABLE_ROWS) {
        const int32_t count = hwcmp_min(depth - first, HWCMP_DSP_NESTED_TABLE_ROWS);
        const bool fast = put_table(layer, first, count) && layer->rows.length <= layer->rows.part;
        for (int32_t pixel = 0; pixel < pixels; pixel += HWCMP_DSP_NESTED_PIXELS) {
            const int32_t from = hwcmp_min(pixel, pixels - HWCMP_DSP_NESTED_PIXELS);
            put_columns(layer, input, from);
            multiply_pairs(layer, first, count, fast, output + from * depth + first);
        }
    }
}

/* A layer of one pixel. */
static void convolve_pixel(const hwcmp_dsp_nested_layer *layer, const int8_t *input, int8_t *output)
{
    const hwcmp_dsp_column column = hwcmp_dsp_first_column(layer->columns, layer->rows.length, 1U);

    hwcmp_dsp_gather(layer->params, input, 0, layer->bytes, layer->rows.length);
    hwcmp_dsp_put(&column, layer->bytes, layer->rows.length);
    hwcmp_dsp_nested_finish(&layer->rows, &layer->stage, layer->columns, layer->params->output.c, output);
}

/* The whole operator; everything but scratch is checked. `rows`: the weights for two columns, or for one if the layer has one
 * pixel. */
HWCMP_DSP_SHARED hwcmp_status hwcmp_dsp_nested_conv2d(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                                      const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                      const hwcmp_dsp_nested_rows *rows, const int8_t *input,
                                                      int8_t *output)
{
    const bool has_grid = rows->grid != NULL;
    const hwcmp_status status = hwcmp_scratch_fits(scratch, hwcmp_dsp_nested_conv2d_bytes(params, weights, has_grid));
    if (status != HWCMP_OK) {
        return status;
    }
    int8_t *table = (int8_t *)scratch->buf + hwcmp_dsp_nested_columns_bytes(params, weights);
    const hwcmp_dsp_nested_layer layer = {
        .params = params,
        .stage = {channels, params->output_zero_point, params->activation_min, params->activation_max},
        .rows = *rows,
        .columns = scratch->buf,
        .table = table,
        .bytes = table + hwcmp_dsp_nested_table_bytes(params, has_grid)};

    if (!hwcmp_dsp_nested_gathers(params) && hwcmp_dsp_nested_windows_bytes(params, weights) != 0U) {
        memset(layer.bytes, params->input_zero_point, (size_t)params->input.c);
    }
    if (hwcmp_dsp_pixels_of(params) == 1) {
        convolve_pixel(&layer, input, output);
    } else {
        convolve_pairs(&layer, input, output);
    }
    hwcmp_dsp_activate(output, (uint32_t)(hwcmp_dsp_pixels_of(params) * params->output.c), layer.stage.low,
                       layer.stage.high);
    return HWCMP_OK;
}

#endif
