/* SPDX-License-Identifier: Apache-2.0 */
#include "../hwcmp_internal.h"

static bool valid(const hwcmp_concat_params *params, const int8_t *const *inputs)
{
    if (params == NULL || inputs == NULL || params->outer < 1 || params->count < 1 || params->inner == NULL) {
        return false;
    }
    for (int32_t i = 0; i < params->count; i++) {
        if (params->inner[i] < 1 || inputs[i] == NULL) {
            return false;
        }
    }
    return true;
}

hwcmp_status hwcmp_concat_s8(const hwcmp_concat_params *params, const int8_t *const *inputs, int8_t *output)
{
    if (!valid(params, inputs) || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (size_t group = 0; group < (size_t)params->outer; group++) {
        for (int32_t i = 0; i < params->count; i++) {
            const size_t bytes = (size_t)params->inner[i];
            memcpy(output, inputs[i] + group * bytes, bytes);
            output += bytes;
        }
    }
    return HWCMP_OK;
}
