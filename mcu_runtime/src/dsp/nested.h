/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels for weights in the layout `nested`: what the inner loops, their callers and the two operators agree on.
 *
 * Four weight rows a, b, c, d share words. With the halves a + 256 b of one pair of positions and the activations x of the
 * same pair, SMLAD adds L = sum((a + 256 b) x); with the low byte of each half alone it adds A = sum(a x). Then
 * L - A = 256 sum(b x), modulo 2^32, and an arithmetic shift to the right gives sum(b x) if that fits 24 bits. The same
 * goes for codes of 4 bits (halves a + 16 b + 256 c + 4096 (d - 8)) and of 2 bits (bytes a + 4 b + 16 c + 64 d).
 *
 * Blobs whose rows are too long for that have NESTED_PARTS in `param` (hwcmp_weights_open() refuses those that lack it); their
 * rows are added up in parts of HWCMP_DSP_NESTED_PART positions, which is safe for all weights that the layout can hold:
 *     int8      |sum(b x)| <= n * 128 * 128         < 2^23   n <= 511
 *     4 bits    |sum((d - 8) x)| <= n * 8 * 128     < 2^19   n <= 511   (c: n * 15 * 128 < 2^23, n <= 4369; b: < 2^27)
 *     2 bits    |sum(d x)| <= n * 3 * 128           < 2^25   n <= 87381
 */
#ifndef HWCMP_DSP_NESTED_H
#define HWCMP_DSP_NESTED_H

#include "../hwcmp_nested.h"
#include "dsp.h"

enum {
    HWCMP_DSP_NESTED_PART = 504, /* positions: a multiple of 8 */
    HWCMP_DSP_NESTED_SUMS = 32   /* how many are kept at a time */
};

/* The assembly of nested_pairs.h and nested_single.h reads these words by offset. */
typedef struct {
    const uint32_t *columns;     /*  0: activations of the first position */
    const uint32_t *columns_end; /*  4 */
    const uint8_t *weights;      /*  8: first group, first position */
    uint32_t gap;                /* 12: bytes from behind the last position in one group to the first in the next */
    uint32_t groups;             /* 16: >= 1 */
    uint32_t *sums;              /* 20: where sums go, or null: outputs are made of them */
    const void *channels;        /* 24: constants of the first row */
    int8_t *output;              /* 28: first pixel, channel of the first row */
    uint32_t pixel_step;         /* 32: bytes from pixel to pixel */
    uint32_t input_sums[2];      /* 36: sum of each pixel's column */
} hwcmp_dsp_nested_job;

typedef void (*hwcmp_dsp_nested_dot)(const hwcmp_dsp_nested_job *job);
struct hwcmp_dsp_nested_rows;
/* The sums of rows [first, first + count), count < 4, which follow the last whole group; one for each column in turn. */
typedef void (*hwcmp_dsp_nested_rest)(const struct hwcmp_dsp_nested_rows *rows, const uint32_t *columns, uint32_t first,
                                      uint32_t count, uint32_t *sums);

/* Nested weights as a pass over them wants them. */
typedef struct hwcmp_dsp_nested_rows {
    hwcmp_dsp_nested_dot dot;
    hwcmp_dsp_nested_rest rest;
    const uint8_t *groups;
    uint32_t sums;       /* of a group: 4 for each column */
    uint32_t unit_bytes; /* of a group, for four positions */
    uint32_t length;     /* positions, a multiple of 4 */
    uint32_t part;       /* positions to add up at a time: length or HWCMP_DSP_NESTED_PART */
    const uint8_t *grid; /* base and step of the codes of row 0, or null: the weights are int8 */
    uint32_t grid_step;  /* bytes to the next row's */
    uint32_t sign;       /* what is missing in the codes of row d of a group */
} hwcmp_dsp_nested_rows;

static inline uint32_t hwcmp_dsp_nested_part(const hwcmp_weights *weights)
{
    const bool cut = (weights->param & HWCMP_NESTED_PARTS) != 0;
    return cut ? (uint32_t)HWCMP_DSP_NESTED_PART : hwcmp_nested_length(weights);
}

static inline size_t hwcmp_dsp_nested_group_bytes(const hwcmp_dsp_nested_rows *rows)
{
    return (size_t)(rows->length / 4U) * rows->unit_bytes;
}

/* sum(w x) = step * sum(code x) + base * sum(x) */
typedef struct {
    uint32_t base, step;
} hwcmp_dsp_nested_grid;

/* The constants of an output channel whose weights are codes; without codes they are hwcmp_dsp_channel. */
typedef struct {
    int32_t bias;
    hwcmp_dsp_nested_grid grid;
    int32_t multiplier, offset, shift;
} hwcmp_dsp_nested_channel;

static inline hwcmp_dsp_nested_grid hwcmp_dsp_nested_grid_at(const hwcmp_dsp_nested_rows *rows, uint32_t row)
{
    const uint8_t *at = rows->grid + (size_t)row * rows->grid_step;
    const uint32_t step = at[1];
    const uint32_t missing = row % HWCMP_NESTED_ROWS == 3U ? rows->sign : 0U;
    const hwcmp_dsp_nested_grid grid = {(uint32_t)(int8_t)at[0] + step * missing, step};
    return grid;
}

HWCMP_DSP_SHARED void hwcmp_dsp_nested_sums(const hwcmp_dsp_nested_rows *rows, const uint32_t *columns,
                                            uint32_t first, uint32_t count, uint32_t *sums);

/* The sums of groups [first, first + count), at most HWCMP_DSP_NESTED_SUMS, modulo 2^32. */
HWCMP_DSP_SHARED void hwcmp_dsp_nested_sums(const hwcmp_dsp_nested_rows *rows, const uint32_t *columns,
                                            uint32_t first, uint32_t count, uint32_t *sums)
{
    const uint32_t length = rows->length;
    const uint32_t words = rows->sums / 2U; /* of the columns for four positions */
    uint32_t more[HWCMP_DSP_NESTED_SUMS];
    hwcmp_dsp_nested_job job = {.columns = columns,
                                .weights = rows->groups + first * hwcmp_dsp_nested_group_bytes(rows),
                                .groups = count,
                                .sums = sums};

    for (uint32_t at = 0; at < length; at += rows->part) {
        const uint32_t part = length - at < rows->part ? length - at : rows->part;
        job.columns_end = job.columns + part / 4U * words;
        job.gap = (length - part) / 4U * rows->unit_bytes;
        rows->dot(&job);
        for (uint32_t i = 0; at > 0U && i < count * rows->sums; i++) {
            sums[i] += more[i];
        }
        job.columns = job.columns_end;
        job.weights += part / 4U * rows->unit_bytes;
        job.sums = more;
    }
}

/* Sums of the values of two columns; length: positions, a multiple of 4. */
static inline void hwcmp_dsp_nested_input_sums(const uint32_t *columns, uint32_t length, uint32_t sums[2])
{
    const uint32_t *end = columns + length;
    uint32_t sum0 = 0;
    uint32_t sum1 = 0;

    if (length % 8U != 0U) {
        sum0 = hwcmp_dsp_dual_mac(columns[2], 0x00010001U, hwcmp_dsp_dual_mac(columns[0], 0x00010001U, 0U));
        sum1 = hwcmp_dsp_dual_mac(columns[3], 0x00010001U, hwcmp_dsp_dual_mac(columns[1], 0x00010001U, 0U));
        columns += 4;
    }
    __asm__("cmp %[at], %[end]\n\t"
            "beq 2f\n"
            "1:\n\t"
            "ldmia %[at]!, {r4-r6, r8-r12}\n\t"
            "smlad %[sum0], r4, %[ones], %[sum0]\n\t"
            "smlad %[sum1], r5, %[ones], %[sum1]\n\t"
            "smlad %[sum0], r6, %[ones], %[sum0]\n\t"
            "smlad %[sum1], r8, %[ones], %[sum1]\n\t"
            "smlad %[sum0], r9, %[ones], %[sum0]\n\t"
            "smlad %[sum1], r10, %[ones], %[sum1]\n\t"
            "smlad %[sum0], r11, %[ones], %[sum0]\n\t"
            "smlad %[sum1], r12, %[ones], %[sum1]\n\t"
            "cmp %[at], %[end]\n\t"
            "bne 1b\n"
            "2:"
            : [at] "+&r"(columns), [sum0] "+&r"(sum0), [sum1] "+&r"(sum1)
            : [end] "r"(end), [ones] "r"(0x00010001)
            : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "cc", "memory");
    sums[0] = sum0;
    sums[1] = sum1;
}

#endif
