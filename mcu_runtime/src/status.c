/* SPDX-License-Identifier: Apache-2.0 */
#include "hwcmp/hwcmp.h"

const char *hwcmp_status_text(hwcmp_status status)
{
    switch (status) {
#define HWCMP_STATUS(value, NAME, text) \
    case HWCMP_##NAME:                  \
        return text;
#include "hwcmp/hwcmp_format.def"
    default:
        return "unknown status";
    }
}
