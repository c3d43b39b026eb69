/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce.h"

static int8_t reduce_one(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from)
{
    const int32_t count = nest->extent[0] * nest->extent[1] * nest->extent[2] * nest->extent[3];
    return hwcmp_mean_of(params, count, hwcmp_fold(nest, from, 0, hwcmp_wrap_add));
}

hwcmp_status hwcmp_mean_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_reduce(params, input, output, reduce_one);
}
