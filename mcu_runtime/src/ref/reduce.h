/* SPDX-License-Identifier: Apache-2.0
 *
 * What mean and reduce_max have in common: walking the axes that stay and, for each output, those that go.
 */
#ifndef HWCMP_REF_REDUCE_H
#define HWCMP_REF_REDUCE_H

#include "../hwcmp_internal.h"

/* Extents and steps of four axes; an axis that is not walked has extent 1. */
typedef struct {
    int32_t extent[4], step[4];
} hwcmp_nest;

static inline bool hwcmp_reduce_params_valid(const hwcmp_reduce_params *params)
{
    return params != NULL && hwcmp_shape_valid(params->shape) && params->reduce_mask <= 15U &&
           hwcmp_shift_valid(params->shift) && hwcmp_is_int8(params->input_zero_point) &&
           hwcmp_is_int8(params->output_zero_point);
}

/* The axes whose bit is set in `mask`. */
static inline hwcmp_nest hwcmp_nest_of(const int32_t shape[4], uint32_t mask)
{
    hwcmp_nest nest;
    int32_t step = 1;

    for (int axis = 3; axis >= 0; axis--) {
        nest.extent[axis] = ((mask >> axis) & 1U) != 0U ? shape[axis] : 1;
        nest.step[axis] = step;
        step *= shape[axis];
    }
    return nest;
}

typedef int32_t (*hwcmp_combine_fn)(int32_t so_far, int32_t value);

static inline int32_t hwcmp_fold(const hwcmp_nest *nest, const int8_t *from, int32_t so_far, hwcmp_combine_fn combine)
{
    for (int32_t i = 0; i < nest->extent[0]; i++) {
        for (int32_t j = 0; j < nest->extent[1]; j++) {
            for (int32_t k = 0; k < nest->extent[2]; k++) {
                const int8_t *row = from + i * nest->step[0] + j * nest->step[1] + k * nest->step[2];
                for (int32_t l = 0; l < nest->extent[3]; l++) {
                    so_far = combine(so_far, row[l]);
                }
            }
        }
    }
    return so_far;
}

/* From the sum of `count` elements. */
static inline int8_t hwcmp_mean_of(const hwcmp_reduce_params *params, int32_t count, int32_t sum)
{
    const int32_t offset = (int32_t)((uint32_t)count * (uint32_t)params->input_zero_point);
    const int32_t scaled = hwcmp_requantize(hwcmp_wrap_sub(sum, offset), params->multiplier, params->shift);
    return (int8_t)hwcmp_clamp(hwcmp_wrap_add(scaled, params->output_zero_point), INT8_MIN, INT8_MAX);
}

/* The int8 output for the elements that `nest` reaches from `from`. */
typedef int8_t (*hwcmp_reduce_fn)(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from);

static inline hwcmp_status hwcmp_reduce(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output,
                                        hwcmp_reduce_fn reduce_one)
{
    if (!hwcmp_reduce_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const hwcmp_nest kept = hwcmp_nest_of(params->shape, ~(uint32_t)params->reduce_mask);
    const hwcmp_nest gone = hwcmp_nest_of(params->shape, params->reduce_mask);
    for (int32_t i = 0; i < kept.extent[0]; i++) {
        for (int32_t j = 0; j < kept.extent[1]; j++) {
            for (int32_t k = 0; k < kept.extent[2]; k++) {
                const int8_t *row = input + i * kept.step[0] + j * kept.step[1] + k * kept.step[2];
                for (int32_t l = 0; l < kept.extent[3]; l++) {
                    *output++ = reduce_one(params, &gone, row + l);
                }
            }
        }
    }
    return HWCMP_OK;
}

#endif
