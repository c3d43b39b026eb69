/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels of every arm share: integer arithmetic, argument checks, access to weight rows.
 * Sums wrap modulo 2^32 on purpose (uint32_t), so no input can cause a signed overflow.
 */
#ifndef HWCMP_INTERNAL_H
#define HWCMP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hwcmp/hwcmp.h"
#include "hwcmp_format_ops.h"

/* Keeps an inner loop in a function of its own, so that its caller's variables do not push it out of registers. */
#if defined(__GNUC__)
#define HWCMP_NOINLINE __attribute__((noinline))
#else
#define HWCMP_NOINLINE
#endif

_Static_assert((-1 >> 1) == -1, "right shifts of negative numbers must be arithmetic");
_Static_assert((int32_t)UINT32_MAX == -1, "conversion to int32_t must wrap");

/* ---- arithmetic --------------------------------------------------------------------------------------- */

static inline int32_t hwcmp_wrap_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t hwcmp_wrap_sub(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

static inline int32_t hwcmp_clamp(int32_t value, int32_t low, int32_t high)
{
    if (value < low) {
        return low;
    }
    return value > high ? high : value;
}

static inline int32_t hwcmp_min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t hwcmp_max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* round(a * b / 2^31), ties towards plus infinity: TensorFlow Lite's SaturatingRoundingDoublingHighMul, whose "nudge
 * and truncate" is this floor for either sign. The one pair that saturates there, INT32_MIN twice, needs a negative
 * multiplier and does not occur. */
static inline int32_t hwcmp_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* round(value / 2^exponent), ties away from zero; exponent 0..31. */
static inline int32_t hwcmp_rounding_shift(int32_t value, int32_t exponent)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1U);
    const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
    return (value >> exponent) + ((value & mask) > threshold ? 1 : 0);
}

/* value * multiplier / 2^31 * 2^shift with double rounding; shift -31..30, positive = left. */
static inline int32_t hwcmp_requantize(int32_t value, int32_t multiplier, int32_t shift)
{
    if (shift > 0) {
        return hwcmp_high_mul((int32_t)((uint32_t)value << shift), multiplier);
    }
    return hwcmp_rounding_shift(hwcmp_high_mul(value, multiplier), -shift);
}

static inline bool hwcmp_shift_valid(int32_t shift)
{
    return shift >= -31 && shift <= 30;
}

/* ---- argument checks ---------------------------------------------------------------------------------- */

static inline bool hwcmp_is_int8(int32_t value)
{
    return value >= INT8_MIN && value <= INT8_MAX;
}

static inline bool hwcmp_range_valid(int32_t low, int32_t high)
{
    return hwcmp_is_int8(low) && hwcmp_is_int8(high) && low <= high;
}

/* Every extent >= 1 and the tensor addressable with int32_t. */
static inline bool hwcmp_dims_valid(hwcmp_dims dims)
{
    return dims.h >= 1 && dims.w >= 1 && dims.c >= 1 && (int64_t)dims.h * dims.w * dims.c <= INT32_MAX;
}

static inline bool hwcmp_shape_valid(const int32_t shape[4])
{
    int64_t size = 1;
    for (int axis = 0; axis < 4; axis++) {
        if (shape[axis] < 1) {
            return false;
        }
        size *= shape[axis];
        if (size > INT32_MAX) {
            return false;
        }
    }
    return true;
}

static inline bool hwcmp_channels_valid(const hwcmp_channels *channels, int32_t count)
{
    if (channels == NULL || channels->bias == NULL || channels->multiplier == NULL || channels->shift == NULL ||
        channels->channel_step > 1U) {
        return false;
    }
    const int32_t entries = channels->channel_step == 0U ? 1 : count;
    for (int32_t ch = 0; ch < entries; ch++) {
        if (!hwcmp_shift_valid(channels->shift[ch])) {
            return false;
        }
    }
    return true;
}

/* ERR_SHAPE unless `rows` rows of `row_length` weights, in whatever layout: `unpack_rows` knows it. */
static inline hwcmp_status hwcmp_weights_fit(const hwcmp_weights *weights, int64_t rows, int64_t row_length)
{
    return weights->rows == rows && weights->row_length == row_length ? HWCMP_OK : HWCMP_ERR_SHAPE;
}

/* OK if weights are of one format in one layout. */
static inline hwcmp_status hwcmp_weights_are(const hwcmp_weights *weights, uint8_t format, uint8_t layout)
{
    if (weights == NULL || weights->ops == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    if (weights->ops->id != format) {
        return HWCMP_ERR_FORMAT;
    }
    return weights->layout == layout ? HWCMP_OK : HWCMP_ERR_LAYOUT;
}

static inline hwcmp_status hwcmp_scratch_fits(const hwcmp_scratch *scratch, size_t needed)
{
    if (needed == 0U) {
        return HWCMP_OK;
    }
    if (scratch == NULL || scratch->buf == NULL || scratch->bytes < needed || ((uintptr_t)scratch->buf & 3U) != 0U) {
        return HWCMP_ERR_SCRATCH;
    }
    return HWCMP_OK;
}

static inline size_t hwcmp_align4(size_t bytes)
{
    return (bytes + 3U) & ~(size_t)3U;
}

/* Rows that a kernel takes at a time: all of a PLAIN format, tile_rows of a TILE format. */
static inline int32_t hwcmp_rows_at_once(const hwcmp_weights *weights, int32_t tile_rows)
{
    const bool all = hwcmp_weights_are_plain(weights) || tile_rows > weights->rows;
    return all ? (int32_t)weights->rows : tile_rows;
}

/* ---- outputs ------------------------------------------------------------------------------------------ */

/* What turns the sums of a layer with weights into int8. */
typedef struct {
    const hwcmp_channels *channels;
    int32_t zero_point, low, high;
} hwcmp_output_stage;

/* The same for one channel, by value: stores to an int8 output cannot force it to be read again. */
typedef struct {
    int32_t bias, multiplier, shift, zero_point, low, high;
} hwcmp_channel;

static inline hwcmp_channel hwcmp_channel_at(const hwcmp_output_stage *stage, int32_t ch)
{
    const hwcmp_channels *channels = stage->channels;
    const int32_t entry = channels->channel_step == 0U ? 0 : ch;
    const hwcmp_channel channel = {
        channels->bias[ch], channels->multiplier[entry], channels->shift[entry], stage->zero_point, stage->low,
        stage->high};
    return channel;
}

/* sum: wrapped sum of the products, without the bias. */
static inline int8_t hwcmp_finish(hwcmp_channel channel, uint32_t sum)
{
    const int32_t total = (int32_t)(sum + (uint32_t)channel.bias);
    const int32_t scaled = hwcmp_requantize(total, channel.multiplier, channel.shift);
    return (int8_t)hwcmp_clamp(hwcmp_wrap_add(scaled, channel.zero_point), channel.low, channel.high);
}

#endif
