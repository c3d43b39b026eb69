/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/add.c, compared bit for bit by tests/test_runtime_mve.py.
 * Four elements at a time: the affine form where the exporter found one, for neighbouring elements with the scales that
 * TensorFlow Lite's converter makes the short exact forms of mve.h, the literal form for the others.
 */
#include "../ref/binary.h"
#include "mve.h"

/* TensorFlow Lite's left shift for int8, and the highest right shift of an operand that the short form takes. */
enum { LEFT_SHIFT = 20, MAX_OPERAND_SHIFT = 30, LANES = 4 };

/* ---- two roundings ------------------------------------------------------------------------------------ */

/* An operand on the common scale: (value - zero point) * 2^20 times multiplier, rounded as in hwcmp_mve_scale(); with
 * shift 0 the second rounding and its offset vanish. */
typedef struct {
    int32_t multiplier, offset, shift;
} operand_scale;

/* The assembly below reads these words by offset. */
typedef struct {
    const int8_t *a, *b;                 /*  0, 4 */
    int8_t *output;                      /*  8 */
    operand_scale a_scale, b_scale;      /* 12, 24 */
    int32_t multiplier, offset, shift;   /* 36 */
    uint32_t count;                      /* 48, >= 1 */
    int32_t a_zero, b_zero;              /* 52, 56: zero point * 2^20 */
    int32_t low, high;                   /* 60, 64 */
} add_job;

static operand_scale operand_of(int32_t multiplier, int32_t shift)
{
    const operand_scale scale = {multiplier, shift < 0 ? (int32_t)(UINT32_C(1) << (-shift - 1)) : 0, shift};
    return scale;
}

static add_job job_of(const hwcmp_binary_params *params)
{
    const add_job job = {.a_scale = operand_of(params->a_multiplier, params->a_shift),
                         .b_scale = operand_of(params->b_multiplier, params->b_shift),
                         .multiplier = params->output_multiplier,
                         .offset = (2 * params->output_zero_point + 1) * (INT32_C(1) << (-params->output_shift - 1)),
                         .shift = params->output_shift,
                         .a_zero = params->a_zero_point * (INT32_C(1) << LEFT_SHIFT),
                         .b_zero = params->b_zero_point * (INT32_C(1) << LEFT_SHIFT),
                         .low = params->activation_min,
                         .high = params->activation_max};
    return job;
}

static bool operand_is_fast(int32_t multiplier, int32_t shift)
{
    return multiplier >= 0 && shift <= 0 && shift >= -MAX_OPERAND_SHIFT;
}

/* Every operand is below 255 * 2^20, so no sum leaves int32_t. */
static bool is_fast(const hwcmp_binary_params *params)
{
    return params->left_shift == LEFT_SHIFT && operand_is_fast(params->a_multiplier, params->a_shift) &&
           operand_is_fast(params->b_multiplier, params->b_shift) && params->output_multiplier >= 0 &&
           (uint32_t)-params->output_shift - 1U < HWCMP_MVE_MAX_SHIFT;
}

/* r0 a, r1 b, r2 output, r3-r5 multiplier, offset, shift of a, r6-r8 of b, r9-r11 of the output; q4 q5 zero points, q6
 * low, q7 high. The tail is predicated by the loop. */
#define RAISED(x, from, zero)                   \
    "vldrb.s32 " x ", [" from "], #4\n\t"       \
    "vshl.i32 " x ", " x ", #20\n\t"            \
    "vsub.i32 " x ", " x ", " zero "\n\t"
#define SCALED(to, x, multiplier, offset, shift) \
    "vshr.s32 " to ", " x ", #31\n\t"           \
    "vadd.i32 " to ", " to ", " offset "\n\t"   \
    "vqrdmlah.s32 " to ", " x ", " multiplier "\n\t" \
    "vshl.s32 " to ", " shift "\n\t"
#define A_PLAIN RAISED("q0", "r0", "q4") "vqrdmulh.s32 q1, q0, r3\n\t"
#define B_PLAIN RAISED("q2", "r1", "q5") "vqrdmulh.s32 q3, q2, r6\n\t"
#define A_SHIFTED RAISED("q0", "r0", "q4") SCALED("q1", "q0", "r3", "r4", "r5")
#define B_SHIFTED RAISED("q2", "r1", "q5") SCALED("q3", "q2", "r6", "r7", "r8")
#define ADD_LOOP(operands)                      \
    "push {r4-r11, lr}\n\t"                     \
    "vpush {d8-d15}\n\t"                        \
    "ldrd r1, r2, [r0, #52]\n\t"                \
    "vdup.32 q4, r1\n\t"                        \
    "vdup.32 q5, r2\n\t"                        \
    "ldrd r1, r2, [r0, #60]\n\t"                \
    "vdup.32 q6, r1\n\t"                        \
    "vdup.32 q7, r2\n\t"                        \
    "ldr r12, [r0, #48]\n\t"                    \
    "ldm r0, {r0-r11}\n\t"                      \
    "dlstp.32 lr, r12\n"                        \
    "1:\n\t"                                    \
    operands                                    \
    "vadd.i32 q1, q1, q3\n\t"                   \
    SCALED("q0", "q1", "r9", "r10", "r11")      \
    "vmax.s32 q0, q0, q6\n\t"                   \
    "vmin.s32 q0, q0, q7\n\t"                   \
    "vstrb.32 q0, [r2], #4\n\t"                 \
    "letp lr, 1b\n\t"                           \
    "vpop {d8-d15}\n\t"                         \
    "pop {r4-r11, pc}\n"

static HWCMP_NOINLINE __attribute__((naked)) void add_plain(const add_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(ADD_LOOP(A_PLAIN B_PLAIN));
}

static HWCMP_NOINLINE __attribute__((naked)) void add_b_shifted(const add_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(ADD_LOOP(A_PLAIN B_SHIFTED));
}

static HWCMP_NOINLINE __attribute__((naked)) void add_shifted(const add_job *job HWCMP_MVE_IN_REGISTER)
{
    __asm__ volatile(ADD_LOOP(A_SHIFTED B_SHIFTED));
}

/* Adding commutes, so an operand without shift may come first. */
static void scaled_run(const hwcmp_binary_params *params, hwcmp_binary_run run)
{
    add_job job = job_of(params);

    job.a = run.a;
    job.b = run.b;
    job.output = run.output;
    job.count = (uint32_t)run.count;
    if (job.a_scale.shift != 0 && job.b_scale.shift != 0) {
        add_shifted(&job);
    } else if (job.b_scale.shift != 0) {
        add_b_shifted(&job);
    } else if (job.a_scale.shift != 0) {
        const operand_scale shifted = job.a_scale;
        const int32_t zero = job.a_zero;
        job.a = run.b;
        job.b = run.a;
        job.a_scale = job.b_scale;
        job.b_scale = shifted;
        job.a_zero = job.b_zero;
        job.b_zero = zero;
        add_b_shifted(&job);
    } else {
        add_plain(&job);
    }
}

/* ---- the affine form ---------------------------------------------------------------------------------- */

static void affine_run(const hwcmp_binary_params *params, hwcmp_binary_run run)
{
    const int32x4_t low = vdupq_n_s32(params->activation_min);
    const int32x4_t high = vdupq_n_s32(params->activation_max);

    /* 10 instructions for four elements, the tail predicated by the loop */
    __asm__ volatile("dlstp.32 lr, %[count]\n"
                     "1:\n\t"
                     "vldrb.s32 q0, [%[a]], #4\n\t"
                     "vmul.i32 q0, q0, %[affine_a]\n\t"
                     "vldrb.s32 q1, [%[b]], #4\n\t"
                     "vmla.u32 q0, q1, %[affine_b]\n\t"
                     "vadd.i32 q0, q0, %[affine_c]\n\t"
                     "vshl.s32 q0, %[shift]\n\t"
                     "vmax.s32 q0, q0, %q[low]\n\t"
                     "vmin.s32 q0, q0, %q[high]\n\t"
                     "vstrb.32 q0, [%[output]], #4\n\t"
                     "letp lr, 1b"
                     : [a] "+l"(run.a), [b] "+l"(run.b), [output] "+l"(run.output)
                     : [count] "r"(run.count), [affine_a] "r"(params->affine_a), [affine_b] "r"(params->affine_b),
                       [affine_c] "r"(params->affine_c), [shift] "r"(-params->affine_shift), [low] "w"(low),
                       [high] "w"(high)
                     : "q0", "q1", "lr", "memory");
}

/* ---- any strides and constants ------------------------------------------------------------------------ */

static inline int32x4_t scaled_any(const hwcmp_binary_params *params, int32x4_t values, int32_t zero_point,
                                   int32_t multiplier, int32_t shift)
{
    const int32x4_t raised = vshlq_r_s32(vsubq_n_s32(values, zero_point), params->left_shift);
    return hwcmp_mve_requantize(raised, vdupq_n_s32(multiplier), vdupq_n_s32(shift));
}

static void any_run(const hwcmp_binary_params *params, hwcmp_binary_run run)
{
    const hwcmp_binary_params p = *params;
    const uint32x4_t a_offsets = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)p.a_stride[3]);
    const uint32x4_t b_offsets = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)p.b_stride[3]);

    for (; run.count > 0; run.count -= LANES) {
        const mve_pred16_t lanes = vctp32q((uint32_t)run.count);
        const int32x4_t a = vldrbq_gather_offset_z_s32(run.a, a_offsets, lanes);
        const int32x4_t b = vldrbq_gather_offset_z_s32(run.b, b_offsets, lanes);
        const int32x4_t sum = vaddq_s32(scaled_any(&p, a, p.a_zero_point, p.a_multiplier, p.a_shift),
                                        scaled_any(&p, b, p.b_zero_point, p.b_multiplier, p.b_shift));
        const int32x4_t scaled =
            hwcmp_mve_requantize(sum, vdupq_n_s32(p.output_multiplier), vdupq_n_s32(p.output_shift));
        const int32x4_t raised = vmaxq_s32(vaddq_n_s32(scaled, p.output_zero_point), vdupq_n_s32(p.activation_min));
        vstrbq_p_s32(run.output, vminq_s32(raised, vdupq_n_s32(p.activation_max)), lanes);
        run.a += LANES * p.a_stride[3];
        run.b += LANES * p.b_stride[3];
        run.output += LANES;
    }
}

hwcmp_status hwcmp_add_s8(const hwcmp_binary_params *params, const int8_t *a, const int8_t *b, int8_t *output)
{
    if (!hwcmp_binary_params_valid(params) || a == NULL || b == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if (params->a_stride[3] != 1 || params->b_stride[3] != 1) {
        hwcmp_binary_runs(params, a, b, output, any_run);
    } else if (params->affine_shift > 0) {
        hwcmp_binary_runs(params, a, b, output, affine_run);
    } else {
        hwcmp_binary_runs(params, a, b, output, is_fast(params) ? scaled_run : any_run);
    }
    return HWCMP_OK;
}
