/* SPDX-License-Identifier: Apache-2.0
 *
 * Target test driver: runs layers made by Python (cases.h, written by tests/arm_cases.py) through one kernel and
 * compares the outputs with those that Python computed.
 *
 * CONV2D and FULLY_CONNECTED are the kernels. Blob, input or scratch ends where RAM must not be read any more; output
 * and scratch lie between guard bytes, scratch has exactly the size asked for. Prints a line per layer (name, scratch
 * bytes, whether it was counted) and HWCMP-TEST-OK at the end.
 */
#include <stdbool.h>
#include <string.h>

#include "count_markers.h"
#include "hwcmp/hwcmp.h"
#include "port.h"
#include "wall.h"

typedef struct {
    const char *name;
    const hwcmp_conv_params *conv; /* null for a fully connected layer */
    const hwcmp_fully_connected_params *fully;
    const hwcmp_channels *channels;
    const uint8_t *blob;
    uint32_t blob_bytes;
    const int8_t *input;
    uint32_t input_bytes;
    const int8_t *expected;
    uint32_t output_bytes;
    bool is_counted;
} test_case;

#include "cases.h"

enum { GUARD = 32, FILL = 0xA5 };

#define JOIN(name, suffix) name##suffix
#define SCRATCH_OF(name) JOIN(name, _scratch_bytes)

static _Alignas(8) uint8_t output_memory[MOST_OUTPUT_BYTES + 2 * GUARD];
static _Alignas(8) uint8_t scratch_memory[96 << 10];

static void fail(const test_case *item, const char *what)
{
    port_puts("HWCMP-TEST-FAILED ");
    port_puts(item->name);
    port_puts(": ");
    port_puts(what);
    port_puts("\n");
    port_exit(1);
}

static void check_fill(const test_case *item, const uint8_t *at, uint32_t count, const char *what)
{
    for (uint32_t i = 0; i < count; i++) {
        if (at[i] != FILL) {
            fail(item, what);
        }
    }
}

static hwcmp_status call(const test_case *item, const hwcmp_scratch *scratch, const hwcmp_weights *weights,
                         const int8_t *input, int8_t *output)
{
    if (item->conv != NULL) {
        return CONV2D(scratch, item->conv, weights, item->channels, input, output);
    }
    return FULLY_CONNECTED(scratch, item->fully, weights, item->channels, input, output);
}

static void compare(const test_case *item, const int8_t *output)
{
    for (uint32_t i = 0; i < item->output_bytes; i++) {
        if (output[i] != item->expected[i]) {
            port_puts("byte ");
            port_put_u32(i);
            port_puts(" of ");
            port_put_u32(item->output_bytes);
            port_puts("\n");
            fail(item, "output");
        }
    }
}

static void report(const test_case *item, uint32_t scratch_bytes)
{
    port_puts("case ");
    port_puts(item->name);
    port_puts(" ");
    port_put_u32(scratch_bytes);
    port_puts(item->is_counted ? " counted\n" : "\n");
}

/* Runs of bytes that end at the wall one behind the other, in an order that depends on `number`; the input is where its
 * length puts it, so at any alignment. */
typedef struct {
    uint8_t *blob, *scratch;
    int8_t *input;
} places;

static places place(const test_case *item, uint32_t number, uint32_t scratch_bytes)
{
    const uint32_t scratch = (scratch_bytes + 2U * GUARD + 3U) & ~3U;
    uint32_t end = WALL;
    places at = {scratch_memory, scratch_memory, NULL};

    if (number % 3U == 0U) {
        end -= scratch - GUARD;
        at.scratch = (uint8_t *)(uintptr_t)end;
    }
    if (number % 3U != 1U) {
        end -= item->blob_bytes;
        at.blob = (uint8_t *)(uintptr_t)end;
        at.input = (int8_t *)(uintptr_t)(end - item->input_bytes);
    } else {
        at.input = (int8_t *)(uintptr_t)(end - item->input_bytes);
        at.blob = (uint8_t *)(uintptr_t)((end - item->input_bytes - item->blob_bytes) & ~3U);
    }
    memcpy(at.blob, item->blob, item->blob_bytes);
    memcpy(at.input, item->input, item->input_bytes);
    return at;
}

static size_t scratch_of(const test_case *item)
{
    _Alignas(4) static uint8_t blob[MOST_BLOB_BYTES];
    hwcmp_weights weights;

    memcpy(blob, item->blob, item->blob_bytes);
    if (hwcmp_weights_open(blob, item->blob_bytes, &weights) != HWCMP_OK) {
        fail(item, "the blob is refused");
    }
    return item->conv != NULL ? SCRATCH_OF(CONV2D)(item->conv, &weights)
                              : SCRATCH_OF(FULLY_CONNECTED)(item->fully, &weights);
}

static void run(const test_case *item, uint32_t number)
{
    const size_t bytes = scratch_of(item);
    const bool is_at_wall = number % 3U == 0U;
    const places at = place(item, number, bytes);
    const hwcmp_scratch scratch = {at.scratch + GUARD, bytes};
    int8_t *output = (int8_t *)output_memory + GUARD + number % 4U;
    hwcmp_weights weights;

    if (bytes + 2U * GUARD > sizeof scratch_memory) {
        fail(item, "scratch of the driver is too small");
    }
    if (hwcmp_weights_view(at.blob, item->blob_bytes, &weights) != HWCMP_OK) {
        fail(item, "the blob is refused");
    }
    memset(output_memory, FILL, sizeof output_memory);
    memset(at.scratch, FILL, bytes + (is_at_wall ? 1U : 2U) * GUARD);
    if (item->is_counted) {
        COUNT_START();
    }
    const hwcmp_status status = call(item, &scratch, &weights, at.input, output);
    if (item->is_counted) {
        COUNT_STOP();
        COUNT_REPORT();
    }
    report(item, (uint32_t)bytes);
    if (status != HWCMP_OK) {
        fail(item, "status");
    }
    compare(item, output);
    check_fill(item, output_memory, GUARD + number % 4U, "before the output");
    check_fill(item, (const uint8_t *)output + item->output_bytes, GUARD - 4U, "behind the output");
    check_fill(item, at.scratch, GUARD, "before scratch");
    check_fill(item, at.scratch + GUARD + bytes, is_at_wall ? 0U : GUARD, "behind scratch");
    if (memcmp(at.input, item->input, item->input_bytes) != 0) {
        fail(item, "the input was written");
    }
}

int main(void)
{
    build_wall();
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run(&cases[i], i);
    }
    port_puts("stack ");
    port_put_u32(port_stack_used());
    port_puts("\nHWCMP-TEST-OK\n");
    return 0;
}
