/* SPDX-License-Identifier: Apache-2.0
 *
 * A convolution and the addition of a residual, a few output rows at a time: the convolution's result never exists
 * as a whole, and the sum may take the place of the residual. Serves every arm and format, because it calls theirs.
 */
#include "conv.h"

/* The rows [first, first + count) of the output as a convolution of their own. */
static hwcmp_conv_params stripe_of(const hwcmp_conv_params *params, int32_t first, int32_t count)
{
    hwcmp_conv_params stripe = *params;
    const int32_t y = hwcmp_first_tap(first, params->stride_h, params->pad_top);

    stripe.output.h = (int16_t)count;
    stripe.pad_top = (int16_t)(y < 0 ? -y : 0);
    stripe.input.h = (int16_t)(y < 0 ? params->input.h : params->input.h - y);
    return stripe;
}

/* A stripe is contiguous: the addition is one of `count` elements. */
static hwcmp_binary_params flat(const hwcmp_binary_params *params, int32_t count)
{
    hwcmp_binary_params result = *params;

    for (int axis = 0; axis < 4; axis++) {
        result.shape[axis] = axis == 3 ? count : 1;
        result.a_stride[axis] = axis == 3 ? 1 : 0;
        result.b_stride[axis] = axis == 3 ? 1 : 0;
    }
    return result;
}

static bool valid(const hwcmp_conv2d_add_params *params)
{
    if (params == NULL || !hwcmp_conv_params_valid(&params->conv) || params->stripe_rows < 1) {
        return false;
    }
    /* the last stripe must begin inside the input */
    return hwcmp_first_tap(params->conv.output.h - 1, params->conv.stride_h, params->conv.pad_top) <
           params->conv.input.h;
}

hwcmp_status hwcmp_conv2d_add_s8(hwcmp_conv2d_function conv2d, const hwcmp_scratch *scratch,
                                 const hwcmp_conv2d_add_params *params, const hwcmp_weights *weights,
                                 const hwcmp_channels *channels, const int8_t *input, const int8_t *residual,
                                 int8_t *output)
{
    if (conv2d == NULL || scratch == NULL || !valid(params) || input == NULL || residual == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const hwcmp_conv_params *conv = &params->conv;
    const size_t input_row = (size_t)conv->input.w * (size_t)conv->input.c;
    const int32_t output_row = conv->output.w * conv->output.c;
    const size_t stripe_bytes = hwcmp_align4((size_t)output_row * (size_t)params->stripe_rows);
    if (scratch->bytes < stripe_bytes) {
        return HWCMP_ERR_SCRATCH;
    }
    int8_t *const sums = scratch->buf;
    const hwcmp_scratch rest = {sums + stripe_bytes, scratch->bytes - stripe_bytes};

    for (int32_t first = 0; first < conv->output.h; first += params->stripe_rows) {
        const int32_t count = hwcmp_min(params->stripe_rows, conv->output.h - first);
        const int32_t y = hwcmp_first_tap(first, conv->stride_h, conv->pad_top);
        const hwcmp_conv_params stripe = stripe_of(conv, first, count);
        hwcmp_status status = conv2d(&rest, &stripe, weights, channels, input + (y > 0 ? (size_t)y * input_row : 0U), sums);
        if (status != HWCMP_OK) {
            return status;
        }
        const hwcmp_binary_params add = flat(&params->add, count * output_row);
        const size_t at = (size_t)first * (size_t)output_row;
        status = params->conv_is_b != 0U ? hwcmp_add_s8(&add, residual + at, sums, output + at)
                                         : hwcmp_add_s8(&add, sums, residual + at, output + at);
        if (status != HWCMP_OK) {
            return status;
        }
    }
    return HWCMP_OK;
}
