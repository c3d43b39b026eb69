/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/average_pool.c, compared bit for bit by tests/test_runtime_mve.py. Four channels at a time; the
 * division is the core's.
 */
#include "../ref/pool.h"
#include "sum_pixels.h"

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t depth = params->input.c;
    const size_t row_step = (size_t)params->input.w * (size_t)depth;
    const hwcmp_mve_pixels pixels = {rows.end - rows.begin, columns.end - columns.begin, row_step, (size_t)depth};
    const int32_t count = pixels.rows * pixels.columns;
    const int8_t *first = input + (size_t)rows.begin * row_step + (size_t)columns.begin * (size_t)depth;

    for (int32_t ch = 0; ch < depth; ch += HWCMP_MVE_SUM_LANES) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(depth - ch));
        int32_t means[HWCMP_MVE_SUM_LANES];
        vstrwq_s32(means, hwcmp_mve_add_pixels(&pixels, first + ch, lanes, vdupq_n_s32(0)));
        for (int32_t lane = 0; lane < HWCMP_MVE_SUM_LANES; lane++) {
            means[lane] = hwcmp_rounded_mean(means[lane], count);
        }
        const int32x4_t low = vdupq_n_s32(params->activation_min);
        const int32x4_t high = vdupq_n_s32(params->activation_max);
        vstrbq_p_s32(pixel + ch, vminq_s32(vmaxq_s32(vldrwq_s32(means), low), high), lanes);
    }
}

hwcmp_status hwcmp_average_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
