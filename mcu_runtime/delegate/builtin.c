/* SPDX-License-Identifier: Apache-2.0
 *
 * The builtin FULLY_CONNECTED in int8. The reference kernel of the desktop interpreters rounds it once, everything
 * else twice: here it gets the same arithmetic as the packed layers, from constants computed as TensorFlow Lite does.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "node.h"

enum { WEIGHTS = 1, BIAS = 2, Q31_BITS = 31, MIN_SHIFT = -31, MAX_SHIFT = 30, MOST_ROWS = UINT16_MAX };

/* ---- which operators ---------------------------------------------------------------------------------------- */

static bool has_type(const TfLiteContext *context, const TfLiteIntArray *indices, int position, int32_t type)
{
    if (position >= indices->size) {
        return false;
    }
    const int index = indices->data[position];
    return index >= 0 && (size_t)index < context->tensors_size && context->tensors[index].type == type;
}

static bool has_bias(const TfLiteIntArray *inputs)
{
    return inputs->size > BIAS && inputs->data[BIAS] != kTfLiteOptionalTensor;
}

bool hwcmp_node_is_int8_fully_connected(const TfLiteContext *context, const TfLiteNode *node)
{
    return has_type(context, node->inputs, 0, kTfLiteInt8) && has_type(context, node->inputs, WEIGHTS, kTfLiteInt8) &&
           has_type(context, node->outputs, 0, kTfLiteInt8) &&
           (!has_bias(node->inputs) || has_type(context, node->inputs, BIAS, kTfLiteInt32));
}

/* ---- constants from scales ---------------------------------------------------------------------------------- */

static bool is_scale(float scale)
{
    return scale > 0.0F && scale <= FLT_MAX;
}

/* real = multiplier * 2^(shift - 31), real >= 0; false if it is infinite or the shift too large for the kernels. */
static bool quantize_multiplier(double real, int32_t *multiplier, int8_t *shift)
{
    int exponent = 0;
    const double fraction = frexp(real, &exponent);
    if (!isfinite(real) || exponent > MAX_SHIFT) {
        return false;
    }
    const double scaled = fraction * (double)(INT64_C(1) << Q31_BITS);
    int64_t fixed = (int64_t)scaled;
    if (scaled - (double)fixed >= 0.5) {
        fixed++;
    }
    if (fixed == INT64_C(1) << Q31_BITS) {
        fixed /= 2;
        exponent++;
    }
    const bool vanishes = fixed == 0 || exponent < MIN_SHIFT;
    *multiplier = vanishes ? 0 : (int32_t)fixed;
    *shift = (int8_t)(vanishes ? 0 : exponent);
    return exponent <= MAX_SHIFT;
}

/* round(real / scale) + zero point, ties away from zero, within int8. */
static int32_t quantize_bound(float real, float scale, int32_t zero_point)
{
    const double steps = (double)(float)(real / scale);
    const double bounded = steps > 512.0 ? 512.0 : steps < -512.0 ? -512.0 : steps;
    const int32_t rounded = (int32_t)(bounded < 0.0 ? bounded - 0.5 : bounded + 0.5) + zero_point;
    if (rounded < INT8_MIN) {
        return INT8_MIN;
    }
    return rounded > INT8_MAX ? INT8_MAX : rounded;
}

static TfLiteStatus set_activation(TfLiteContext *context, hwcmp_node *node)
{
    hwcmp_fully_connected_params *params = &node->fully_connected;
    const TfLiteQuantizationParams *output = &context->tensors[node->output].params;
    const int32_t activation = node->builtin.activation;

    params->activation_min = INT8_MIN;
    params->activation_max = INT8_MAX;
    if (activation == kTfLiteActRelu || activation == kTfLiteActRelu6 || activation == kTfLiteActReluN1To1) {
        const float low = activation == kTfLiteActReluN1To1 ? -1.0F : 0.0F;
        params->activation_min = (int16_t)quantize_bound(low, output->scale, output->zero_point);
    } else if (activation != kTfLiteActNone) {
        return hwcmp_node_fail(context, node, "unknown fused activation %d", (int)activation);
    }
    if (activation == kTfLiteActRelu6 || activation == kTfLiteActReluN1To1) {
        const float high = activation == kTfLiteActRelu6 ? 6.0F : 1.0F;
        params->activation_max = (int16_t)quantize_bound(high, output->scale, output->zero_point);
    }
    return kTfLiteOk;
}

/* ---- quantization of the tensors ---------------------------------------------------------------------------- */

static bool is_quantized_activation(const TfLiteTensor *tensor)
{
    const TfLiteQuantizationParams *params = &tensor->params;
    return params->scale >= FLT_MIN && params->scale <= FLT_MAX && params->zero_point >= INT8_MIN &&
           params->zero_point <= INT8_MAX;
}

/* The scales of the weights: one, or one per row; null if they are anything else. */
static const TfLiteFloatArray *weight_scales(const TfLiteTensor *weights)
{
    const TfLiteAffineQuantization *quantization = weights->quantization.params;

    if (weights->quantization.type != kTfLiteAffineQuantization || quantization == NULL ||
        quantization->scale == NULL || quantization->zero_point == NULL) {
        return NULL;
    }
    const TfLiteFloatArray *scale = quantization->scale;
    const bool per_row = scale->size == weights->dims->data[0] && quantization->quantized_dimension == 0;
    if (scale->size != 1 && !per_row) {
        return NULL;
    }
    for (int i = 0; i < quantization->zero_point->size; i++) {
        if (quantization->zero_point->data[i] != 0) {
            return NULL;
        }
    }
    return scale;
}

static TfLiteStatus set_multipliers(TfLiteContext *context, hwcmp_node *node, const TfLiteFloatArray *scales)
{
    const float input = context->tensors[node->inputs[0]].params.scale;
    const float output = context->tensors[node->output].params.scale;

    node->multiplier = hwcmp_node_alloc(context, node, (size_t)scales->size * sizeof node->multiplier[0]);
    node->shift = hwcmp_node_alloc(context, node, (size_t)scales->size * sizeof node->shift[0]);
    if (node->multiplier == NULL || node->shift == NULL) {
        return kTfLiteError;
    }
    for (int i = 0; i < scales->size; i++) {
        const double real = (double)input * (double)scales->data[i] / (double)output;
        if (!is_scale(scales->data[i]) || !quantize_multiplier(real, &node->multiplier[i], &node->shift[i])) {
            return hwcmp_node_fail(context, node, "the scales of channel %d are out of range", i);
        }
    }
    return kTfLiteOk;
}

/* ---- weights and bias --------------------------------------------------------------------------------------- */

static void store_u8(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)value;
}

static void store_u16(uint8_t *bytes, uint32_t value)
{
    store_u8(bytes, value);
    store_u8(bytes + 1, value >> 8);
}

static void store_u32(uint8_t *bytes, uint32_t value)
{
    store_u16(bytes, value);
    store_u16(bytes + 2, value >> 16);
}

/* A dense8 blob of the weights, so that the kernel has one way in. */
static TfLiteStatus make_blob(TfLiteContext *context, hwcmp_node *node, const TfLiteTensor *weights)
{
    const size_t padding = (HWCMP_SECTION_ALIGN - weights->bytes % HWCMP_SECTION_ALIGN) % HWCMP_SECTION_ALIGN;
    const size_t payload = weights->bytes + padding;
    const struct {
        uint32_t format, version, reserved, rows, layout, param, row_length, payload_bytes;
    } header = {
        .format = HWCMP_FORMAT_DENSE8,
        .version = HWCMP_FORMAT_VERSION,
        .rows = (uint32_t)weights->dims->data[0],
        .layout = HWCMP_LAYOUT_CANONICAL,
        .row_length = (uint32_t)weights->dims->data[1],
        .payload_bytes = (uint32_t)payload,
    };

    node->blob = hwcmp_node_alloc(context, node, HWCMP_HEADER_BYTES + payload);
    if (node->blob == NULL) {
        return kTfLiteError;
    }
#define HWCMP_HEADER_FIELD(offset, type, name) store_##type(node->blob + (offset), header.name);
#include "hwcmp/hwcmp_format.def"
    memcpy(node->blob + HWCMP_HEADER_BYTES, weights->data.raw, weights->bytes);
    memset(node->blob + HWCMP_HEADER_BYTES + weights->bytes, 0, padding);
    return hwcmp_node_open(context, node, HWCMP_HEADER_BYTES + payload);
}

static int64_t sum_of_row(const hwcmp_node *node, size_t row)
{
    const int8_t *weights = (const int8_t *)node->weights.payload + row * node->weights.row_length;
    int64_t sum = 0;

    for (uint32_t i = 0; i < node->weights.row_length; i++) {
        sum += weights[i];
    }
    return sum;
}

/* bias - input zero point * sum(weights of the channel). */
static TfLiteStatus fold_bias(TfLiteContext *context, hwcmp_node *node)
{
    const int64_t zero_point = context->tensors[node->inputs[0]].params.zero_point;

    for (size_t ch = 0; ch < node->weights.rows; ch++) {
        const int64_t folded = node->bias[ch] - zero_point * sum_of_row(node, ch);
        if (folded < INT32_MIN || folded > INT32_MAX) {
            return hwcmp_node_fail(context, node, "output channel %u can overflow", (unsigned)ch);
        }
        node->bias[ch] = (int32_t)folded;
    }
    return kTfLiteOk;
}

static TfLiteStatus load_bias(TfLiteContext *context, hwcmp_node *node)
{
    const size_t bytes = node->weights.rows * sizeof node->bias[0];

    node->bias = hwcmp_node_alloc(context, node, bytes);
    if (node->bias == NULL) {
        return kTfLiteError;
    }
    memset(node->bias, 0, bytes);
    if (node->input_count > BIAS && node->inputs[BIAS] != kTfLiteOptionalTensor) {
        const TfLiteTensor *bias = hwcmp_node_constant(context, node, BIAS, kTfLiteInt32);
        if (bias == NULL) {
            return kTfLiteError;
        }
        if (bias->bytes != bytes) {
            return hwcmp_node_fail(context, node, "expected a bias of %u values", (unsigned)node->weights.rows);
        }
        memcpy(node->bias, bias->data.raw, bytes);
    }
    return fold_bias(context, node);
}

static const TfLiteTensor *checked_weights(TfLiteContext *context, const hwcmp_node *node)
{
    const TfLiteTensor *weights = hwcmp_node_constant(context, node, WEIGHTS, kTfLiteInt8);

    if (weights == NULL) {
        return NULL;
    }
    if (weights->dims->size != 2 || weights->dims->data[0] > MOST_ROWS || weights->sparsity != NULL ||
        node->builtin.weights_format != 0) {
        (void)hwcmp_node_fail(context, node, "expected plain weights (rows, length), rows up to %d", MOST_ROWS);
        return NULL;
    }
    return weights;
}

static TfLiteStatus set_layer(TfLiteContext *context, hwcmp_node *node)
{
    const TfLiteTensor *weights = checked_weights(context, node);
    if (weights == NULL) {
        return kTfLiteError;
    }
    const TfLiteFloatArray *scales = weight_scales(weights);
    if (scales == NULL) {
        return hwcmp_node_fail(context, node, "expected weights with zero point 0, one scale or one per channel");
    }
    if (set_multipliers(context, node, scales) != kTfLiteOk || make_blob(context, node, weights) != kTfLiteOk ||
        load_bias(context, node) != kTfLiteOk) {
        return kTfLiteError;
    }
    return hwcmp_node_set_channels(context, node, scales->size);
}

TfLiteStatus hwcmp_node_prepare_builtin(TfLiteContext *context, hwcmp_node *node)
{
    if (!node->has_builtin) {
        return hwcmp_node_fail(context, node, "it has no options");
    }
    if (node->input_count < BIAS || node->input_count > BIAS + 1) {
        return hwcmp_node_fail(context, node, "expected %d or %d inputs. Received: %d", BIAS, BIAS + 1,
                               (int)node->input_count);
    }
    if (hwcmp_node_check_activations(context, node) != kTfLiteOk) {
        return kTfLiteError;
    }
    const TfLiteTensor *input = &context->tensors[node->inputs[0]];
    const TfLiteTensor *output = &context->tensors[node->output];
    if (!is_quantized_activation(input) || !is_quantized_activation(output)) {
        return hwcmp_node_fail(context, node, "input and output need a positive scale and a zero point in int8");
    }
    if (set_activation(context, node) != kTfLiteOk || set_layer(context, node) != kTfLiteOk) {
        return kTfLiteError;
    }
    node->fully_connected.input_zero_point = (int16_t)input->params.zero_point;
    node->fully_connected.output_zero_point = (int16_t)output->params.zero_point;
    return hwcmp_node_set_fully_connected(context, node, node->builtin.keep_num_dims);
}
