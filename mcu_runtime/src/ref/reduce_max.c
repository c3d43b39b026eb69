/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce.h"

static int8_t reduce_one(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from)
{
    (void)params;
    return (int8_t)hwcmp_fold(nest, from, INT8_MIN, hwcmp_max);
}

hwcmp_status hwcmp_reduce_max_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output)
{
    return hwcmp_reduce(params, input, output, reduce_one);
}
