/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce.h"

static int8_t reduce_one(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from)
{
    const int32_t count = nest->extent[0] * nest->extent[1] * nest->extent[2] * nest->extent[3];
    const int32_t offset = (int32_t)((uint32_t)count * (uint32_t)params->input_zero_point);
    const int32_t sum = hwcmp_wrap_sub(hwcmp_fold(nest, from, 0, hwcmp_wrap_add), offset);
    const int32_t scaled = hwcmp_requantize(sum, params->multiplier, params->shift);
    return (int8_t)hwcmp_clamp(hwcmp_wrap_add(scaled, params->output_zero_point), INT8_MIN, INT8_MAX);
}

hwcmp_status hwcmp_mean_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_reduce(params, input, output, reduce_one);
}
