/* SPDX-License-Identifier: Apache-2.0
 *
 * HwcmpConv2D, HwcmpDepthwiseConv2D, HwcmpFullyConnected: inputs [x, blob, folded bias, multiplier, shift].
 */
#include "node.h"

enum { ALL_FLAGS = HWCMP_FLAG_BIAS | HWCMP_FLAG_KEEP_NUM_DIMS | HWCMP_FLAG_ASYMMETRIC_INPUTS };

typedef uint8_t option_u8;
typedef uint16_t option_u16;
typedef int16_t option_i16;

typedef struct {
#define HWCMP_OPTION_FIELD(offset, type, name) option_##type name;
#include "hwcmp/hwcmp_format.def"
} packed_options;

static uint8_t load_u8(const uint8_t *bytes)
{
    return bytes[0];
}

static uint16_t load_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | ((uint32_t)bytes[1] << 8));
}

static int16_t load_i16(const uint8_t *bytes)
{
    return (int16_t)load_u16(bytes);
}

static packed_options load_options(const uint8_t *bytes)
{
    const packed_options options = {
#define HWCMP_OPTION_FIELD(offset, type, name) .name = load_##type(bytes + (offset)),
#include "hwcmp/hwcmp_format.def"
    };
    return options;
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static bool is_int8(int32_t value)
{
    return value >= INT8_MIN && value <= INT8_MAX;
}

static bool is_extent(uint16_t value)
{
    return value >= 1U && value <= INT16_MAX;
}

/* Fields that an operator has no use for are zero. */
static bool window_is_valid(const packed_options *options)
{
    const uint32_t window = (uint32_t)options->kernel_h | options->kernel_w | options->stride_h | options->stride_w |
                            options->dilation_h | options->dilation_w;

    if (options->op == HWCMP_OP_FULLY_CONNECTED) {
        return window == 0U && options->depth_multiplier == 0U;
    }
    return is_extent(options->kernel_h) && is_extent(options->kernel_w) && is_extent(options->stride_h) &&
           is_extent(options->stride_w) && is_extent(options->dilation_h) && is_extent(options->dilation_w) &&
           (options->op == HWCMP_OP_DEPTHWISE_CONV2D || options->depth_multiplier == 0U);
}

static bool ranges_are_valid(const packed_options *options)
{
    return is_int8(options->input_zero_point) && is_int8(options->output_zero_point) &&
           is_int8(options->activation_min) && is_int8(options->activation_max) &&
           options->activation_min <= options->activation_max;
}

static TfLiteStatus check_options(TfLiteContext *context, const hwcmp_node *node, const packed_options *options)
{
    if (options->version != HWCMP_OPTION_VERSION) {
        return hwcmp_node_fail(context, node, "expected options of version %d. Received: %d", HWCMP_OPTION_VERSION,
                               options->version);
    }
    if (options->op != node->op) {
        return hwcmp_node_fail(context, node, "the options are those of another operator (%d)", options->op);
    }
    if ((options->padding != HWCMP_PADDING_SAME && options->padding != HWCMP_PADDING_VALID) ||
        (options->flags & ~ALL_FLAGS) != 0) {
        return hwcmp_node_fail(context, node, "unknown padding %d or flags %d", options->padding, options->flags);
    }
    if (!window_is_valid(options)) {
        return hwcmp_node_fail(context, node, "kernel, stride and dilation must be in 1..%d, unused fields 0",
                               INT16_MAX);
    }
    if (!ranges_are_valid(options)) {
        return hwcmp_node_fail(context, node, "a zero point or the activation range is not int8");
    }
    return kTfLiteOk;
}

/* The zero points are stored twice: in the options for the device, in the tensors for everybody else. */
static TfLiteStatus check_zero_points(TfLiteContext *context, const hwcmp_node *node, const packed_options *options)
{
    const int32_t input = context->tensors[node->inputs[0]].params.zero_point;
    const int32_t output = context->tensors[node->output].params.zero_point;

    if (input != options->input_zero_point || output != options->output_zero_point) {
        return hwcmp_node_fail(context, node, "the tensors have zero points %d, %d, the options %d, %d", (int)input,
                               (int)output, options->input_zero_point, options->output_zero_point);
    }
    return kTfLiteOk;
}

/* ---- tensors ---------------------------------------------------------------------------------------------- */

static TfLiteStatus load_blob(TfLiteContext *context, hwcmp_node *node)
{
    const TfLiteTensor *blob = hwcmp_node_constant(context, node, 1, kTfLiteUInt8);

    if (blob == NULL) {
        return kTfLiteError;
    }
    node->blob = hwcmp_node_copy(context, node, blob->data.raw, blob->bytes);
    return node->blob == NULL ? kTfLiteError : hwcmp_node_open(context, node, blob->bytes);
}

static TfLiteStatus load_channels(TfLiteContext *context, hwcmp_node *node)
{
    const TfLiteTensor *bias = hwcmp_node_constant(context, node, 2, kTfLiteInt32);
    const TfLiteTensor *multiplier = hwcmp_node_constant(context, node, 3, kTfLiteInt32);
    const TfLiteTensor *shift = hwcmp_node_constant(context, node, 4, kTfLiteInt8);

    if (bias == NULL || multiplier == NULL || shift == NULL) {
        return kTfLiteError;
    }
    const int64_t entries = hwcmp_node_elements(multiplier);
    if (hwcmp_node_elements(bias) != node->weights.rows || hwcmp_node_elements(shift) != entries) {
        return hwcmp_node_fail(context, node, "bias, multiplier and shift of %d, %d, %d do not fit %u channels",
                               (int)hwcmp_node_elements(bias), (int)entries, (int)hwcmp_node_elements(shift),
                               (unsigned)node->weights.rows);
    }
    node->bias = hwcmp_node_copy(context, node, bias->data.raw, bias->bytes);
    node->multiplier = hwcmp_node_copy(context, node, multiplier->data.raw, multiplier->bytes);
    node->shift = hwcmp_node_copy(context, node, shift->data.raw, shift->bytes);
    if (node->bias == NULL || node->multiplier == NULL || node->shift == NULL) {
        return kTfLiteError;
    }
    return hwcmp_node_set_channels(context, node, entries);
}

/* ---- the two shapes of layers ------------------------------------------------------------------------------ */

static TfLiteStatus set_fully_connected(TfLiteContext *context, hwcmp_node *node, const packed_options *options)
{
    hwcmp_fully_connected_params *params = &node->fully_connected;

    params->input_zero_point = options->input_zero_point;
    params->output_zero_point = options->output_zero_point;
    params->activation_min = options->activation_min;
    params->activation_max = options->activation_max;
    return hwcmp_node_set_fully_connected(context, node, (options->flags & HWCMP_FLAG_KEEP_NUM_DIMS) != 0);
}

static TfLiteStatus set_conv(TfLiteContext *context, hwcmp_node *node, const packed_options *options)
{
    hwcmp_conv_params *params = &node->conv;

    params->kernel_h = (int16_t)options->kernel_h;
    params->kernel_w = (int16_t)options->kernel_w;
    params->stride_h = (int16_t)options->stride_h;
    params->stride_w = (int16_t)options->stride_w;
    params->dilation_h = (int16_t)options->dilation_h;
    params->dilation_w = (int16_t)options->dilation_w;
    params->input_zero_point = options->input_zero_point;
    params->output_zero_point = options->output_zero_point;
    params->activation_min = options->activation_min;
    params->activation_max = options->activation_max;
    return hwcmp_node_set_conv(context, node, options->padding == HWCMP_PADDING_SAME);
}

static TfLiteStatus check_depth_multiplier(TfLiteContext *context, const hwcmp_node *node,
                                           const packed_options *options)
{
    const int64_t channels = node->conv.input.c;

    if (node->op == HWCMP_OP_DEPTHWISE_CONV2D && channels * options->depth_multiplier != node->weights.rows) {
        return hwcmp_node_fail(context, node, "%u channels are not %d times %d", (unsigned)node->weights.rows,
                               (int)channels, options->depth_multiplier);
    }
    return kTfLiteOk;
}

TfLiteStatus hwcmp_node_prepare_packed(TfLiteContext *context, hwcmp_node *node)
{
    if (node->option_bytes != HWCMP_OPTION_BYTES) {
        return hwcmp_node_fail(context, node, "expected %d bytes of options. Received: %d", HWCMP_OPTION_BYTES,
                               (int)node->option_bytes);
    }
    if (node->input_count != HWCMP_NODE_INPUTS) {
        return hwcmp_node_fail(context, node, "expected %d inputs. Received: %d", HWCMP_NODE_INPUTS,
                               (int)node->input_count);
    }
    const packed_options options = load_options(node->options);
    if (check_options(context, node, &options) != kTfLiteOk ||
        hwcmp_node_check_activations(context, node) != kTfLiteOk ||
        check_zero_points(context, node, &options) != kTfLiteOk || load_blob(context, node) != kTfLiteOk ||
        load_channels(context, node) != kTfLiteOk) {
        return kTfLiteError;
    }
    if (node->op == HWCMP_OP_FULLY_CONNECTED) {
        return set_fully_connected(context, node, &options);
    }
    if (set_conv(context, node, &options) != kTfLiteOk) {
        return kTfLiteError;
    }
    return check_depth_multiplier(context, node, &options);
}
