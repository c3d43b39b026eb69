/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/depthwise_conv2d.c, compared bit for bit by tests/test_runtime_mve.py.
 * Up to sixteen input channels at a time; a line of outputs, or a segment of it, is computed channel by channel from
 * strips of the input lines that it needs (dot_strips.h). Kernels of more than four lines take several strips, those of
 * more than four columns several gathers.
 */
#include "../ref/axis.h"
#include "../ref/conv.h"
#include "dot_strips.h"

enum {
    CHANNELS = 16,      /* input channels in a strip */
    MAX_GROUP = 64,     /* output channels whose weights and constants are prepared at a time */
    STRIP_BYTES = 4096, /* the strips of a segment are as long as this allows, but at least four outputs */
    WEIGHT_BYTES = 16,  /* of a gather: four lines and four columns */
    LINE_BLOCKS = 3     /* so many blocks of four outputs cost as much as beginning a line */
};

typedef struct {
    hwcmp_axis lines, lanes; /* outputs are computed along `lanes` */
    int32_t strips, gathers; /* of four lines or columns to cover the kernel */
    int32_t group;           /* output channels at a time */
    int32_t segment;         /* outputs at a time, a multiple of 4 unless it is the whole line */
    int32_t columns;         /* of a strip */
    uint32_t column_step;    /* bytes from column to column of a window */
    uint32_t lane_step;      /* bytes from window to window */
    bool apart;              /* dilated: a strip holds the columns of every tap for themselves */
} layer_plan;

/* Scratch, each part a multiple of 4 bytes: strips | weights | gathers | constants | rows. */
typedef struct {
    int8_t *strips, *weights;
    uint32_t *gathers;
    hwcmp_mve_channel *table;
    int8_t *rows;
} scratch_parts;

static int64_t blocks_of(const hwcmp_axis *lines, const hwcmp_axis *lanes)
{
    return (int64_t)lines->outputs * ((lanes->outputs + 3) / 4 + LINE_BLOCKS);
}

static layer_plan plan_of(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const int32_t multiplier = params->output.c / params->input.c;
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    layer_plan plan = {.lines = hwcmp_height_of(params), .lanes = hwcmp_width_of(params)};

    if (blocks_of(&plan.lines, &plan.lanes) > blocks_of(&plan.lanes, &plan.lines)) {
        plan.lines = hwcmp_width_of(params);
        plan.lanes = hwcmp_height_of(params);
    }
    plan.strips = (plan.lines.taps + 3) / 4;
    plan.gathers = (plan.lanes.taps + 3) / 4;
    plan.group = hwcmp_min(hwcmp_min(at_once, MAX_GROUP), hwcmp_min(multiplier, MAX_GROUP) * CHANNELS);
    plan.apart = plan.lanes.dilation != 1;
    const int32_t most = STRIP_BYTES / (HWCMP_MVE_COLUMN_BYTES * plan.strips);
    const int32_t taps = 4 * plan.gathers;
    const int32_t stride = plan.lanes.stride;
    const int32_t fits = plan.apart ? most / taps : (most - taps) / stride + 1;
    const int32_t wanted = hwcmp_min(fits & ~3, (plan.lanes.outputs + 3) & ~3);
    const int32_t rounded = hwcmp_max(wanted, HWCMP_MVE_LANES);
    plan.segment = hwcmp_min(rounded, plan.lanes.outputs);
    plan.columns = plan.apart ? taps * rounded : (rounded - 1) * stride + taps;
    plan.column_step = HWCMP_MVE_COLUMN_BYTES * (plan.apart ? (uint32_t)rounded : 1U);
    plan.lane_step = HWCMP_MVE_COLUMN_BYTES * (plan.apart ? 1U : (uint32_t)stride);
    return plan;
}

static size_t strip_bytes(const layer_plan *plan)
{
    return HWCMP_MVE_COLUMN_BYTES * (size_t)plan->columns;
}

/* Gathers of one window. */
static size_t gathers_of(const layer_plan *plan)
{
    return (size_t)plan->strips * (size_t)plan->gathers;
}

size_t hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const layer_plan plan = plan_of(params, weights);
    return (size_t)plan.strips * strip_bytes(&plan) + sizeof(uint32_t) * gathers_of(&plan) +
           (size_t)plan.group * (WEIGHT_BYTES * gathers_of(&plan) + sizeof(hwcmp_mve_channel)) +
           hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

static scratch_parts parts_of(const hwcmp_scratch *scratch, const layer_plan *plan)
{
    int8_t *strips = scratch->buf;
    int8_t *weights = strips + (size_t)plan->strips * strip_bytes(plan);
    int8_t *gathers = weights + (size_t)plan->group * WEIGHT_BYTES * gathers_of(plan);
    int8_t *table = gathers + sizeof(uint32_t) * gathers_of(plan);
    const scratch_parts parts = {strips, weights, (void *)gathers, (void *)table,
                                 table + (size_t)plan->group * sizeof(hwcmp_mve_channel)};
    return parts;
}

/* ---- strips ------------------------------------------------------------------------------------------- */

static void fill_columns(int8_t *to, int32_t count, int32_t value)
{
    const int8x16_t values = vdupq_n_s8((int8_t)value);

    for (int32_t left = count * (HWCMP_MVE_COLUMN_BYTES / HWCMP_MVE_BYTES); left > 0; left--) {
        vstrbq_s8(to, values);
        to += HWCMP_MVE_BYTES;
    }
}

/* `count` columns of four lines, `step` input columns apart from column x on; `lines` are those of column 0. */
static void put_columns(const hwcmp_mve_lines *lines, int32_t width, int32_t value, int32_t x, int32_t step,
                        int32_t count, int8_t *to)
{
    const int32_t begin = x >= 0 ? 0 : hwcmp_min((step - 1 - x) / step, count);
    const int32_t end = hwcmp_clamp((width - x + step - 1) / step, begin, count);
    const uint32_t first = (uint32_t)(x + begin * step);
    hwcmp_mve_lines own = *lines;

    fill_columns(to, begin, value);
    if (begin < end) {
        for (int32_t i = 0; i < HWCMP_MVE_STRIP_ROWS; i++) {
            own.from[i] += first * own.step[i];
            own.step[i] *= (uint32_t)step;
        }
        hwcmp_mve_put_columns(to + HWCMP_MVE_COLUMN_BYTES * (size_t)begin, &own, (uint32_t)(end - begin));
    }
    fill_columns(to + HWCMP_MVE_COLUMN_BYTES * (size_t)end, count - end, value);
}

/* The strips of outputs [first, first + count) of one line; input: the first of `channels` channels. Lines outside the
 * input and behind the kernel read the input zero point. */
static void put_strips(const layer_plan *plan, int32_t line, int32_t first, int32_t count, uint32_t channels,
                       int32_t value, const int8_t *input, int8_t *to)
{
    const hwcmp_axis *lanes = &plan->lanes;
    const int32_t x = hwcmp_first_tap(first, lanes->stride, lanes->pad);
    int32_t y = hwcmp_first_tap(line, plan->lines.stride, plan->lines.pad);
    int8_t outside[CHANNELS];
    hwcmp_mve_lines lines = {.channels = channels};

    vstrbq_s8(outside, vdupq_n_s8((int8_t)value));
    for (int32_t tap = 0; tap < HWCMP_MVE_STRIP_ROWS * plan->strips; tap++) {
        const int32_t i = tap % HWCMP_MVE_STRIP_ROWS;
        const bool inside = tap < plan->lines.taps && y >= 0 && y < plan->lines.inputs;
        lines.from[i] = inside ? input + (size_t)y * plan->lines.input_step : outside;
        lines.step[i] = inside ? (uint32_t)lanes->input_step : 0U;
        y += tap < plan->lines.taps ? plan->lines.dilation : 0;
        if (i < HWCMP_MVE_STRIP_ROWS - 1) {
            continue;
        }
        if (plan->apart) {
            for (int32_t column = 0; column < lanes->taps; column++) {
                put_columns(&lines, lanes->inputs, value, x + column * lanes->dilation, lanes->stride, count,
                            to + (size_t)column * plan->column_step);
            }
        } else {
            put_columns(&lines, lanes->inputs, value, x, 1, (count - 1) * lanes->stride + lanes->taps, to);
        }
        to += strip_bytes(plan);
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

/* Four lines and columns at a time, in the order of gathered columns; zero behind the kernel. */
static void put_weights(const layer_plan *plan, const int8_t *row, int8_t *to)
{
    for (size_t gather = 0; gather < gathers_of(plan); gather++) {
        vstrbq_s8(to + WEIGHT_BYTES * gather, vdupq_n_s8(0));
    }
    for (int32_t line = 0; line < plan->lines.taps; line++) {
        const int8_t *from = row + (size_t)line * plan->lines.weight_step;
        int8_t *strip = to + WEIGHT_BYTES * (size_t)(line / 4) * (size_t)plan->gathers + line % 4;
        for (int32_t tap = 0; tap < plan->lanes.taps; tap++) {
            *strip = *from;
            from += plan->lanes.weight_step;
            strip += 4;
        }
    }
}

static void put_gathers(const layer_plan *plan, uint32_t *to)
{
    for (int32_t strip = 0; strip < plan->strips; strip++) {
        uint32_t at = (uint32_t)strip * (uint32_t)strip_bytes(plan);
        for (int32_t gather = 0; gather < plan->gathers; gather++) {
            *to++ = at;
            at += 4U * plan->column_step;
        }
    }
}

/* Neighbouring output channels with short requantization, from `begin` on. */
static int32_t fast_channels(const hwcmp_mve_channel *table, int32_t begin, int32_t end)
{
    int32_t ch = begin;

    while (ch < end && table[ch].shift != 0) {
        ch++;
    }
    return ch - begin;
}

/* The job's outputs for `count` output channels; the first shares its input channel with the `shared` before it. */
static void convolve_channels(const layer_plan *plan, const scratch_parts *scratch, int32_t multiplier, int32_t shared,
                              int32_t count, hwcmp_mve_strip_job job)
{
    const bool fits = gathers_of(plan) == 1U && plan->lane_step <= 2U * HWCMP_MVE_COLUMN_BYTES;
    int8_t *const output = job.output;

    for (int32_t ch = 0; ch < count; ch += (int32_t)job.channels) {
        const int32_t fast = fits ? fast_channels(scratch->table, ch, count) : 0;
        job.strip = scratch->strips + 4 * ((shared + ch) / multiplier);
        job.weights = scratch->weights + WEIGHT_BYTES * gathers_of(plan) * (size_t)ch;
        job.output = output + ch;
        job.channel = scratch->table + ch;
        job.channels = (uint32_t)(multiplier == 1 && fast > 1 ? fast : 1);
        if (fast == 0) {
            hwcmp_mve_dot_strip_any(&job);
        } else if (plan->lane_step == HWCMP_MVE_COLUMN_BYTES) {
            hwcmp_mve_dot_strip_stride1(&job);
        } else {
            hwcmp_mve_dot_strip_stride2(&job);
        }
    }
}

/* Output channels [begin, end) of every pixel, whose weights begin at `rows`. */
static void convolve_group(const hwcmp_conv_params *params, const layer_plan *plan, const scratch_parts *scratch,
                           const hwcmp_output_stage *stage, int32_t begin, int32_t end, const int8_t *rows,
                           const int8_t *input, int8_t *output)
{
    const int32_t multiplier = params->output.c / params->input.c;
    const int32_t from = begin / multiplier;
    const uint32_t channels = (uint32_t)((end - 1) / multiplier - from + 1);
    hwcmp_mve_strip_job job = {.column_step = plan->column_step,
                               .lane_step = plan->lane_step,
                               .output_step = (uint32_t)plan->lanes.output_step,
                               .low = stage->low,
                               .high = stage->high,
                               .gathers = scratch->gathers,
                               .gather_count = gathers_of(plan)};

    for (int32_t ch = begin; ch < end; ch++) {
        put_weights(plan, rows, scratch->weights + WEIGHT_BYTES * gathers_of(plan) * (size_t)(ch - begin));
        scratch->table[ch - begin] = hwcmp_mve_channel_at(stage, ch);
        rows += params->kernel_h * params->kernel_w;
    }
    for (int32_t line = 0; line < plan->lines.outputs; line++) {
        for (int32_t first = 0; first < plan->lanes.outputs; first += plan->segment) {
            job.count = (uint32_t)hwcmp_min(plan->segment, plan->lanes.outputs - first);
            job.output = output + (size_t)line * plan->lines.output_step + (size_t)first * plan->lanes.output_step;
            put_strips(plan, line, first, (int32_t)job.count, channels, params->input_zero_point, input + from,
                       scratch->strips);
            convolve_channels(plan, scratch, multiplier, begin - from * multiplier, end - begin, job);
        }
    }
}

hwcmp_status hwcmp_depthwise_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                       const int8_t *input, int8_t *output)
{
    hwcmp_status status = hwcmp_depthwise_conv2d_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_depthwise_conv2d_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = hwcmp_conv_stage(params, channels);
    const layer_plan plan = plan_of(params, weights);
    const int32_t multiplier = params->output.c / params->input.c;
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    const scratch_parts parts = parts_of(scratch, &plan);

    put_gathers(&plan, parts.gathers);
    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t last = hwcmp_min(first + at_once, weights->rows);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)(last - first), parts.rows);
        for (int32_t begin = first, end; begin < last; begin = end) {
            end = hwcmp_min((begin / multiplier + CHANNELS) * multiplier, hwcmp_min(begin + plan.group, last));
            convolve_group(params, &plan, &parts, &stage, begin, end,
                           rows + (size_t)(begin - first) * weights->row_length, input, output + begin);
        }
    }
    return HWCMP_OK;
}
