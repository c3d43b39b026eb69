/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/depthwise_conv2d.c, compared bit for bit by tests/test_runtime_dsp.py.
 * Four input channels at a time (or one) become planes of int16 with the padding in them, a band of output lines at a
 * time, so that SMLAD finds neighbouring values in one word. Lanes run along the width or along the height, whichever
 * is less work. A line of a layer with dilation (and without stride) is sorted by remainders: the values d apart lie
 * next to each other, d classes one behind the other, and each class is convolved without dilation.
 */
#include "../ref/axis.h"
#include "../ref/conv.h"
#include "dot_windows.h"

/* The bands are as high as this allows, but at least one output line. Instructions for ten values of four planes and of
 * one. */
enum { PLANE_BYTES = 3072, MOST_PLANES = 4, WIDEN_FOUR = 21, WIDEN_ONE = 28 };

typedef enum {
    LOOPS,   /* 3x3: the loops of dot_plane.h */
    WINDOWS, /* four windows at a time */
    SINGLE   /* one window at a time: stride and dilation along the lanes */
} layer_kind;

typedef struct {
    hwcmp_axis lines, lanes;
    layer_kind kind;
    int32_t classes;  /* of a line: as many as outputs begin in different ones */
    int32_t elements; /* of a class of a line of a plane, even */
    int32_t planes;   /* input channels at a time: 1 or MOST_PLANES */
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
    int32_t line_elements;
    uint32_t plane_elements;
    scratch_parts scratch;
} depthwise_layer;

static int32_t pairs_of(const hwcmp_axis *lanes)
{
    return (lanes->taps + 1) / 2;
}

static layer_kind kind_of(const hwcmp_axis *lines, const hwcmp_axis *lanes)
{
    if (lanes->stride > 1 && lanes->dilation > 1 && lanes->taps > 1) {
        return SINGLE;
    }
    return lines->taps == 3 && lanes->taps == 3 && lanes->stride <= 2 ? LOOPS : WINDOWS;
}

/* How far apart the values are that lie next to each other in a plane. */
static int32_t distance_of(const hwcmp_axis *lanes)
{
    return lanes->stride == 1 ? lanes->dilation : 1;
}

static int32_t classes_of(const hwcmp_axis *lanes)
{
    return hwcmp_min(distance_of(lanes), lanes->outputs);
}

/* Outputs of class `number`. */
static int32_t outputs_of(const hwcmp_axis *lanes, int32_t classes, int32_t number)
{
    return (lanes->outputs - number + classes - 1) / classes;
}

/* Instructions, roughly. */
static uint64_t cost_of(const hwcmp_axis *lines, const hwcmp_axis *lanes)
{
    const int32_t classes = classes_of(lanes);
    const int32_t outputs = outputs_of(lanes, classes, 0);
    const uint64_t pairs = (uint64_t)lines->taps * (uint64_t)pairs_of(lanes);
    uint64_t class_cost;

    switch (kind_of(lines, lanes)) {
    case LOOPS:
        class_cost = (uint64_t)(17 + 51 * (outputs / 4) + 35 * ((outputs % 4 + 1) / 2));
        break;
    case WINDOWS:
        class_cost = 40U + (uint64_t)((outputs + 3) / 4) * (45U + 11U * pairs);
        break;
    default:
        class_cost = (uint64_t)outputs * (45U + 10U * pairs);
        break;
    }
    return (uint64_t)lines->outputs * (uint64_t)classes * class_cost;
}

/* Values that the windows of a class reach. */
static int32_t elements_of(const layer_plan *plan)
{
    const hwcmp_axis *lanes = &plan->lanes;
    const int32_t outputs = outputs_of(lanes, plan->classes, 0);
    int32_t elements;

    switch (plan->kind) {
    case LOOPS:
        return 2 * ((outputs + 1) / 2) * lanes->stride + 2;
    case WINDOWS:
        elements = ((outputs + 3) / 4 * 4 - 1) * lanes->stride + 2 * pairs_of(lanes);
        break;
    default:
        elements = (outputs - 1) * lanes->stride + hwcmp_span_of(lanes);
        break;
    }
    return elements + elements % 2;
}

/* Lines of `planes` planes that PLANE_BYTES hold. */
static int32_t lines_that_fit(const layer_plan *plan, int32_t planes)
{
    return PLANE_BYTES / ((int32_t)sizeof(int16_t) * planes * plan->classes * plan->elements);
}

/* Output lines in a band of `planes` planes. */
static int32_t band_of(const layer_plan *plan, int32_t planes)
{
    const hwcmp_axis *lines = &plan->lines;
    const int32_t span = hwcmp_span_of(lines);
    const int32_t most = hwcmp_max(span, lines_that_fit(plan, planes));
    return hwcmp_min(lines->outputs, (most - span) / lines->stride + 1);
}

/* Lines of a plane in a band. */
static int32_t band_lines(const layer_plan *plan, int32_t band)
{
    return (band - 1) * plan->lines.stride + hwcmp_span_of(&plan->lines);
}

/* Four planes cost fewer instructions for a value, but lower bands, which overlap more often. */
static bool is_better_by_four(const layer_plan *plan)
{
    const int32_t four = band_of(plan, MOST_PLANES);
    const int32_t one = band_of(plan, 1);
    return lines_that_fit(plan, MOST_PLANES) >= hwcmp_span_of(&plan->lines) &&
           WIDEN_FOUR * (int64_t)band_lines(plan, four) * one <= WIDEN_ONE * (int64_t)band_lines(plan, one) * four;
}

static HWCMP_NOINLINE layer_plan plan_of(const hwcmp_conv_params *params)
{
    const hwcmp_axis height = hwcmp_height_of(params);
    const hwcmp_axis width = hwcmp_width_of(params);
    const bool upright = cost_of(&width, &height) < cost_of(&height, &width);
    layer_plan plan = {.lines = upright ? width : height, .lanes = upright ? height : width, .planes = 1};

    plan.kind = kind_of(&plan.lines, &plan.lanes);
    plan.classes = classes_of(&plan.lanes);
    plan.elements = elements_of(&plan);
    if (params->input.c >= MOST_PLANES && is_better_by_four(&plan)) {
        plan.planes = MOST_PLANES;
    }
    plan.band = band_of(&plan, plan.planes);
    return plan;
}

static uint32_t plane_elements_of(const layer_plan *plan)
{
    return (uint32_t)plan->classes * (uint32_t)plan->elements * (uint32_t)band_lines(plan, plan->band);
}

static size_t planes_bytes(const layer_plan *plan)
{
    return sizeof(int16_t) * (size_t)plan->planes * (size_t)plane_elements_of(plan);
}

static size_t taps_bytes(const layer_plan *plan)
{
    return 2U * sizeof(int16_t) * (size_t)plan->lines.taps * (size_t)pairs_of(&plan->lanes);
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

/* `lines` input lines, as bytes and as planes hold them. */
typedef struct {
    const int8_t *from;
    size_t from_step, from_line; /* bytes from value to value and from line to line */
    int16_t *to;
    int32_t to_line; /* elements */
    int32_t values, lines;
} line_run;

static HWCMP_NOINLINE void widen_one(const line_run *first)
{
    line_run run = *first;
    const size_t step = run.from_step;

    for (; run.lines > 0; run.lines--) {
        const int8_t *from = run.from;
        int16_t *to = run.to;
        for (const int16_t *end = to + (run.values & ~3); to != end; to += 4) {
            const int8_t *third = from + 2U * step;
            hwcmp_dsp_store(to, pair_of(from[0], from[step]));
            hwcmp_dsp_store(to + 2, pair_of(third[0], third[step]));
            from = third + 2U * step;
        }
        for (const int16_t *end = to + (run.values & 3); to != end;) {
            *to++ = *from;
            from += step;
        }
        run.from += run.from_line;
        run.to += run.to_line;
    }
}

/* The same for four channels at once, whose planes are `plane_elements` apart. */
static HWCMP_NOINLINE void widen_four(const line_run *first, uint32_t plane_elements)
{
    line_run run = *first;
    const size_t step = run.from_step;

    for (; run.lines > 0; run.lines--) {
        const int8_t *from = run.from;
        int16_t *to = run.to;
        int16_t *to1 = to + plane_elements;
        int16_t *to2 = to1 + plane_elements;
        int16_t *to3 = to2 + plane_elements;
        for (const int16_t *end = to + (run.values & ~1); to != end; to += 2) {
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
        if ((run.values & 1) != 0) {
            *to = from[0];
            *to1 = from[1];
            *to2 = from[2];
            *to3 = from[3];
        }
        run.from += run.from_line;
        run.to += run.to_line;
    }
}

/* The values of an input line that one class holds: every `distance`-th from number `first` on, `at` values behind its
 * beginning. */
typedef struct {
    int32_t first, count, at;
} class_values;

static class_values values_of(const layer_plan *plan, int32_t number)
{
    const hwcmp_axis *lanes = &plan->lanes;
    const int32_t distance = distance_of(lanes);
    const int32_t skipped = hwcmp_max(lanes->pad - number + distance - 1, 0) / distance;
    const int32_t first = number + skipped * distance - lanes->pad;
    const int32_t count = (lanes->inputs - first + distance - 1) / distance;
    const class_values values = {first, hwcmp_clamp(plan->elements - skipped, 0, hwcmp_max(count, 0)), skipped};
    return values;
}

/* Lines [begin, end) of the input; `input` as for put_band(). */
static void put_lines(const depthwise_layer *layer, int32_t begin, int32_t end, const class_values *values,
                      const int8_t *input, int16_t *to)
{
    const layer_plan *plan = &layer->plan;
    if (begin >= end) {
        return;
    }
    const line_run run = {
        .from = input + (size_t)begin * plan->lines.input_step + (size_t)values->first * plan->lanes.input_step,
        .from_step = plan->lanes.input_step * (size_t)distance_of(&plan->lanes),
        .from_line = plan->lines.input_step,
        .to = to,
        .to_line = layer->line_elements,
        .values = values->count,
        .lines = end - begin};

    if (plan->planes == 1) {
        widen_one(&run);
    } else {
        widen_four(&run, layer->plane_elements);
    }
}

static void put_padding(const depthwise_layer *layer, int32_t lines, const class_values *values, int16_t *to)
{
    const layer_plan *plan = &layer->plan;

    for (int32_t line = 0; line < lines; line++) {
        for (int32_t plane = 0; plane < plan->planes; plane++) {
            fill(to + (uint32_t)plane * layer->plane_elements, values->count, layer->params->input_zero_point);
        }
        to += layer->line_elements;
    }
}

/* The lines that output lines [first, first + count) need, of plan.planes channels whose first value is *input. The
 * rest of a line holds padding already; lines outside the input do too unless other bands have used them. */
static HWCMP_NOINLINE void put_band(const depthwise_layer *layer, int32_t first, int32_t count, const int8_t *input)
{
    const layer_plan *plan = &layer->plan;
    const int32_t needed = band_lines(plan, count);
    const int32_t at = hwcmp_first_tap(first, plan->lines.stride, plan->lines.pad);
    const int32_t above = hwcmp_clamp(-at, 0, needed);
    const int32_t inside = hwcmp_clamp(plan->lines.inputs - at, above, needed);

    for (int32_t number = 0; number < plan->classes; number++) {
        const class_values values = values_of(plan, number);
        if (values.count == 0) {
            continue;
        }
        int16_t *to = layer->scratch.planes + number * plan->elements + values.at;
        put_lines(layer, at + above, at + inside, &values, input, to + above * layer->line_elements);
        if (plan->band < plan->lines.outputs) {
            put_padding(layer, above, &values, to);
            put_padding(layer, needed - inside, &values, to + inside * layer->line_elements);
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

/* The parts of the job that all channels and classes share. */
static void start_job(const depthwise_layer *layer, hwcmp_dsp_plane_job *job)
{
    const layer_plan *plan = &layer->plan;
    const uint32_t line_bytes = 2U * (uint32_t)layer->line_elements;

    job->output_step = (uint32_t)plan->lanes.output_step * (uint32_t)distance_of(&plan->lanes);
    job->output_line_step = (uint32_t)plan->lines.output_step;
    job->line_bytes = line_bytes * (uint32_t)plan->lines.dilation;
    job->line_step = line_bytes * (uint32_t)plan->lines.stride;
}

static void run_loop(hwcmp_dsp_plane_job *job, bool positive, bool stride1)
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

static HWCMP_NOINLINE void convolve_3x3(const depthwise_layer *layer, hwcmp_dsp_plane_job *job, int32_t lines,
                                        const hwcmp_dsp_channel *channel, const int8_t *weights,
                                        const int16_t *plane, int8_t *output)
{
    const layer_plan *plan = &layer->plan;
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
    put_scaled_taps(plan, weights, scale, job->taps);
    for (int32_t number = 0; number < plan->classes; number++) {
        const int32_t outputs = outputs_of(&plan->lanes, plan->classes, number);
        job->line = plane;
        job->output = output;
        job->lines = (uint32_t)lines;
        job->blocks_bytes = (uint32_t)(outputs / 4) * 8U * (uint32_t)plan->lanes.stride;
        job->rest = (uint32_t)outputs % 4U;
        run_loop(job, positive, plan->lanes.stride == 1);
        plane += plan->elements;
        output += plan->lanes.output_step;
    }
}

/* ---- one output channel of any layer ------------------------------------------------------------------ */

/* Rows of taps times `scale`, filled up to pairs with a zero. */
static void put_taps(const layer_plan *plan, const int8_t *weights, int32_t scale, int16_t *taps)
{
    const size_t step = plan->lanes.weight_step;

    for (int32_t line = 0; line < plan->lines.taps; line++) {
        const int8_t *from = weights + (size_t)line * plan->lines.weight_step;
        for (int32_t tap = 0; tap < plan->lanes.taps; tap++) {
            *taps++ = (int16_t)(*from * scale);
            from += step;
        }
        if (plan->lanes.taps % 2 != 0) {
            *taps++ = 0;
        }
    }
}

/* One window after the other: what window sums need besides the taps. */
typedef struct {
    const int16_t *taps;
    int32_t lines, line_step; /* of taps; values from line to line */
    int32_t width, row;       /* of a line of taps: taps, and how many there are with the filling */
    int32_t dilation;
} window_shape;

/* The window that begins at x. */
static HWCMP_NOINLINE uint32_t window_sum(const window_shape *shape, const int16_t *x)
{
    const int16_t *taps = shape->taps;
    uint32_t sum = 0;

    for (int32_t line = 0; line < shape->lines; line++) {
        const int16_t *value = x;
        for (int32_t tap = 0; tap < shape->width; tap++) {
            sum += (uint32_t)(*value * taps[tap]);
            value += shape->dilation;
        }
        x += shape->line_step;
        taps += shape->row;
    }
    return sum;
}

/* One class of `lines` output lines. */
static void convolve_singly(const depthwise_layer *layer, int32_t lines, const hwcmp_dsp_channel *channel,
                            int32_t outputs, const int16_t *plane, int8_t *output)
{
    const hwcmp_axis *lanes = &layer->plan.lanes;
    const size_t step = lanes->output_step * (size_t)distance_of(lanes);
    const window_shape shape = {.taps = layer->scratch.taps,
                                .lines = layer->plan.lines.taps,
                                .line_step = layer->plan.lines.dilation * layer->line_elements,
                                .width = lanes->taps,
                                .row = 2 * pairs_of(lanes),
                                .dilation = lanes->stride == 1 ? 1 : lanes->dilation};

    for (int32_t line = 0; line < lines; line++) {
        const int16_t *x = plane + line * layer->plan.lines.stride * layer->line_elements;
        int8_t *to = output + (size_t)line * layer->plan.lines.output_step;
        for (int32_t i = 0; i < outputs; i++) {
            *to = hwcmp_dsp_finish(channel, (int32_t)(window_sum(&shape, x) + (uint32_t)channel->bias));
            to += step;
            x += lanes->stride;
        }
    }
}

/* The taps are doubled, the channel is not yet. */
static hwcmp_dsp_windows_job windows_of(const depthwise_layer *layer, int32_t lines, const hwcmp_dsp_channel *channel)
{
    const hwcmp_axis *lanes = &layer->plan.lanes;
    const int32_t row = 2 * pairs_of(lanes);
    hwcmp_dsp_windows_job job = {
        .channel = *channel,
        .taps = layer->scratch.taps,
        .taps_end = layer->scratch.taps + layer->plan.lines.taps * row,
        .row_bytes = 2U * (uint32_t)row,
        .next_line = 2U * (uint32_t)(layer->plan.lines.dilation * layer->line_elements - row),
        .stride_bytes = 2U * (uint32_t)lanes->stride,
        .output_step = (uint32_t)lanes->output_step * (uint32_t)distance_of(lanes),
        .lines = (uint32_t)lines,
        .line_step = 2U * (uint32_t)(layer->plan.lines.stride * layer->line_elements),
        .output_line_step = (uint32_t)layer->plan.lines.output_step};

    job.channel.bias *= 2;
    return job;
}

static HWCMP_NOINLINE void convolve_any(const depthwise_layer *layer, int32_t lines,
                                        const hwcmp_dsp_channel *channel, const int8_t *weights,
                                        const int16_t *plane, int8_t *output)
{
    const layer_plan *plan = &layer->plan;

    put_taps(plan, weights, 2, layer->scratch.taps);
    hwcmp_dsp_windows_job job = windows_of(layer, lines, channel);
    for (int32_t number = 0; number < plan->classes; number++) {
        job.outputs = (uint32_t)outputs_of(&plan->lanes, plan->classes, number);
        hwcmp_dsp_dot_windows(&job, plane, output);
        plane += plan->elements;
        output += plan->lanes.output_step;
    }
}

static HWCMP_NOINLINE void convolve_slowly(const depthwise_layer *layer, int32_t lines,
                                           const hwcmp_dsp_channel *channel, const int8_t *weights,
                                           const int16_t *plane, int8_t *output)
{
    const layer_plan *plan = &layer->plan;

    put_taps(plan, weights, 1, layer->scratch.taps);
    for (int32_t number = 0; number < plan->classes; number++) {
        convolve_singly(layer, lines, channel, outputs_of(&plan->lanes, plan->classes, number), plane, output);
        plane += plan->elements;
        output += plan->lanes.output_step;
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
        if (layer->plan.kind == SINGLE || channel.shift == 0) {
            convolve_slowly(layer, lines, &channel, rows, plane, output + ch);
        } else if (layer->plan.kind == LOOPS) {
            convolve_3x3(layer, job, lines, &channel, rows, plane, output + ch);
        } else {
            convolve_any(layer, lines, &channel, rows, plane, output + ch);
        }
        rows += layer->row_length;
    }
}

/* Output channels [first, first + count), whose weights begin at `rows`. The last planes may hold channels that are
 * done, because four of them must lie in the input. */
static HWCMP_NOINLINE void convolve(const depthwise_layer *layer, int32_t first, int32_t count, const int8_t *rows,
                                    const int8_t *input, int8_t *output)
{
    const layer_plan *plan = &layer->plan;
    const int32_t last_from = layer->params->input.c - plan->planes;
    hwcmp_dsp_plane_job job;
    int32_t end;

    start_job(layer, &job);
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
    hwcmp_status status = hwcmp_depthwise_conv2d_check(params, weights, channels, input, output);
    if (status == HWCMP_OK) {
        status = hwcmp_scratch_fits(scratch, hwcmp_depthwise_conv2d_s8_scratch_bytes(params, weights));
    }
    if (status != HWCMP_OK) {
        return status;
    }
    depthwise_layer layer = {
        .params = params,
        .stage = {channels, params->output_zero_point, params->activation_min, params->activation_max},
        .row_length = weights->row_length,
        .multiplier = params->output.c / params->input.c};
    layer.plan = plan_of(params);
    layer.line_elements = layer.plan.classes * layer.plan.elements;
    layer.plane_elements = plane_elements_of(&layer.plan);
    layer.scratch = parts_of(&layer.plan, scratch->buf);
    const int32_t at_once = hwcmp_rows_at_once(weights, params->tile_rows);

    fill(layer.scratch.planes, (int32_t)(planes_bytes(&layer.plan) / sizeof(int16_t)), params->input_zero_point);
    for (int32_t first = 0; first < weights->rows; first += at_once) {
        const int32_t count = hwcmp_min(at_once, weights->rows - first);
        const int8_t *rows = hwcmp_rows(weights, (uint32_t)first, (uint32_t)count, layer.scratch.rows);
        convolve(&layer, first, count, rows, input, output);
    }
    hwcmp_dsp_activate(output, (uint32_t)((int32_t)params->output.h * params->output.w * params->output.c),
                       params->activation_min, params->activation_max);
    return HWCMP_OK;
}
