/* SPDX-License-Identifier: Apache-2.0
 *
 * keras_hwcompress runtime: int8 neural-network kernels that read compressed weights.
 *
 * Contract of every function
 *   - no malloc, no globals with state, no recursion, no I/O; scratch and arena belong to the caller;
 *   - activations are NHWC int8 with batch 1; inputs are never written; input and output may not overlap
 *     unless the function says so;
 *   - results are TensorFlow Lite's int8 reference results with double rounding, on every arm;
 *   - a blob is untrusted until hwcmp_weights_open() has accepted it.
 */
#ifndef HWCMP_H
#define HWCMP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HWCMP_MUST_CHECK __attribute__((warn_unused_result))
#else
#define HWCMP_MUST_CHECK
#endif

typedef enum {
#define HWCMP_STATUS(value, NAME, text) HWCMP_##NAME = (value),
#include "hwcmp/hwcmp_format.def"
} hwcmp_status;

enum {
#define HWCMP_CONSTANT(name, value) HWCMP_##name = (value),
#include "hwcmp/hwcmp_format.def"
#define HWCMP_WEIGHT_FORMAT(id, NAME, name, kind) HWCMP_FORMAT_##NAME = (id),
#define HWCMP_WEIGHT_LAYOUT(id, LAYOUT, NAME, name) HWCMP_FORMAT_##NAME = (id),
#include "hwcmp/hwcmp_format.def"
};

/* One English sentence for a status; never null. */
const char *hwcmp_status_text(hwcmp_status status);

/* ---- weights ------------------------------------------------------------------------------------------ */

struct hwcmp_format_ops;

/* A view of a blob; it points into the blob and copies nothing.
 * rows = output channels, row_length = weights per output channel in height-width-input order. */
typedef struct {
    const struct hwcmp_format_ops *ops;
    const uint8_t *payload;
    uint32_t payload_bytes;
    uint32_t row_length;
    uint16_t rows;
    uint8_t layout;
    uint8_t param;
} hwcmp_weights;

/* Validates the whole blob (header, lengths, tables, every code) and fills `out`. The blob must be 4-byte
 * aligned and outlive the view. Never reads outside [blob, blob + blob_bytes). */
HWCMP_MUST_CHECK hwcmp_status hwcmp_weights_open(const uint8_t *blob, size_t blob_bytes, hwcmp_weights *out);

/* Fills `out` from a blob that hwcmp_weights_open() accepted before; constant time. */
HWCMP_MUST_CHECK hwcmp_status hwcmp_weights_view(const uint8_t *blob, size_t blob_bytes, hwcmp_weights *out);

/* Unpacks rows [first_row, first_row + row_count) as int8, row_stride >= row_length bytes apart. */
HWCMP_MUST_CHECK hwcmp_status hwcmp_weights_unpack(const hwcmp_weights *weights, uint32_t first_row,
                                                   uint32_t row_count, uint32_t row_stride, int8_t *out);

/* ---- layers with weights ------------------------------------------------------------------------------ */

typedef struct {
    void *buf; /* 4-byte aligned; may be null when bytes is 0 */
    size_t bytes;
} hwcmp_scratch;

typedef struct {
    int16_t h, w, c;
} hwcmp_dims;

/* Per output channel constants. `bias` is folded: bias - input_zero_point * sum(weights of the channel), so
 * padding reads as the input zero point. `channel_step` is 1, or 0 when multiplier and shift hold one entry
 * for all channels (per-tensor). A positive shift is to the left, as in TensorFlow Lite; all shifts are -31..30,
 * here and below, and no multiplier is INT32_MIN. */
typedef struct {
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    uint8_t channel_step;
} hwcmp_channels;

/* conv2d and depthwise_conv2d; depth multiplier = output.c / input.c. tile_rows: output channels unpacked at
 * a time into scratch (>= 1; ignored by PLAIN formats). */
typedef struct {
    hwcmp_dims input, output;
    int16_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int16_t tile_rows;
    int16_t input_zero_point, output_zero_point, activation_min, activation_max;
} hwcmp_conv_params;

typedef struct {
    int32_t batch, input_length;
    int16_t tile_rows;
    int16_t input_zero_point, output_zero_point, activation_min, activation_max;
} hwcmp_fully_connected_params;

/* Scratch bytes that the arm in this build needs. */
size_t hwcmp_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights);
size_t hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights);
size_t hwcmp_fully_connected_s8_scratch_bytes(const hwcmp_fully_connected_params *params, const hwcmp_weights *weights);

HWCMP_MUST_CHECK hwcmp_status hwcmp_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                              const hwcmp_weights *weights, const hwcmp_channels *channels,
                                              const int8_t *input, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_depthwise_conv2d_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                                        const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                        const int8_t *input, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_fully_connected_s8(const hwcmp_scratch *scratch,
                                                       const hwcmp_fully_connected_params *params,
                                                       const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                       const int8_t *input, int8_t *output);

/* The same results from weights in the format `runs`, read as stored (any other format: HWCMP_ERR_FORMAT): one
 * multiplication per row and magnitude. tile_rows is ignored. */
size_t hwcmp_conv2d_runs_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights);
size_t hwcmp_fully_connected_runs_s8_scratch_bytes(const hwcmp_fully_connected_params *params, const hwcmp_weights *weights);
HWCMP_MUST_CHECK hwcmp_status hwcmp_conv2d_runs_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                                   const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                   const int8_t *input, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_fully_connected_runs_s8(const hwcmp_scratch *scratch,
                                                            const hwcmp_fully_connected_params *params,
                                                            const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                            const int8_t *input, int8_t *output);

/* The same results from weights in the layout `nested`, for which the DSP arm has kernels; the reference arm unpacks them
 * as hwcmp_conv2d_s8() and hwcmp_fully_connected_s8() of every arm do. Other weights: HWCMP_ERR_FORMAT or
 * HWCMP_ERR_LAYOUT. */
#define HWCMP_NESTED_KERNELS(name)                                                                                     \
    size_t hwcmp_conv2d_##name##_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights);      \
    size_t hwcmp_fully_connected_##name##_s8_scratch_bytes(const hwcmp_fully_connected_params *params,                 \
                                                           const hwcmp_weights *weights);                              \
    HWCMP_MUST_CHECK hwcmp_status hwcmp_conv2d_##name##_s8(                                                            \
        const hwcmp_scratch *scratch, const hwcmp_conv_params *params, const hwcmp_weights *weights,                   \
        const hwcmp_channels *channels, const int8_t *input, int8_t *output);                                          \
    HWCMP_MUST_CHECK hwcmp_status hwcmp_fully_connected_##name##_s8(                                                   \
        const hwcmp_scratch *scratch, const hwcmp_fully_connected_params *params, const hwcmp_weights *weights,        \
        const hwcmp_channels *channels, const int8_t *input, int8_t *output);
HWCMP_NESTED_KERNELS(dense8_nested)
HWCMP_NESTED_KERNELS(nary_nested)
#undef HWCMP_NESTED_KERNELS

/* ---- layers without weights --------------------------------------------------------------------------- */

/* add, sub, mul. shape is the output's, right-aligned in four axes; a stride of 0 broadcasts that axis.
 * add, sub: out = rq(rq((a - a_zero_point) << left_shift, a) +- rq(..., b), output), left_shift 0..23; mul:
 * rq((a - a_zero_point) * (b - b_zero_point), output). The output may be the same buffer as an input that is not
 * broadcast.
 * affine_shift 1..30 promises that (a * affine_a + b * affine_b + affine_c) >> affine_shift, clamped to the activation's
 * range, is the same for every a and b, and that no such sum leaves int32_t; 0 promises nothing. */
typedef struct {
    int32_t shape[4], a_stride[4], b_stride[4];
    int32_t a_multiplier, b_multiplier, output_multiplier;
    int8_t a_shift, b_shift, output_shift, left_shift;
    int16_t a_zero_point, b_zero_point, output_zero_point, activation_min, activation_max;
    int32_t affine_a, affine_b, affine_c;
    int8_t affine_shift;
} hwcmp_binary_params;

HWCMP_MUST_CHECK hwcmp_status hwcmp_add_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_sub_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_mul_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output);

/* output = add(conv2d(input), residual), stripe_rows output rows at a time: `conv2d` is the function for the weights'
 * format. conv_is_b: the convolution is the second operand of the addition. Scratch: stripe_rows rows of output (rounded up to
 * 4 bytes) and what the convolution of a stripe needs. `output` may be the same buffer as `residual`. */
typedef hwcmp_status (*hwcmp_conv2d_function)(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                              const hwcmp_weights *weights, const hwcmp_channels *channels,
                                              const int8_t *input, int8_t *output);
typedef struct {
    hwcmp_conv_params conv;
    hwcmp_binary_params add;
    int16_t stripe_rows;
    uint8_t conv_is_b;
} hwcmp_conv2d_add_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_conv2d_add_s8(hwcmp_conv2d_function conv2d, const hwcmp_scratch *scratch,
                                                  const hwcmp_conv2d_add_params *params, const hwcmp_weights *weights,
                                                  const hwcmp_channels *channels, const int8_t *input,
                                                  const int8_t *residual, int8_t *output);

/* output[i] = table[input[i] as uint8]: every one-input function of int8 (logistic, tanh, relu, relu6, leaky_relu,
 * hard_swish, requantize, uint8 <-> int8) is a table made by the exporter. In place allowed. */
HWCMP_MUST_CHECK hwcmp_status hwcmp_lut_s8(const int8_t *table, int32_t count, const int8_t *input, int8_t *output);

/* Joins `count` inputs; input i contributes inner[i] consecutive bytes to each of `outer` output groups. */
typedef struct {
    int32_t outer, count;
    const int32_t *inner;
} hwcmp_concat_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_concat_s8(const hwcmp_concat_params *params, const int8_t *const *inputs, int8_t *output);

typedef struct {
    int32_t shape[4], before[4], after[4];
    int8_t value;
} hwcmp_pad_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_pad_s8(const hwcmp_pad_params *params, const int8_t *input, int8_t *output);

/* output[i][j][k][l] = input[offset + i * stride[0] + j * stride[1] + k * stride[2] + l * stride[3]]: slices, parts of a
 * split, transposed and reversed axes. shape is the output's; strides have either sign. The function refuses patterns
 * that begin before the input; the caller sees to it that they end inside. */
typedef struct {
    int32_t shape[4], stride[4];
    int32_t offset;
} hwcmp_slice_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_slice_s8(const hwcmp_slice_params *params, const int8_t *input, int8_t *output);

/* Padding does not count, neither for the average nor for the maximum; every window must hold some of the input. */
typedef struct {
    hwcmp_dims input, output;
    int16_t filter_h, filter_w, stride_h, stride_w, pad_top, pad_left, activation_min, activation_max;
} hwcmp_pool_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_average_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_max_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output);

/* mean and reduce_max over the axes whose bit is set in reduce_mask (bit 0 = axis 0 of shape).
 * mean: sum over n elements, then rq(sum - n * input_zero_point, multiplier, shift) + output_zero_point,
 * the division by n folded into the multiplier. reduce_max ignores the quantization fields. */
typedef struct {
    int32_t shape[4];
    int32_t multiplier;
    int8_t shift;
    uint8_t reduce_mask;
    int16_t input_zero_point, output_zero_point;
} hwcmp_reduce_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_mean_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_reduce_max_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output);

/* Softmax over the last axis: `rows` rows of `depth`. Output scale is 1/256, zero point -128. depth is at most
 * 4096, shift 0..31. In place allowed. */
typedef struct {
    int32_t rows, depth, multiplier, shift, diff_min;
} hwcmp_softmax_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_softmax_s8(const hwcmp_softmax_params *params, const int8_t *input, int8_t *output);

/* The only functions with floats: the borders of a model with float inputs or outputs. */
typedef struct {
    float scale;
    int32_t zero_point;
} hwcmp_affine_params;
HWCMP_MUST_CHECK hwcmp_status hwcmp_quantize_f32_s8(const hwcmp_affine_params *params, int32_t count, const float *input, int8_t *output);
HWCMP_MUST_CHECK hwcmp_status hwcmp_dequantize_s8_f32(const hwcmp_affine_params *params, int32_t count, const int8_t *input, float *output);

#ifdef __cplusplus
}
#endif
#endif
