/* SPDX-License-Identifier: Apache-2.0
 *
 * dense8: the int8 weights as they are, row after row.
 */
#include <string.h>

#include "hwcmp_format_ops.h"

static hwcmp_status check_dense8(const hwcmp_weights *weights)
{
    const uint64_t bytes = (uint64_t)weights->rows * weights->row_length;

    if (weights->param != 0U) {
        return HWCMP_ERR_HEADER;
    }
    if (hwcmp_section_bytes(bytes) != weights->payload_bytes ||
        !hwcmp_padding_is_zero(weights->payload, (uint32_t)bytes)) {
        return HWCMP_ERR_PAYLOAD;
    }
    return HWCMP_OK;
}

static void unpack_dense8(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                          int8_t *out)
{
    const uint8_t *row = weights->payload + (size_t)first_row * weights->row_length;

    for (uint32_t i = 0; i < row_count; i++) {
        memcpy(out + (size_t)i * row_stride, row, weights->row_length);
        row += weights->row_length;
    }
}

const struct hwcmp_format_ops hwcmp_dense8_format = {
    .id = HWCMP_FORMAT_DENSE8,
    .kind = HWCMP_KIND_OF_DENSE8,
    .check = check_dense8,
    .unpack_rows = unpack_dense8,
};
