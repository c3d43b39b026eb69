/* SPDX-License-Identifier: Apache-2.0
 *
 * What add, sub and mul have in common: argument checks and the walk over two broadcast operands.
 */
#ifndef HWCMP_REF_BINARY_H
#define HWCMP_REF_BINARY_H

#include "../hwcmp_internal.h"

/* 255 << 23 still fits int32_t. */
enum { HWCMP_MAX_LEFT_SHIFT = 23 };

/* The result for one pair before the output zero point is added; a, b: without their zero points. */
typedef int32_t (*hwcmp_binary_fn)(const hwcmp_binary_params *params, int32_t a, int32_t b);

/* No stride is negative and the last element is addressable with int32_t. */
static inline bool hwcmp_strides_valid(const int32_t shape[4], const int32_t stride[4])
{
    int64_t last = 0;

    for (int axis = 0; axis < 4; axis++) {
        last += (int64_t)(shape[axis] - 1) * stride[axis];
        if (stride[axis] < 0 || last > INT32_MAX) {
            return false;
        }
    }
    return true;
}

static inline bool hwcmp_binary_params_valid(const hwcmp_binary_params *params)
{
    if (params == NULL || !hwcmp_shape_valid(params->shape) || !hwcmp_shift_valid(params->a_shift) ||
        !hwcmp_shift_valid(params->b_shift) || !hwcmp_shift_valid(params->output_shift) || params->left_shift < 0 ||
        params->left_shift > HWCMP_MAX_LEFT_SHIFT || !hwcmp_is_int8(params->a_zero_point) ||
        !hwcmp_is_int8(params->b_zero_point) || !hwcmp_is_int8(params->output_zero_point) ||
        !hwcmp_range_valid(params->activation_min, params->activation_max) || params->affine_shift < 0 ||
        params->affine_shift > 30) {
        return false;
    }
    return hwcmp_strides_valid(params->shape, params->a_stride) && hwcmp_strides_valid(params->shape, params->b_stride);
}

/* The last axis. */
static inline void hwcmp_binary_row(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output,
                                    hwcmp_binary_fn combine)
{
    const hwcmp_binary_params p = *params;

    for (int32_t i = 0; i < p.shape[3]; i++) {
        const int32_t value = combine(&p, a[i * p.a_stride[3]] - p.a_zero_point, b[i * p.b_stride[3]] - p.b_zero_point);
        output[i] = (int8_t)hwcmp_clamp(hwcmp_wrap_add(value, p.output_zero_point), p.activation_min, p.activation_max);
    }
}

static inline hwcmp_status hwcmp_binary(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b,
                                        int8_t *output, hwcmp_binary_fn combine)
{
    if (!hwcmp_binary_params_valid(params) || a == NULL || b == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const int32_t *sa = params->a_stride;
    const int32_t *sb = params->b_stride;
    for (int32_t i = 0; i < params->shape[0]; i++) {
        for (int32_t j = 0; j < params->shape[1]; j++) {
            for (int32_t k = 0; k < params->shape[2]; k++) {
                hwcmp_binary_row(params, a + i * sa[0] + j * sa[1] + k * sa[2], b + i * sb[0] + j * sb[1] + k * sb[2],
                                 output, combine);
                output += params->shape[3];
            }
        }
    }
    return HWCMP_OK;
}

/* Neighbouring outputs and where their operands begin, a_stride[3] and b_stride[3] apart. */
typedef struct {
    const int8_t *a, *b;
    int8_t *output;
    int32_t count;
} hwcmp_binary_run;

typedef void (*hwcmp_binary_run_fn)(const hwcmp_binary_params *params, hwcmp_binary_run run);

/* Whether the elements of an operand follow each other without gaps and without broadcasting. */
static inline bool hwcmp_binary_is_dense(const int32_t shape[4], const int32_t stride[4])
{
    int32_t expected = 1;

    for (int axis = 3; axis >= 0; axis--) {
        if (shape[axis] > 1 && stride[axis] != expected) {
            return false;
        }
        expected *= shape[axis];
    }
    return true;
}

/* For arms: `combine` for everything at once if no operand has gaps, otherwise for every row. */
static inline void hwcmp_binary_runs(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b,
                                     int8_t *output, hwcmp_binary_run_fn combine)
{
    const int32_t *shape = params->shape;
    const int32_t *sa = params->a_stride;
    const int32_t *sb = params->b_stride;
    hwcmp_binary_run run = {a, b, output, shape[0] * shape[1] * shape[2] * shape[3]};

    if (sa[3] == 1 && sb[3] == 1 && hwcmp_binary_is_dense(shape, sa) && hwcmp_binary_is_dense(shape, sb)) {
        combine(params, run);
        return;
    }
    run.count = shape[3];
    for (int32_t i = 0; i < shape[0]; i++) {
        for (int32_t j = 0; j < shape[1]; j++) {
            for (int32_t k = 0; k < shape[2]; k++) {
                run.a = a + i * sa[0] + j * sa[1] + k * sa[2];
                run.b = b + i * sb[0] + j * sb[1] + k * sb[2];
                combine(params, run);
                run.output += run.count;
            }
        }
    }
}

/* The operands of add and sub on their common scale. */
static inline int32_t hwcmp_scaled_a(const hwcmp_binary_params *params, int32_t a)
{
    return hwcmp_requantize(a * (INT32_C(1) << params->left_shift), params->a_multiplier, params->a_shift);
}

static inline int32_t hwcmp_scaled_b(const hwcmp_binary_params *params, int32_t b)
{
    return hwcmp_requantize(b * (INT32_C(1) << params->left_shift), params->b_multiplier, params->b_shift);
}

#endif
