/* SPDX-License-Identifier: Apache-2.0
 *
 * Target driver: unpacks blobs a few rows at a time, the instructions of each blob counted.
 *
 * blobs.bin:  for each blob its length, the rows to unpack at a time and the bytes of all its rows (u32 each), and the
 *             blob. values.bin: the unpacked rows of each blob. Both over semihosting, little-endian.
 * Prints HWCMP-TEST-OK at the end; anything that goes wrong ends the run with exit code 1.
 */
#include "count_markers.h"
#include "hwcmp/hwcmp.h"
#include "port.h"
#include "semihost.h"

enum { BLOB_BYTES = 512 << 10, VALUE_BYTES = 512 << 10 };

static _Alignas(16) uint8_t blob[BLOB_BYTES];
static _Alignas(16) int8_t values[VALUE_BYTES];

static void check(int holds, const char *what)
{
    if (!holds) {
        port_puts(what);
        port_puts("\nHWCMP-TEST-FAILED\n");
        port_exit(1);
    }
}

/* Every call writes where a kernel would have it: behind the rows of the call before. */
static hwcmp_status unpack(const hwcmp_weights *weights, uint32_t at_once)
{
    int8_t *out = values;

    for (uint32_t row = 0; row < weights->rows; row += at_once) {
        const uint32_t left = weights->rows - row;
        const uint32_t count = left < at_once ? left : at_once;
        const hwcmp_status status = hwcmp_weights_unpack(weights, row, count, weights->row_length, out);
        if (status != HWCMP_OK) {
            return status;
        }
        out += (size_t)count * weights->row_length;
    }
    return HWCMP_OK;
}

int main(void)
{
    const int32_t in = semihost_open("blobs.bin", 9U, SEMIHOST_READ_BINARY);
    const int32_t out = semihost_open("values.bin", 10U, SEMIHOST_WRITE_BINARY);
    uint32_t head[3];
    hwcmp_weights weights;

    check(in >= 0 && out >= 0, "cannot open blobs.bin or values.bin");
    while (semihost_read(in, head, sizeof head) == 0U) {
        check(head[0] <= BLOB_BYTES && head[1] >= 1U && head[2] <= VALUE_BYTES, "a blob is too large");
        check(semihost_read(in, blob, head[0]) == 0U, "blobs.bin ends inside a blob");
        hwcmp_status status = hwcmp_weights_open(blob, head[0], &weights);
        check(status == HWCMP_OK, hwcmp_status_text(status));
        check((size_t)weights.rows * weights.row_length == head[2], "the blob has another size");
        COUNT_START();
        status = unpack(&weights, head[1]);
        COUNT_STOP();
        COUNT_REPORT();
        check(status == HWCMP_OK, hwcmp_status_text(status));
        check(semihost_write(out, values, head[2]) == 0U, "cannot write values.bin");
    }
    semihost_close(in);
    semihost_close(out);
    port_puts("stack=");
    port_put_u32(port_stack_used());
    port_puts("\nHWCMP-TEST-OK\n");
    return 0;
}
