/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d_runs.c, compared bit for bit by tests/test_runtime_runs.py. The windows of 16 output
 * pixels at a time are scattered into a tile, position after position, then every channel's lists pass over it.
 * A pixel that is left over is taken alone.
 */
#include "../hwcmp_lane_blocks.h"
#include "../hwcmp_runs.h"
#include "../hwcmp_windows.h"
#include "../ref/gather.h"
#include "run_columns.h"
#include "run_lanes.h"

/* FEW: pixels that take fewer instructions one by one than in lanes. */
enum { FEW = 1, LANES = HWCMP_MVE_LANES };

static int32_t pixels_of(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w;
}

/* Scratch: tile | constants | outputs of 16 pixels, of a layer that has fewer. Of a layer of one pixel: its column. */
size_t hwcmp_conv2d_runs_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const size_t staged = pixels_of(params) < LANES ? LANES * (size_t)weights->rows : 0U;
    if (pixels_of(params) <= FEW) {
        return hwcmp_align4(weights->row_length);
    }
    return LANES * (size_t)weights->row_length + sizeof(hwcmp_mve_channel) * weights->rows + staged;
}

/* ---- the tile ----------------------------------------------------------------------------------------- */

/* Bytes one behind the other to a lane of as many lines. */
static inline int8_t *put_lane(int8_t *to, const int8_t *from, uint32_t count)
{
    const uint8x16_t lines = vmulq_n_u8(vidupq_n_u8(0, 1), LANES);
    int8_t *at = to;

    __asm__ volatile("dlstp.8 lr, %[count]\n"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[at], %q[lines]]\n\t"
                     "add %[at], %[at], #256\n\t"
                     "letp lr, 1b"
                     : [at] "+r"(at), [from] "+r"(from)
                     : [count] "r"(count), [lines] "t"(lines)
                     : "q0", "lr", "memory");
    return to + LANES * count;
}

static inline int8_t *fill_lane(int8_t *to, int32_t value, uint32_t count)
{
    const uint8x16_t lines = vmulq_n_u8(vidupq_n_u8(0, 1), LANES);
    int8_t *at = to;

    for (int32_t left = (int32_t)count; left > 0; left -= HWCMP_MVE_BYTES) {
        vstrbq_scatter_offset_p_s8(at, lines, vdupq_n_s8((int8_t)value), vctp8q((uint32_t)left));
        at += LANES * HWCMP_MVE_BYTES;
    }
    return to + LANES * count;
}

static HWCMP_NOINLINE void put_window(const hwcmp_windows *windows, int8_t *lane)
{
    const hwcmp_window_writer writer = {put_lane, fill_lane};
    hwcmp_windows_put(windows, lane, writer);
}

/* Copies whole lines towards lower addresses. */
static void move_down(int8_t *to, const int8_t *from, uint32_t lines)
{
    for (; lines > 0U; lines--) {
        vstrbq_s8(to, vldrbq_s8(from));
        to += LANES;
        from += LANES;
    }
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
    hwcmp_windows windows = hwcmp_windows_from(params, input, blocks->first);

    move_down(tile, tile + LANES * ((uint32_t)params->kernel_h * row_lines - kept_lines), kept_lines);
    windows.kernel_h -= blocks->kept;
    windows.y += kept_rows;
    windows.last_y += kept_rows;
    for (int32_t lane = 0; lane < count; lane++) {
        put_window(&windows, tile + LANES * kept_lines + lane);
        hwcmp_windows_next(&windows);
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

/* Shift 0 sends a channel to hwcmp_mve_finish_lanes(). */
static hwcmp_mve_channel channel_at(const hwcmp_output_stage *stage, int32_t ch, bool is_literal)
{
    hwcmp_mve_channel channel = hwcmp_mve_channel_at(stage, ch);

    if (is_literal) {
        const int32_t shift = stage->channels->shift[stage->channels->channel_step == 0U ? 0 : ch];
        channel.offset = (int32_t)(((uint32_t)shift << 16) | ((uint32_t)stage->zero_point & 0xFFFFU));
        channel.shift = 0;
    }
    return channel;
}

static void convolve_lanes(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                           hwcmp_output_stage stage, const int8_t *input, int8_t *tile, int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    hwcmp_lane_blocks blocks = hwcmp_lane_blocks_of(params, LANES, hwcmp_lane_rest(params, LANES, FEW));
    const bool is_literal = weights->rows > HWCMP_MVE_LANES_MAX_DEPTH;
    hwcmp_mve_channel *table = (void *)(tile + LANES * (size_t)weights->row_length);
    hwcmp_mve_lanes_job job = {.groups = weights->payload, .tile = tile, .segment_bytes = LANES * shape.width,
                               .channel = table, .end = table + weights->rows,
                               .output = (int8_t *)(table + weights->rows), .pixel_step = weights->rows,
                               .is_wide = hwcmp_runs_is_wide(&shape) ? 1U : 0U,
                               .low = stage.low, .high = stage.high};

    for (uint32_t i = 0; i < 8U; i++) {
        job.offsets[i] = (uint16_t)(i * weights->rows);
    }
    for (int32_t ch = 0; ch < weights->rows; ch++) {
        table[ch] = channel_at(&stage, ch, is_literal);
    }
    while (hwcmp_lane_blocks_next(&blocks, params)) {
        fill_tile(params, input, &blocks, tile);
        if (blocks.pixels >= LANES) {
            job.output = output + (uint32_t)blocks.first * weights->rows;
        }
        hwcmp_mve_run_lanes(&job);
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
        hwcmp_mve_run_column(stage, weights, column, output + (size_t)pixel * weights->rows);
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
        convolve_lanes(params, weights, stage, input, scratch->buf, output);
    }
    convolve_singly(params, weights, &stage, input, scratch->buf, output, singles);
    return HWCMP_OK;
}
