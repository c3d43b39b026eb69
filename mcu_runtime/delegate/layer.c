/* SPDX-License-Identifier: Apache-2.0
 *
 * From checked constants to a layer that a kernel can run: shapes, overflow, scratch, the output's size.
 */
#include <stdlib.h>

#include "node.h"

enum { TILE_BYTES = 65536, MOST_TILE_ROWS = 1024, CONV_DIMENSIONS = 4 };

/* As in keras_hwcompress/tflite: there must be room for the output zero point behind the requantization. */
static const int64_t accumulator_limit = INT64_C(2147483648) - 256;

TfLiteStatus hwcmp_node_open(TfLiteContext *context, hwcmp_node *node, size_t bytes)
{
    const hwcmp_status status = hwcmp_weights_open(node->blob, bytes, &node->weights);

    if (status != HWCMP_OK) {
        return hwcmp_node_fail(context, node, "the weights: %s", hwcmp_status_text(status));
    }
    return kTfLiteOk;
}

/* ---- overflow --------------------------------------------------------------------------------------------- */

static int64_t magnitude(int64_t value)
{
    return value < 0 ? -value : value;
}

/* |bias| + 128 * sum|w| bounds every partial sum of a channel, because the bias is folded and inputs are int8. */
static int64_t accumulator_bound(const hwcmp_node *node, uint32_t ch, const int8_t *row)
{
    int64_t bound = magnitude(node->bias[ch]);

    for (uint32_t i = 0; i < node->weights.row_length; i++) {
        bound += 128 * magnitude(row[i]);
    }
    return bound;
}

static TfLiteStatus check_overflow(TfLiteContext *context, const hwcmp_node *node, int8_t *row)
{
    const uint32_t length = node->weights.row_length;

    for (uint32_t ch = 0; ch < node->weights.rows; ch++) {
        const int32_t shift = node->shift[node->channels.channel_step * ch];
        const hwcmp_status status = hwcmp_weights_unpack(&node->weights, ch, 1U, length, row);
        if (status != HWCMP_OK) {
            return hwcmp_node_fail(context, node, "the weights: %s", hwcmp_status_text(status));
        }
        if (accumulator_bound(node, ch, row) > ((accumulator_limit - 1) >> (shift > 0 ? shift : 0))) {
            return hwcmp_node_fail(context, node, "output channel %u can overflow", (unsigned)ch);
        }
    }
    return kTfLiteOk;
}

static TfLiteStatus check_constants(TfLiteContext *context, const hwcmp_node *node, int64_t entries)
{
    if (entries != 1 && entries != node->weights.rows) {
        return hwcmp_node_fail(context, node, "expected 1 or %u multipliers. Received: %d",
                               (unsigned)node->weights.rows, (int)entries);
    }
    for (int64_t i = 0; i < entries; i++) {
        if (node->multiplier[i] < 0 || node->shift[i] < -31 || node->shift[i] > 30) {
            return hwcmp_node_fail(context, node, "multiplier %d with shift %d is out of range",
                                   (int)node->multiplier[i], (int)node->shift[i]);
        }
    }
    return kTfLiteOk;
}

TfLiteStatus hwcmp_node_set_channels(TfLiteContext *context, hwcmp_node *node, int64_t entries)
{
    if (check_constants(context, node, entries) != kTfLiteOk) {
        return kTfLiteError;
    }
    node->channels.bias = node->bias;
    node->channels.multiplier = node->multiplier;
    node->channels.shift = node->shift;
    node->channels.channel_step = (uint8_t)(entries == 1 ? 0U : 1U);
    int8_t *row = hwcmp_node_alloc(context, node, node->weights.row_length);
    if (row == NULL) {
        return kTfLiteError;
    }
    const TfLiteStatus status = check_overflow(context, node, row);
    free(row);
    return status;
}

/* ---- shapes ----------------------------------------------------------------------------------------------- */

/* Rows that are unpacked at a time: speed only. */
static int16_t tile_rows(const hwcmp_weights *weights)
{
    const uint32_t rows = TILE_BYTES / weights->row_length;
    if (rows < 1U) {
        return 1;
    }
    return (int16_t)(rows < MOST_TILE_ROWS ? rows : MOST_TILE_ROWS);
}

static TfLiteStatus finish(TfLiteContext *context, hwcmp_node *node, size_t scratch_bytes, TfLiteIntArray *shape)
{
    node->scratch.buf = hwcmp_node_alloc(context, node, scratch_bytes + 1U);
    if (node->scratch.buf == NULL) {
        free(shape);
        return kTfLiteError;
    }
    node->scratch.bytes = scratch_bytes;
    node->input_bytes = context->tensors[node->inputs[0]].bytes;
    TfLiteTensor *output = &context->tensors[node->output];
    if (context->ResizeTensor(context, output, shape) != kTfLiteOk) {
        return kTfLiteError;
    }
    node->output_bytes = output->bytes;
    node->ready = true;
    return kTfLiteOk;
}

static TfLiteIntArray *new_shape(TfLiteContext *context, const hwcmp_node *node, int size)
{
    TfLiteIntArray *shape = hwcmp_node_alloc(context, node, sizeof *shape + (size_t)size * sizeof shape->data[0]);

    if (shape != NULL) {
        shape->size = size;
    }
    return shape;
}

static TfLiteIntArray *fully_connected_shape(TfLiteContext *context, const hwcmp_node *node, bool keep_num_dims)
{
    const TfLiteIntArray *input = context->tensors[node->inputs[0]].dims;
    TfLiteIntArray *shape = new_shape(context, node, keep_num_dims ? input->size : 2);

    if (shape == NULL) {
        return NULL;
    }
    shape->data[0] = node->fully_connected.batch;
    for (int axis = 0; keep_num_dims && axis < shape->size; axis++) {
        shape->data[axis] = input->data[axis];
    }
    shape->data[shape->size - 1] = node->weights.rows;
    return shape;
}

TfLiteStatus hwcmp_node_set_fully_connected(TfLiteContext *context, hwcmp_node *node, bool keep_num_dims)
{
    hwcmp_fully_connected_params *params = &node->fully_connected;
    const TfLiteTensor *input = &context->tensors[node->inputs[0]];
    const int64_t length = node->weights.row_length;
    const int64_t elements = hwcmp_node_elements(input);

    if (elements % length != 0 || elements / length * node->weights.rows > INT32_MAX) {
        return hwcmp_node_fail(context, node, "rows of %d weights do not fit the input of %d", (int)length,
                               (int)elements);
    }
    const int32_t last = input->dims->size > 0 ? input->dims->data[input->dims->size - 1] : 0;
    if (keep_num_dims && last != length) {
        return hwcmp_node_fail(context, node, "expected an input with last dimension %d. Received: %d", (int)length,
                               (int)last);
    }
    params->batch = (int32_t)(elements / length);
    params->input_length = (int32_t)length;
    params->tile_rows = tile_rows(&node->weights);
    TfLiteIntArray *shape = fully_connected_shape(context, node, keep_num_dims);
    if (shape == NULL) {
        return kTfLiteError;
    }
    return finish(context, node, hwcmp_fully_connected_s8_scratch_bytes(params, &node->weights), shape);
}

/* Output size and padding of one axis; both can leave int16. */
typedef struct {
    int64_t output, pad;
} axis_plan;

static axis_plan plan_axis(bool same, int64_t size, int64_t kernel, int64_t stride, int64_t dilation)
{
    const int64_t reach = (kernel - 1) * dilation + 1;
    axis_plan plan = {0, 0};

    if (same || size >= reach) {
        plan.output = (size + stride - (same ? 1 : reach)) / stride;
    }
    const int64_t missing = (plan.output - 1) * stride + reach - size;
    plan.pad = missing > 0 ? missing / 2 : 0;
    return plan;
}

static TfLiteStatus set_geometry(TfLiteContext *context, hwcmp_node *node, bool same)
{
    hwcmp_conv_params *params = &node->conv;
    const TfLiteIntArray *dims = context->tensors[node->inputs[0]].dims;

    if (dims->size != CONV_DIMENSIONS || dims->data[0] != 1 || dims->data[1] > INT16_MAX ||
        dims->data[2] > INT16_MAX || dims->data[3] > INT16_MAX || node->weights.rows > INT16_MAX) {
        return hwcmp_node_fail(context, node, "expected the shape (1, h, w, c), dimensions up to %d", INT16_MAX);
    }
    const axis_plan h = plan_axis(same, dims->data[1], params->kernel_h, params->stride_h, params->dilation_h);
    const axis_plan w = plan_axis(same, dims->data[2], params->kernel_w, params->stride_w, params->dilation_w);
    if (h.output < 1 || w.output < 1 || h.pad > INT16_MAX || w.pad > INT16_MAX ||
        h.output * w.output * node->weights.rows > INT32_MAX) {
        return hwcmp_node_fail(context, node, "the kernel does not fit the input of %d x %d", dims->data[1],
                               dims->data[2]);
    }
    params->input = (hwcmp_dims){(int16_t)dims->data[1], (int16_t)dims->data[2], (int16_t)dims->data[3]};
    params->output = (hwcmp_dims){(int16_t)h.output, (int16_t)w.output, (int16_t)node->weights.rows};
    params->pad_top = (int16_t)h.pad;
    params->pad_left = (int16_t)w.pad;
    params->tile_rows = tile_rows(&node->weights);
    return kTfLiteOk;
}

static TfLiteStatus check_weight_shape(TfLiteContext *context, const hwcmp_node *node)
{
    const hwcmp_conv_params *params = &node->conv;
    const bool depthwise = node->op == HWCMP_OP_DEPTHWISE_CONV2D;
    const int64_t length = (int64_t)params->kernel_h * params->kernel_w * (depthwise ? 1 : params->input.c);

    if (node->weights.row_length != length || (depthwise && params->output.c % params->input.c != 0)) {
        return hwcmp_node_fail(context, node, "%s. Received: %u x %u for %d x %d x %d",
                               hwcmp_status_text(HWCMP_ERR_SHAPE), (unsigned)node->weights.rows,
                               (unsigned)node->weights.row_length, params->kernel_h, params->kernel_w,
                               params->input.c);
    }
    return kTfLiteOk;
}

TfLiteStatus hwcmp_node_set_conv(TfLiteContext *context, hwcmp_node *node, bool same)
{
    if (set_geometry(context, node, same) != kTfLiteOk || check_weight_shape(context, node) != kTfLiteOk) {
        return kTfLiteError;
    }
    const hwcmp_conv_params *params = &node->conv;
    const size_t scratch_bytes = node->op == HWCMP_OP_DEPTHWISE_CONV2D
                                     ? hwcmp_depthwise_conv2d_s8_scratch_bytes(params, &node->weights)
                                     : hwcmp_conv2d_s8_scratch_bytes(params, &node->weights);
    TfLiteIntArray *shape = new_shape(context, node, CONV_DIMENSIONS);
    if (shape == NULL) {
        return kTfLiteError;
    }
    shape->data[0] = 1;
    shape->data[1] = params->output.h;
    shape->data[2] = params->output.w;
    shape->data[3] = params->output.c;
    return finish(context, node, scratch_bytes, shape);
}
