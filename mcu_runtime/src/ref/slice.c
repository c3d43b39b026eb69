/* SPDX-License-Identifier: Apache-2.0 */
#include "../hwcmp_internal.h"

/* The first and the last element that is read are elements 0..INT32_MAX of the input. No sum overflows: the extents
 * multiply to less than 2^31, so the extents less one add up to less than 2^31, times |stride| <= 2^31 is below 2^62. */
static bool valid(const hwcmp_slice_params *params)
{
    int64_t low;
    int64_t high;

    if (params == NULL || !hwcmp_shape_valid(params->shape) || params->offset < 0) {
        return false;
    }
    low = params->offset;
    high = params->offset;
    for (int axis = 0; axis < 4; axis++) {
        const int64_t reach = ((int64_t)params->shape[axis] - 1) * params->stride[axis];
        if (reach < 0) {
            low += reach;
        } else {
            high += reach;
        }
    }
    return low >= 0 && high <= INT32_MAX;
}

static int8_t *copy_row(const hwcmp_slice_params *params, const int8_t *input, int8_t *output)
{
    const int32_t count = params->shape[3];

    if (params->stride[3] == 1) {
        memcpy(output, input, (size_t)count);
    } else {
        for (int32_t i = 0; i < count; i++) {
            output[i] = input[i * params->stride[3]];
        }
    }
    return output + count;
}

hwcmp_status hwcmp_slice_s8(const hwcmp_slice_params *params, const int8_t *input, int8_t *output)
{
    if (!valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    input += params->offset;
    for (int32_t i = 0; i < params->shape[0]; i++) {
        for (int32_t j = 0; j < params->shape[1]; j++) {
            for (int32_t k = 0; k < params->shape[2]; k++) {
                const int32_t at = i * params->stride[0] + j * params->stride[1] + k * params->stride[2];
                output = copy_row(params, input + at, output);
            }
        }
    }
    return HWCMP_OK;
}
