/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d_runs.c, compared bit for bit by tests/test_runtime_runs.py. The activations of 16 output
 * pixels at a time are transposed into a tile, position by position, then every channel's lists pass over it. Where
 * blocks of 16 pixels are whole rows or parts of one, consecutive blocks are below each other, and kernel rows that
 * they share are moved inside the tile instead of being transposed again. Few pixels that are left over are taken one
 * by one.
 */
#include "../hwcmp_lane_blocks.h"
#include "../hwcmp_runs.h"
#include "../ref/gather.h"
#include "run_columns.h"
#include "run_lanes.h"

/* FEW: pixels that take fewer instructions one by one than in 16 lanes. */
enum { LANES = HWCMP_DSP_LANES, GROUP = 4, MOST_LOG_SCALE = 8, FEW = 3 };

/* Scratch, each part a multiple of 4 bytes: tile | constants | outputs of 16 pixels, of a layer that has fewer | one
 * kernel row of padding | four gathered kernel rows, the last two unless every kernel row of every window is a run of
 * input bytes. Of a layer of few pixels: one column. */
typedef struct {
    const hwcmp_conv_params *params;
    const int8_t *input, *outside;
    int8_t *tile, *gathered;
    int32_t pixels;
    uint32_t run;     /* bytes of a kernel row of one window */
    bool is_in_order; /* windows are the pixels of the input one after the other */
} lane_source;

/* Input coordinates of the first tap of a lane's window. */
typedef struct {
    int32_t y, x;
} lane_place;

static size_t run_bytes(const hwcmp_conv_params *params)
{
    return hwcmp_align4((size_t)params->kernel_w * (size_t)params->input.c);
}

static bool are_runs_of_input(const hwcmp_conv_params *params)
{
    return (params->dilation_w == 1 || params->kernel_w == 1) &&
           hwcmp_axis_inside(params->output.h, params->stride_h, params->pad_top, params->kernel_h, params->dilation_h,
                             params->input.h) &&
           hwcmp_axis_inside(params->output.w, params->stride_w, params->pad_left, params->kernel_w,
                             params->dilation_w, params->input.w);
}

static bool is_in_order(const hwcmp_conv_params *params)
{
    return params->kernel_h == 1 && params->kernel_w == 1 && params->stride_h == 1 && params->stride_w == 1 &&
           params->output.w == params->input.w && are_runs_of_input(params);
}

static int32_t pixels_of(const hwcmp_conv_params *params)
{
    return (int32_t)params->output.h * params->output.w;
}

static size_t staged_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return pixels_of(params) < LANES ? LANES * (size_t)weights->rows : 0U;
}

size_t hwcmp_conv2d_runs_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    if (pixels_of(params) <= FEW) {
        return hwcmp_align4(weights->row_length);
    }
    return LANES * (size_t)weights->row_length + sizeof(hwcmp_dsp_run_channel) * weights->rows +
           staged_bytes(params, weights) + (are_runs_of_input(params) ? 0U : (1U + GROUP) * run_bytes(params));
}

/* ---- the tile ----------------------------------------------------------------------------------------- */

/* Bytes 0 to 3 of four words to four lines of the tile; returns the place of the next line. */
static inline int8_t *put_transposed(int8_t *to, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    const uint32_t ab = (a ^ (b << 8)) & 0xFF00FF00U;
    const uint32_t cd = (c ^ (d << 8)) & 0xFF00FF00U;
    uint32_t line;

    a ^= ab;
    b ^= ab >> 8;
    c ^= cd;
    d ^= cd >> 8;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(line) : "r"(b), "r"(d));
    hwcmp_dsp_store(to + LANES, line);
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(line) : "r"(a), "r"(c));
    hwcmp_dsp_store(to + 2 * LANES, line);
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(line) : "r"(b), "r"(d));
    hwcmp_dsp_store(to + 3 * LANES, line);
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(line) : "r"(a), "r"(c));
    __asm__ volatile("str %1, [%0], #64" : "+r"(to) : "r"(line) : "memory");
    return to;
}

/* `count` bytes from each of four places to as many lines of the tile. A rest of fewer than four is put once more with
 * those before it. */
static HWCMP_NOINLINE void put_lines(int8_t *to, const int8_t *const from[GROUP], uint32_t count)
{
    const int8_t *a = from[0];
    const int8_t *b = from[1];
    const int8_t *c = from[2];
    const int8_t *d = from[3];
    const int8_t *end = a + (count & ~3U);

    while (a != end) {
        to = put_transposed(to, hwcmp_dsp_load(a), hwcmp_dsp_load(b), hwcmp_dsp_load(c), hwcmp_dsp_load(d));
        a += GROUP;
        b += GROUP;
        c += GROUP;
        d += GROUP;
    }
    const uint32_t rest = count % GROUP;
    if (rest != 0U && count > GROUP) {
        const uint32_t back = GROUP - rest;
        put_transposed(to - back * LANES, hwcmp_dsp_load(a - back), hwcmp_dsp_load(b - back), hwcmp_dsp_load(c - back),
                       hwcmp_dsp_load(d - back));
    } else {
        for (uint32_t i = 0; i < rest; i++) {
            to[0] = a[i];
            to[1] = b[i];
            to[2] = c[i];
            to[3] = d[i];
            to += LANES;
        }
    }
}

/* memcpy for a few bytes, without the call. */
static int8_t *copy(int8_t *to, const int8_t *from, uint32_t count)
{
    for (; count >= 4U; count -= 4U) {
        hwcmp_dsp_store(to, hwcmp_dsp_load(from));
        to += 4;
        from += 4;
    }
    for (; count > 0U; count--) {
        *to++ = *from++;
    }
    return to;
}

/* One kernel row of a window from input column x on; `row` is its input row. */
static const int8_t *gather(const lane_source *source, const int8_t *row, int32_t x, int8_t *to)
{
    const hwcmp_conv_params *params = source->params;
    const uint32_t depth = (uint32_t)params->input.c;
    const int8_t *gathered = to;

    for (int32_t tap = 0; tap < params->kernel_w; tap++) {
        const bool inside = (uint32_t)x < (uint32_t)params->input.w;
        to = copy(to, inside ? row + (uint32_t)x * depth : source->outside, depth);
        x += params->dilation_w;
    }
    return gathered;
}

/* Kernel row of four lanes' windows, `tap_y` input rows below their first. */
static void put_group(const lane_source *source, const lane_place *lanes, int32_t tap_y, int8_t *to)
{
    const hwcmp_conv_params *params = source->params;
    const uint32_t depth = (uint32_t)params->input.c;
    const uint32_t last_x = (uint32_t)(params->input.w - params->kernel_w);
    const bool are_neighbours =
        (params->dilation_w == 1 || params->kernel_w == 1) && params->input.w >= params->kernel_w;
    const int8_t *from[GROUP];

    for (int32_t i = 0; i < GROUP; i++) {
        const uint32_t y = (uint32_t)(lanes[i].y + tap_y);
        const int32_t x = lanes[i].x;
        if (y >= (uint32_t)params->input.h) {
            from[i] = source->outside;
            continue;
        }
        const int8_t *row = source->input + y * (uint32_t)params->input.w * depth;
        if (are_neighbours && (uint32_t)x <= last_x) {
            from[i] = row + (uint32_t)x * depth;
        } else {
            from[i] = gather(source, row, x, source->gathered + (uint32_t)i * run_bytes(params));
        }
    }
    put_lines(to, from, source->run);
}

/* The first `count` lanes; those beyond the last pixel repeat the first. */
static void place_lanes(const lane_source *source, int32_t first_pixel, int32_t count, lane_place lanes[LANES])
{
    const hwcmp_conv_params *params = source->params;
    const int32_t out_y = first_pixel / params->output.w;
    int32_t left = params->output.w - (first_pixel - out_y * params->output.w);
    lane_place at = {hwcmp_first_tap(out_y, params->stride_h, params->pad_top),
                     hwcmp_first_tap(params->output.w - left, params->stride_w, params->pad_left)};

    for (int32_t lane = 0; lane < count; lane++) {
        lanes[lane] = at;
        at.x += params->stride_w;
        left--;
        if (left == 0) {
            left = params->output.w;
            at.x = -params->pad_left;
            at.y += params->stride_h;
        }
    }
    for (int32_t lane = source->pixels - first_pixel; lane < count; lane++) {
        lanes[lane] = lanes[0];
    }
}

/* ---- kernel rows of 16 neighbours, whose taps share activations --------------------------------------- */

/* Lines at `from` up to `end`, shifted by a number of bytes with the words at `more` coming in; all 16 bytes apart. */
#define SHIFT_LINES(right, left)                                             \
    for (; more != end; more += LANES) {                                     \
        __asm__ volatile("ldmia %[line]!, {r3-r6}\n\t"                       \
                         "lsr r3, r3, #" right "\n\t"                        \
                         "orr r3, r3, r4, lsl #" left "\n\t"                 \
                         "lsr r4, r4, #" right "\n\t"                        \
                         "orr r4, r4, r5, lsl #" left "\n\t"                 \
                         "lsr r5, r5, #" right "\n\t"                        \
                         "orr r5, r5, r6, lsl #" left "\n\t"                 \
                         "lsr r6, r6, #" right "\n\t"                        \
                         "orr r6, r6, %[word], lsl #" left "\n\t"            \
                         "stmia %[shifted]!, {r3-r6}"                        \
                         : [shifted] "+r"(to), [line] "+r"(from)             \
                         : [word] "r"(hwcmp_dsp_load(more))                  \
                         : "r3", "r4", "r5", "r6", "memory");                \
    }

/* `count` lines that begin `tap` bytes behind the beginnings of lines and of the words that follow those. */
static void shift_lines(int8_t *to, const int8_t *from, const int8_t *more, uint32_t count, int32_t tap)
{
    const int8_t *end = more + LANES * count;

    if (tap == 1) {
        SHIFT_LINES("8", "24")
    } else if (tap == 2) {
        SHIFT_LINES("16", "16")
    } else {
        SHIFT_LINES("24", "8")
    }
}

/* Whether the 16 lanes of a block in strips are neighbours in a row and their taps are these and the next 4 pixels. */
static bool shares_taps(const hwcmp_conv_params *params)
{
    return params->output.w % LANES == 0 && params->stride_w == 1 && params->dilation_w == 1 &&
           params->kernel_w >= 2 && params->kernel_w <= GROUP;
}

/* The kernel row of all lanes, `y` its input row. The taps of column 0 are transposed, and the four pixels behind the
 * 16 to the place of column 1. The other columns are column 0 shifted: the last one first, column 1 is overwritten. */
static void put_shared_row(const lane_source *source, int32_t y, int32_t first_x, int8_t *to)
{
    const hwcmp_conv_params *params = source->params;
    const uint32_t depth = (uint32_t)params->input.c;
    const bool inside = (uint32_t)y < (uint32_t)params->input.h;
    const int8_t *row = source->input + (inside ? (uint32_t)y * (uint32_t)params->input.w * depth : 0U);
    const uint32_t width = inside ? (uint32_t)params->input.w : 0U;
    int8_t *const second = to + LANES * depth;
    uint32_t x = (uint32_t)first_x;

    for (int32_t lane = 0; lane <= LANES; lane += GROUP) {
        const int8_t *from[GROUP];
        for (int32_t i = 0; i < GROUP; i++) {
            from[i] = x < width ? row + x * depth : source->outside;
            x++;
        }
        put_lines(lane < LANES ? to + lane : second, from, depth);
    }
    for (int32_t tap = params->kernel_w - 1; tap > 0; tap--) {
        shift_lines(to + (uint32_t)tap * LANES * depth, to, second, depth, tap);
    }
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

/* Copies whole lines towards lower addresses. */
static void move_down(int8_t *to, const int8_t *from, uint32_t lines)
{
    if (lines % 2U != 0U) {
        __asm__ volatile("ldmia %[from]!, {r3-r6}\n\t"
                         "stmia %[to]!, {r3-r6}"
                         : [to] "+r"(to), [from] "+r"(from)
                         :
                         : "r3", "r4", "r5", "r6", "memory");
    }
    for (lines /= 2U; lines > 0U; lines--) {
        __asm__ volatile("ldmia %[from]!, {r3-r6, r8-r11}\n\t"
                         "stmia %[to]!, {r3-r6, r8-r11}"
                         : [to] "+r"(to), [from] "+r"(from)
                         :
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "memory");
    }
}

/* The same for windows in order; lanes beyond the last pixel repeat it. */
static void fill_tile_in_order(const lane_source *source, int32_t first_pixel)
{
    const uint32_t depth = source->run;
    const int8_t *pixel = source->input + (uint32_t)first_pixel * depth;
    int32_t left = source->pixels - first_pixel;

    for (int8_t *to = source->tile; to != source->tile + LANES; to += GROUP) {
        const int8_t *from[GROUP];
        for (int32_t i = 0; i < GROUP; i++) {
            from[i] = pixel;
            left--;
            pixel += left > 0 ? depth : 0U;
        }
        put_lines(to, from, depth);
    }
}

/* The tile of 16 pixels from `first_pixel` on; the last `kept` kernel rows of the tile are its first. */
static void fill_tile(const lane_source *source, int32_t first_pixel, int32_t kept)
{
    const hwcmp_conv_params *params = source->params;
    const bool shared = shares_taps(params);
    const uint32_t row_bytes = LANES * source->run;
    int8_t *to = source->tile + (uint32_t)kept * row_bytes;
    lane_place lanes[LANES];

    if (kept > 0) {
        move_down(source->tile, source->tile + (uint32_t)(params->kernel_h - kept) * row_bytes,
                  (uint32_t)kept * source->run);
    }
    place_lanes(source, first_pixel, shared ? 1 : LANES, lanes);
    for (int32_t tap = kept; tap < params->kernel_h; tap++) {
        const int32_t tap_y = tap * params->dilation_h;
        if (shared) {
            put_shared_row(source, lanes[0].y + tap_y, lanes[0].x, to);
        } else {
            for (int32_t lane = 0; lane < LANES; lane += GROUP) {
                put_group(source, lanes + lane, tap_y, to + lane);
            }
        }
        to += row_bytes;
    }
}

/* ---- constants ---------------------------------------------------------------------------------------- */

/* GENERAL or LITERAL. */
static HWCMP_NOINLINE hwcmp_dsp_run_channel channel_at(const hwcmp_output_stage *stage, int32_t ch, uint32_t row_length)
{
    const hwcmp_dsp_channel plain = hwcmp_dsp_channel_at(stage, ch, row_length);
    hwcmp_dsp_run_channel channel = {plain.multiplier, plain.offset, HWCMP_DSP_LITERAL, plain.bias};

    if (plain.shift != 0) {
        channel.how = HWCMP_DSP_GENERAL | ((uint32_t)plain.shift << 8) | 1U;
        channel.bias = 2 * plain.bias;
    }
    return channel;
}

/* |bias| + row_length * 2^14 bounds a sum; times 2^(d+1) it must stay below 2^31, and group values times 2^8 fit 16
 * bits. */
static HWCMP_NOINLINE void prepare_channels(hwcmp_dsp_run_channel *table, const hwcmp_output_stage *stage,
                                            const hwcmp_weights *weights)
{
    const hwcmp_channels *constants = stage->channels;
    const uint32_t most = weights->row_length < 65536U ? weights->row_length << 14 : UINT32_C(1) << 30;
    const int32_t offset = (2 * stage->zero_point + 1) * (1 << (HWCMP_DSP_RECTIFIED_SHIFT - 1));
    const uint32_t limit_d = stage->low >= stage->zero_point ? MOST_LOG_SCALE - 1U : 0U;
    uint32_t entry = 0;

    for (int32_t ch = 0; ch < weights->rows; ch++) {
        const int32_t bias = constants->bias[ch];
        const uint32_t reach = (bias < 0 ? 0U - (uint32_t)bias : (uint32_t)bias) + most;
        const int32_t multiplier = constants->multiplier[entry];
        const uint32_t less_d = (uint32_t)(HWCMP_DSP_RECTIFIED_SHIFT - 1 + constants->shift[entry]);
        if (less_d < limit_d && reach >> (29U - less_d) == 0U && multiplier >= 0) {
            const hwcmp_dsp_run_channel channel = {multiplier, (1 << less_d) + offset,
                                                   HWCMP_DSP_RECTIFIED | (less_d + 2U), bias * (4 << less_d)};
            table[ch] = channel;
        } else {
            table[ch] = channel_at(stage, ch, weights->row_length);
        }
        entry += constants->channel_step;
    }
}

static void convolve_lanes(const hwcmp_conv_params *params, const hwcmp_weights *weights,
                           const hwcmp_output_stage *stage, const int8_t *input, int8_t *tile, int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const int32_t pixels = pixels_of(params);
    const bool pads = !are_runs_of_input(params);
    hwcmp_dsp_run_channel *table = (void *)(tile + LANES * (size_t)weights->row_length);
    int8_t *const staged = (int8_t *)(table + weights->rows);
    int8_t *const rest = staged + staged_bytes(params, weights);
    const lane_source source = {.params = params, .input = input, .outside = pads ? rest : input, .tile = tile,
                          .gathered = rest + run_bytes(params), .pixels = pixels,
                          .run = (uint32_t)params->kernel_w * (uint32_t)params->input.c,
                          .is_in_order = is_in_order(params)};
    hwcmp_dsp_lanes_job job = {.groups = weights->payload, .tile = tile, .segment_bytes = LANES * shape.width,
                               .channel = table, .end = table + weights->rows, .output = staged,
                               .pixel_step = weights->rows, .is_wide = hwcmp_runs_is_wide(&shape) ? 1U : 0U};
    hwcmp_lane_blocks blocks = hwcmp_lane_blocks_of(params, LANES, hwcmp_lane_rest(params, LANES, FEW));

    prepare_channels(table, stage, weights);
    for (size_t i = 0; pads && i < run_bytes(params); i += 4U) {
        hwcmp_dsp_store(rest + i, ((uint32_t)params->input_zero_point & 0xFFU) * 0x01010101U);
    }
    while (hwcmp_lane_blocks_next(&blocks, params)) {
        if (source.is_in_order) {
            fill_tile_in_order(&source, blocks.first);
        } else {
            fill_tile(&source, blocks.first, blocks.kept);
        }
        if (pixels >= LANES) {
            job.output = output + (uint32_t)blocks.first * job.pixel_step;
        }
        hwcmp_dsp_run_lanes(&job);
    }
    if (pixels < LANES) {
        copy(output, staged, (uint32_t)pixels * weights->rows);
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
        hwcmp_dsp_run_column(stage, weights, column, output + (size_t)pixel * weights->rows);
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
    hwcmp_dsp_activate(output, (uint32_t)pixels_of(params) * weights->rows, stage.low, stage.high);
    return HWCMP_OK;
}
