/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/add.c, compared bit for bit by tests/test_runtime_swar.py.
 * The affine form where the exporter found one, a short exact form for the scales that TensorFlow Lite's converter makes
 * (the operand with the larger scale is exactly halved), the literal form for the others.
 */
#include "../ref/binary.h"
#include "swar.h"

/* TensorFlow Lite's left shift for int8, the multiplier that halves, and the highest right shift of the other operand. */
enum { LEFT_SHIFT = 20, HALF = 1 << 30, MAX_OPERAND_SHIFT = 30 };

/* ---- the affine form ---------------------------------------------------------------------------------- */

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *a_end, *b_end;     /*  0, 4 */
    int8_t *output_end;              /*  8 */
    int32_t index;                   /* 12: of the first element from the ends, negative */
    int32_t by_a, by_b, constant;    /* 16, 20, 24 */
    int32_t shift;                   /* 28 */
} affine_job;

/* Neighbouring elements: 14 instructions each, 9 on Armv7-M. */
static HWCMP_NOINLINE __attribute__((naked)) void affine_neighbours(const affine_job *job HWCMP_SWAR_IN_REGISTER)
{
    __asm__ volatile(HWCMP_SWAR_UNIFIED
                     HWCMP_SWAR_PUSH_ALL
                     "ldmia r0!, {r1-r7}\n\t"
                     "mov r8, r7\n\t"
                     "ldr r7, [r0]\n\t"
                     "mov r9, r7\n\t"
                     "mov r0, r1\n\t"
                     "mov r1, r2\n\t"
                     "mov r2, r3\n\t"
                     "mov r3, r4\n\t"
                     "mov r4, r5\n\t"
                     "mov r5, r6\n"
                     "1:\n\t"
                     HWCMP_SWAR_AFFINE
                     "strb r7, [r2, r3]\n\t"
                     "adds r3, r3, #1\n\t"
                     "bne 1b\n\t"
                     HWCMP_SWAR_POP_ALL);
}

/* Intermediate sums may wrap; the last one fits int32_t, as the params promise. */
static void affine_others(const hwcmp_binary_params *params, hwcmp_binary_run run)
{
    const int32_t a_step = params->a_stride[3];
    const int32_t b_step = params->b_stride[3];

    for (const int8_t *end = run.output + run.count; run.output != end; run.output++) {
        const uint32_t sum = (uint32_t)*run.a * (uint32_t)params->affine_a +
                             (uint32_t)*run.b * (uint32_t)params->affine_b + (uint32_t)params->affine_c;
        *run.output = (int8_t)hwcmp_swar_saturate8((int32_t)sum >> params->affine_shift);
        run.a += a_step;
        run.b += b_step;
    }
}

static void affine_run(const hwcmp_binary_params *params, hwcmp_binary_run run)
{
    if (params->a_stride[3] == 1 && params->b_stride[3] == 1) {
        const affine_job job = {run.a + run.count, run.b + run.count, run.output + run.count, -run.count,
                                params->affine_a,  params->affine_b,  params->affine_c,       params->affine_shift};
        affine_neighbours(&job);
    } else {
        affine_others(params, run);
    }
}

/* ---- two roundings ------------------------------------------------------------------------------------ */

/* Operands by their roles: `half` has multiplier 2^30 and shift 0, so (half - zero) * 2^20 becomes (half - zero) * 2^19
 * without rounding. The other's (d * 2^20 * m + 2^30) >> 31 with d = other - zero and m = mh * 2^11 + ml is
 * d * mh + ((d * ml + 2^10) >> 11), whose products fit 32 bits. */
typedef struct {
    int32_t half_zero, other_zero, high, low, offset, shift;
    int32_t output_multiplier, output_offset, output_shift;
} half_scales;

static bool is_half(int32_t multiplier, int32_t shift)
{
    return multiplier == HALF && shift == 0;
}

static bool other_is_fast(int32_t multiplier, int32_t shift)
{
    return multiplier >= 0 && shift <= 0 && shift >= -MAX_OPERAND_SHIFT;
}

static bool a_is_half(const hwcmp_binary_params *params)
{
    return is_half(params->a_multiplier, params->a_shift) && other_is_fast(params->b_multiplier, params->b_shift);
}

static bool b_is_half(const hwcmp_binary_params *params)
{
    return is_half(params->b_multiplier, params->b_shift) && other_is_fast(params->a_multiplier, params->a_shift);
}

static bool is_fast(const hwcmp_binary_params *params)
{
    return params->left_shift == LEFT_SHIFT && (a_is_half(params) || b_is_half(params)) &&
           hwcmp_swar_scale_is_fast(params->output_multiplier, -params->output_shift);
}

static half_scales scales_of(const hwcmp_binary_params *params, bool half_is_a)
{
    const int32_t multiplier = half_is_a ? params->b_multiplier : params->a_multiplier;
    const int32_t shift = -(half_is_a ? params->b_shift : params->a_shift);
    const half_scales scales = {.half_zero = half_is_a ? params->a_zero_point : params->b_zero_point,
                                .other_zero = half_is_a ? params->b_zero_point : params->a_zero_point,
                                .high = multiplier >> 11,
                                .low = multiplier & 0x7FF,
                                .offset = shift > 0 ? INT32_C(1) << (shift - 1) : 0,
                                .shift = shift,
                                .output_multiplier = params->output_multiplier,
                                .output_offset = hwcmp_swar_offset(params->output_zero_point, -params->output_shift),
                                .output_shift = -params->output_shift};
    return scales;
}

/* The other operand without its zero point, on the common scale. */
static inline int32_t scale_other(const half_scales *scales, int32_t value)
{
    const int32_t high = value * scales->high + ((value * scales->low + 0x400) >> 11);
    return scales->shift == 0 ? high : (high + scales->offset + (value >> 31)) >> scales->shift;
}

/* Adding commutes, so the halved operand comes first. |sum| <= 255 * (2^19 + 2^20) < HWCMP_SWAR_LIMIT. */
static void half_run(const hwcmp_binary_params *params, hwcmp_binary_run run)
{
    const bool half_is_a = a_is_half(params);
    const half_scales scales = scales_of(params, half_is_a);
    const int8_t *half = half_is_a ? run.a : run.b;
    const int8_t *other = half_is_a ? run.b : run.a;
    const int32_t half_step = half_is_a ? params->a_stride[3] : params->b_stride[3];
    const int32_t other_step = half_is_a ? params->b_stride[3] : params->a_stride[3];

    for (const int8_t *end = run.output + run.count; run.output != end; run.output++) {
        const int32_t sum =
            (*half - scales.half_zero) * (INT32_C(1) << 19) + scale_other(&scales, *other - scales.other_zero);
        *run.output =
            (int8_t)hwcmp_swar_scale(sum, scales.output_multiplier, scales.output_offset, scales.output_shift);
        half += half_step;
        other += other_step;
    }
}

/* ---- the layer ---------------------------------------------------------------------------------------- */

static int32_t combine(const hwcmp_binary_params *params, int32_t a, int32_t b)
{
    const int32_t sum = hwcmp_wrap_add(hwcmp_scaled_a(params, a), hwcmp_scaled_b(params, b));
    return hwcmp_requantize(sum, params->output_multiplier, params->output_shift);
}

hwcmp_status hwcmp_add_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output)
{
    if (!hwcmp_binary_params_valid(params) || a == NULL || b == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if (params->affine_shift == 0 && !is_fast(params)) {
        return hwcmp_binary(params, a, b, output, combine);
    }
    const int32_t *shape = params->shape;
    hwcmp_binary_runs(params, a, b, output, params->affine_shift > 0 ? affine_run : half_run);
    hwcmp_swar_activate(output, (uint32_t)(shape[0] * shape[1] * shape[2] * shape[3]), params->activation_min,
                        params->activation_max);
    return HWCMP_OK;
}
