/* SPDX-License-Identifier: Apache-2.0
 *
 * Same results as ref/mean.c, compared bit for bit by tests/test_runtime_swar.py. The loops are in the order of the axes
 * and keep nothing but pointers where the last axis stays, as in a global average; the literal form elsewhere.
 */
#include "../ref/reduce.h"
#include "swar.h"

/* |sum - count * zero point| <= 255 * 2^20 < HWCMP_SWAR_LIMIT */
enum { CHANNELS_BIT = 8, MAX_FAST_COUNT = 1 << 20 };

static int32_t count_of(const hwcmp_nest *nest)
{
    return nest->extent[0] * nest->extent[1] * nest->extent[2] * nest->extent[3];
}

static int8_t reduce_one(const hwcmp_reduce_params *params, const hwcmp_nest *nest, const int8_t *from)
{
    return hwcmp_mean_of(params, count_of(nest), hwcmp_fold(nest, from, 0, hwcmp_wrap_add));
}

static uint32_t sum_run(const int8_t *from, int32_t step, int32_t count)
{
    uint32_t sum = 0;

    for (; count >= 2; count -= 2) {
        sum += (uint32_t)*from;
        from += step;
        sum += (uint32_t)*from;
        from += step;
    }
    return count > 0 ? sum + (uint32_t)*from : sum;
}

static uint32_t sum_channel(const hwcmp_nest *gone, const int8_t *from)
{
    uint32_t sum = 0;

    for (int32_t i = 0; i < gone->extent[0]; i++) {
        const int8_t *row = from;
        for (int32_t j = 0; j < gone->extent[1]; j++) {
            sum += sum_run(row, gone->step[2], gone->extent[2]);
            row += gone->step[1];
        }
        from += gone->step[0];
    }
    return sum;
}

/* All channels of the pixel at `from`. */
static void mean_pixel(const hwcmp_reduce_params *params, const hwcmp_nest *gone, const int8_t *from, int8_t *output)
{
    const uint32_t zeros = (uint32_t)count_of(gone) * (uint32_t)params->input_zero_point;
    const int32_t multiplier = params->multiplier;
    const int32_t right = -params->shift;
    const bool fast = hwcmp_swar_scale_is_fast(multiplier, right) && count_of(gone) <= MAX_FAST_COUNT;
    const int32_t offset = fast ? hwcmp_swar_offset(params->output_zero_point, right) : 0;

    for (int32_t ch = 0; ch < params->shape[3]; ch++) {
        const int32_t sum = (int32_t)(sum_channel(gone, from + ch) - zeros);
        output[ch] = fast ? (int8_t)hwcmp_swar_scale(sum, multiplier, offset, right)
                          : hwcmp_swar_scale_literally(sum, multiplier, -right, params->output_zero_point);
    }
}

hwcmp_status hwcmp_mean_s8(const hwcmp_reduce_params *params, const int8_t *input, int8_t *output)
{
    if (!hwcmp_reduce_params_valid(params) || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if ((params->reduce_mask & CHANNELS_BIT) != 0U) {
        return hwcmp_reduce(params, input, output, reduce_one);
    }
    const hwcmp_nest kept = hwcmp_nest_of(params->shape, ~(uint32_t)params->reduce_mask);
    const hwcmp_nest gone = hwcmp_nest_of(params->shape, params->reduce_mask);
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
