/* SPDX-License-Identifier: Apache-2.0
 *
 * From windows of the input to columns: what conv2d gathers before it multiplies.
 */
#ifndef HWCMP_DSP_WINDOWS_H
#define HWCMP_DSP_WINDOWS_H

#include "../ref/conv.h"
#include "neighbours.h"

/* Pixels whose columns are interleaved; a column may also stand alone. */
enum { WINDOW_PIXELS = 4 };

/* How windows become columns. */
typedef enum {
    ONE_TAP, /* 1x1: a window is a run of any length */
    GROUPS,  /* every tap fills whole groups of eight */
    GATHERED /* bytes are gathered first */
} window_kind;

typedef struct {
    const hwcmp_conv_params *params;
    const int8_t *input;
    int8_t *window; /* of `length` bytes if gathered, else one tap of padding if any window needs it */
    uint32_t length; /* of a column */
    window_kind kind;
    bool overlaps; /* windows of neighbouring pixels overlap as hwcmp_dsp_put_neighbours() expects */
} window_source;

static window_kind kind_of(const hwcmp_conv_params *params)
{
    if (params->kernel_h == 1 && params->kernel_w == 1) {
        return ONE_TAP;
    }
    return params->input.c % 8 == 0 ? GROUPS : GATHERED;
}

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

    if (source->overlaps && count == WINDOW_PIXELS && out_x + WINDOW_PIXELS <= params->output.w) {
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

#endif
