/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/mean.c, compared bit for bit by tests/test_runtime_dsp.py. Four channels at a time where the last
 * axis stays, as in a global average; the literal form elsewhere.
 */
#include "../ref/reduce.h"
#include "sum_pixels.h"

enum { CHANNELS_BIT = 8, MAX_FAST_COUNT = 1 << 22 };

static int32_t count_of(const hwcmp_nest *nest)
{
    return nest->extent[0] * nest->extent[1] * nest->extent[2] * nest->extent[3];
}

static int8_t reduce_one(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from)
{
    return hwcmp_mean_of(params, count_of(nest), hwcmp_fold(nest, from, 0, hwcmp_wrap_add));
}

/* What turns sums into means: |sum - count * zero point| <= 255 * 2^22 < 2^30, see hwcmp_dsp_scale(). */
static bool is_fast(const hwcmp_reduce_params *params, const hwcmp_nest *gone)
{
    return (params->reduce_mask & CHANNELS_BIT) == 0U && params->shape[3] >= 4 &&
           count_of(gone) <= MAX_FAST_COUNT && hwcmp_dsp_scale_is_fast(params->multiplier, -params->shift);
}

/* Four channels from `from` on. */
static void mean_four(const hwcmp_reduce_params *params, const hwcmp_nest *gone, const int8_t *from, int8_t *output)
{
    const hwcmp_dsp_pixels pixels = hwcmp_dsp_pixels_of(gone->extent[1], (size_t)gone->step[1], gone->extent[2],
                                                        (size_t)gone->step[2]);
    const int32_t offset = hwcmp_dsp_offset(params->output_zero_point, -params->shift);
    const int32_t zeros = count_of(gone) * params->input_zero_point;
    int32_t sums[4] = {-zeros, -zeros, -zeros, -zeros};

    for (int32_t i = 0; i < gone->extent[0]; i++) {
        hwcmp_dsp_add_pixels(&pixels, from + i * gone->step[0], sums);
    }
    for (int32_t i = 0; i < 4; i++) {
        output[i] = (int8_t)hwcmp_dsp_scale(sums[i], params->multiplier, offset, -params->shift);
    }
}

/* All channels of the pixel at `from`; the last four may overlap the four before. */
static void mean_pixel(const hwcmp_reduce_params *params, const hwcmp_nest *gone, const int8_t *from, int8_t *output)
{
    const int32_t depth = params->shape[3];

    for (int32_t next = 0; next < depth; next += 4) {
        const int32_t ch = hwcmp_min(next, depth - 4);
        mean_four(params, gone, from + ch, output + ch);
    }
}

hwcmp_status hwcmp_mean_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output)
{
    if (!hwcmp_reduce_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    const hwcmp_nest kept = hwcmp_nest_of(params->shape, ~(uint32_t)params->reduce_mask);
    const hwcmp_nest gone = hwcmp_nest_of(params->shape, params->reduce_mask);
    if (!is_fast(params, &gone)) {
        return hwcmp_reduce(params, input, output, reduce_one);
    }
    for (int32_t i = 0; i < kept.extent[0]; i++) {
        for (int32_t j = 0; j < kept.extent[1]; j++) {
            for (int32_t k = 0; k < kept.extent[2]; k++) {
                mean_pixel(params, &gone, input + i * kept.step[0] + j * kept.step[1] + k * kept.step[2], output);
                output += params->shape[3];
            }
        }
    }
    return HWCMP_OK;
}
