/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/depthwise_conv2d.c, compared bit for bit by tests/test_runtime_dsp.py.
 * Four input channels at a time (or one) become planes of int16 with the padding in them, a band of output lines at a
 * time, so that SMLAD finds neighbouring values in one word. Lanes run along the width, except that 3x3 layers lay
 * them along the height if that leaves less work.
 */
#include "../ref/conv.h"
#include "dot_plane.h"

/* The bands are as high as this allows, but at least one output line. */
enum { PLANE_BYTES = 4096, MOST_PLANES = 4 };

/* One axis of the layer; the steps go from element to element in bytes. */
typedef struct {
    int32_t inputs, outputs, taps, stride, dilation, pad;
    size_t input_step, output_step, weight_step;
} layer_axis;

typedef struct {
    layer_axis lines, lanes;
    bool fast;        /* the loops of dot_plane.h */
    int32_t planes;   /* input channels at a time: 1 or MOST_PLANES */
    int32_t elements; /* of a line of a plane, even */
    int32_t band;     /* output lines at a time */
} layer_plan;

/* Scratch, each part a multiple of 4 bytes: planes | taps | rows. */
typedef struct {
    int16_t *planes, *taps;
    int8_t *rows;
} scratch_parts;

/* Everything that stays the same during a call. */
typedef struct {
    const hwcmp_conv_params *params;
    layer_plan plan;
    hwcmp_output_stage stage;
    uint32_t row_length;
    int32_t multiplier; /* output channels for each input channel */
    uint32_t plane_elements;
    scratch_parts scratch;
} depthwise_layer;

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

/* Whether the loops of dot_plane.h can run along this axis of a 3x3 layer without dilation. */
static bool is_fast(const layer_axis *lanes)
{
    return lanes->stride <= 2;
}

/* Instructions of those loops, roughly, in units of 17: blocks of four outputs, then of two. */
static int32_t cost_of(const layer_axis *lines, const layer_axis *lanes)
{
    return lines->outputs * (1 + 3 * (lanes->outputs / 4) + 2 * ((lanes->outputs % 4 + 1) / 2));
}

static int32_t span_of(const layer_axis *lines)
{
    return (lines->taps - 1) * lines->dilation + 1;
}

static layer_plan plan_of(const hwcmp_conv_params *params)
{
    layer_plan plan = {height_of(params), width_of(params), false, 1, 0, 0};
    const bool is_3x3 = plan.lines.taps == 3 && plan.lanes.taps == 3 && plan.lines.dilation == 1 &&
                        plan.lanes.dilation == 1;

    if (is_3x3 && is_fast(&plan.lines) &&
        (!is_fast(&plan.lanes) || cost_of(&plan.lines, &plan.lanes) > cost_of(&plan.lanes, &plan.lines))) {
        plan.lines = width_of(params);
        plan.lanes = height_of(params);
    }
    plan.fast = is_3x3 && is_fast(&plan.lanes);
    if (plan.fast) {
        plan.elements = 2 * ((plan.lanes.outputs + 1) / 2) * plan.lanes.stride + 2;
    } else {
        /* taps are read in pairs, so one value behind the last */
        plan.elements = (plan.lanes.outputs - 1) * plan.lanes.stride + span_of(&plan.lanes) + 1;
        plan.elements += plan.elements % 2;
    }
    const int32_t span = span_of(&plan.lines);
    if (params->input.c >= MOST_PLANES && PLANE_BYTES / (2 * MOST_PLANES * plan.elements) >= span) {
        plan.planes = MOST_PLANES;
    }
    const int32_t most = hwcmp_max(span, PLANE_BYTES / (2 * plan.planes * plan.elements));
    plan.band = hwcmp_min(plan.lines.outputs, (most - span) / plan.lines.stride + 1);
    return plan;
}

static uint32_t elements_of(const layer_plan *plan)
{
    return (uint32_t)plan->elements * (uint32_t)((plan->band - 1) * plan->lines.stride + span_of(&plan->lines));
}

static size_t planes_bytes(const layer_plan *plan)
{
    return sizeof(int16_t) * (size_t)plan->planes * (size_t)elements_of(plan);
}

/* Of a line: rounded up to pairs. */
static int32_t taps_step(const layer_plan *plan)
{
    return plan->lanes.taps + plan->lanes.taps % 2;
}

static size_t taps_bytes(const layer_plan *plan)
{
    return sizeof(int16_t) * (size_t)plan->lines.taps * (size_t)taps_step(plan);
}

static size_t rows_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return hwcmp_align4(hwcmp_rows_scratch_bytes(weights, (uint32_t)params->tile_rows));
}

size_t hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    const layer_plan plan = plan_of(params);
    return planes_bytes(&plan) + taps_bytes(&plan) + rows_bytes(params, weights);
}

/* ---- the planes --------------------------------------------------------------------------------------- */

/* Low halves of both. */
static inline uint32_t pair_of(int32_t low, int32_t high)
{
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
}

/* High halves of both. */
static inline uint32_t pair_of_tops(uint32_t low, uint32_t high)
{
    uint32_t pair;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
}

static void fill(int16_t *to, int32_t count, int32_t value)
{
    const uint32_t pair = pair_of(value, value);

    for (const int16_t *end = to + (count & ~7); to != end; to += 8) {
        hwcmp_dsp_store(to, pair);
        hwcmp_dsp_store(to + 2, pair);
        hwcmp_dsp_store(to + 4, pair);
        hwcmp_dsp_store(to + 6, pair);
    }
    for (const int16_t *end = to + (count & 7); to != end;) {
        *to++ = (int16_t)value;
    }
}

/* `count` values, `step` bytes apart. */
static HWCMP_NOINLINE void widen_one(int16_t *to, const int8_t *from, size_t step, int32_t count)
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

/* The same for four channels at once, whose planes are `plane_elements` apart. */
static HWCMP_NOINLINE void widen_four(int16_t *to, uint32_t plane_elements, const int8_t *from, size_t step,
                                      int32_t count)
{
    int16_t *to1 = to + plane_elements;
    int16_t *to2 = to1 + plane_elements;
    int16_t *to3 = to2 + plane_elements;

    for (const int16_t *end = to + (count & ~1); to != end; to += 2) {
        const uint32_t left = hwcmp_dsp_load(from);
        const uint32_t right = hwcmp_dsp_load(from + step);
        const uint32_t left_even = hwcmp_dsp_even(left);
        const uint32_t right_even = hwcmp_dsp_even(right);
        const uint32_t left_odd = hwcmp_dsp_odd(left);
        const uint32_t right_odd = hwcmp_dsp_odd(right);
        from += 2U * step;
        hwcmp_dsp_store(to, pair_of((int32_t)left_even, (int32_t)right_even));
        hwcmp_dsp_store(to1, pair_of((int32_t)left_odd, (int32_t)right_odd));
        hwcmp_dsp_store(to2, pair_of_tops(left_even, right_even));
        hwcmp_dsp_store(to3, pair_of_tops(left_odd, right_odd));
        to1 += 2;
        to2 += 2;
        to3 += 2;
    }
    if ((count & 1) != 0) {
        *to = from[0];
        *to1 = from[1];
        *to2 = from[2];
        *to3 = from[3];
    }
}

/* The lines that output lines [first, first + count) need, of plan.planes channels whose first value is *input. The
 * rest of a line holds padding already; lines outside the input do too unless other bands have used them. */
static void put_band(const depthwise_layer *layer, int32_t first, int32_t count, const int8_t *input)
{
    const layer_plan *plan = &layer->plan;
    const layer_axis *lanes = &plan->lanes;
    const int32_t skipped = hwcmp_min(lanes->pad, plan->elements);
    const int32_t values = hwcmp_min(lanes->inputs, plan->elements - skipped);
    const int32_t needed = (count - 1) * plan->lines.stride + span_of(&plan->lines);
    int32_t at = hwcmp_first_tap(first, plan->lines.stride, plan->lines.pad);
    int16_t *to = layer->scratch.planes + skipped;

    for (int32_t line = 0; line < needed; line++, at++, to += plan->elements) {
        const bool outside = at < 0 || at >= plan->lines.inputs;
        const int8_t *from = outside ? NULL : input + (size_t)at * plan->lines.input_step;
        if (!outside && plan->planes == 1) {
            widen_one(to, from, lanes->input_step, values);
        } else if (!outside) {
            widen_four(to, layer->plane_elements, from, lanes->input_step, values);
        } else if (plan->band < plan->lines.outputs) {
            for (int32_t i = 0; i < plan->planes; i++) {
                fill(to + (uint32_t)i * layer->plane_elements, values, layer->params->input_zero_point);
            }
        }
    }
}

/* ---- one output channel of a 3x3 layer ---------------------------------------------------------------- */

/* Sums with taps times 2^(j + 1) stay below 2^31 then: 9 * 2^14 + 2^22 < 2^23. */
static bool is_positive(const depthwise_layer *layer, const hwcmp_dsp_channel *channel)
{
    const int32_t most = INT32_C(1) << 22;
    return layer->stage.low >= layer->stage.zero_point && channel->shift < HWCMP_DSP_PLANE_SHIFT &&
           channel->shift >= HWCMP_DSP_PLANE_SHIFT - HWCMP_DSP_PLANE_MOST && channel->bias < most &&
           channel->bias > -most;
}

static void put_scaled_taps(const layer_plan *plan, const int8_t *weights, int32_t scale, uint32_t *taps)
{
    const size_t step = plan->lanes.weight_step;

    for (const uint32_t *end = taps + 6; taps != end; taps += 2) {
        const int32_t middle = weights[step] * scale;
        taps[0] = pair_of(weights[0] * scale, middle);
        taps[1] = pair_of(middle, weights[2U * step] * scale);
        weights += plan->lines.weight_step;
    }
}

/* The parts of the job that all channels share. */
static hwcmp_dsp_plane_job job_of(const layer_plan *plan)
{
    hwcmp_dsp_plane_job job = {0};

    job.output_step = (uint32_t)plan->lanes.output_step;
    job.output_line_step = (uint32_t)plan->lines.output_step;
    job.line_bytes = 2U * (uint32_t)plan->elements;
    job.line_step = job.line_bytes * (uint32_t)plan->lines.stride;
    job.blocks_bytes = (uint32_t)(plan->lanes.outputs / 4) * 8U * (uint32_t)plan->lanes.stride;
    job.rest = (uint32_t)plan->lanes.outputs % 4U;
    return job;
}

static void run_job(hwcmp_dsp_plane_job *job, bool positive, bool stride1)
{
    if (positive && stride1) {
        hwcmp_dsp_plane_positive_stride1(job);
    } else if (positive) {
        hwcmp_dsp_plane_positive_stride2(job);
    } else if (stride1) {
        hwcmp_dsp_plane_halves_stride1(job);
    } else {
        hwcmp_dsp_plane_halves_stride2(job);
    }
}

static void convolve_fast(const depthwise_layer *layer, hwcmp_dsp_plane_job *job, int32_t lines,
                          const hwcmp_dsp_channel *channel, const int8_t *weights, const int16_t *plane, int8_t *output)
{
    const bool positive = is_positive(layer, channel);
    int32_t scale = 2;

    job->multiplier = channel->multiplier;
    job->offset = channel->offset;
    job->shift = channel->shift;
    if (positive) {
        const int32_t half = INT32_C(1) << (HWCMP_DSP_PLANE_SHIFT - channel->shift - 1);
        job->offset = hwcmp_dsp_offset(layer->stage.zero_point, HWCMP_DSP_PLANE_SHIFT) + half;
        scale = 4 * half;
    }
    job->bias = (uint32_t)(channel->bias * scale);
    put_scaled_taps(&layer->plan, weights, scale, job->taps);
    job->line = plane;
    job->output = output;
    job->lines = (uint32_t)lines;
    run_job(job, positive, layer->plan.lanes.stride == 1);
}

/* ---- one output channel of any layer ------------------------------------------------------------------ */

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

/* What window sums need: values from line of taps to line of taps, and the shape of the taps. */
typedef struct {
    int32_t line_step, lines, taps, taps_step, dilation, stride;
} window_shape;

static HWCMP_NOINLINE uint32_t window_sum(const window_shape *shape, const int16_t *x, const int16_t *taps)
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
static HWCMP_NOINLINE void window_sums(const window_shape *shape, const int16_t *x, const int16_t *taps,
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

static void convolve_any(const depthwise_layer *layer, int32_t lines, const hwcmp_dsp_channel *channel,
                         const int8_t *weights, const int16_t *plane, int8_t *output)
{
    const layer_plan *plan = &layer->plan;
    const window_shape shape = {plan->lines.dilation * plan->elements, plan->lines.taps, plan->lanes.taps,
                                taps_step(plan), plan->lanes.dilation, plan->lanes.stride};

    put_taps(plan, weights, layer->scratch.taps);
    for (int32_t line = 0; line < lines; line++) {
        convolve_line(&shape, channel, plane, layer->scratch.taps, plan->lanes.outputs, plan->lanes.output_step,
                      output);
        plane += plan->lines.stride * plan->elements;
        output += plan->lines.output_step;
    }
}

/* ---- all channels ------------------------------------------------------------------------------------- */

/* `lines` output lines of the output channels [begin, end), whose weights begin at `rows`; `from`: the input channel
 * of the first plane. */
static void convolve_band(const depthwise_layer *layer, hwcmp_dsp_plane_job *job, int32_t from, int32_t begin,
                          int32_t end, const int8_t *rows, int32_t lines, int8_t *output)
{
    for (int32_t ch = begin; ch < end; ch++) {
        const hwcmp_dsp_channel channel = hwcmp_dsp_channel_at(&layer->stage, ch, layer->row_length);
        const int32_t plane_number = layer->multiplier == 1 ? ch - from : ch / layer->multiplier - from;
        const int16_t *plane = layer->scratch.planes + (uint32_t)plane_number * layer->plane_elements;
        if (layer->plan.fast && channel.shift != 0) {
            convolve_fast(layer, job, lines, &channel, rows, plane, output + ch);
        } else {
            convolve_any(layer, lines, &channel, rows, plane, output + ch);
        }
        rows += layer->row_length;
    }
}

/* Output channels [first, first + count), whose weights begin at `rows`. The last planes may hold channels that are
 * done, because four of them must lie in the input. */
static void convolve(const depthwise_layer *layer, int32_t first, int32_t count, const int8_t *rows,
                     const int8_t *input, int8_t *output)
{
    const layer_plan *plan = &layer->plan;
    const int32_t last_from = layer->params->input.c - plan->planes;
    hwcmp_dsp_plane_job job = job_of(plan);
    int32_t end;

    for (int32_t ch = first; ch < first + count; ch = end) {
        const int32_t from = hwcmp_min(ch / layer->multiplier, last_from);
        end = hwcmp_min((from + plan->planes) * layer->multiplier, first + count);
        for (int32_t line = 0; line < plan->lines.outputs; line += plan->band) {
            const int32_t lines = hwcmp_min(plan->band, plan->lines.outputs - line);
            put_band(layer, line, lines, input + from);
            convolve_band(layer, &job, from, ch, end, rows + (size_t)(ch - first) * layer->row_length, lines,
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

static scratch_parts parts_of(const layer_plan *plan, void *scratch)
{
    int8_t *bytes = scratch;
    int8_t *taps = bytes + planes_bytes(plan);
    const scratch_parts parts = {scratch, (void *)taps, taps + taps_bytes(plan)};
    return parts;
}

hwcmp_status hwcmp_depthwise_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                       const int8_t *input, int8_t *output)
{
    const hwcmp_status status = check(scratch, params, weights, channels, input, output);
    if (status != HWCMP_OK) {
        return status;
    }
    const layer_plan plan = plan_of(params);
    const depthwise_layer layer = {
        .params = params,
        .plan = plan,
        .stage = {channels, params->output_zero_point, params->activation_min, params->activation_max},
        .row_length = weights->row_length,
        .multiplier = params->output.c / params->input.c,
        .plane_elements = elements_of(&plan),
        .scratch = parts_of(&plan, scratch->buf)};
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);

    fill(layer.scratch.planes, (int32_t)(planes_bytes(&plan) / sizeof(int16_t)), params->input_zero_point);
    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, layer.scratch.rows);
        convolve(&layer, first, count, rows, input, output);
    }
    hwcmp_dsp_activate(output, (uint32_t)((int32_t)params->output.h * params->output.w * params->output.c),
                       params->activation_min, params->activation_max);
    return HWCMP_OK;
}
