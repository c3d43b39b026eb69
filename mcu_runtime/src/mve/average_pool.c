/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/average_pool.c, compared bit for bit by tests/test_runtime_mve.py. Four channels at a time; the
 * division is the core's.
 */
#include "../ref/pool.h"
#include "mve.h"

enum { LANES = 4 };

static int32x4_t sum_channels(const hwcmp_pool_params *params, const int8_t *row, hwcmp_span rows, hwcmp_span columns,
                              mve_pred16_t lanes)
{
    const int32_t depth = params->input.c;
    const size_t row_bytes = (size_t)params->input.w * (size_t)depth;
    int32x4_t sums = vdupq_n_s32(0);

    for (int32_t y = rows.begin; y < rows.end; y++) {
        const int8_t *tap = row;
        for (int32_t x = columns.begin; x < columns.end; x++) {
            sums = vaddq_s32(sums, vldrbq_z_s32(tap, lanes));
            tap += depth;
        }
        row += row_bytes;
    }
    return sums;
}

/* Rounds ties away from zero. */
static int32_t rounded_mean(int32_t sum, int32_t count)
{
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t depth = params->input.c;
    const int32_t count = (rows.end - rows.begin) * (columns.end - columns.begin);
    const size_t first = ((size_t)rows.begin * (size_t)params->input.w + (size_t)columns.begin) * (size_t)depth;

    for (int32_t ch = 0; ch < depth; ch += LANES) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(depth - ch));
        int32_t means[LANES];
        vstrwq_s32(means, sum_channels(params, input + first + ch, rows, columns, lanes));
        for (int32_t lane = 0; lane < LANES; lane++) {
            means[lane] = rounded_mean(means[lane], count);
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
