/* SPDX-License-Identifier: Apache-2.0
 *
 * The layout is the DSP arm's: here rows are unpacked, tile_rows at a time.
 */
#include "../hwcmp_internal.h"

size_t hwcmp_fully_connected_dense8_nested_s8_scratch_bytes(const hwcmp_fully_connected_params *params,
                                                            const hwcmp_weights *weights)
{
    return hwcmp_fully_connected_s8_scratch_bytes(params, weights);
}

hwcmp_status hwcmp_fully_connected_dense8_nested_s8(const hwcmp_scratch *scratch,
                                                    const hwcmp_fully_connected_params *params,
                                                    const hwcmp_weights *weights, const hwcmp_channels *channels,
                                                    const int8_t *input, int8_t *output)
{
    const hwcmp_status status = hwcmp_weights_are(weights, HWCMP_FORMAT_DENSE8_NESTED, HWCMP_LAYOUT_NESTED);
    return status == HWCMP_OK ? hwcmp_fully_connected_s8(scratch, params, weights, channels, input, output) : status;
}
