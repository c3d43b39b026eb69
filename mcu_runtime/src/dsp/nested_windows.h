/* SPDX-License-Identifier: Apache-2.0
 *
 * From windows of the input to the columns of two pixels that nested_pairs.h reads.
 */
#ifndef HWCMP_DSP_NESTED_WINDOWS_H
#define HWCMP_DSP_NESTED_WINDOWS_H

#include "../hwcmp_windows.h"
#include "dsp.h"

/* The input coordinates of the first tap of a window; either may lie outside. */
typedef struct {
    int32_t y, x;
} hwcmp_dsp_place;

static inline hwcmp_dsp_place hwcmp_dsp_place_of(const hwcmp_conv_params *params, int32_t pixel)
{
    const int32_t row = pixel / params->output.w;
    const hwcmp_dsp_place place = {
        hwcmp_first_tap(row, params->stride_h, params->pad_top),
        hwcmp_first_tap(pixel - row * params->output.w, params->stride_w, params->pad_left)};
    return place;
}

/* Two runs of 4 * units bytes, units >= 1; returns where the next ones go. 16 instructions for two units. */
static inline uint32_t *hwcmp_dsp_put_both(uint32_t *to, const int8_t *from0, const int8_t *from1, uint32_t units)
{
#define HWCMP_PUT_BOTH                     \
    "ldr r8, [%[from0]], #4\n\t"           \
    "ldr r9, [%[from1]], #4\n\t"           \
    "sxtb16 r10, r8, ror #8\n\t"           \
    "sxtb16 r11, r9, ror #8\n\t"           \
    "sxtb16 r8, r8\n\t"                    \
    "sxtb16 r9, r9\n\t"                    \
    "stmia %[to]!, {r8-r11}\n"
    __asm__ volatile("lsrs %[units], %[units], #1\n\t"
                     "bcs 2f\n\t"
                     "sub %[units], %[units], #1\n"
                     "1:\n\t" HWCMP_PUT_BOTH
                     "2:\n\t" HWCMP_PUT_BOTH
                     "\tsubs %[units], %[units], #1\n\t"
                     "bpl 1b"
                     : [to] "+r"(to), [from0] "+r"(from0), [from1] "+r"(from1), [units] "+r"(units)
                     :
                     : "r8", "r9", "r10", "r11", "cc", "memory");
#undef HWCMP_PUT_BOTH
    return to;
}

/* Any number of bytes as they are. */
static inline int8_t *hwcmp_dsp_put_bytes(int8_t *to, const int8_t *from, uint32_t count)
{
    for (const int8_t *end = from + (count & ~3U); from != end; from += 4) {
        hwcmp_dsp_store(to, hwcmp_dsp_load(from));
        to += 4;
    }
    for (const int8_t *end = from + (count & 3U); from != end;) {
        *to++ = *from++;
    }
    return to;
}

static inline int8_t *hwcmp_dsp_fill_bytes(int8_t *to, int32_t value, uint32_t count)
{
    for (const int8_t *end = to + count; to != end;) {
        *to++ = (int8_t)value;
    }
    return to;
}

HWCMP_DSP_SHARED void hwcmp_dsp_gather(const hwcmp_conv_params *params, const int8_t *input, int32_t pixel, int8_t *to,
                                       uint32_t length);
HWCMP_DSP_SHARED void hwcmp_dsp_put_two_windows(const hwcmp_conv_params *params, const int8_t *input, int32_t pixel,
                                                const int8_t *outside, uint32_t *columns);

/* The window of an output pixel as bytes, with zeros up to `length`. */
HWCMP_DSP_SHARED void hwcmp_dsp_gather(const hwcmp_conv_params *params, const int8_t *input, int32_t pixel, int8_t *to,
                                       uint32_t length)
{
    static const hwcmp_window_writer writer = {hwcmp_dsp_put_bytes, hwcmp_dsp_fill_bytes};
    const hwcmp_windows window = hwcmp_windows_from(params, input, pixel);
    const int8_t *end = to + length;

    to = hwcmp_windows_put(&window, to, writer);
    while (to != end) {
        *to++ = 0;
    }
}

/* What the loops over kernel rows have in common. */
typedef struct {
    const int8_t *input, *outside; /* outside: one tap of padding */
    uint32_t depth, row_bytes;
    int32_t height, width, kernel_w, dilation_w;
} hwcmp_dsp_taps;

static inline bool hwcmp_dsp_is_in(int32_t at, int32_t extent)
{
    return (uint32_t)at < (uint32_t)extent;
}

/* One kernel row of two windows, tap by tap. */
static inline uint32_t *hwcmp_dsp_put_taps(const hwcmp_dsp_taps *taps, hwcmp_dsp_place left, hwcmp_dsp_place right,
                                           uint32_t *to)
{
    const hwcmp_dsp_taps t = *taps;
    const int32_t left_width = hwcmp_dsp_is_in(left.y, t.height) ? t.width : 0;
    const int32_t right_width = hwcmp_dsp_is_in(right.y, t.height) ? t.width : 0;
    const int8_t *left_row = t.input + (uint32_t)left.y * t.row_bytes;
    const int8_t *right_row = t.input + (uint32_t)right.y * t.row_bytes;

    for (int32_t tap = t.kernel_w; tap > 0; tap--) {
        const int8_t *from0 = hwcmp_dsp_is_in(left.x, left_width) ? left_row + (uint32_t)left.x * t.depth : t.outside;
        const int8_t *from1 =
            hwcmp_dsp_is_in(right.x, right_width) ? right_row + (uint32_t)right.x * t.depth : t.outside;
        to = hwcmp_dsp_put_both(to, from0, from1, t.depth / 4U);
        left.x += t.dilation_w;
        right.x += t.dilation_w;
    }
    return to;
}

/* The columns of output pixels `pixel` and the next; the input's depth is a multiple of 4. */
HWCMP_DSP_SHARED void hwcmp_dsp_put_two_windows(const hwcmp_conv_params *params, const int8_t *input, int32_t pixel,
                                                const int8_t *outside, uint32_t *columns)
{
    const uint32_t depth = (uint32_t)params->input.c;
    const hwcmp_dsp_taps taps = {input, outside, depth, (uint32_t)params->input.w * depth, params->input.h,
                                 params->input.w, params->kernel_w, params->dilation_w};
    hwcmp_dsp_place left = hwcmp_dsp_place_of(params, pixel);
    hwcmp_dsp_place right = hwcmp_dsp_place_of(params, pixel + 1);
    const int32_t last_y = params->input.h - 1 - (params->kernel_h - 1) * params->dilation_h;
    const int32_t last_x = params->input.w - 1 - (params->kernel_w - 1) * params->dilation_w;
    const bool are_runs = (params->dilation_w == 1 || params->kernel_w == 1) && left.x >= 0 && right.x >= 0 &&
                          left.x <= last_x && right.x <= last_x;

    if (are_runs && left.y >= 0 && right.y <= last_y) {
        const uint32_t units = (uint32_t)params->kernel_w * depth / 4U;
        const uint32_t step = (uint32_t)params->dilation_h * taps.row_bytes;
        const int8_t *from0 = input + (uint32_t)left.y * taps.row_bytes + (uint32_t)left.x * depth;
        const int8_t *from1 = input + (uint32_t)right.y * taps.row_bytes + (uint32_t)right.x * depth;
        for (int32_t row = params->kernel_h; row > 0; row--) {
            columns = hwcmp_dsp_put_both(columns, from0, from1, units);
            from0 += step;
            from1 += step;
        }
        return;
    }
    for (int32_t row = params->kernel_h; row > 0; row--) {
        columns = hwcmp_dsp_put_taps(&taps, left, right, columns);
        left.y += params->dilation_h;
        right.y += params->dilation_h;
    }
}

#endif
