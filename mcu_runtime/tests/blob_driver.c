/* SPDX-License-Identifier: Apache-2.0
 *
 * Host test driver: opens and unpacks blobs from a stream, each in buffers of exactly its size, so that a
 * sanitizer sees every access outside.
 *
 * stdin:  for each blob its length (u32) and its bytes.
 * stdout: for each blob the status of hwcmp_weights_open (i32) and, if that is OK, rows (u32), row_length (u32)
 *         and the values; HWCMP-TEST-OK at the end. Integers have the host's byte order.
 * Exit 0, or 3 where two ways to read the same blob disagree.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hwcmp_format_ops.h"

#define GUARD 0x5A
#define GAP 3U

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "blob_driver: %s\n", what);
        exit(3);
    }
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);

    check(memory != NULL, "out of memory");
    return memory;
}

/* Row by row from the last, with gaps between the rows that must stay untouched. */
static void check_single_rows(const hwcmp_weights *weights, const int8_t *values)
{
    const uint32_t stride = weights->row_length + GAP;
    const size_t bytes = (size_t)(weights->rows - 1U) * stride + weights->row_length;
    int8_t *out = allocate(bytes);

    memset(out, GUARD, bytes);
    for (uint32_t row = weights->rows; row-- > 0U;) {
        int8_t *at = out + (size_t)row * stride;
        check(hwcmp_weights_unpack(weights, row, 1, stride, at) == HWCMP_OK, "a row in range was refused");
        check(memcmp(at, values + (size_t)row * weights->row_length, weights->row_length) == 0, "a row differs");
    }
    for (size_t i = 0; i < bytes; i++) {
        check(i % stride < weights->row_length || out[i] == GUARD, "a byte between rows was written");
    }
    check(hwcmp_weights_unpack(weights, 0, weights->rows, stride, out) == HWCMP_OK, "all rows were refused");
    for (size_t i = 0; i < bytes; i++) {
        check(i % stride < weights->row_length ? out[i] == values[i / stride * weights->row_length + i % stride]
                                               : out[i] == GUARD,
              "all rows at once differ from single rows");
    }
    free(out);
}

static void check_refusals(const hwcmp_weights *weights, int8_t *out)
{
    const uint32_t rows = weights->rows;
    const uint32_t length = weights->row_length;

    check(hwcmp_weights_unpack(weights, rows, 1, length, out) == HWCMP_ERR_ARGUMENT, "first row out of range");
    check(hwcmp_weights_unpack(weights, rows + 1U, 1, length, out) == HWCMP_ERR_ARGUMENT, "first row beyond the end");
    check(hwcmp_weights_unpack(weights, UINT32_MAX, 1, length, out) == HWCMP_ERR_ARGUMENT, "first row at the limit");
    check(hwcmp_weights_unpack(weights, 1, rows, length, out) == HWCMP_ERR_ARGUMENT, "last row out of range");
    check(hwcmp_weights_unpack(weights, 1, UINT32_MAX, length, out) == HWCMP_ERR_ARGUMENT, "sum wraps around");
    check(hwcmp_weights_unpack(weights, 0, rows, length - 1U, out) == HWCMP_ERR_ARGUMENT, "stride too small");
    check(hwcmp_weights_unpack(weights, 0, rows, length, NULL) == HWCMP_ERR_ARGUMENT, "out is null");
    check(hwcmp_weights_unpack(NULL, 0, rows, length, out) == HWCMP_ERR_ARGUMENT, "weights are null");
    check(hwcmp_weights_unpack(weights, rows, 0, length, out) == HWCMP_OK, "no row at the end");
}

static void check_view(const uint8_t *blob, size_t blob_bytes, const hwcmp_weights *opened)
{
    hwcmp_weights view;

    check(hwcmp_weights_view(blob, blob_bytes, &view) == HWCMP_OK, "view refuses what open accepts");
    check(view.ops == opened->ops && view.payload == opened->payload && view.payload_bytes == opened->payload_bytes &&
              view.row_length == opened->row_length && view.rows == opened->rows && view.layout == opened->layout &&
              view.param == opened->param,
          "view and open differ");
}

/* What kernels use: hwcmp_rows() with a scratch buffer of exactly hwcmp_rows_scratch_bytes(). */
static void check_rows_helper(const hwcmp_weights *weights, const int8_t *values)
{
    const uint32_t count = weights->rows > 1U ? weights->rows - 1U : 1U;
    const uint32_t first = weights->rows - count;
    const size_t length = weights->row_length;
    const bool plain = hwcmp_weights_are_plain(weights);
    const size_t bytes = hwcmp_rows_scratch_bytes(weights, count);
    int8_t *scratch = allocate(bytes);
    const int8_t *rows = hwcmp_rows(weights, first, count, scratch);

    check(memcmp(rows, values + first * length, count * length) == 0, "hwcmp_rows differs");
    check((rows == scratch) == !plain, "only PLAIN weights are read in place");
    check(bytes == (plain ? 0U : count * length), "scratch is not what the rows take");
    check(hwcmp_rows_scratch_bytes(weights, UINT32_MAX) == (plain ? 0U : weights->rows * length),
          "scratch for more rows than there are");
    free(scratch);
}

static void write_u32(uint32_t value)
{
    check(fwrite(&value, sizeof value, 1, stdout) == 1U, "cannot write");
}

static void report(const uint8_t *blob, size_t blob_bytes)
{
    hwcmp_weights weights;
    const hwcmp_status status = hwcmp_weights_open(blob, blob_bytes, &weights);

    write_u32((uint32_t)status);
    if (status != HWCMP_OK) {
        return;
    }
    const size_t count = (size_t)weights.rows * weights.row_length;
    int8_t *values = allocate(count);
    check(hwcmp_weights_unpack(&weights, 0, weights.rows, weights.row_length, values) == HWCMP_OK, "unpack refuses");
    check_view(blob, blob_bytes, &weights);
    check_single_rows(&weights, values);
    check_rows_helper(&weights, values);
    check_refusals(&weights, values);
    write_u32(weights.rows);
    write_u32(weights.row_length);
    check(fwrite(values, 1, count, stdout) == count, "cannot write");
    free(values);
}

int main(void)
{
    uint32_t blob_bytes;

    while (fread(&blob_bytes, sizeof blob_bytes, 1, stdin) == 1U) {
        uint8_t *blob = allocate(blob_bytes);
        check(fread(blob, 1, blob_bytes, stdin) == blob_bytes, "stdin ends inside a blob");
        report(blob, blob_bytes);
        free(blob);
    }
    return puts("HWCMP-TEST-OK") < 0;
}
