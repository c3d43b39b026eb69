/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/add.c, compared bit for bit by tests/test_runtime_dsp.py.
 * The affine form where the exporter found one: 7 instructions for an element. Otherwise rows of neighbouring elements
 * whose scales TensorFlow Lite's converter makes: the operand with the larger scale is exactly halved. Anything else
 * takes the literal form.
 */
#include "../ref/binary.h"
#include "dsp.h"

/* TensorFlow Lite's left shift for int8, the multiplier that halves, the highest right shift of the other operand. */
enum { LEFT_SHIFT = 20, HALF = 1 << 30, MAX_OPERAND_SHIFT = 30 };

typedef struct {
    const int8_t *a, *b;
    int8_t *output;
    size_t count;
} add_run;

/* ---- the affine form ---------------------------------------------------------------------------------- */

/* One element from sign-extended bytes. Intermediate sums may wrap; the last fits int32_t, as the params promise. */
static inline int32_t affine(const hwcmp_binary_params *params, int32_t a, int32_t b)
{
    const uint32_t sum = (uint32_t)params->affine_c + (uint32_t)a * (uint32_t)params->affine_a +
                         (uint32_t)b * (uint32_t)params->affine_b;
    return hwcmp_dsp_saturate8((int32_t)sum >> params->affine_shift);
}

/* r0 a, r1 b, r2 output, r3 its end, r4-r6 affine_a, affine_b, affine_c, r7 shift, r8 and r9 four bytes of a and b,
 * r10 outputs. FINISH: from a sum in a register to an int8 there. */
#define AFFINE_FINISH_22(sum) "ssat " sum ", #8, " sum ", asr #22\n\t"
#define AFFINE_FINISH_ANY(sum)        \
    "asr " sum ", " sum ", r7\n\t"    \
    "ssat " sum ", #8, " sum "\n\t"
#define AFFINE_MIDDLE(FINISH, position)         \
    "sxtb r11, r8, ror #" position "\n\t"       \
    "mla r11, r11, r4, r6\n\t"                  \
    "sxtb r12, r9, ror #" position "\n\t"       \
    "mla r11, r12, r5, r11\n\t"                 \
    FINISH("r11")                               \
    "bfi r10, r11, #" position ", #8\n\t"
#define AFFINE_LOOP(FINISH)                 \
    "push {r4-r11, lr}\n\t"                 \
    "ldr r12, [sp, #36]\n\t"                \
    "ldm r12, {r4-r7}\n"                    \
    "1:\n\t"                                \
    "ldr r8, [r0], #4\n\t"                  \
    "ldr r9, [r1], #4\n\t"                  \
    "sxtb r10, r8\n\t"                      \
    "mla r10, r10, r4, r6\n\t"              \
    "sxtb r12, r9\n\t"                      \
    "mla r10, r12, r5, r10\n\t"             \
    FINISH("r10")                           \
    AFFINE_MIDDLE(FINISH, "8")              \
    AFFINE_MIDDLE(FINISH, "16")             \
    "asr r11, r8, #24\n\t"                  \
    "mla r11, r11, r4, r6\n\t"              \
    "asr r12, r9, #24\n\t"                  \
    "mla r11, r12, r5, r11\n\t"             \
    FINISH("r11")                           \
    "bfi r10, r11, #24, #8\n\t"             \
    "str r10, [r2], #4\n\t"                 \
    "cmp r2, r3\n\t"                        \
    "bne 1b\n\t"                            \
    "pop {r4-r11, pc}\n"

/* A multiple of four elements, not none; constants: affine_a, affine_b, affine_c, shift. */
static __attribute__((naked, noinline)) void affine_fours_22(
    const int8_t *a HWCMP_DSP_IN_REGISTER, const int8_t *b HWCMP_DSP_IN_REGISTER, int8_t *output HWCMP_DSP_IN_REGISTER,
    const int8_t *end HWCMP_DSP_IN_REGISTER, const int32_t *constants HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(AFFINE_LOOP(AFFINE_FINISH_22));
}

static __attribute__((naked, noinline)) void affine_fours(
    const int8_t *a HWCMP_DSP_IN_REGISTER, const int8_t *b HWCMP_DSP_IN_REGISTER, int8_t *output HWCMP_DSP_IN_REGISTER,
    const int8_t *end HWCMP_DSP_IN_REGISTER, const int32_t *constants HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(AFFINE_LOOP(AFFINE_FINISH_ANY));
}

static void affine_row(const hwcmp_binary_params *params, add_run run)
{
    const int32_t constants[] = {params->affine_a, params->affine_b, params->affine_c, params->affine_shift};
    const size_t fours = run.count & ~(size_t)3U;

    if (fours != 0U) {
        (params->affine_shift == 22 ? affine_fours_22 : affine_fours)(run.a, run.b, run.output, run.output + fours,
                                                                      constants);
    }
    for (size_t i = fours; i < run.count; i++) {
        run.output[i] = (int8_t)affine(params, run.a[i], run.b[i]);
    }
}

/* An operand may be one value for the whole row. */
static void affine_strided_row(const hwcmp_binary_params *params, add_run run)
{
    const int32_t a_step = params->a_stride[3];
    const int32_t b_step = params->b_stride[3];

    for (size_t i = 0; i < run.count; i++) {
        *run.output++ = (int8_t)affine(params, *run.a, *run.b);
        run.a += a_step;
        run.b += b_step;
    }
}

/* ---- two roundings ------------------------------------------------------------------------------------ */

/* Operands by their roles: `half` has multiplier 2^30 and shift 0, so (half - zero) * 2^20 becomes (half - zero) * 2^19
 * without rounding. The other, twice = (other - zero) * 2^21 < 2^30 times the multiplier, is rounded as in
 * hwcmp_dsp_scale(); with shift 0 the second rounding vanishes. Twice their sum stays below 2 * 255 * 2^21 + 4 < 2^31.
 * Zeros are shifted as their operands are: by 20 and by 21. The assembly reads the words in this order. */
typedef struct {
    int32_t half_zero, twice_zero, multiplier, offset, shift;
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
           hwcmp_dsp_scale_is_fast(params->output_multiplier, -params->output_shift) &&
           params->a_stride[3] == 1 && params->b_stride[3] == 1;
}

static half_scales scales_of(const hwcmp_binary_params *params)
{
    const bool half_is_a = a_is_half(params);
    const int32_t half_zero = half_is_a ? params->a_zero_point : params->b_zero_point;
    const int32_t other_zero = half_is_a ? params->b_zero_point : params->a_zero_point;
    const int32_t shift = -(half_is_a ? params->b_shift : params->a_shift);
    const int32_t right = -params->output_shift;
    const half_scales scales = {.half_zero = half_zero * (INT32_C(1) << LEFT_SHIFT),
                                .twice_zero = other_zero * (INT32_C(1) << (LEFT_SHIFT + 1)),
                                .multiplier = half_is_a ? params->b_multiplier : params->a_multiplier,
                                .offset = shift > 0 ? INT32_C(1) << (shift - 1) : 0,
                                .shift = shift,
                                .output_multiplier = params->output_multiplier,
                                .output_offset = hwcmp_dsp_offset(params->output_zero_point, right),
                                .output_shift = right};
    return scales;
}

/* One element or more. r0 half, r1 other, r2 output, r3 its end, r4-r11 the scales. In assembly because there
 * is no register to spare. */
static __attribute__((naked, noinline)) void half_with_shift(
    const int8_t *half HWCMP_DSP_IN_REGISTER, const int8_t *other HWCMP_DSP_IN_REGISTER,
    int8_t *output HWCMP_DSP_IN_REGISTER, const int8_t *end HWCMP_DSP_IN_REGISTER,
    const half_scales *scales HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile("push {r4-r11, lr}\n\t"
                     "ldr r12, [sp, #36]\n\t"
                     "ldm r12, {r4-r11}\n"
                     "1:\n\t"
                     "ldrsb r12, [r1], #1\n\t"
                     "rsb r12, r5, r12, lsl #21\n\t"
                     "add lr, r7, r12, asr #31\n\t"
                     "smmlar r12, r12, r6, lr\n\t"
                     "asr r12, r12, r8\n\t"
                     "ldrsb lr, [r0], #1\n\t"
                     "rsb lr, r4, lr, lsl #20\n\t"
                     "add r12, lr, r12, lsl #1\n\t"
                     "add lr, r10, r12, asr #31\n\t"
                     "smmlar r12, r12, r9, lr\n\t"
                     "asr r12, r12, r11\n\t"
                     "ssat r12, #8, r12\n\t"
                     "strb r12, [r2], #1\n\t"
                     "cmp r2, r3\n\t"
                     "bne 1b\n\t"
                     "pop {r4-r11, pc}\n");
}

static HWCMP_NOINLINE void half_without_shift(const int8_t *half, const int8_t *other, int8_t *output,
                                              const int8_t *end, const half_scales *scales)
{
    const half_scales own = *scales;

    while (output != end) {
        const int32_t twice_other = *other++ * (INT32_C(1) << (LEFT_SHIFT + 1)) - own.twice_zero;
        const int32_t twice_half = *half++ * (INT32_C(1) << LEFT_SHIFT) - own.half_zero;
        const int32_t twice_sum = 2 * hwcmp_dsp_high_mul(twice_other, own.multiplier) + twice_half;
        *output++ =
            (int8_t)hwcmp_dsp_scale_twice(twice_sum, own.output_multiplier, own.output_offset, own.output_shift);
    }
}

/* Adding commutes, so the halved operand comes first. */
static void half_row(const hwcmp_binary_params *params, add_run run)
{
    const half_scales scales = scales_of(params);
    const int8_t *half = a_is_half(params) ? run.a : run.b;
    const int8_t *other = half == run.a ? run.b : run.a;

    (scales.shift > 0 ? half_with_shift : half_without_shift)(half, other, run.output, run.output + run.count,
                                                               &scales);
}

/* ---- rows --------------------------------------------------------------------------------------------- */

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

typedef void (*row_function)(const hwcmp_binary_params *params, add_run run);

static void add_rows(const hwcmp_binary_params *params, row_function add_row, const int8_t *a, const int8_t *b,
                     int8_t *output)
{
    const int32_t *sa = params->a_stride;
    const int32_t *sb = params->b_stride;
    add_run run = {NULL, NULL, output, (size_t)params->shape[3]};

    for (int32_t i = 0; i < params->shape[0]; i++) {
        for (int32_t j = 0; j < params->shape[1]; j++) {
            for (int32_t k = 0; k < params->shape[2]; k++) {
                run.a = a + i * sa[0] + j * sa[1] + k * sa[2];
                run.b = b + i * sb[0] + j * sb[1] + k * sb[2];
                add_row(params, run);
                run.output += run.count;
            }
        }
    }
}

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
    const bool neighbours = params->a_stride[3] == 1 && params->b_stride[3] == 1;
    row_function add_row = neighbours ? affine_row : affine_strided_row;
    if (params->affine_shift == 0) {
        if (!is_fast(params)) {
            return hwcmp_binary(params, a, b, output, combine);
        }
        add_row = half_row;
    }
    const int32_t *shape = params->shape;
    const size_t count = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2] * (size_t)shape[3];
    if (neighbours && is_dense(shape, params->a_stride) && is_dense(shape, params->b_stride)) {
        const add_run run = {a, b, output, count};
        add_row(params, run);
    } else {
        add_rows(params, add_row, a, b, output);
    }
    hwcmp_dsp_activate(output, (uint32_t)count, params->activation_min, params->activation_max);
    return HWCMP_OK;
}
