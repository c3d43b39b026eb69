/* SPDX-License-Identifier: Apache-2.0 */
#include "../hwcmp_internal.h"

hwcmp_status hwcmp_lut_s8(const int8_t *table, int32_t count, const int8_t *input, int8_t *output)
{
    if (table == NULL || count < 1 || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (int32_t i = 0; i < count; i++) {
        output[i] = table[(uint8_t)input[i]];
    }
    return HWCMP_OK;
}
