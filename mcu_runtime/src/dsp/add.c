/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/add.c, compared bit for bit by tests/test_runtime_dsp.py.
 * Rows of neighbouring elements take the short exact forms; other strides and unusual scales the literal one.
 */
#include "../ref/binary.h"
#include "dsp.h"

/* TensorFlow Lite's left shift for int8, and the highest right shift of an operand that the short form takes. */
enum { LEFT_SHIFT = 20, MAX_OPERAND_SHIFT = 30 };

/* An operand on the common scale: twice (value - zero point) * 2^20, at most 255 * 2^21 < 2^30, times multiplier,
 * rounded as in hwcmp_dsp_scale(); with shift 0 the second rounding and its offset vanish. */
typedef struct {
    int32_t twice_zero, multiplier, offset, shift;
} operand_scale;

typedef struct {
    operand_scale a, b;
    int32_t multiplier, offset, shift;
} add_scales;

static int32_t combine(const hwcmp_binary_params *params, int32_t a, int32_t b)
{
    const int32_t sum = hwcmp_wrap_add(hwcmp_scaled_a(params, a), hwcmp_scaled_b(params, b));
    return hwcmp_requantize(sum, params->output_multiplier, params->output_shift);
}

static operand_scale operand_of(int32_t zero_point, int32_t multiplier, int32_t shift)
{
    const operand_scale scale = {zero_point * (INT32_C(1) << (LEFT_SHIFT + 1)), multiplier,
                                 shift < 0 ? (int32_t)(UINT32_C(1) << (-shift - 1)) : 0, -shift};
    return scale;
}

static add_scales scales_of(const hwcmp_binary_params *params)
{
    const operand_scale a = operand_of(params->a_zero_point, params->a_multiplier, params->a_shift);
    const operand_scale b = operand_of(params->b_zero_point, params->b_multiplier, params->b_shift);
    const int32_t right = -params->output_shift;
    const add_scales scales = {a, b, params->output_multiplier, hwcmp_dsp_offset(params->output_zero_point, right),
                               right};
    return scales;
}

static bool operand_is_fast(int32_t multiplier, int32_t shift)
{
    return multiplier >= 0 && shift <= 0 && shift >= -MAX_OPERAND_SHIFT;
}

/* Sums stay below 2 * 255 * 2^20 + 2 < 2^30 then. */
static bool is_fast(const hwcmp_binary_params *params)
{
    return params->left_shift == LEFT_SHIFT && operand_is_fast(params->a_multiplier, params->a_shift) &&
           operand_is_fast(params->b_multiplier, params->b_shift) &&
           hwcmp_dsp_scale_is_fast(params->output_multiplier, -params->output_shift) &&
           params->a_stride[3] == 1 && params->b_stride[3] == 1;
}

static inline int32_t scaled(int32_t value, operand_scale scale, bool shifts)
{
    const int32_t twice = value * (INT32_C(1) << (LEFT_SHIFT + 1)) - scale.twice_zero;
    if (!shifts) {
        return hwcmp_dsp_high_mul(twice, scale.multiplier);
    }
    return hwcmp_dsp_high_mac(twice, scale.multiplier, scale.offset + (twice >> 31)) >> scale.shift;
}

/* Constant a_shifts and b_shifts make three loops of this one. */
static inline __attribute__((always_inline)) void add_run(const add_scales *scales, bool a_shifts, bool b_shifts,
                                                          const int8_t *a, const int8_t *b, int8_t *output,
                                                          size_t count)
{
    const add_scales own = *scales;

    for (const int8_t *end = a + count; a != end;) {
        const int32_t sum = scaled(*a++, own.a, a_shifts) + scaled(*b++, own.b, b_shifts);
        *output++ = (int8_t)hwcmp_dsp_scale(sum, own.multiplier, own.offset, own.shift);
    }
}

/* Adding commutes, so an operand without shift may come first. */
static void add_row(const add_scales *scales, const int8_t *a, const int8_t *b, int8_t *output, size_t count)
{
    if (scales->a.shift == 0 && scales->b.shift == 0) {
        add_run(scales, false, false, a, b, output, count);
    } else if (scales->a.shift == 0) {
        add_run(scales, false, true, a, b, output, count);
    } else if (scales->b.shift == 0) {
        const add_scales swapped = {scales->b, scales->a, scales->multiplier, scales->offset, scales->shift};
        add_run(&swapped, false, true, b, a, output, count);
    } else {
        add_run(scales, true, true, a, b, output, count);
    }
}

/* Whether the elements follow each other without gaps and without broadcasting. */
static bool is_dense(const int32_t shape[4], const int32_t stride[4])
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

static void add_rows(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output)
{
    const add_scales scales = scales_of(params);
    const int32_t *sa = params->a_stride;
    const int32_t *sb = params->b_stride;

    for (int32_t i = 0; i < params->shape[0]; i++) {
        for (int32_t j = 0; j < params->shape[1]; j++) {
            for (int32_t k = 0; k < params->shape[2]; k++) {
                add_row(&scales, a + i * sa[0] + j * sa[1] + k * sa[2], b + i * sb[0] + j * sb[1] + k * sb[2], output,
                        (size_t)params->shape[3]);
                output += params->shape[3];
            }
        }
    }
}

hwcmp_status hwcmp_add_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output)
{
    if (!hwcmp_binary_params_valid(params) || a == NULL || b == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if (!is_fast(params)) {
        return hwcmp_binary(params, a, b, output, combine);
    }
    const int32_t *shape = params->shape;
    const size_t count = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2] * (size_t)shape[3];
    if (is_dense(shape, params->a_stride) && is_dense(shape, params->b_stride)) {
        const add_scales scales = scales_of(params);
        add_row(&scales, a, b, output, count);
    } else {
        add_rows(params, a, b, output);
    }
    hwcmp_dsp_activate(output, (uint32_t)count, params->activation_min, params->activation_max);
    return HWCMP_OK;
}
