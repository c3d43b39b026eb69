/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/max_pool.c, compared bit for bit by tests/test_runtime_dsp.py. Four channels at a time.
 */
#include "../ref/pool.h"
#include "dsp.h"

/* The larger of each byte. */
static inline uint32_t larger(uint32_t a, uint32_t b)
{
    uint32_t difference;
    __asm__("ssub8 %1, %0, %2\n\tsel %0, %0, %2" : "+&r"(a), "=&r"(difference) : "r"(b));
    return a;
}

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    uint32_t difference;
    __asm__("ssub8 %1, %2, %0\n\tsel %0, %0, %2" : "+&r"(a), "=&r"(difference) : "r"(b));
    return a;
}

static uint32_t four_times(int32_t value)
{
    return ((uint32_t)value & 0xFFU) * 0x01010101U;
}

/* The taps of one window: rows of columns; the steps are bytes. */
typedef struct {
    int32_t rows, columns;
    size_t row_step, column_step;
} window_taps;

/* Four channels; `most` is what they are at least. */
static inline uint32_t largest_four(window_taps taps, const int8_t *row, uint32_t most)
{
    const size_t step = taps.column_step;

    for (; taps.rows > 0; taps.rows--) {
        const int8_t *tap = row;
        for (int32_t pairs = taps.columns >> 1; pairs > 0; pairs--) {
            most = larger(hwcmp_dsp_load(tap), most);
            most = larger(hwcmp_dsp_load(tap + step), most);
            tap += 2U * step;
        }
        if ((taps.columns & 1) != 0) {
            most = larger(hwcmp_dsp_load(tap), most);
        }
        row += taps.row_step;
    }
    return most;
}

/* `depth` channels, at least four; the last four may overlap the four before. */
static HWCMP_NOINLINE void largest_all(const window_taps *taps, const int8_t *from, int32_t depth, uint32_t lows,
                                       uint32_t highs, int8_t *output)
{
    const window_taps own = *taps;

    for (int32_t ch = 0; ch + 4 <= depth; ch += 4) {
        hwcmp_dsp_store(output + ch, smaller(largest_four(own, from + ch, lows), highs));
    }
    if (depth % 4 != 0) {
        hwcmp_dsp_store(output + depth - 4, smaller(largest_four(own, from + depth - 4, lows), highs));
    }
}

static int32_t largest(const hwcmp_pool_params *params, const int8_t *channel, hwcmp_span rows, hwcmp_span columns)
{
    const int32_t depth = params->input.c;
    int32_t most = params->activation_min;

    for (int32_t y = rows.begin; y < rows.end; y++) {
        for (int32_t x = columns.begin; x < columns.end; x++) {
            most = hwcmp_max(most, channel[(y * params->input.w + x) * depth]);
        }
    }
    return hwcmp_min(most, params->activation_max);
}

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t depth = params->input.c;
    const size_t row_step = (size_t)params->input.w * (size_t)depth;

    if (depth >= 4) {
        const window_taps taps = {rows.end - rows.begin, columns.end - columns.begin, row_step, (size_t)depth};
        largest_all(&taps, input + (size_t)rows.begin * row_step + (size_t)columns.begin * (size_t)depth, depth,
                    four_times(params->activation_min), four_times(params->activation_max), pixel);
        return;
    }
    for (int32_t ch = 0; ch < depth; ch++) {
        pixel[ch] = (int8_t)largest(params, input + ch, rows, columns);
    }
}

hwcmp_status hwcmp_max_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
