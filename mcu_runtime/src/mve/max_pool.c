/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/max_pool.c, compared bit for bit by tests/test_runtime_mve.py. Sixteen channels at a time.
 */
#include "../ref/pool.h"
#include "mve.h"

static void pool_pixel(const hwcmp_pool_params *params, const int8_t *input, hwcmp_span rows, hwcmp_span columns,
                       int8_t *pixel)
{
    const int32_t depth = params->input.c;
    const size_t row_bytes = (size_t)params->input.w * (size_t)depth;
    const int8x16_t high = vdupq_n_s8((int8_t)params->activation_max);

    for (int32_t ch = 0; ch < depth; ch += HWCMP_MVE_BYTES) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(depth - ch));
        const int8_t *row = input + (size_t)rows.begin * row_bytes + (size_t)columns.begin * (size_t)depth + ch;
        int8x16_t most = vdupq_n_s8((int8_t)params->activation_min);
        for (int32_t y = rows.begin; y < rows.end; y++) {
            const int8_t *tap = row;
            for (int32_t x = columns.begin; x < columns.end; x++) {
                most = vmaxq_s8(most, vldrbq_z_s8(tap, lanes));
                tap += depth;
            }
            row += row_bytes;
        }
        vstrbq_p_s8(pixel + ch, vminq_s8(most, high), lanes);
    }
}

hwcmp_status hwcmp_max_pool_s8(const hwcmp_pool_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_pool(params, input, output, pool_pixel);
}
