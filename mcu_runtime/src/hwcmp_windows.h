/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the runtime: a walk over the windows of conv2d, for arms that copy them out of the input.
 */
#ifndef HWCMP_WINDOWS_H
#define HWCMP_WINDOWS_H

#include "ref/conv.h"

/* How an arm writes `count` >= 1 bytes of a window, or as many times `value`, in whatever form: both functions return
 * where the next ones go. */
typedef struct {
    int8_t *(*put)(int8_t *to, const int8_t *from, uint32_t count);
    int8_t *(*fill)(int8_t *to, int32_t value, uint32_t count);
} hwcmp_window_writer;

/* Writers are constants: their functions should end up where they are called. */
#if defined(__GNUC__)
#define HWCMP_WRITER_INLINE static inline __attribute__((always_inline))
#else
#define HWCMP_WRITER_INLINE static inline
#endif

/* The window of one output pixel: its first tap is input row y, column x, either of which may lie outside. Everything
 * by value, so that stores to int8 buffers cannot force any of it to be read again. */
typedef struct {
    const int8_t *input;
    uint32_t depth, row_bytes;
    uint32_t row_step, run_bytes; /* from kernel row to kernel row, and of one */
    int32_t last_y, last_x;       /* of the windows that lie inside; negative if none does */
    int32_t y, x, out_x, left;
    int32_t height, width, out_width, stride_h, stride_w;
    int32_t kernel_h, kernel_w, dilation_h, dilation_w;
    int32_t zero_point;
} hwcmp_windows;

/* The window of output pixel number `pixel`. */
static inline hwcmp_windows hwcmp_windows_from(const hwcmp_conv_params *params, const int8_t *input, int32_t pixel)
{
    const int32_t row = pixel / params->output.w;
    const int32_t column = pixel - row * params->output.w;
    const uint32_t depth = (uint32_t)params->input.c;
    const uint32_t row_bytes = (uint32_t)params->input.w * depth;
    const hwcmp_windows windows = {.input = input,
                                   .depth = depth,
                                   .row_bytes = row_bytes,
                                   .row_step = row_bytes * (uint32_t)params->dilation_h,
                                   .run_bytes = depth * (uint32_t)params->kernel_w,
                                   .last_y = params->input.h - 1 - (params->kernel_h - 1) * params->dilation_h,
                                   .last_x = params->input.w - 1 - (params->kernel_w - 1) * params->dilation_w,
                                   .y = hwcmp_first_tap(row, params->stride_h, params->pad_top),
                                   .x = hwcmp_first_tap(column, params->stride_w, params->pad_left),
                                   .out_x = column,
                                   .left = -params->pad_left,
                                   .height = params->input.h,
                                   .width = params->input.w,
                                   .out_width = params->output.w,
                                   .stride_h = params->stride_h,
                                   .stride_w = params->stride_w,
                                   .kernel_h = params->kernel_h,
                                   .kernel_w = params->kernel_w,
                                   .dilation_h = params->dilation_h,
                                   .dilation_w = params->dilation_w,
                                   .zero_point = params->input_zero_point};
    return windows;
}

/* On to the next output pixel. */
static inline void hwcmp_windows_next(hwcmp_windows *windows)
{
    windows->x += windows->stride_w;
    windows->out_x++;
    if (windows->out_x == windows->out_width) {
        windows->out_x = 0;
        windows->x = windows->left;
        windows->y += windows->stride_h;
    }
}

/* A part of a window: `count` bytes, the first of which is byte `offset` of a run that begins with tap `tap` of kernel
 * row `row`. A run is a kernel row, or a tap if columns are dilated. */
typedef struct {
    int32_t row, tap;
    uint32_t offset, count;
} hwcmp_window_part;

/* The bytes of a run that lie inside the input, if its row does: [begin, end), from byte `at` of the row on. */
typedef struct {
    uint32_t begin, end, at;
} hwcmp_window_span;

/* The run of `taps` taps from input column x on. */
static inline hwcmp_window_span hwcmp_windows_span(const hwcmp_windows *windows, int32_t x, int32_t taps)
{
    const int32_t first = hwcmp_clamp(-x, 0, taps);
    const int32_t last = hwcmp_clamp(windows->width - x, first, taps);
    const hwcmp_window_span span = {(uint32_t)first * windows->depth, (uint32_t)last * windows->depth,
                                    (uint32_t)(x + first) * windows->depth};
    return span;
}

/* Bytes [offset, offset + count) of a run in input row y. */
HWCMP_WRITER_INLINE int8_t *hwcmp_windows_put_run(const hwcmp_windows *windows, int32_t y, hwcmp_window_span span,
                                                  uint32_t offset, uint32_t count, int8_t *to,
                                                  hwcmp_window_writer writer)
{
    const uint32_t last = offset + count;

    if (y < 0 || y >= windows->height || span.begin >= last || span.end <= offset || span.begin == span.end) {
        return writer.fill(to, windows->zero_point, count);
    }
    if (offset < span.begin) {
        to = writer.fill(to, windows->zero_point, span.begin - offset);
        offset = span.begin;
    }
    const uint32_t inside = (last < span.end ? last : span.end) - offset;
    to = writer.put(to, windows->input + (uint32_t)y * windows->row_bytes + span.at + (offset - span.begin), inside);
    return last > span.end ? writer.fill(to, windows->zero_point, last - span.end) : to;
}

/* A part of a window, in the order of a weight row. */
HWCMP_WRITER_INLINE int8_t *hwcmp_windows_put_part(const hwcmp_windows *windows, hwcmp_window_part part, int8_t *to,
                                                   hwcmp_window_writer writer)
{
    const hwcmp_windows w = *windows;
    const int32_t taps = w.dilation_w == 1 ? w.kernel_w : 1;
    const uint32_t run = (uint32_t)taps * w.depth;
    hwcmp_window_span span = hwcmp_windows_span(&w, w.x + part.tap * w.dilation_w, taps);
    int32_t y = w.y + part.row * w.dilation_h;

    for (uint32_t left = part.count; left > 0U;) {
        const uint32_t count = left < run - part.offset ? left : run - part.offset;
        to = hwcmp_windows_put_run(&w, y, span, part.offset, count, to, writer);
        left -= count;
        part.offset = 0U;
        if (taps == w.kernel_w) {
            y += w.dilation_h;
            continue;
        }
        part.tap++;
        if (part.tap == w.kernel_w) {
            part.tap = 0;
            y += w.dilation_h;
        }
        span = hwcmp_windows_span(&w, w.x + part.tap * w.dilation_w, 1);
    }
    return to;
}

/* Where the part behind `part` begins. */
static inline hwcmp_window_part hwcmp_windows_behind(const hwcmp_windows *windows, hwcmp_window_part part)
{
    const int32_t taps = windows->dilation_w == 1 ? windows->kernel_w : 1;
    const uint32_t run = (uint32_t)taps * windows->depth;

    for (part.offset += part.count; part.offset >= run; part.offset -= run) {
        part.tap += taps;
        if (part.tap == windows->kernel_w) {
            part.tap = 0;
            part.row++;
        }
    }
    return part;
}

static inline bool hwcmp_windows_is_inside(const hwcmp_windows *windows)
{
    return windows->y >= 0 && windows->x >= 0 && windows->y <= windows->last_y && windows->x <= windows->last_x;
}

/* The first tap of a window inside the input. */
static inline const int8_t *hwcmp_windows_first_tap(const hwcmp_windows *windows)
{
    return windows->input + (uint32_t)windows->y * windows->row_bytes + (uint32_t)windows->x * windows->depth;
}

/* The whole window, in the order of a weight row. */
HWCMP_WRITER_INLINE int8_t *hwcmp_windows_put(const hwcmp_windows *windows, int8_t *to, hwcmp_window_writer writer)
{
    if (windows->dilation_w == 1 && hwcmp_windows_is_inside(windows)) {
        const int8_t *from = hwcmp_windows_first_tap(windows);
        const uint32_t bytes = windows->run_bytes;
        const uint32_t step = windows->row_step;
        for (int32_t rows = windows->kernel_h; rows > 0; rows--) {
            to = writer.put(to, from, bytes);
            from += step;
        }
        return to;
    }
    const hwcmp_window_part all = {0, 0, 0U, windows->run_bytes * (uint32_t)windows->kernel_h};
    return hwcmp_windows_put_part(windows, all, to, writer);
}

/* The window as a run of bytes in the input, or null. */
static inline const int8_t *hwcmp_windows_in_place(const hwcmp_windows *windows)
{
    const bool is_run = windows->kernel_h == 1 && (windows->kernel_w == 1 || windows->dilation_w == 1);
    return is_run && hwcmp_windows_is_inside(windows) ? hwcmp_windows_first_tap(windows) : NULL;
}

#endif
