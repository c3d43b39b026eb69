/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/depthwise_conv2d.c, compared bit for bit by tests/test_runtime_swar.py.
 * One input channel at a time becomes a plane of words with the padding in it, a band of output lines at a time. Four
 * neighbouring outputs of a line are computed at once, along the axis that leaves fewer blocks of four unfinished.
 */
#include "../ref/axis.h"
#include "../ref/conv.h"
#include "dot_lanes.h"

/* The band is as high as this allows, but at least one output line. */
enum { PLANE_BYTES = 2048 };

/* A line of the plane holds its values sorted by their remainder modulo the stride: the first of each phase in turn, so
 * that windows that begin a stride apart find what they need side by side. */
typedef struct {
    hwcmp_axis lines, lanes;
    int32_t phase;    /* words of a phase */
    int32_t elements; /* words of a line */
    int32_t taps;     /* rounded up to turns */
    int32_t band;     /* output lines at a time */
} layer_plan;

/* Scratch, each part a multiple of 4 bytes: plane | taps | rows. */
typedef struct {
    int32_t *plane;
    hwcmp_swar_tap *taps;
    int8_t *rows;
} scratch_parts;

static int32_t blocks_of(const hwcmp_axis *lanes)
{
    return (lanes->outputs + 3) / 4;
}

static layer_plan plan_of(const hwcmp_conv_params *params)
{
    layer_plan plan = {.lines = hwcmp_height_of(params), .lanes = hwcmp_width_of(params)};

    if ((int64_t)blocks_of(&plan.lanes) * plan.lines.outputs > (int64_t)blocks_of(&plan.lines) * plan.lanes.outputs) {
        plan.lines = hwcmp_width_of(params);
        plan.lanes = hwcmp_height_of(params);
    }
    const int32_t stride = plan.lanes.stride;
    plan.phase = 4 * blocks_of(&plan.lanes) + (hwcmp_span_of(&plan.lanes) - 1) / stride;
    plan.elements = plan.phase * hwcmp_min(stride, hwcmp_span_of(&plan.lanes));
    plan.taps = (plan.lines.taps * plan.lanes.taps + HWCMP_SWAR_TAP_TURN - 1) / HWCMP_SWAR_TAP_TURN *
                HWCMP_SWAR_TAP_TURN;
    const int32_t span = hwcmp_span_of(&plan.lines);
    const int32_t most = hwcmp_max(span, PLANE_BYTES / (int32_t)sizeof(int32_t) / plan.elements);
    plan.band = hwcmp_min(plan.lines.outputs, (most - span) / plan.lines.stride + 1);
    return plan;
}

static size_t plane_bytes(const layer_plan *plan)
{
    const size_t lines = (size_t)((plan->band - 1) * plan->lines.stride + hwcmp_span_of(&plan->lines));
    return sizeof(int32_t) * (size_t)plan->elements * lines;
}

size_t hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const layer_plan plan = plan_of(params);
    return plane_bytes(&plan) + sizeof(hwcmp_swar_tap) * (size_t)plan.taps +
           hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

/* ---- planes ------------------------------------------------------------------------------------------- */

static void fill(int32_t *to, int32_t count, int32_t value)
{
    for (const int32_t *end = to + count; to != end; to++) {
        *to = value;
    }
}

/* `count` values, `step` bytes apart. */
static HWCMP_NOINLINE void widen(int32_t *to, const int8_t *from, size_t step, int32_t count)
{
    for (const int32_t *end = to + (count & ~3); to != end; to += 4) {
        to[0] = *from;
        from += step;
        to[1] = *from;
        from += step;
        to[2] = *from;
        from += step;
        to[3] = *from;
        from += step;
    }
    for (const int32_t *end = to + (count & 3); to != end; to++) {
        *to = *from;
        from += step;
    }
}

/* One line of the plane from one of the input, or of padding if that is null. */
static void put_line(const layer_plan *plan, int32_t zero_point, const int8_t *input, int32_t *line)
{
    const hwcmp_axis *lanes = &plan->lanes;
    const int32_t stride = lanes->stride;
    const int32_t phases = hwcmp_min(stride, hwcmp_span_of(lanes));

    for (int32_t phase = 0; phase < phases; phase++, line += plan->phase) {
        const int32_t x = phase - lanes->pad;
        const int32_t begin = x >= 0 ? 0 : hwcmp_min((stride - 1 - x) / stride, plan->phase);
        const int32_t inside = (lanes->inputs - x + stride - 1) / stride;
        const int32_t end = input == NULL ? begin : hwcmp_clamp(inside, begin, plan->phase);
        fill(line, begin, zero_point);
        if (begin < end) {
            const size_t first = (size_t)(x + begin * stride) * lanes->input_step;
            widen(line + begin, input + first, lanes->input_step * (size_t)stride, end - begin);
        }
        fill(line + end, plan->phase - end, zero_point);
    }
}

/* The lines that output lines [first, first + count) need, of the channel whose first value is *input. */
static void put_band(const layer_plan *plan, int32_t first, int32_t count, int32_t zero_point, const int8_t *input,
                     int32_t *plane)
{
    const int32_t needed = (count - 1) * plan->lines.stride + hwcmp_span_of(&plan->lines);
    int32_t at = hwcmp_first_tap(first, plan->lines.stride, plan->lines.pad);

    for (int32_t line = 0; line < needed; line++, at++, plane += plan->elements) {
        const bool inside = at >= 0 && at < plan->lines.inputs;
        put_line(plan, zero_point, inside ? input + (size_t)at * plan->lines.input_step : NULL, plane);
    }
}

/* ---- one output channel ------------------------------------------------------------------------------- */

static void put_taps(const layer_plan *plan, const int8_t *row, hwcmp_swar_tap *taps)
{
    const hwcmp_axis *lanes = &plan->lanes;
    const hwcmp_swar_tap *const end = taps + plan->taps;
    uint32_t line_offset = 0;

    for (int32_t line = 0; line < plan->lines.taps; line++) {
        const int8_t *weight = row + (size_t)line * plan->lines.weight_step;
        int32_t phase = 0;
        int32_t at = 0;
        for (int32_t tap = 0; tap < lanes->taps; tap++, taps++) {
            taps->weight = *weight;
            taps->offset = line_offset + sizeof(int32_t) * (uint32_t)(phase * plan->phase + at);
            weight += lanes->weight_step;
            for (phase += lanes->dilation; phase >= lanes->stride; phase -= lanes->stride) {
                at++;
            }
        }
        line_offset += sizeof(int32_t) * (uint32_t)(plan->lines.dilation * plan->elements);
    }
    for (; taps != end; taps++) {
        taps->weight = 0;
        taps->offset = 0;
    }
}

/* Output lines of one channel from the plane. */
static void convolve_lines(const layer_plan *plan, const scratch_parts *scratch, const hwcmp_swar_channel *channel,
                           int32_t lines, int8_t *output)
{
    const uint32_t blocks = (uint32_t)plan->lanes.outputs / HWCMP_SWAR_LANES;
    const uint32_t rest = (uint32_t)plan->lanes.outputs % HWCMP_SWAR_LANES;
    const size_t step = plan->lanes.output_step;
    const int32_t *plane = scratch->plane;

    for (int32_t line = 0; line < lines; line++) {
        hwcmp_swar_lanes_job job = {.plane = plane,
                                    .taps = scratch->taps,
                                    .taps_end = scratch->taps + plan->taps,
                                    .blocks = blocks,
                                    .channel = channel,
                                    .output = output,
                                    .output_step = (uint32_t)step};
        if (blocks > 0U) {
            hwcmp_swar_dot_lanes(&job);
        }
        if (rest > 0U) {
            int8_t last[HWCMP_SWAR_LANES];
            int8_t *to = output + HWCMP_SWAR_LANES * blocks * step;
            job.plane = plane + HWCMP_SWAR_LANES * blocks;
            job.blocks = 1U;
            job.output = last;
            job.output_step = 1U;
            hwcmp_swar_dot_lanes(&job);
            for (uint32_t i = 0; i < rest; i++) {
                *to = last[i];
                to += step;
            }
        }
        plane += plan->lines.stride * plan->elements;
        output += plan->lines.output_step;
    }
}

/* Output channels [first, first + count), whose weights begin at `rows`. */
static void convolve(const hwcmp_conv_params *params, const layer_plan *plan, const hwcmp_output_stage *stage,
                     uint32_t row_length, int32_t first, int32_t count, const int8_t *rows,
                     const scratch_parts *scratch, const int8_t *input, int8_t *output)
{
    const int32_t multiplier = params->output.c / params->input.c;
    int32_t end;

    for (int32_t begin = first; begin < first + count; begin = end) {
        const int32_t from = begin / multiplier;
        end = hwcmp_min((from + 1) * multiplier, first + count);
        for (int32_t line = 0; line < plan->lines.outputs; line += plan->band) {
            const int32_t lines = hwcmp_min(plan->band, plan->lines.outputs - line);
            put_band(plan, line, lines, params->input_zero_point, input + from, scratch->plane);
            for (int32_t ch = begin; ch < end; ch++) {
                const hwcmp_swar_channel channel = hwcmp_swar_channel_at(stage, ch, row_length);
                put_taps(plan, rows + (size_t)(ch - first) * row_length, scratch->taps);
                convolve_lines(plan, scratch, &channel, lines, output + (size_t)line * plan->lines.output_step + ch);
            }
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
    const layer_plan plan = plan_of(params);
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    int8_t *taps = (int8_t *)scratch->buf + plane_bytes(&plan);
    const scratch_parts parts = {scratch->buf, (void *)taps, taps + sizeof(hwcmp_swar_tap) * (size_t)plan.taps};

    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, parts.rows);
        convolve(params, &plan, &stage, weights->row_length, first, count, rows, &parts, input, output);
    }
    hwcmp_swar_activate(output, (uint32_t)((int32_t)params->output.h * params->output.w * params->output.c), stage.low,
                        stage.high);
    return HWCMP_OK;
}
