/* SPDX-License-Identifier: Apache-2.0
 *
 * Target test driver: the requantization of an arm at every tie between two outputs, for all shifts, and at the bounds of
 * the arms' short forms. Layers with weights are called such that their sums are given numbers: one product of -128 by
 * -128, the rest in the bias. Expected is gemmlowp's definition, word by word. Prints HWCMP-TEST-OK at the end.
 */
#include <string.h>

#include "hwcmp/hwcmp.h"
#include "hwcmp_format_ops.h"
#include "port.h"

enum { ROWS = 512, PIXELS = 5, PRODUCT = 128 * 128 };

static int32_t sums[ROWS], bias[ROWS], multiplier[ROWS];
static int8_t shift[ROWS], input[PIXELS], weights_of_one[ROWS], output[PIXELS * ROWS];
static _Alignas(8) uint8_t scratch_memory[96 << 10];
static int32_t filled;
static uint32_t compared;

static void unpack_copies(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                          int8_t *out)
{
    for (uint32_t row = 0; row < row_count; row++) {
        out[row * row_stride] = (int8_t)weights->payload[first_row + row];
    }
}

static const struct hwcmp_format_ops plain_format = {1, HWCMP_KIND_PLAIN, NULL, unpack_copies};

static void put_number(const char *before, int32_t value)
{
    port_puts(before);
    port_puts(value < 0 ? "-" : "");
    port_put_u32(value < 0 ? 0U - (uint32_t)value : (uint32_t)value);
}

/* The output for a sum before clamping; multiplier >= 0. Left shifts wrap. */
static int32_t scaled(int32_t value, int32_t factor, int32_t exponent)
{
    const uint32_t raised = (uint32_t)value << (exponent > 0 ? exponent : 0);
    const int64_t product = (int64_t)(int32_t)raised * factor;
    const int64_t nudge = product >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30);
    const int64_t high = (product + nudge) / (INT64_C(1) << 31);
    const int64_t half = exponent < 0 ? (INT64_C(1) << -exponent) / 2 : 0;

    /* half away from zero */
    return (int32_t)((high + (high >= 0 ? half : -half)) / (INT64_C(1) << (exponent < 0 ? -exponent : 0)));
}

static int32_t clamped(int64_t value, int32_t low, int32_t high)
{
    return (int32_t)(value < low ? low : (value > high ? high : value));
}

/* Sums wrap before they are clamped. */
static int8_t expected(int32_t row, int32_t zero_point)
{
    const uint32_t sum = (uint32_t)scaled(sums[row], multiplier[row], shift[row]) + (uint32_t)zero_point;
    return (int8_t)clamped((int32_t)sum, -128, 127);
}

static void compare(const char *op, int32_t pixels, int32_t zero_point)
{
    for (int32_t row = 0; row < filled; row++) {
        const int8_t wanted = expected(row, zero_point);
        for (int32_t pixel = 0; pixel < pixels; pixel++) {
            const int8_t got = output[pixel * filled + row];
            if (got != wanted) {
                put_number("sum ", sums[row]);
                put_number(" multiplier ", multiplier[row]);
                put_number(" shift ", shift[row]);
                put_number(" expected ", wanted);
                put_number(" got ", got);
                port_puts("\nHWCMP-TEST-FAILED ");
                port_puts(op);
                port_puts("\n");
                port_exit(1);
            }
            compared++;
        }
    }
}

static void check(hwcmp_status status)
{
    if (status != HWCMP_OK) {
        port_puts("HWCMP-TEST-FAILED status\n");
        port_exit(1);
    }
    memset(scratch_memory, 0, sizeof scratch_memory);
}

static void run(int32_t zero_point)
{
    const int16_t rows = (int16_t)filled;
    const int16_t zero = (int16_t)zero_point;
    const hwcmp_weights weights = {.ops = &plain_format,
                                   .payload = (const uint8_t *)weights_of_one,
                                   .payload_bytes = ROWS,
                                   .row_length = 1,
                                   .rows = (uint16_t)filled,
                                   .layout = HWCMP_LAYOUT_CANONICAL};
    const hwcmp_channels channels = {bias, multiplier, shift, 1};
    const hwcmp_scratch scratch = {scratch_memory, sizeof scratch_memory};
    const hwcmp_fully_connected_params fully = {1, 1, 1, 0, zero, -128, 127};
    const hwcmp_conv_params conv = {.input = {1, PIXELS, 1}, .output = {1, PIXELS, rows}, .kernel_h = 1, .kernel_w = 1,
                                    .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .tile_rows = 1,
                                    .output_zero_point = zero, .activation_min = -128, .activation_max = 127};

    for (int32_t row = 0; row < filled; row++) {
        bias[row] = (int32_t)((uint32_t)sums[row] - PRODUCT);
    }
    check(hwcmp_fully_connected_s8(&scratch, &fully, &weights, &channels, input, output));
    compare("fully_connected", 1, zero_point);
    check(hwcmp_conv2d_s8(&scratch, &conv, &weights, &channels, input, output));
    compare("conv2d", PIXELS, zero_point);
    check(hwcmp_depthwise_conv2d_s8(&scratch, &conv, &weights, &channels, input, output));
    compare("depthwise_conv2d", PIXELS, zero_point);
    filled = 0;
}

static void add(int64_t sum, int32_t factor, int32_t exponent, int32_t zero_point)
{
    if (sum < INT32_MIN || sum > INT32_MAX) {
        return;
    }
    sums[filled] = (int32_t)sum;
    multiplier[filled] = factor;
    shift[filled] = (int8_t)exponent;
    filled++;
    if (filled == ROWS) {
        run(zero_point);
    }
}

/* The sums nearest to every tie between neighbouring outputs. */
static void add_ties(int32_t factor, int32_t exponent, int32_t zero_point)
{
    for (int32_t level = -129; level <= 128; level++) {
        const int64_t twice = 2 * (level - zero_point) + 1;
        int64_t tie = twice * (INT64_C(1) << 30);
        tie = exponent <= 0 ? tie * (INT64_C(1) << (exponent < -23 ? 23 : -exponent)) / factor
                            : tie / (INT64_C(1) << exponent) / factor;
        for (int64_t near = -1; near <= 1; near++) {
            add(tie + near, factor, exponent, zero_point);
        }
    }
}

/* Sums beside the powers of two at which short forms end, with shifts that leave their outputs unsaturated. */
static void add_bounds(int32_t factor, int32_t zero_point)
{
    for (int32_t power = 28; power <= 31; power++) {
        for (int32_t exponent = -26; exponent <= -18; exponent++) {
            for (int32_t near = -2; near <= 2; near++) {
                add((INT64_C(1) << power) + near, factor, exponent, zero_point);
                add(-(INT64_C(1) << power) + near, factor, exponent, zero_point);
                add((INT64_C(1) << power) - PRODUCT + near, factor, exponent, zero_point);
                add(-(INT64_C(1) << power) + PRODUCT + near, factor, exponent, zero_point);
            }
        }
    }
}

int main(void)
{
    static const int32_t factors[] = {1 << 30, INT32_MAX, 1518500250};
    static const int32_t zero_points[] = {-128, 5};

    memset(input, -128, sizeof input);
    memset(weights_of_one, -128, sizeof weights_of_one);
    for (uint32_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        for (uint32_t j = 0; j < sizeof zero_points / sizeof zero_points[0]; j++) {
            for (int32_t exponent = -31; exponent <= 30; exponent++) {
                add_ties(factors[i], exponent, zero_points[j]);
            }
            add_bounds(factors[i], zero_points[j]);
            if (filled > 0) {
                run(zero_points[j]);
            }
        }
    }
    put_number("compared ", (int32_t)compared);
    port_puts("\nHWCMP-TEST-OK\n");
    return 0;
}
