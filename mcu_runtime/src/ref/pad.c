/* SPDX-License-Identifier: Apache-2.0 */
#include "../hwcmp_internal.h"

static bool valid(const hwcmp_pad_params *params)
{
    int64_t size = 1;

    if (params == NULL || !hwcmp_shape_valid(params->shape)) {
        return false;
    }
    for (int axis = 0; axis < 4; axis++) {
        if (params->before[axis] < 0 || params->after[axis] < 0) {
            return false;
        }
        size *= (int64_t)params->before[axis] + params->shape[axis] + params->after[axis];
        if (size > INT32_MAX) {
            return false;
        }
    }
    return true;
}

/* Coordinate in the input of output coordinate `at`, or -1 in the padding. */
static int32_t source(const hwcmp_pad_params *params, int axis, int32_t at)
{
    const int32_t coordinate = at - params->before[axis];
    return coordinate < params->shape[axis] ? coordinate : -1;
}

static int32_t padded(const hwcmp_pad_params *params, int axis)
{
    return params->before[axis] + params->shape[axis] + params->after[axis];
}

static int8_t *fill(int8_t *output, int8_t value, int32_t count)
{
    memset(output, value, (size_t)count);
    return output + count;
}

/* One run along the last axis; row: its values, null if the whole run is padding. */
static int8_t *pad_row(const hwcmp_pad_params *params, const int8_t *row, int8_t *output)
{
    if (row == NULL) {
        return fill(output, params->value, padded(params, 3));
    }
    output = fill(output, params->value, params->before[3]);
    memcpy(output, row, (size_t)params->shape[3]);
    return fill(output + params->shape[3], params->value, params->after[3]);
}

hwcmp_status hwcmp_pad_s8(const hwcmp_pad_params *params, const int8_t *input, int8_t *output)
{
    if (!valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (int32_t i = 0; i < padded(params, 0); i++) {
        const int32_t from_i = source(params, 0, i);
        for (int32_t j = 0; j < padded(params, 1); j++) {
            const int32_t from_j = source(params, 1, j);
            for (int32_t k = 0; k < padded(params, 2); k++) {
                const int32_t from_k = source(params, 2, k);
                const bool inside = from_i >= 0 && from_j >= 0 && from_k >= 0;
                const int8_t *row = NULL;
                if (inside) {
                    row = input + ((from_i * params->shape[1] + from_j) * params->shape[2] + from_k) * params->shape[3];
                }
                output = pad_row(params, row, output);
            }
        }
    }
    return HWCMP_OK;
}
