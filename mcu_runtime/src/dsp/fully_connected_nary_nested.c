/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/fully_connected_nary_nested.c, compared bit for bit by tests/test_runtime_nested.py.
 */
#include "nary_nested.h"
#include "nested_rows.h"

size_t hwcmp_fully_connected_nary_nested_s8_scratch_bytes(const hwcmp_fully_connected_params *params,
                                                           const hwcmp_weights *weights)
{
    (void)params;
    return hwcmp_dsp_nested_fully_connected_bytes(weights);
}

hwcmp_status hwcmp_fully_connected_nary_nested_s8(const hwcmp_scratch *scratch,
                                                   const hwcmp_fully_connected_params *params,
                                                   const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                   const int8_t *input, int8_t *output)
{
    const hwcmp_status status =
        hwcmp_dsp_nested_rows_check(params, weights, channels, input, output, HWCMP_FORMAT_NARY_NESTED);
    if (status != HWCMP_OK) {
        return status;
    }
    const hwcmp_dsp_nested_rows rows =
        hwcmp_dsp_nary_rows(weights, hwcmp_dsp_nary_single_2bit, hwcmp_dsp_nary_single_4bit, 1U);
    return hwcmp_dsp_nested_fully_connected(scratch, params, weights, channels, &rows, input, output);
}
