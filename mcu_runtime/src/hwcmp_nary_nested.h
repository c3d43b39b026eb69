/* SPDX-License-Identifier: Apache-2.0
 *
 * nary in the layout `nested`, as unpack_nary_nested.c and the kernels read it.
 *
 * payload = base (int8) and step (uint8) of the tensor or of each row, padded to 4; groups of four rows of codes.
 */
#ifndef HWCMP_NARY_NESTED_H
#define HWCMP_NARY_NESTED_H

#include "hwcmp_nested.h"

typedef struct {
    uint32_t bits;        /* of a code: 2 or 4 */
    uint32_t table_step;  /* bytes from one row's base to the next: 0 when all rows share one */
    uint32_t table_bytes; /* without padding */
    uint32_t group_bytes; /* at most 2^25 */
} hwcmp_nary_nested_shape;

enum { HWCMP_NARY_NESTED_LEVELS = ~(HWCMP_NARY_PER_CHANNEL | HWCMP_NESTED_PARTS) & 0xFF };

/* param is valid: 4 or 16, with or without HWCMP_NARY_PER_CHANNEL and HWCMP_NESTED_PARTS. */
static inline hwcmp_nary_nested_shape hwcmp_nary_nested_shape_of(const hwcmp_weights *weights)
{
    hwcmp_nary_nested_shape shape;
    const bool per_channel = (weights->param & HWCMP_NARY_PER_CHANNEL) != 0;

    shape.bits = (weights->param & HWCMP_NARY_NESTED_LEVELS) == 4 ? 2U : 4U;
    shape.table_step = per_channel ? 2U : 0U;
    shape.table_bytes = per_channel ? 2U * weights->rows : 2U;
    shape.group_bytes = hwcmp_nested_length(weights) * shape.bits / 2U;
    return shape;
}

static inline const uint8_t *hwcmp_nary_nested_groups(const hwcmp_weights *weights,
                                                      const hwcmp_nary_nested_shape *shape)
{
    return weights->payload + (size_t)hwcmp_section_bytes(shape->table_bytes);
}

#endif
