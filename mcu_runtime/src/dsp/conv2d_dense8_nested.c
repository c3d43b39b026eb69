/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/conv2d_dense8_nested.c, compared bit for bit by tests/test_runtime_nested.py.
 */
#include "dense8_nested.h"
#include "nested_conv2d.h"
#include "nested_pairs.h"

HWCMP_DSP_STATIC_NAKED void dot_pairs(const hwcmp_dsp_nested_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(HWCMP_NESTED_PAIRS(HWCMP_NESTED_UNIT_INT8, HWCMP_NESTED_UNIT_INT8_CODE, HWCMP_NESTED_APART_INT8,
                                        HWCMP_NESTED_BIAS));
}

size_t hwcmp_conv2d_dense8_nested_s8_scratch_bytes(const hwcmp_conv_params *params, const hwcmp_weights *weights)
{
    return hwcmp_dsp_nested_conv2d_bytes(params, weights, false);
}

hwcmp_status hwcmp_conv2d_dense8_nested_s8(const hwcmp_scratch *scratch, const hwcmp_conv_params *params,
                                           const hwcmp_weights *weights, const hwcmp_channels *channels,
                                           const int8_t *input, int8_t *output)
{
    const hwcmp_status status =
        hwcmp_dsp_nested_conv2d_check(params, weights, channels, input, output, HWCMP_FORMAT_DENSE8_NESTED);
    if (status != HWCMP_OK) {
        return status;
    }
    const bool single = hwcmp_dsp_pixels_of(params) == 1;
    const hwcmp_dsp_nested_rows rows =
        single ? hwcmp_dsp_dense8_rows(weights, hwcmp_dsp_dense8_single, 1U) : hwcmp_dsp_dense8_rows(weights, dot_pairs, 2U);
    return hwcmp_dsp_nested_conv2d(scratch, params, weights, channels, &rows, input, output);
}
