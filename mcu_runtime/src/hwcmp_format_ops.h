/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the runtime: what a weight format is to the rest, and how kernels get at rows.
 *
 * A format is one row of hwcmp_format.def, keras_hwcompress/formats/<name>.py and src/unpack_<name>.c, which
 * defines `const struct hwcmp_format_ops hwcmp_<name>_format`. Its prototype and its place in the dispatch
 * table of weights.c come from the row. The same holds for a layout of a format, whose kind is always DIRECT.
 */
#ifndef HWCMP_FORMAT_OPS_H
#define HWCMP_FORMAT_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hwcmp/hwcmp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HWCMP_KIND_PLAIN, /* the payload begins with the int8 rows, row_length bytes apart */
    HWCMP_KIND_TILE,  /* rows must be unpacked before a dense kernel can read them */
    HWCMP_KIND_DIRECT /* the same, but some ops have a kernel that reads the payload as stored */
};

struct hwcmp_format_ops {
    uint8_t id;   /* HWCMP_FORMAT_<NAME> */
    uint8_t kind; /* HWCMP_KIND_OF_<NAME> */

    /* Validates `param` and every byte of the payload. All other fields are valid already: rows and row_length
     * are at least 1 and bounded, payload is 4-byte aligned, payload_bytes is a multiple of 4 and every one of
     * those bytes may be read. rows * row_length may exceed 32 bits. Returns OK only if unpack_rows is then safe
     * for any range of rows. */
    hwcmp_status (*check)(const hwcmp_weights *weights);

    /* Unpacks rows [first_row, first_row + row_count), which the caller has checked, row_stride >= row_length
     * bytes apart. The bytes between two rows are not written. */
    void (*unpack_rows)(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                        int8_t *out);
};

#define HWCMP_WEIGHT_FORMAT(id, NAME, name, kind)              \
    enum { HWCMP_KIND_OF_##NAME = HWCMP_KIND_##kind };         \
    extern const struct hwcmp_format_ops hwcmp_##name##_format;
#define HWCMP_WEIGHT_LAYOUT(id, LAYOUT, NAME, name) extern const struct hwcmp_format_ops hwcmp_##name##_format;
#include "hwcmp/hwcmp_format.def"

/* ---- for kernels: the weights have been opened, the rows are in range ---------------------------------- */

static inline bool hwcmp_weights_are_plain(const hwcmp_weights *weights)
{
    return weights->ops->kind == HWCMP_KIND_PLAIN;
}

/* Bytes that hwcmp_rows() needs in scratch for `row_count` rows at a time; 0 for PLAIN formats. */
static inline size_t hwcmp_rows_scratch_bytes(const hwcmp_weights *weights, uint32_t row_count)
{
    uint32_t rows = row_count < weights->rows ? row_count : weights->rows;

    return hwcmp_weights_are_plain(weights) ? 0U : (size_t)rows * weights->row_length;
}

/* Rows [first_row, first_row + row_count) as int8, row_length bytes apart: the payload itself for PLAIN formats
 * (scratch may be null), otherwise unpacked into scratch. No alignment is promised. */
static inline const int8_t *hwcmp_rows(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count,
                                       int8_t *scratch)
{
    if (hwcmp_weights_are_plain(weights)) {
        return (const int8_t *)weights->payload + (size_t)first_row * weights->row_length;
    }
    weights->ops->unpack_rows(weights, first_row, row_count, weights->row_length, scratch);
    return scratch;
}

/* ---- for formats --------------------------------------------------------------------------------------- */

/* Length of a section in the payload. 64 bits, because lengths computed from a header can exceed 32. */
static inline uint64_t hwcmp_section_bytes(uint64_t bytes)
{
    return (bytes + (HWCMP_SECTION_ALIGN - 1)) / HWCMP_SECTION_ALIGN * HWCMP_SECTION_ALIGN;
}

/* True if the padding behind a section of `bytes` bytes is zero; the padding must be readable. */
static inline bool hwcmp_padding_is_zero(const uint8_t *section, uint32_t bytes)
{
    uint32_t end = (uint32_t)hwcmp_section_bytes(bytes);

    for (uint32_t i = bytes; i < end; i++) {
        if (section[i] != 0U) {
            return false;
        }
    }
    return true;
}

#if defined(__GNUC__)
#define HWCMP_ASSUME_ALIGNED4(pointer) __builtin_assume_aligned(pointer, 4)
#else
#define HWCMP_ASSUME_ALIGNED4(pointer) (pointer)
#endif

/* Sets weights to zero in whole words, which the memset of small C libraries does not. */
static inline void hwcmp_fill_zeros(int8_t *out, uint32_t count)
{
    for (; count > 0U && ((uintptr_t)out & 3U) != 0U; count--) {
        *out++ = 0;
    }
    for (; count >= 16U; count -= 16U) {
        int8_t *const words = HWCMP_ASSUME_ALIGNED4(out);
        words[0] = words[1] = words[2] = words[3] = 0;
        words[4] = words[5] = words[6] = words[7] = 0;
        words[8] = words[9] = words[10] = words[11] = 0;
        words[12] = words[13] = words[14] = words[15] = 0;
        out += 16;
    }
    for (; count > 0U; count--) {
        *out++ = 0;
    }
}

#ifdef __cplusplus
}
#endif
#endif
