/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/mean.c, compared bit for bit by tests/test_runtime_mve.py. Four channels at a time where the last
 * axis stays, as in a global average; the literal form elsewhere.
 */
#include "../ref/reduce.h"
#include "sum_pixels.h"

enum { CHANNELS_BIT = 8 };

static int32_t count_of(const hwcmp_nest *nest)
{
    return nest->extent[0] * nest->extent[1] * nest->extent[2] * nest->extent[3];
}

static int8_t reduce_one(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from)
{
    return hwcmp_mean_of(params, count_of(nest), hwcmp_fold(nest, from, 0, hwcmp_wrap_add));
}

/* All channels of the pixel at `from`. */
static void mean_pixel(const hwcmp_reduce_params *params, const hwcmp_nest *gone, const int8_t *from, int8_t *output)
{
    const hwcmp_mve_pixels pixels = {gone->extent[1], gone->extent[2], (size_t)gone->step[1], (size_t)gone->step[2]};
    const int32_t zeros = (int32_t)((uint32_t)count_of(gone) * (uint32_t)params->input_zero_point);
    const int32x4_t multipliers = vdupq_n_s32(params->multiplier);
    const int32x4_t shifts = vdupq_n_s32(params->shift);

    for (int32_t ch = 0; ch < params->shape[3]; ch += HWCMP_MVE_SUM_LANES) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(params->shape[3] - ch));
        int32x4_t sums = vdupq_n_s32(0);
        for (int32_t i = 0; i < gone->extent[0]; i++) {
            sums = hwcmp_mve_add_pixels(&pixels, from + i * gone->step[0] + ch, lanes, sums);
        }
        const int32x4_t scaled = hwcmp_mve_requantize(vsubq_n_s32(sums, zeros), multipliers, shifts);
        const int32x4_t raised = vmaxq_s32(vaddq_n_s32(scaled, params->output_zero_point), vdupq_n_s32(INT8_MIN));
        vstrbq_p_s32(output + ch, vminq_s32(raised, vdupq_n_s32(INT8_MAX)), lanes);
    }
}

hwcmp_status hwcmp_mean_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output)
{
    if (!hwcmp_reduce_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if ((params->reduce_mask & CHANNELS_BIT) != 0U) {
        return hwcmp_reduce(params, input, output, reduce_one);
    }
    const hwcmp_nest kept = hwcmp_nest_of(params->shape, ~(uint32_t)params->reduce_mask);
    const hwcmp_nest gone = hwcmp_nest_of(params->shape, params->reduce_mask);
    for (int32_t i = 0; i < kept.extent[0]; i++) {
        for (int32_t j = 0; j < kept.extent[1]; j++) {
            for (int32_t k = 0; k < kept.extent[2]; k++) {
                mean_pixel(params, &gone, input + i * kept.step[0] + j * kept.step[1] + k * kept.step[2], output);
                output += params->shape[3];
            }
        }
    }
    return HWCMP_OK;
}
