/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels of the DSP arm share (Armv7E-M and Armv8-M with the DSP extension: Cortex-M4, M7, M33).
 * Unaligned LDR and STR are used freely; LDRD, LDM and STM only on scratch and on weight rows that are 4-byte aligned.
 *
 * Larger functions are weak definitions in headers, so that a project lists nothing but the files of its ops and the
 * linker still keeps one copy of each.
 */
#ifndef HWCMP_DSP_H
#define HWCMP_DSP_H

#include "../hwcmp_internal.h"

#if !defined(__ARM_FEATURE_DSP) || !defined(__thumb2__)
#error "the DSP arm needs a core with the DSP extension: choose the reference arm"
#endif

#define HWCMP_DSP_SHARED __attribute__((weak, noinline))
/* The same for a function written in assembly, whose parameters are named in r0-r3 only. Aligned because ADR is
 * relative to the PC rounded down to 4. */
#define HWCMP_DSP_NAKED __attribute__((weak, noinline, naked, aligned(4)))
/* The same for one file. */
#define HWCMP_DSP_STATIC_NAKED static __attribute__((noinline, naked, aligned(4)))
#define HWCMP_DSP_IN_REGISTER __attribute__((unused))

/* ---- instructions ------------------------------------------------------------------------------------- */

/* One LDR or STR; the builtin, because -ffreestanding makes memcpy a call. */
static inline uint32_t hwcmp_dsp_load(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

static inline void hwcmp_dsp_store(void *to, uint32_t word)
{
    __builtin_memcpy(to, &word, sizeof word);
}

/* Bytes 0 and 2 as signed halves. */
static inline uint32_t hwcmp_dsp_even(uint32_t bytes)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(bytes));
    return halves;
}

/* Bytes 1 and 3 as signed halves. */
static inline uint32_t hwcmp_dsp_odd(uint32_t bytes)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(bytes));
    return halves;
}

/* sum + a.low * b.low + a.high * b.high, wrapping. */
static inline uint32_t hwcmp_dsp_dual_mac(uint32_t a, uint32_t b, uint32_t sum)
{
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* (a * b + addend * 2^32 + 2^31) >> 32 */
static inline int32_t hwcmp_dsp_high_mac(int32_t a, int32_t b, int32_t addend)
{
    int32_t high;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(high) : "r"(a), "r"(b), "r"(addend));
    return high;
}

/* (a * b + 2^31) >> 32 */
static inline int32_t hwcmp_dsp_high_mul(int32_t a, int32_t b)
{
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
    return high;
}

static inline int32_t hwcmp_dsp_saturate8(int32_t value)
{
    int32_t saturated;
    __asm__("ssat %0, #8, %1" : "=r"(saturated) : "r"(value));
    return saturated;
}

/* ---- requantization ----------------------------------------------------------------------------------- */

/* TensorFlow Lite rounds twice: h = floor((a * m + 2^30) / 2^31), then h / 2^s with ties away from zero. Nested
 * floors collapse: for s >= 1 the result is floor((a * m + 2^30 + (2^(s-1) - [a < 0]) * 2^31) / 2^(31 + s)). In
 * 5 instructions, the output zero point z included:
 *     t = offset + (a >> 31)          offset = 2^(s-1) + z * 2^s
 *     out = ssat8(smmlar(2 * a, m, t) >> s)
 * Exact if |a| < 2^30, 0 <= m < 2^31 and 1 <= s <= HWCMP_DSP_MAX_SHIFT: |offset| <= 257 * 2^(s-1) < 2^30 then, so
 * no sum leaves int32_t. Everything else takes hwcmp_requantize(). */
#define HWCMP_DSP_MAX_SHIFT 22U

static inline bool hwcmp_dsp_scale_is_fast(int32_t multiplier, int32_t right_shift)
{
    return multiplier >= 0 && (uint32_t)right_shift - 1U < HWCMP_DSP_MAX_SHIFT;
}

static inline int32_t hwcmp_dsp_offset(int32_t zero_point, int32_t right_shift)
{
    return (int32_t)((uint32_t)(2 * zero_point + 1) << right_shift) >> 1;
}

/* From a value that is doubled already, saturated to int8. */
static inline int32_t hwcmp_dsp_scale_twice(int32_t twice, int32_t multiplier, int32_t offset, int32_t right_shift)
{
    const int32_t high = hwcmp_dsp_high_mac(twice, multiplier, offset + (twice >> 31));
    return hwcmp_dsp_saturate8(high >> right_shift);
}

/* Any |value| < 2^30, saturated to int8. */
static inline int32_t hwcmp_dsp_scale(int32_t value, int32_t multiplier, int32_t offset, int32_t right_shift)
{
    return hwcmp_dsp_scale_twice(2 * value, multiplier, offset, right_shift);
}

/* One output channel as the assembly loops read it. A channel outside the bounds above has shift 0 and its true
 * shift and zero point in the halves of `offset`. */
typedef struct {
    int32_t multiplier, offset, shift, bias;
} hwcmp_dsp_channel;

/* Any value, multiplier and shift (positive = left), saturated to int8. */
HWCMP_DSP_SHARED int8_t hwcmp_dsp_scale_literally(int32_t value, int32_t multiplier, int32_t shift,
                                                  int32_t zero_point);

HWCMP_DSP_SHARED int8_t hwcmp_dsp_scale_literally(int32_t value, int32_t multiplier, int32_t shift,
                                                  int32_t zero_point)
{
    const int32_t scaled = hwcmp_requantize(value, multiplier, shift);
    return (int8_t)hwcmp_clamp(hwcmp_wrap_add(scaled, zero_point), INT8_MIN, INT8_MAX);
}

/* `row_length` weights bound the sum: |sum| <= |bias| + row_length * 2^14. */
static inline hwcmp_dsp_channel hwcmp_dsp_channel_at(const hwcmp_output_stage *stage, int32_t ch, uint32_t row_length)
{
    const hwcmp_channels *channels = stage->channels;
    const int32_t entry = channels->channel_step == 0U ? 0 : ch;
    const int32_t bias = channels->bias[ch];
    const int32_t multiplier = channels->multiplier[entry];
    const int32_t shift = channels->shift[entry];
    const int32_t right = multiplier == 0 ? 1 : -shift;
    const int32_t limit = row_length < 65536U ? (INT32_C(1) << 30) - (int32_t)(row_length << 14) : 0;
    hwcmp_dsp_channel channel = {multiplier, 0, 0, bias};

    if (hwcmp_dsp_scale_is_fast(multiplier, right) && bias < limit && bias > -limit) {
        channel.offset = hwcmp_dsp_offset(stage->zero_point, right);
        channel.shift = right;
    } else {
        channel.offset = (int32_t)(((uint32_t)shift << 16) | ((uint32_t)stage->zero_point & 0xFFFFU));
    }
    return channel;
}

/* `sum` with the bias; saturated to int8. */
static inline int8_t hwcmp_dsp_finish(const hwcmp_dsp_channel *channel, int32_t sum)
{
    if (channel->shift != 0) {
        return (int8_t)hwcmp_dsp_scale(sum, channel->multiplier, channel->offset, channel->shift);
    }
    return hwcmp_dsp_scale_literally(sum, channel->multiplier, channel->offset >> 16,
                                     (int16_t)(channel->offset & 0xFFFF));
}

/* Clamps `count` outputs that are saturated to int8 to the activation's range: 6 instructions for 4. */
HWCMP_DSP_SHARED void hwcmp_dsp_clamp_all(int8_t *output, uint32_t count, int32_t low, int32_t high);

HWCMP_DSP_SHARED void hwcmp_dsp_clamp_all(int8_t *output, uint32_t count, int32_t low, int32_t high)
{
    const uint32_t lows = ((uint32_t)low & 0xFFU) * 0x01010101U;
    const uint32_t highs = ((uint32_t)high & 0xFFU) * 0x01010101U;

    for (; count >= 4U; count -= 4U) {
        uint32_t four = hwcmp_dsp_load(output);
        uint32_t unused;
        __asm__("ssub8 %1, %0, %2\n\tsel %0, %0, %2\n\tssub8 %1, %3, %0\n\tsel %0, %0, %3"
                : "+&r"(four), "=&r"(unused)
                : "r"(lows), "r"(highs));
        hwcmp_dsp_store(output, four);
        output += 4;
    }
    for (; count > 0U; count--) {
        *output = (int8_t)hwcmp_clamp(*output, low, high);
        output++;
    }
}

static inline void hwcmp_dsp_activate(int8_t *output, uint32_t count, int32_t low, int32_t high)
{
    if (low > INT8_MIN || high < INT8_MAX) {
        hwcmp_dsp_clamp_all(output, count, low, high);
    }
}

/* ---- weight rows -------------------------------------------------------------------------------------- */

/* Weight rows as the dot products want them: `stride` bytes apart and readable in whole words, so up to 3 bytes
 * behind a row. `last` replaces the row before `count` where it may not be read in place (never null). */
typedef struct {
    const int8_t *first, *last;
    uint32_t stride;
    int32_t count;
} hwcmp_dsp_rows;

static inline const int8_t *hwcmp_dsp_row(const hwcmp_dsp_rows *rows, int32_t row)
{
    return row == rows->count - 1 ? rows->last : rows->first + (size_t)row * rows->stride;
}

/* Whether rows can be read where they are, but for the last: a row of one
 * value is followed by too few others. */
static inline bool hwcmp_dsp_reads_in_place(const hwcmp_weights *weights)
{
    return hwcmp_weights_are_plain(weights) && weights->row_length > 1U;
}

/* Scratch for `at_once` rows: all of them, 4-byte aligned, or a copy of the last row if it ends within a word. */
static inline size_t hwcmp_dsp_rows_bytes(const hwcmp_weights *weights, int32_t at_once)
{
    const size_t length = hwcmp_align4(weights->row_length);

    if (hwcmp_dsp_reads_in_place(weights)) {
        return weights->row_length % 4U == 0U ? 0U : length;
    }
    return length * (size_t)at_once;
}

/* Rows [first, first + count) of opened weights; `scratch` as sized above. */
static inline hwcmp_dsp_rows hwcmp_dsp_rows_at(const hwcmp_weights *weights, int32_t first, int32_t count,
                                               int8_t *scratch)
{
    const size_t length = weights->row_length;
    hwcmp_dsp_rows rows = {scratch, NULL, (uint32_t)hwcmp_align4(length), count};

    if (hwcmp_dsp_reads_in_place(weights)) {
        rows.first = (const int8_t *)weights->payload + (size_t)first * length;
        rows.stride = (uint32_t)length;
    } else {
        weights->ops->unpack_rows(weights, (uint32_t)first, (uint32_t)count, rows.stride, scratch);
    }
    rows.last = rows.first + (size_t)(count - 1) * rows.stride;
    if (rows.stride % 4U != 0U && first + count == weights->rows) {
        memcpy(scratch, rows.last, length);
        rows.last = scratch;
    }
    return rows;
}

#endif
