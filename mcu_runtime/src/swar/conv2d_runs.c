/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d_runs.c, compared bit for bit by tests/test_runtime_runs.py. The windows of 8 output pixels
 * at a time are put into a tile, two pixels in a word, then every channel's lists pass over it. A pixel that is left
 * over is taken alone.
 */
#include "../hwcmp_lane_blocks.h"
#include "../hwcmp_runs.h"
#include "../hwcmp_windows.h"
#include "../ref/gather.h"
#include "run_columns.h"
#include "run_lanes.h"

/* FEW: pixels that take fewer instructions one by one than in lanes. */
enum { FEW = 1, LANES = HWCMP_SWAR_LANES, WORDS = LANES / 2, LINE_BYTES = HWCMP_SWAR_LINE_BYTES };

/* Input coordinates of the first tap of a lane's window. */
typedef struct {
    int32_t y, x;
} lane_place;

static int32_t pixels_of(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w;
}

/* Scratch: tile | constants | outputs of 8 pixels, of a layer that has fewer. Of a layer of one pixel: its column. */
size_t hwcmp_conv2d_runs_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const size_t staged = pixels_of(params) < LANES ? LANES * (size_t)weights->rows : 0U;
    if (pixels_of(params) <= FEW) {
        return hwcmp_align4(weights->row_length);
    }
    return LINE_BYTES * (size_t)weights->row_length + sizeof(hwcmp_swar_channel) * weights->rows + staged;
}

/* ---- the tile ----------------------------------------------------------------------------------------- */

/* Bytes one behind the other to a word of as many lines; the upper pixel comes after the lower one. */
static inline int8_t *put_lower(int8_t *to, const int8_t *from, uint32_t count)
{
    int32_t *word = (void *)to;

    for (const int8_t *end = from + count; from != end; from++) {
        *word = *from;
        word += WORDS;
    }
    return (int8_t *)word;
}

static inline int8_t *put_upper(int8_t *to, const int8_t *from, uint32_t count)
{
    uint32_t *word = (void *)to;

    for (const int8_t *end = from + count; from != end; from++) {
        *word += (uint32_t)*from << 16;
        word += WORDS;
    }
    return (int8_t *)word;
}

static HWCMP_NOINLINE int8_t *fill_lower(int8_t *to, int32_t value, uint32_t count)
{
    int32_t *word = (void *)to;

    for (; count > 0U; count--) {
        *word = value;
        word += WORDS;
    }
    return (int8_t *)word;
}

static HWCMP_NOINLINE int8_t *fill_upper(int8_t *to, int32_t value, uint32_t count)
{
    uint32_t *word = (void *)to;

    for (; count > 0U; count--) {
        *word += (uint32_t)value << 16;
        word += WORDS;
    }
    return (int8_t *)word;
}

static HWCMP_NOINLINE void put_lower_window(const hwcmp_windows *windows, int8_t *to)
{
    const hwcmp_window_writer writer = {put_lower, fill_lower};
    hwcmp_windows_put(windows, to, writer);
}

static HWCMP_NOINLINE void put_upper_window(const hwcmp_windows *windows, int8_t *to)
{
    const hwcmp_window_writer writer = {put_upper, fill_upper};
    hwcmp_windows_put(windows, to, writer);
}

/* Kernel rows of two windows inside the input, whose taps are neighbours. */
static HWCMP_NOINLINE void put_both_windows(const hwcmp_windows *windows, const int8_t *lower, const int8_t *upper,
                                            int8_t *to)
{
    const int32_t count = (int32_t)windows->run_bytes;
    const uint32_t step = windows->row_step;
    uint32_t *word = (void *)to;

    lower += count;
    upper += count;
    for (int32_t rows = windows->kernel_h; rows > 0; rows--) {
        for (int32_t i = -count; i != 0; i++) {
            *word = (uint32_t)lower[i] + ((uint32_t)upper[i] << 16);
            word += WORDS;
        }
        lower += step;
        upper += step;
    }
}

/* Copies whole lines towards lower addresses. */
static void move_down(int8_t *to, const int8_t *from, uint32_t lines)
{
    const int8_t *end = from + LINE_BYTES * lines;

    while (from != end) {
        __asm__ volatile(HWCMP_SWAR_UNIFIED "ldmia %[from]!, {r3-r6}\n\t"
                         "stmia %[to]!, {r3-r6}"
                         : [to] "+l"(to), [from] "+l"(from)
                         :
                         : "r3", "r4", "r5", "r6", "memory");
    }
}

/* The first tap of the window at a lane's place, to which `windows` is moved; null unless it is inside the input and
 * its taps are neighbours. */
static const int8_t *window_of_lane(hwcmp_windows *windows, const lane_place *lane)
{
    windows->y = lane->y;
    windows->x = lane->x;
    return windows->dilation_w == 1 && hwcmp_windows_is_inside(windows) ? hwcmp_windows_first_tap(windows) : NULL;
}

/* The tile of the block; its first `kept` kernel rows are the last ones of the tile as it is. Lanes behind the last
 * pixel stay as they are. */
static void fill_tile(const hwcmp_conv_params *params, const int8_t *input, const hwcmp_lane_blocks *blocks,
                      int8_t *tile)
{
    const uint32_t row_lines = (uint32_t)params->kernel_w * (uint32_t)params->input.c;
    const uint32_t kept_lines = (uint32_t)blocks->kept * row_lines;
    const int32_t kept_rows = blocks->kept * params->dilation_h;
    const int32_t count = hwcmp_min(blocks->pixels, LANES);
    int8_t *to = tile + LINE_BYTES * kept_lines;
    hwcmp_windows windows = hwcmp_windows_from(params, input, blocks->first);
    lane_place lanes[LANES];

    move_down(tile, tile + LINE_BYTES * ((uint32_t)params->kernel_h * row_lines - kept_lines), kept_lines);
    windows.kernel_h -= blocks->kept;
    windows.y += kept_rows;
    windows.last_y += kept_rows;
    for (int32_t lane = 0; lane < LANES; lane++) {
        lanes[lane].y = windows.y;
        lanes[lane].x = windows.x;
        hwcmp_windows_next(&windows);
    }
    for (int32_t lane = 0; lane < hwcmp_min(count, WORDS); lane++) {
        const bool has_upper = lane + WORDS < count;
        const int8_t *upper = has_upper ? window_of_lane(&windows, &lanes[lane + WORDS]) : NULL;
        const int8_t *lower = window_of_lane(&windows, &lanes[lane]);
        if (lower != NULL && upper != NULL) {
            put_both_windows(&windows, lower, upper, to);
        } else {
            put_lower_window(&windows, to);
            if (has_upper) {
                window_of_lane(&windows, &lanes[lane + WORDS]);
                put_upper_window(&windows, to);
            }
        }
        to += sizeof(uint32_t);
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

static void convolve_lanes(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                           const hwcmp_output_stage *stage, const int8_t *input, int8_t *tile, int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    hwcmp_lane_blocks blocks = hwcmp_lane_blocks_of(params, LANES, hwcmp_lane_rest(params, LANES, FEW));
    hwcmp_swar_channel *table = (void *)(tile + LINE_BYTES * (size_t)weights->row_length);
    hwcmp_swar_lanes_job job = {.groups = weights->payload, .tile = tile, .segment_bytes = LINE_BYTES * shape.width,
                                .channel = table, .end = table + weights->rows,
                                .output = (int8_t *)(table + weights->rows), .pixel_step = weights->rows,
                                .is_wide = hwcmp_runs_is_wide(&shape) ? 1U : 0U, .floor = hwcmp_swar_floor(stage)};

    for (int32_t ch = 0; ch < weights->rows; ch++) {
        table[ch] = hwcmp_swar_channel_at(stage, ch, weights->row_length);
    }
    while (hwcmp_lane_blocks_next(&blocks, params)) {
        fill_tile(params, input, &blocks, tile);
        if (blocks.pixels >= LANES) {
            job.output = output + (uint32_t)blocks.first * weights->rows;
        }
        hwcmp_swar_run_lanes(&job);
    }
    if (blocks.pixels < LANES) {
        memcpy(output, job.output, (uint32_t)blocks.pixels * weights->rows);
    }
}

/* The last `count` pixels. */
static void convolve_singly(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                            const hwcmp_output_stage *stage, const int8_t *input, int8_t *column, int8_t *output,
                            int32_t count)
{
    const int32_t pixels = pixels_of(params);

    for (int32_t pixel = pixels - count; pixel < pixels; pixel++) {
        const int32_t y = hwcmp_first_tap(pixel / params->output.w, params->stride_h, params->pad_top);
        const int32_t x = hwcmp_first_tap(pixel % params->output.w, params->stride_w, params->pad_left);
        hwcmp_gather(params, input, y, x, column);
        hwcmp_swar_run_column(stage, weights, column, output + (size_t)pixel * weights->rows);
    }
}

hwcmp_status hwcmp_conv2d_runs_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                  const hwcmp_weights *weights, const hwcmp_channels *channels, const int8_t *input,
                                  int8_t *output)
{
    hwcmp_status status = hwcmp_direct_conv_check(params, weights, channels, input, output, HWCMP_FORMAT_RUNS);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_conv2d_runs_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    const int32_t singles = hwcmp_lane_rest(params, LANES, FEW);

    if (singles < pixels_of(params)) {
        convolve_lanes(params, weights, &stage, input, scratch->buf, output);
    }
    convolve_singly(params, weights, &stage, input, scratch->buf, output, singles);
    hwcmp_swar_activate(output, (uint32_t)pixels_of(params) * weights->rows, stage.low, stage.high);
    return HWCMP_OK;
}
