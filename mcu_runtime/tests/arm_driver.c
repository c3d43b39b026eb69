/* SPDX-License-Identifier: Apache-2.0
 *
 * Target test driver: random layers through the reference arm and another arm of one image, compared bit for bit, then
 * the layers whose instructions are counted. The reference arm is compiled with its public names prefixed by ref_.
 *
 * CASES layers of each kind from SEED. Input and weights lie before protected memory, so that reading beyond the last
 * of them faults. Output and scratch lie between guard bytes; scratch has exactly the size asked for.
 * Prints a line per layer with weights (shape, scratch bytes of both arms) and HWCMP-TEST-OK at the end.
 */
#include "count_markers.h"
#include "arm_layers.h"
#include "port.h"

enum { GUARD = 16, OUTPUT_BYTES = 64 << 10, SCRATCH_BYTES = 64 << 10, FILL = 0xA5 };

hwcmp_status ref_hwcmp_conv2d_s8(const hwcmp_scratch *, const hwcmp_conv_params *, const hwcmp_weights *,
                                 const hwcmp_channels *, const int8_t *, int8_t *);
hwcmp_status ref_hwcmp_depthwise_conv2d_s8(const hwcmp_scratch *, const hwcmp_conv_params *, const hwcmp_weights *,
                                           const hwcmp_channels *, const int8_t *, int8_t *);
hwcmp_status ref_hwcmp_fully_connected_s8(const hwcmp_scratch *, const hwcmp_fully_connected_params *,
                                          const hwcmp_weights *, const hwcmp_channels *, const int8_t *, int8_t *);
hwcmp_status ref_hwcmp_add_s8(const hwcmp_binary_params *, const int8_t *, const int8_t *, int8_t *);
hwcmp_status ref_hwcmp_average_pool_s8(const hwcmp_pool_params *, const int8_t *, int8_t *);
hwcmp_status ref_hwcmp_max_pool_s8(const hwcmp_pool_params *, const int8_t *, int8_t *);
hwcmp_status ref_hwcmp_mean_s8(const hwcmp_reduce_params *, const int8_t *, int8_t *);
size_t ref_hwcmp_conv2d_s8_scratch_bytes(const hwcmp_conv_params *, const hwcmp_weights *);
size_t ref_hwcmp_depthwise_conv2d_s8_scratch_bytes(const hwcmp_conv_params *, const hwcmp_weights *);
size_t ref_hwcmp_fully_connected_s8_scratch_bytes(const hwcmp_fully_connected_params *, const hwcmp_weights *);

static _Alignas(8) int8_t expected[OUTPUT_BYTES];
static _Alignas(8) int8_t received[OUTPUT_BYTES];
static _Alignas(8) uint8_t scratch_memory[SCRATCH_BYTES];

static void put_number(const char *before, int32_t value)
{
    port_puts(before);
    if (value < 0) {
        port_puts("-");
    }
    port_put_u32(value < 0 ? 0U - (uint32_t)value : (uint32_t)value);
}

static void fail(const char *what, uint32_t at)
{
    put_number("HWCMP-TEST-FAILED ", (int32_t)at);
    port_puts(": ");
    port_puts(what);
    port_puts("\n");
    port_exit(1);
}

static size_t scratch_bytes(const layer *item, bool reference)
{
    switch (item->op) {
    case CONV2D:
        return reference ? ref_hwcmp_conv2d_s8_scratch_bytes(&item->conv, &item->weights)
                         : hwcmp_conv2d_s8_scratch_bytes(&item->conv, &item->weights);
    case DEPTHWISE_CONV2D:
        return reference ? ref_hwcmp_depthwise_conv2d_s8_scratch_bytes(&item->conv, &item->weights)
                         : hwcmp_depthwise_conv2d_s8_scratch_bytes(&item->conv, &item->weights);
    default:
        return reference ? ref_hwcmp_fully_connected_s8_scratch_bytes(&item->fully, &item->weights)
                         : hwcmp_fully_connected_s8_scratch_bytes(&item->fully, &item->weights);
    }
}

static hwcmp_status call(const layer *item, bool reference, const hwcmp_scratch *scratch, int8_t *output)
{
    const hwcmp_weights *weights = &item->weights;
    const hwcmp_channels *channels = &item->channels;

    switch (item->op) {
    case CONV2D:
        return (reference ? ref_hwcmp_conv2d_s8 : hwcmp_conv2d_s8)(scratch, &item->conv, weights, channels,
                                                                   item->input, output);
    case DEPTHWISE_CONV2D:
        return (reference ? ref_hwcmp_depthwise_conv2d_s8 : hwcmp_depthwise_conv2d_s8)(
            scratch, &item->conv, weights, channels, item->input, output);
    default:
        return (reference ? ref_hwcmp_fully_connected_s8 : hwcmp_fully_connected_s8)(scratch, &item->fully, weights,
                                                                                     channels, item->input, output);
    }
}

static void check_bytes(const int8_t *at, uint32_t count, const char *what)
{
    for (uint32_t i = 0; i < count; i++) {
        if ((uint8_t)at[i] != FILL) {
            fail(what, i);
        }
    }
}

/* `begin`: where the output begins in `received`. */
static void compare(uint32_t begin, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (received[begin + i] != expected[i]) {
            put_number("expected ", expected[i]);
            put_number(" got ", received[begin + i]);
            put_number(" of ", (int32_t)count);
            port_puts("\n");
            fail("output", i);
        }
    }
    check_bytes(received, begin, "before the output");
    check_bytes(received + begin + count, GUARD, "behind the output");
}

static void describe(const layer *item)
{
    const hwcmp_conv_params *c = &item->conv;
    const int32_t tile_rows = item->op == FULLY_CONNECTED ? item->fully.tile_rows : c->tile_rows;
    const hwcmp_weights *w = &item->weights;
    const int32_t numbers[] = {w->ops->kind,
                               tile_rows,
                               w->rows,
                               (int32_t)w->row_length,
                               c->input.h,
                               c->input.w,
                               c->input.c,
                               c->output.h,
                               c->output.w,
                               c->kernel_h,
                               c->kernel_w,
                               c->stride_h,
                               c->stride_w,
                               c->dilation_h,
                               c->dilation_w,
                               c->pad_top,
                               c->pad_left,
                               (int32_t)scratch_bytes(item, true),
                               (int32_t)scratch_bytes(item, false)};

    put_number("layer ", (int32_t)item->op);
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put_number(" ", numbers[i]);
    }
    port_puts("\n");
}

static void run_reference(const layer *item)
{
    const hwcmp_scratch scratch = {scratch_memory, scratch_bytes(item, true)};

    if (item->output_bytes + 2U * GUARD > OUTPUT_BYTES || scratch.bytes > SCRATCH_BYTES) {
        fail("the case is too large for the driver", item->output_bytes);
    }
    if (call(item, true, &scratch, expected) != HWCMP_OK) {
        fail("status of the reference arm", 0);
    }
}

/* Counts instructions if asked to. */
static void check_layer(const layer *item, bool counts)
{
    const uint32_t begin = GUARD + (counts ? 0U : (uint32_t)pick(0, 3));
    const hwcmp_scratch scratch = {scratch_memory + GUARD, scratch_bytes(item, false)};

    describe(item);
    run_reference(item);
    memset(received, FILL, sizeof received);
    memset(scratch_memory, FILL, sizeof scratch_memory);
    if (counts) {
        COUNT_START();
    }
    const hwcmp_status status = call(item, false, &scratch, received + begin);
    if (counts) {
        COUNT_STOP();
        COUNT_REPORT();
    }
    if (status != HWCMP_OK) {
        fail("status", 0U - (uint32_t)status);
    }
    compare(begin, item->output_bytes);
    check_bytes((int8_t *)scratch_memory, GUARD, "before scratch");
    check_bytes((int8_t *)scratch_memory + GUARD + scratch.bytes, GUARD, "behind scratch");
}

static void check_add(bool counts, const hwcmp_binary_params *params)
{
    static int8_t a[16384];
    static int8_t b[16384];
    const uint32_t count =
        (uint32_t)(params->shape[0] * params->shape[1] * params->shape[2] * params->shape[3]);
    const uint32_t begin = GUARD + (counts ? 0U : (uint32_t)pick(0, 3));
    int8_t *output = received + begin;
    const bool in_place = params->a_stride[0] * params->shape[0] == (int32_t)count && one_in(2);

    fill_random(a, sizeof a);
    fill_random(b, sizeof b);
    if (params->output_shift > -4) {
        /* only sums near zero show how the other operand was rounded */
        const bool of_a = params->a_shift == 0;
        memset(of_a ? a : b, of_a ? params->a_zero_point : params->b_zero_point, sizeof a);
    }
    if (ref_hwcmp_add_s8(params, a, b, expected) != HWCMP_OK) {
        fail("status of the reference arm", 0);
    }
    memset(received, FILL, sizeof received);
    if (in_place) {
        memcpy(output, a, count);
    }
    if (counts) {
        COUNT_START();
    }
    const hwcmp_status status = hwcmp_add_s8(params, in_place ? output : a, b, output);
    if (counts) {
        COUNT_STOP();
        COUNT_REPORT();
    }
    if (status != HWCMP_OK) {
        fail("status", 0U - (uint32_t)status);
    }
    compare(begin, count);
}

typedef hwcmp_status (*pool_function)(const hwcmp_pool_params *, const int8_t *, int8_t *);

static void check_pool(bool counts, const hwcmp_pool_params *params, pool_function reference, pool_function function)
{
    const uint32_t input_bytes = (uint32_t)params->input.h * (uint32_t)params->input.w * (uint32_t)params->input.c;
    const uint32_t count = (uint32_t)params->output.h * (uint32_t)params->output.w * (uint32_t)params->output.c;
    const uint32_t begin = GUARD + (counts ? 0U : (uint32_t)pick(0, 3));
    int8_t *input = (int8_t *)(uintptr_t)(WALL - input_bytes);

    fill_random(input, input_bytes);
    if (reference(params, input, expected) != HWCMP_OK) {
        fail("status of the reference arm", 0);
    }
    memset(received, FILL, sizeof received);
    if (counts) {
        COUNT_START();
    }
    const hwcmp_status status = function(params, input, received + begin);
    if (counts) {
        COUNT_STOP();
        COUNT_REPORT();
    }
    if (status != HWCMP_OK) {
        fail("status", 0U - (uint32_t)status);
    }
    compare(begin, count);
}

static void check_mean(bool counts, const hwcmp_reduce_params *params)
{
    const int32_t *shape = params->shape;
    const uint32_t input_bytes = (uint32_t)(shape[0] * shape[1] * shape[2] * shape[3]);
    const uint32_t begin = GUARD + (counts ? 0U : (uint32_t)pick(0, 3));
    int8_t *input = (int8_t *)(uintptr_t)(WALL - input_bytes);
    uint32_t count = 1;

    for (int axis = 0; axis < 4; axis++) {
        count *= ((params->reduce_mask >> axis) & 1U) != 0U ? 1U : (uint32_t)shape[axis];
    }
    fill_random(input, input_bytes);
    if (ref_hwcmp_mean_s8(params, input, expected) != HWCMP_OK) {
        fail("status of the reference arm", 0);
    }
    memset(received, FILL, sizeof received);
    if (counts) {
        COUNT_START();
    }
    const hwcmp_status status = hwcmp_mean_s8(params, input, received + begin);
    if (counts) {
        COUNT_STOP();
        COUNT_REPORT();
    }
    if (status != HWCMP_OK) {
        fail("status", 0U - (uint32_t)status);
    }
    compare(begin, count);
}

/* ---- the layers whose instructions are counted --------------------------------------------------------- */

static void plain_numbers(layer *item, int32_t rows, uint32_t length, uint32_t input_bytes)
{
    static int32_t bias[CHANNELS];
    static int32_t multiplier[CHANNELS];
    static int8_t shift[CHANNELS];

    place(item, input_bytes, rows, length);
    for (int32_t ch = 0; ch < rows; ch++) {
        bias[ch] = pick(-1000, 1000);
        multiplier[ch] = pick(1 << 30, INT32_MAX);
        shift[ch] = (int8_t)-pick(7, 11);
    }
    item->channels = (hwcmp_channels){bias, multiplier, shift, 1};
    item->weights.ops = &plain_format;
    describe(item);
}

/* "count name macs scratch": the line of the next count in the plugin's file. */
static void put_count(const char *name, uint32_t macs, size_t scratch)
{
    port_puts("count ");
    port_puts(name);
    put_number(" ", (int32_t)macs);
    put_number(" ", (int32_t)scratch);
    port_puts("\n");
}

/* Padding "same". */
static void count_conv(const char *name, layer_op op, hwcmp_dims input, int16_t out_c, int16_t kernel, int16_t stride)
{
    const int16_t pad = (int16_t)(stride == 1 ? kernel / 2 : 0);
    const hwcmp_dims output = {(int16_t)((input.h + stride - 1) / stride), (int16_t)((input.w + stride - 1) / stride),
                               out_c};
    const uint32_t length = (uint32_t)kernel * (uint32_t)kernel * (op == CONV2D ? (uint32_t)input.c : 1U);
    layer item = {.op = op};

    item.conv = (hwcmp_conv_params){.input = input, .output = output, .kernel_h = kernel, .kernel_w = kernel,
                                    .stride_h = stride, .stride_w = stride, .dilation_h = 1, .dilation_w = 1,
                                    .pad_top = pad, .pad_left = pad, .tile_rows = 1, .input_zero_point = -5,
                                    .output_zero_point = 3, .activation_min = -128, .activation_max = 127};
    item.output_bytes = (uint32_t)output.h * (uint32_t)output.w * (uint32_t)output.c;
    plain_numbers(&item, out_c, length, (uint32_t)input.h * (uint32_t)input.w * (uint32_t)input.c);
    check_layer(&item, true);
    put_count(name, item.output_bytes * length, scratch_bytes(&item, false));
}

static void count_fully_connected(const char *name, int32_t length, int32_t rows)
{
    layer item = {.op = FULLY_CONNECTED};

    item.fully = (hwcmp_fully_connected_params){1, length, 1, -5, 3, -128, 127};
    item.output_bytes = (uint32_t)rows;
    plain_numbers(&item, rows, (uint32_t)length, (uint32_t)length);
    check_layer(&item, true);
    put_count(name, (uint32_t)(length * rows), scratch_bytes(&item, false));
}

/* With or without an affine form, here of a + b + 1. */
static void count_add(const char *name, bool has_affine, int8_t b_shift, int16_t activation_min)
{
    const hwcmp_binary_params params = {.shape = {1, 16, 16, 16},
                                        .a_stride = {4096, 256, 16, 1},
                                        .b_stride = {4096, 256, 16, 1},
                                        .a_multiplier = 1073741824,
                                        .b_multiplier = has_affine ? 1073741824 : 1717986918,
                                        .output_multiplier = has_affine ? 1073741824 : 1455063552,
                                        .a_shift = 0,
                                        .b_shift = b_shift,
                                        .output_shift = -18,
                                        .left_shift = 20,
                                        .a_zero_point = -5,
                                        .b_zero_point = 7,
                                        .output_zero_point = 3,
                                        .activation_min = activation_min,
                                        .activation_max = 127,
                                        .affine_a = 1 << 22,
                                        .affine_b = 1 << 22,
                                        .affine_c = 1 << 22,
                                        .affine_shift = has_affine ? 22 : 0};
    check_add(true, &params);
    put_count(name, 4096U, 0U);
}

static void count_pools(void)
{
    const hwcmp_pool_params average = {{8, 8, 64}, {1, 1, 64}, 8, 8, 8, 8, 0, 0, -128, 127};
    const hwcmp_pool_params most = {{32, 32, 16}, {16, 16, 16}, 2, 2, 2, 2, 0, 0, -128, 127};
    const hwcmp_reduce_params mean = {{1, 3, 3, 256}, 1 << 30, -3, 6, -5, 3};

    check_pool(true, &average, ref_hwcmp_average_pool_s8, hwcmp_average_pool_s8);
    put_count("average_pool8x8_64_8x8", 8U * 8U * 64U, 0U);
    check_pool(true, &most, ref_hwcmp_max_pool_s8, hwcmp_max_pool_s8);
    put_count("max_pool2x2_16_32x32", 32U * 32U * 16U, 0U);
    check_mean(true, &mean);
    put_count("mean3x3_256", 3U * 3U * 256U, 0U);
}

static void count_all(void)
{
    count_conv("conv3x3_16to32_16x16", CONV2D, (hwcmp_dims){16, 16, 16}, 32, 3, 1);
    count_conv("conv3x3_32to32_16x16", CONV2D, (hwcmp_dims){16, 16, 32}, 32, 3, 1);
    count_conv("conv3x3_16to16_32x32", CONV2D, (hwcmp_dims){32, 32, 16}, 16, 3, 1);
    count_conv("conv3x3_64to64_8x8", CONV2D, (hwcmp_dims){8, 8, 64}, 64, 3, 1);
    count_conv("conv3x3_3to16_32x32", CONV2D, (hwcmp_dims){32, 32, 3}, 16, 3, 1);
    count_conv("conv3x3s2_16to32_32x32", CONV2D, (hwcmp_dims){32, 32, 16}, 32, 3, 2);
    count_conv("conv5x5_8to16_16x16", CONV2D, (hwcmp_dims){16, 16, 8}, 16, 5, 1);
    count_conv("conv1x1_64to64_25x5", CONV2D, (hwcmp_dims){25, 5, 64}, 64, 1, 1);
    count_conv("conv1x1_128to128_6x6", CONV2D, (hwcmp_dims){6, 6, 128}, 128, 1, 1);
    count_conv("conv1x1_8to16_24x24", CONV2D, (hwcmp_dims){24, 24, 8}, 16, 1, 1);
    count_conv("conv1x1_640to128_1x1", CONV2D, (hwcmp_dims){1, 1, 640}, 128, 1, 1);
    count_conv("depthwise3x3_64_25x5", DEPTHWISE_CONV2D, (hwcmp_dims){25, 5, 64}, 64, 3, 1);
    count_conv("depthwise3x3_16_24x24", DEPTHWISE_CONV2D, (hwcmp_dims){24, 24, 16}, 16, 3, 1);
    count_conv("depthwise3x3s2_16_24x24", DEPTHWISE_CONV2D, (hwcmp_dims){24, 24, 16}, 16, 3, 2);
    count_conv("depthwise5x5_16_24x24", DEPTHWISE_CONV2D, (hwcmp_dims){24, 24, 16}, 16, 5, 1);
    count_fully_connected("fully_connected_640to128", 640, 128);
    count_fully_connected("fully_connected_128to128", 128, 128);
    count_fully_connected("fully_connected_64to10", 64, 10);
    count_fully_connected("fully_connected_490to30", 490, 30);
    count_add("add", true, 0, -128);
    count_add("add_clamped", true, 0, 3);
    count_add("add_without_affine_form", false, -1, -128);
    count_pools();
}

int main(void)
{
    static layer item;
    hwcmp_binary_params add;
    hwcmp_pool_params pool;
    hwcmp_reduce_params mean;

    build_wall();
    for (int32_t i = 0; i < CASES; i++) {
        pick_layer(&item, CONV2D);
        check_layer(&item, false);
        pick_layer(&item, DEPTHWISE_CONV2D);
        check_layer(&item, false);
        pick_layer(&item, FULLY_CONNECTED);
        check_layer(&item, false);
        pick_add(&add);
        check_add(false, &add);
        pick_pool(&pool);
        check_pool(false, &pool, ref_hwcmp_average_pool_s8, hwcmp_average_pool_s8);
        check_pool(false, &pool, ref_hwcmp_max_pool_s8, hwcmp_max_pool_s8);
        pick_mean(&mean);
        check_mean(false, &mean);
    }
    count_all();
    put_number("stack ", (int32_t)port_stack_used());
    port_puts("\nHWCMP-TEST-OK\n");
    return 0;
}
