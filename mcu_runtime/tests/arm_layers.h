/* SPDX-License-Identifier: Apache-2.0
 *
 * Random layers for arm_driver.c: any legal shape, and numbers drawn towards the edges of every bound.
 */
#ifndef ARM_LAYERS_H
#define ARM_LAYERS_H

#include <stdbool.h>
#include <string.h>

#include "hwcmp/hwcmp.h"
#include "hwcmp_format_ops.h"
#include "wall.h"

enum { CHANNELS = 512 };

typedef enum { CONV2D, DEPTHWISE_CONV2D, FULLY_CONNECTED } layer_op;

typedef struct {
    layer_op op;
    hwcmp_conv_params conv;
    hwcmp_fully_connected_params fully;
    hwcmp_weights weights;
    hwcmp_channels channels;
    const int8_t *input;
    uint32_t output_bytes;
} layer;

/* ---- numbers ------------------------------------------------------------------------------------------- */

static uint32_t random_state = SEED;

static uint32_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* low..high, both included. */
static int32_t pick(int32_t low, int32_t high)
{
    return low + (int32_t)((random_bits() >> 3) % (uint32_t)(high - low + 1));
}

static bool one_in(int32_t count)
{
    return pick(1, count) == 1;
}

static void fill_random(int8_t *to, uint32_t count)
{
    const int32_t kind = pick(0, 9);

    for (uint32_t i = 0; i < count; i++) {
        to[i] = (int8_t)(random_bits() >> 9);
        if (kind == 0) {
            to[i] = -128;
        } else if (kind == 1) {
            to[i] = one_in(2) ? -128 : 127;
        }
    }
}

static int16_t pick_zero_point(void)
{
    return (int16_t)(one_in(3) ? (one_in(2) ? -128 : 127) : pick(-128, 127));
}

static void pick_activation(int16_t *low, int16_t *high)
{
    *low = (int16_t)(one_in(2) ? -128 : pick(-128, 127));
    *high = (int16_t)(one_in(2) ? 127 : pick(*low, 127));
}

/* The activation of a layer with weights: often a minimum at the zero point, as of a ReLU, or just beside it. */
static void pick_rectifier(hwcmp_conv_params *params)
{
    pick_activation(&params->activation_min, &params->activation_max);
    if (one_in(3)) {
        const int32_t low = params->output_zero_point + pick(-2, 1);
        params->activation_min = (int16_t)(low < -128 ? -128 : (low > 127 ? 127 : low));
        params->activation_max = 127;
    }
}

static int32_t pick_multiplier(void)
{
    switch (pick(0, 7)) {
    case 0:
        return 1 << 30;
    case 1:
        return INT32_MAX;
    case 2:
        return one_in(3) ? pick(0, 1 << 20) : 0;
    default:
        return pick(1 << 30, INT32_MAX);
    }
}

/* Constants whose outputs mostly fall inside int8, for sums of `length` products. */
static void fill_channels(hwcmp_channels *channels, int32_t count, uint32_t length)
{
    static int32_t bias[CHANNELS];
    static int32_t multiplier[CHANNELS];
    static int8_t shift[CHANNELS];
    int32_t typical = 4;
    const bool wild = one_in(3);

    for (; length > 1U; length /= 4U) {
        typical++;
    }
    for (int32_t ch = 0; ch < count; ch++) {
        bias[ch] = one_in(4) && wild ? (int32_t)random_bits() >> pick(0, 10) : pick(-4000, 4000);
        multiplier[ch] = pick_multiplier();
        shift[ch] = (int8_t)(one_in(4) && wild ? pick(-31, 30) : -pick(typical, typical + 4));
        if (one_in(3) && wild) {
            shift[ch] = (int8_t)-pick(1, 13);
        }
    }
    channels->bias = bias;
    channels->multiplier = multiplier;
    channels->shift = shift;
    channels->channel_step = one_in(5) ? 0 : 1;
}

/* ---- weights ------------------------------------------------------------------------------------------- */

static void unpack_copies(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                          int8_t *out)
{
    for (uint32_t row = 0; row < row_count; row++) {
        memcpy(out + row * row_stride, weights->payload + (first_row + row) * weights->row_length,
               weights->row_length);
    }
}

static const struct hwcmp_format_ops plain_format = {1, HWCMP_KIND_PLAIN, NULL, unpack_copies};
static const struct hwcmp_format_ops tile_format = {2, HWCMP_KIND_TILE, NULL, unpack_copies};

/* ---- memory: input and weights end at a wall that may not be read --------------------------------------- */

static void place(layer *item, uint32_t input_bytes, int32_t rows, uint32_t row_length)
{
    const uint32_t weight_bytes = ((uint32_t)rows * row_length + 3U) & ~3U;
    const bool weights_last = one_in(2);
    uint32_t weights = weights_last ? WALL - weight_bytes : (WALL - input_bytes - weight_bytes) & ~3U;
    uint32_t input = weights_last ? weights - input_bytes : WALL - input_bytes;
    int8_t *payload = (int8_t *)(uintptr_t)weights;
    int8_t *values = (int8_t *)(uintptr_t)input;

    fill_random(payload, weight_bytes);
    fill_random(values, input_bytes);
    item->weights.ops = one_in(3) ? &tile_format : &plain_format;
    item->weights.payload = (const uint8_t *)payload;
    item->weights.payload_bytes = weight_bytes;
    item->weights.row_length = row_length;
    item->weights.rows = (uint16_t)rows;
    item->weights.layout = HWCMP_LAYOUT_CANONICAL;
    item->weights.param = 0;
    item->input = values;
    fill_channels(&item->channels, rows, row_length);
}

/* ---- layers -------------------------------------------------------------------------------------------- */

/* Outputs of one axis; sometimes one more or fewer than the padding asks for. */
static int16_t pick_outputs(int32_t input, int32_t pad, int32_t kernel, int32_t stride, int32_t dilation)
{
    const int32_t room = input + pad + pick(0, 2) - (kernel - 1) * dilation - 1;
    return (int16_t)((room < 0 ? 0 : room / stride) + 1);
}

static void pick_window(hwcmp_conv_params *params, bool common)
{
    const int16_t square = (int16_t)(common ? 3 : pick(1, 5));

    params->kernel_h = one_in(3) && !common ? (int16_t)pick(1, 5) : square;
    params->kernel_w = one_in(3) && !common ? (int16_t)pick(1, 5) : square;
    params->stride_h = (int16_t)(one_in(3) ? pick(1, 3) : 1);
    params->stride_w = (int16_t)(one_in(3) ? pick(1, 3) : params->stride_h);
    params->dilation_h = (int16_t)(one_in(5) && !common ? pick(1, 3) : 1);
    params->dilation_w = (int16_t)(one_in(5) && !common ? pick(1, 3) : 1);
    params->pad_top = (int16_t)pick(0, one_in(6) ? 6 : params->kernel_h / 2);
    params->pad_left = (int16_t)pick(0, one_in(6) ? 6 : params->kernel_w / 2);
    params->output.h =
        pick_outputs(params->input.h, params->pad_top, params->kernel_h, params->stride_h, params->dilation_h);
    params->output.w =
        pick_outputs(params->input.w, params->pad_left, params->kernel_w, params->stride_w, params->dilation_w);
}

static void pick_conv(layer *item)
{
    static const int16_t depths[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 29, 32};
    hwcmp_conv_params *params = &item->conv;
    const bool depthwise = item->op == DEPTHWISE_CONV2D;
    const int32_t extent = one_in(6) ? 40 : (one_in(4) ? 2 : 9);

    params->input.h = (int16_t)pick(1, extent);
    params->input.w = (int16_t)pick(1, depthwise ? extent : (extent < 9 ? extent : 9));
    params->input.c = depthwise ? (int16_t)pick(1, extent < 9 ? 70 : 6) : depths[pick(0, 12)];
    pick_window(params, one_in(2));
    params->output.c = (int16_t)pick(1, one_in(8) ? 80 : 9);
    if (depthwise) {
        params->output.c = (int16_t)(params->input.c * pick(1, one_in(3) ? 4 : 1));
    }
    params->tile_rows = (int16_t)pick(1, params->output.c + 2);
    params->input_zero_point = pick_zero_point();
    params->output_zero_point = pick_zero_point();
    pick_rectifier(params);
    const uint32_t length =
        (uint32_t)params->kernel_h * (uint32_t)params->kernel_w * (depthwise ? 1U : (uint32_t)params->input.c);
    const uint32_t pixels = (uint32_t)params->output.h * (uint32_t)params->output.w;
    item->output_bytes = pixels * (uint32_t)params->output.c;
    place(item, (uint32_t)params->input.h * (uint32_t)params->input.w * (uint32_t)params->input.c, params->output.c,
          length);
}

static void pick_fully_connected(layer *item)
{
    hwcmp_fully_connected_params *params = &item->fully;
    const int32_t rows = pick(1, one_in(3) ? 120 : 12);

    params->batch = one_in(3) ? pick(1, 6) : 1;
    params->input_length = pick(1, one_in(3) ? 400 : (one_in(2) ? 2 : 40));
    params->tile_rows = (int16_t)pick(1, rows + 2);
    params->input_zero_point = pick_zero_point();
    params->output_zero_point = pick_zero_point();
    pick_activation(&params->activation_min, &params->activation_max);
    item->output_bytes = (uint32_t)(params->batch * rows);
    place(item, (uint32_t)(params->batch * params->input_length), rows, (uint32_t)params->input_length);
}

static void pick_layer(layer *item, layer_op op)
{
    item->op = op;
    if (op == FULLY_CONNECTED) {
        pick_fully_connected(item);
    } else {
        pick_conv(item);
    }
}

/* ---- add ----------------------------------------------------------------------------------------------- */

static void pick_strides(const int32_t shape[4], bool broadcasts, int32_t stride[4])
{
    int32_t next = 1;

    for (int axis = 3; axis >= 0; axis--) {
        const bool repeats = broadcasts && one_in(2);
        stride[axis] = repeats ? 0 : next;
        next *= repeats ? 1 : shape[axis];
    }
}

/* Any scales at all, such that the operands' roundings hit ties and show, or as TensorFlow Lite makes them: the larger
 * one halved. Powers of two let the last rounding hit ties. */
static void pick_scales(hwcmp_binary_params *params)
{
    const bool ties = one_in(3);
    const bool exact = ties || one_in(2);
    const int32_t kind = pick(0, 3);

    params->left_shift = 20;
    params->output_multiplier = exact ? 1 << 30 : pick_multiplier();
    params->output_shift = (int8_t)(ties ? -pick(0, 3) : -pick(15, 20));
    params->a_multiplier = exact ? 1 << 30 : pick(1 << 30, INT32_MAX);
    params->b_multiplier = exact ? 1 << 30 : pick(1 << 30, INT32_MAX);
    params->a_shift = (int8_t)-(ties ? pick(17, 21) : pick(0, 5));
    params->b_shift = (int8_t)-(ties ? pick(17, 21) : pick(0, 5));
    if (kind == 0) {
        params->a_multiplier = 1 << 30;
        params->a_shift = 0;
    } else if (kind == 1) {
        params->b_multiplier = 1 << 30;
        params->b_shift = 0;
    } else if (kind == 2) {
        params->a_multiplier = pick_multiplier();
        params->b_multiplier = pick_multiplier();
        params->a_shift = (int8_t)pick(-31, 3);
        params->b_shift = (int8_t)pick(-31, 3);
        params->output_shift = (int8_t)pick(-31, 3);
        params->left_shift = (int8_t)(one_in(2) ? 20 : pick(0, 23));
    }
}

/* Sums that need no rounding: a + b or 2 * a + b, so the affine form is exact whatever lies below its point. */
static void pick_affine(hwcmp_binary_params *params)
{
    const int32_t twice = one_in(2) ? 1 : 0;
    const int32_t zero = params->output_zero_point - params->a_zero_point * (1 + twice) - params->b_zero_point;
    const bool small = twice == 0 && zero >= -256 && zero < 256;

    params->a_multiplier = 1 << 30;
    params->b_multiplier = 1 << 30;
    params->output_multiplier = 1 << 30;
    params->a_shift = 0;
    params->b_shift = (int8_t)-twice;
    params->output_shift = (int8_t)(twice - 18);
    params->left_shift = 20;
    params->affine_shift = (int8_t)(small ? 22 : pick(8, 21));
    params->affine_a = (1 + twice) * (1 << params->affine_shift);
    params->affine_b = 1 << params->affine_shift;
    params->affine_c = zero * (1 << params->affine_shift) + pick(0, (1 << params->affine_shift) - 1);
}

static void pick_add(hwcmp_binary_params *params)
{
    memset(params, 0, sizeof *params);
    for (int axis = 0; axis < 4; axis++) {
        params->shape[axis] = pick(1, axis == 3 ? 20 : 4);
    }
    pick_strides(params->shape, one_in(4), params->a_stride);
    pick_strides(params->shape, one_in(4), params->b_stride);
    pick_scales(params);
    params->a_zero_point = pick_zero_point();
    params->b_zero_point = pick_zero_point();
    params->output_zero_point = pick_zero_point();
    pick_activation(&params->activation_min, &params->activation_max);
    params->affine_shift = 0;
    if (one_in(3)) {
        pick_affine(params);
    }
}

/* ---- pooling ------------------------------------------------------------------------------------------- */

/* Padding less than the filter; now and then one output fewer than fit. */
static void pick_pool_axis(int16_t *input, int16_t *filter, int16_t *stride, int16_t *pad, int16_t *output)
{
    *input = (int16_t)pick(1, one_in(4) ? 20 : 6);
    *filter = (int16_t)pick(1, one_in(4) ? 20 : 3);
    *stride = (int16_t)pick(1, 3);
    *pad = (int16_t)pick(0, *filter - 1);
    *output = (int16_t)((*input + *pad - 1) / *stride + 1);
    *output = (int16_t)(*output > 1 && one_in(2) ? *output - 1 : *output);
}

static void pick_pool(hwcmp_pool_params *params)
{
    pick_pool_axis(&params->input.h, &params->filter_h, &params->stride_h, &params->pad_top, &params->output.h);
    pick_pool_axis(&params->input.w, &params->filter_w, &params->stride_w, &params->pad_left, &params->output.w);
    params->input.c = (int16_t)pick(1, one_in(2) ? 36 : 6);
    params->output.c = params->input.c;
    pick_activation(&params->activation_min, &params->activation_max);
}

/* Any axes go; now and then more elements than a half word can hold the sum of. */
static void pick_mean(hwcmp_reduce_params *params)
{
    params->shape[0] = pick(1, 2);
    params->shape[1] = pick(1, 5);
    params->shape[2] = pick(1, one_in(5) ? 600 / params->shape[1] : 5);
    params->shape[3] = pick(1, 18);
    params->reduce_mask = (uint8_t)(one_in(2) ? 6 : pick(0, 15));
    params->multiplier = one_in(3) ? pick(0, 1 << 30) : pick_multiplier();
    params->shift = (int8_t)(one_in(4) ? pick(-31, 30) : -pick(0, 9));
    params->input_zero_point = pick_zero_point();
    params->output_zero_point = pick_zero_point();
}

#endif
