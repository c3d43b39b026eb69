/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/depthwise_conv2d.c, compared bit for bit by tests/test_runtime_dsp.py.
 * One input channel at a time becomes a plane of int16 with the padding in it, a band of output lines at a time, so
 * that SMLAD finds neighbouring values in one word. Lanes run along the width, except that 3x3 layers lay them along
 * the height if that leaves fewer blocks of four unfinished.
 */
#include "../ref/conv.h"
#include "dot_plane.h"

/* The band is as high as this allows, but at least one output line. */
enum { PLANE_BYTES = 2048 };

/* One axis of the layer; the steps go from element to element in bytes. */
typedef struct {
    int32_t inputs, outputs, taps, stride, dilation, pad;
    size_t input_step, output_step, weight_step;
} layer_axis;

typedef struct {
    layer_axis lines, lanes;
    bool fast;        /* hwcmp_dsp_dot_plane_stride1 or 2 */
    int32_t elements; /* of a line of the plane, even */
    int32_t band;     /* output lines at a time */
} layer_plan;

/* Scratch, each part a multiple of 4 bytes: plane | taps | rows. */
typedef struct {
    int16_t *plane, *taps;
    int8_t *rows;
} scratch_parts;

static layer_axis height_of(const hwcmp_conv_params *params)
{
    const layer_axis axis = {params->input.h,
                             params->output.h,
                             params->kernel_h,
                             params->stride_h,
                             params->dilation_h,
                             params->pad_top,
                             (size_t)params->input.w * (size_t)params->input.c,
                             (size_t)params->output.w * (size_t)params->output.c,
                             (size_t)params->kernel_w};
    return axis;
}

static layer_axis width_of(const hwcmp_conv_params *params)
{
    const layer_axis axis = {params->input.w,         params->output.w,         params->kernel_w, params->stride_w,
                             params->dilation_w,      params->pad_left,         (size_t)params->input.c,
                             (size_t)params->output.c, 1U};
    return axis;
}

static int32_t blocks_of(const layer_axis *lanes)
{
    return (lanes->outputs + 3) / 4;
}

/* Whether the loops of dot_plane.h can run along this axis of a 3x3 layer without dilation. */
static bool is_fast(const layer_axis *lanes)
{
    return lanes->stride <= 2;
}

static int32_t span_of(const layer_axis *lines)
{
    return (lines->taps - 1) * lines->dilation + 1;
}

static layer_plan plan_of(const hwcmp_conv_params *params)
{
    layer_plan plan = {height_of(params), width_of(params), false, 0, 0};
    const bool is_3x3 = plan.lines.taps == 3 && plan.lanes.taps == 3 && plan.lines.dilation == 1 &&
                        plan.lanes.dilation == 1;

    if (is_3x3 && is_fast(&plan.lines) &&
        (!is_fast(&plan.lanes) ||
         blocks_of(&plan.lanes) * plan.lines.outputs > blocks_of(&plan.lines) * plan.lanes.outputs)) {
        plan.lines = width_of(params);
        plan.lanes = height_of(params);
    }
    plan.fast = is_3x3 && is_fast(&plan.lanes);
    if (plan.fast) {
        plan.elements = 4 * blocks_of(&plan.lanes) * plan.lanes.stride + 2;
    } else {
        /* taps are read in pairs, so one value behind the last */
        plan.elements = (plan.lanes.outputs - 1) * plan.lanes.stride + span_of(&plan.lanes) + 1;
        plan.elements += plan.elements % 2;
    }
    const int32_t span = span_of(&plan.lines);
    const int32_t most = hwcmp_max(span, PLANE_BYTES / (2 * plan.elements));
    plan.band = hwcmp_min(plan.lines.outputs, (most - span) / plan.lines.stride + 1);
    return plan;
}

static size_t plane_bytes(const layer_plan *plan)
{
    return 2U * (size_t)plan->elements * (size_t)((plan->band - 1) * plan->lines.stride + span_of(&plan->lines));
}

/* Of a line: rounded up to pairs; the loops of dot_plane.h want t0 t1 t1 t2. */
static int32_t taps_step(const layer_plan *plan)
{
    return plan->lanes.taps + plan->lanes.taps % 2;
}

static size_t taps_bytes(const layer_plan *plan)
{
    return 2U * (size_t)plan->lines.taps * (size_t)taps_step(plan);
}

static size_t rows_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

size_t hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const layer_plan plan = plan_of(params);
    return plane_bytes(&plan) + taps_bytes(&plan) + rows_bytes(params, weights);
}

/* ---- the plane ---------------------------------------------------------------------------------------- */

static uint32_t pair_of(int32_t low, int32_t high)
{
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
}

static void fill(int16_t *to, int32_t count, int32_t value)
{
    const uint32_t pair = pair_of(value, value);

    for (; count >= 2; count -= 2) {
        hwcmp_dsp_store(to, pair);
        to += 2;
    }
    if (count > 0) {
        *to = (int16_t)value;
    }
}

/* `count` values, `step` bytes apart. */
static __attribute__((noinline)) void widen(int16_t *to, const int8_t *from, size_t step, int32_t count)
{
    for (const int16_t *end = to + (count & ~3); to != end; to += 4) {
        const int8_t *third = from + 2U * step;
        hwcmp_dsp_store(to, pair_of(from[0], from[step]));
        hwcmp_dsp_store(to + 2, pair_of(third[0], third[step]));
        from = third + 2U * step;
    }
    for (const int16_t *end = to + (count & 3); to != end;) {
        *to++ = *from;
        from += step;
    }
}

/* The lines that output lines [first, first + count) need, of the channel whose first value is *input. The rest of a
 * line holds padding already; lines outside the input do too unless other bands have used them. */
static void put_band(const layer_plan *plan, int32_t first, int32_t count, int32_t zero_point, const int8_t *input,
                     int16_t *plane)
{
    const layer_axis *lanes = &plan->lanes;
    const int32_t skipped = hwcmp_min(lanes->pad, plan->elements);
    const int32_t values = hwcmp_min(lanes->inputs, plan->elements - skipped);
    const int32_t needed = (count - 1) * plan->lines.stride + span_of(&plan->lines);
    int32_t at = hwcmp_first_tap(first, plan->lines.stride, plan->lines.pad);

    for (int32_t line = 0; line < needed; line++, at++, plane += plan->elements) {
        if (at >= 0 && at < plan->lines.inputs) {
            widen(plane + skipped, input + (size_t)at * plan->lines.input_step, lanes->input_step, values);
        } else if (plan->band < plan->lines.outputs) {
            fill(plane + skipped, values, zero_point);
        }
    }
}

/* ---- one output channel ------------------------------------------------------------------------------- */

/* Rows of taps, filled up to pairs with a zero. */
static void put_taps(const layer_plan *plan, const int8_t *weights, int16_t *taps)
{
    const size_t step = plan->lanes.weight_step;

    for (int32_t line = 0; line < plan->lines.taps; line++) {
        const int8_t *from = weights + (size_t)line * plan->lines.weight_step;
        for (int32_t tap = 0; tap < plan->lanes.taps; tap++) {
            *taps++ = *from;
            from += step;
        }
        if (plan->lanes.taps % 2 != 0) {
            *taps++ = 0;
        }
    }
}

/* Three rows t0 t1 t1 t2. */
static void put_fast_taps(const layer_plan *plan, const int8_t *weights, int16_t *taps)
{
    const size_t step = plan->lanes.weight_step;

    for (int32_t line = 0; line < 3; line++) {
        hwcmp_dsp_store(taps, pair_of(weights[0], weights[step]));
        hwcmp_dsp_store(taps + 2, pair_of(weights[step], weights[2U * step]));
        weights += plan->lines.weight_step;
        taps += 4;
    }
}

static void convolve_fast(const layer_plan *plan, int32_t lines, const hwcmp_dsp_channel *channel,
                          const scratch_parts *scratch, int8_t *output)
{
    const uint32_t blocks = (uint32_t)blocks_of(&plan->lanes);
    const uint32_t line_bytes = 2U * (uint32_t)plan->elements;
    const hwcmp_dsp_plane_job job = {.line = scratch->plane,
                                     .line_bytes = line_bytes,
                                     .line_step = line_bytes * (uint32_t)plan->lines.stride,
                                     .lines = (uint32_t)lines,
                                     .last_block = (blocks - 1U) * 8U * (uint32_t)plan->lanes.stride,
                                     .output = output,
                                     .output_step = (uint32_t)plan->lanes.output_step,
                                     .output_line_step = (uint32_t)plan->lines.output_step,
                                     .taps = scratch->taps,
                                     .last_outputs = (uint32_t)plan->lanes.outputs - 4U * (blocks - 1U),
                                     .channel = *channel};

    if (plan->lanes.stride == 1) {
        hwcmp_dsp_dot_plane_stride1(&job);
    } else {
        hwcmp_dsp_dot_plane_stride2(&job);
    }
}

/* What window sums need: values from line of taps to line of taps, and the shape of the taps. */
typedef struct {
    int32_t line_step, lines, taps, taps_step, dilation, stride;
} window_shape;

static __attribute__((noinline)) uint32_t window_sum(const window_shape *shape, const int16_t *x, const int16_t *taps)
{
    uint32_t sum = 0;

    for (int32_t line = 0; line < shape->lines; line++) {
        const int16_t *value = x;
        for (int32_t tap = 0; tap < shape->taps; tap++) {
            sum += (uint32_t)(*value * taps[tap]);
            value += shape->dilation;
        }
        x += shape->line_step;
        taps += shape->taps_step;
    }
    return sum;
}

/* Four windows next to each other, without dilation: taps in pairs, 11 instructions for two taps of each. */
static __attribute__((noinline)) void window_sums(const window_shape *shape, const int16_t *x, const int16_t *taps,
                                                  uint32_t sums[4])
{
    const int32_t stride = shape->stride;
    const int32_t next_line = shape->line_step - shape->taps_step;
    const int16_t *x2 = x + 2 * stride;
    uint32_t sum0 = 0;
    uint32_t sum1 = 0;
    uint32_t sum2 = 0;
    uint32_t sum3 = 0;

    for (int32_t line = 0; line < shape->lines; line++) {
        for (const int16_t *end = taps + shape->taps_step; taps != end; taps += 2) {
            const uint32_t pair = hwcmp_dsp_load(taps);
            sum1 = hwcmp_dsp_dual_mac(hwcmp_dsp_load(x + stride), pair, sum1);
            sum0 = hwcmp_dsp_dual_mac(hwcmp_dsp_load(x), pair, sum0);
            sum3 = hwcmp_dsp_dual_mac(hwcmp_dsp_load(x2 + stride), pair, sum3);
            sum2 = hwcmp_dsp_dual_mac(hwcmp_dsp_load(x2), pair, sum2);
            x += 2;
            x2 += 2;
        }
        x += next_line;
        x2 += next_line;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* One output line, `count` outputs `step` bytes apart. */
static void convolve_line(const window_shape *shape, const hwcmp_dsp_channel *channel, const int16_t *x,
                          const int16_t *taps, int32_t count, size_t step, int8_t *output)
{
    if (shape->dilation == 1) {
        for (; count >= 4; count -= 4) {
            uint32_t sums[4];
            window_sums(shape, x, taps, sums);
            for (int32_t i = 0; i < 4; i++) {
                *output = hwcmp_dsp_finish(channel, (int32_t)(sums[i] + (uint32_t)channel->bias));
                output += step;
            }
            x += 4 * shape->stride;
        }
    }
    for (; count > 0; count--) {
        *output = hwcmp_dsp_finish(channel, (int32_t)(window_sum(shape, x, taps) + (uint32_t)channel->bias));
        output += step;
        x += shape->stride;
    }
}

static void convolve_any(const layer_plan *plan, int32_t lines, const hwcmp_dsp_channel *channel,
                         const scratch_parts *scratch, int8_t *output)
{
    const window_shape shape = {plan->lines.dilation * plan->elements, plan->lines.taps, plan->lanes.taps,
                                taps_step(plan), plan->lanes.dilation, plan->lanes.stride};
    const int16_t *x = scratch->plane;

    for (int32_t line = 0; line < lines; line++) {
        convolve_line(&shape, channel, x, scratch->taps, plan->lanes.outputs, plan->lanes.output_step, output);
        x += plan->lines.stride * plan->elements;
        output += plan->lines.output_step;
    }
}

/* Output lines [first, first + lines) of output channels [begin, end), which share the input channel in the plane. */
static void convolve_band(const layer_plan *plan, const hwcmp_output_stage *stage, uint32_t row_length, int32_t begin,
                          int32_t end, const int8_t *rows, int32_t lines, const scratch_parts *scratch, int8_t *output)
{
    for (int32_t ch = begin; ch < end; ch++) {
        const hwcmp_dsp_channel channel = hwcmp_dsp_channel_at(stage, ch, row_length);
        if (plan->fast && channel.shift != 0) {
            put_fast_taps(plan, rows, scratch->taps);
            convolve_fast(plan, lines, &channel, scratch, output + ch);
        } else {
            put_taps(plan, rows, scratch->taps);
            convolve_any(plan, lines, &channel, scratch, output + ch);
        }
        rows += row_length;
    }
}

/* Output channels [first, first + count), whose weights begin at `rows`. */
static void convolve(const hwcmp_conv_params *params, const layer_plan *plan, const hwcmp_output_stage *stage,
                     uint32_t row_length, int32_t first, int32_t count, const int8_t *rows,
                     const scratch_parts *scratch, const int8_t *input, int8_t *output)
{
    const int32_t multiplier = params->output.c / params->input.c;
    int32_t end;

    for (int32_t ch = first; ch < first + count; ch = end) {
        const int32_t from = ch / multiplier;
        end = hwcmp_min((from + 1) * multiplier, first + count);
        for (int32_t line = 0; line < plan->lines.outputs; line += plan->band) {
            const int32_t lines = hwcmp_min(plan->band, plan->lines.outputs - line);
            put_band(plan, line, lines, params->input_zero_point, input + from, scratch->plane);
            convolve_band(plan, stage, row_length, ch, end, rows + (size_t)(ch - first) * row_length, lines, scratch,
                          output + (size_t)line * plan->lines.output_step);
        }
    }
}

static hwcmp_status check(const hwcmp_scratch *scratch, const hwcmp_conv_params *params, const hwcmp_weights *weights,
                          const hwcmp_channels *channels, const int8_t *input, const int8_t *output)
{
    if (!hwcmp_conv_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const hwcmp_status status =
        hwcmp_conv_check(params, weights, channels, (int64_t)params->kernel_h * params->kernel_w);
    if (status != HWCMP_OK) {
        return status;
    }
    if (params->output.c % params->input.c != 0) {
        return HWCMP_ERR_SHAPE;
    }
    return hwcmp_scratch_fits(scratch, hwcmp_depthwise_conv2d_s8_scratch_bytes(params, weights));
}

hwcmp_status hwcmp_depthwise_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                       const int8_t *input, int8_t *output)
{
    const hwcmp_status status = check(scratch, params, weights, channels, input, output);
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_output_stage stage = {channels, params->output_zero_point, params->activation_min,
                                      params->activation_max};
    const layer_plan plan = plan_of(params);
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);
    int8_t *plane = scratch->buf;
    int8_t *taps = plane + plane_bytes(&plan);
    const scratch_parts all = {scratch->buf, (void *)taps, taps + taps_bytes(&plan)};

    fill(all.plane, (int32_t)(plane_bytes(&plan) / sizeof(int16_t)), params->input_zero_point);
    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, all.rows);
        convolve(params, &plan, &stage, weights->row_length, first, count, rows, &all, input, output);
    }
    hwcmp_dsp_activate(output, (uint32_t)((int32_t)params->output.h * params->output.w * params->output.c), stage.low,
                       stage.high);
    return HWCMP_OK;
}
