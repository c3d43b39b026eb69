/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels of the SWAR arm share: cores that multiply one pair of integers at a time (Armv6-M and Armv7-M:
 * Cortex-M0, M0+, M1, M3). One text of assembly serves both: its loops are written with the macros of core_v6m.h or
 * core_v7m.h. Words are read and written at 4-byte aligned addresses only.
 *
 * Larger functions are weak definitions in headers, so that a project lists nothing but the files of its ops and the
 * linker still keeps one copy of each.
 */
#ifndef HWCMP_SWAR_H
#define HWCMP_SWAR_H

#include "../hwcmp_internal.h"

#if !defined(__ARM_ARCH_PROFILE) || __ARM_ARCH_PROFILE != 'M'
#error "the SWAR arm needs a Cortex-M core: choose the reference arm"
#elif defined(__thumb2__)
#include "core_v7m.h"
#else
#include "core_v6m.h"
#endif

#define HWCMP_SWAR_SHARED __attribute__((weak, noinline))
/* The same for a function written in assembly, whose parameters are named in r0-r3 only. */
#define HWCMP_SWAR_NAKED __attribute__((weak, noinline, naked))
#define HWCMP_SWAR_IN_REGISTER __attribute__((unused))
#define HWCMP_SWAR_UNIFIED ".syntax unified\n\t"

/* ---- requantization ----------------------------------------------------------------------------------- */

/* TensorFlow Lite rounds twice: h = floor((a * m + 2^30) / 2^31), then h / 2^s with ties away from zero. For
 * 0 <= m < 2^31 and s >= 1 the second rounding is (h + 2^(s-1) - [h < 0]) >> s, and a may stand for h in the bracket,
 * because h = 0 where their signs differ. With the output zero point z:
 *     out = (h + offset + (a >> 31)) >> s          offset = 2^(s-1) + z * 2^s
 * Exact if |a| < 2^29 and s <= HWCMP_SWAR_MAX_SHIFT: |offset| <= 257 * 2^(s-1) < 2^30 and |h| <= 2^29 then. Everything
 * else takes hwcmp_requantize(). */
#define HWCMP_SWAR_MAX_SHIFT 22U
#define HWCMP_SWAR_LIMIT (INT32_C(1) << 29)

static inline bool hwcmp_swar_scale_is_fast(int32_t multiplier, int32_t right_shift)
{
    return multiplier >= 0 && (uint32_t)right_shift - 1U < HWCMP_SWAR_MAX_SHIFT;
}

static inline int32_t hwcmp_swar_offset(int32_t zero_point, int32_t right_shift)
{
    return (2 * zero_point + 1) * (INT32_C(1) << (right_shift - 1));
}

static inline int32_t hwcmp_swar_saturate8(int32_t value)
{
    return value == (int8_t)value ? value : (value >> 31) ^ INT8_MAX;
}

/* Any |value| < HWCMP_SWAR_LIMIT, saturated to int8. */
static inline int32_t hwcmp_swar_scale(int32_t value, int32_t multiplier, int32_t offset, int32_t right_shift)
{
    return hwcmp_swar_saturate8((hwcmp_swar_high_mul(value, multiplier) + offset + (value >> 31)) >> right_shift);
}

/* Any value, multiplier and shift (positive = left), saturated to int8. */
HWCMP_SWAR_SHARED int8_t hwcmp_swar_scale_literally(int32_t value, int32_t multiplier, int32_t shift,
                                                    int32_t zero_point);

HWCMP_SWAR_SHARED int8_t hwcmp_swar_scale_literally(int32_t value, int32_t multiplier, int32_t shift,
                                                    int32_t zero_point)
{
    const int32_t scaled = hwcmp_requantize(value, multiplier, shift);
    return (int8_t)hwcmp_clamp(hwcmp_wrap_add(scaled, zero_point), INT8_MIN, INT8_MAX);
}

/* One output channel as the assembly loops read it. A channel outside the bounds above has shift 0 and its true
 * shift and zero point in the halves of `offset`. */
typedef struct {
    int32_t multiplier, offset, shift, bias;
} hwcmp_swar_channel;

/* `row_length` weights bound the sum: |sum| <= |bias| + row_length * 2^14. */
static inline hwcmp_swar_channel hwcmp_swar_channel_at(const hwcmp_output_stage *stage, int32_t ch,
                                                       uint32_t row_length)
{
    const hwcmp_channels *channels = stage->channels;
    const int32_t entry = channels->channel_step == 0U ? 0 : ch;
    const int32_t bias = channels->bias[ch];
    const int32_t multiplier = channels->multiplier[entry];
    const int32_t shift = channels->shift[entry];
    const int32_t right = multiplier == 0 ? 1 : -shift;
    const int32_t limit = row_length < 32768U ? HWCMP_SWAR_LIMIT - (int32_t)(row_length << 14) : 0;
    hwcmp_swar_channel channel = {multiplier, 0, 0, bias};

    if (hwcmp_swar_scale_is_fast(multiplier, right) && bias < limit && bias > -limit) {
        channel.offset = hwcmp_swar_offset(stage->zero_point, right);
        channel.shift = right;
    } else {
        channel.offset = (int32_t)(((uint32_t)shift << 16) | ((uint32_t)stage->zero_point & 0xFFFFU));
    }
    return channel;
}

/* Four sums, the bias in them, to outputs `step` bytes apart: the channels for which hwcmp_swar_scale() is not exact. */
HWCMP_SWAR_SHARED void hwcmp_swar_finish_four(const int32_t *sums, const hwcmp_swar_channel *channel, int8_t *output,
                                              uint32_t step);

HWCMP_SWAR_SHARED void hwcmp_swar_finish_four(const int32_t *sums, const hwcmp_swar_channel *channel, int8_t *output,
                                              uint32_t step)
{
    for (int32_t i = 0; i < 4; i++) {
        *output = hwcmp_swar_scale_literally(sums[i], channel->multiplier, channel->offset >> 16,
                                             (int16_t)(channel->offset & 0xFFFF));
        output += step;
    }
}

/* Clamps `count` outputs that are saturated to int8 to the activation's range. */
HWCMP_SWAR_SHARED void hwcmp_swar_clamp_all(int8_t *output, uint32_t count, int32_t low, int32_t high);

HWCMP_SWAR_SHARED void hwcmp_swar_clamp_all(int8_t *output, uint32_t count, int32_t low, int32_t high)
{
    for (const int8_t *end = output + count; output != end; output++) {
        const int32_t value = *output;
        if (value < low) {
            *output = (int8_t)low;
        } else if (value > high) {
            *output = (int8_t)high;
        }
    }
}

static inline void hwcmp_swar_activate(int8_t *output, uint32_t count, int32_t low, int32_t high)
{
    if (low > INT8_MIN || high < INT8_MAX) {
        hwcmp_swar_clamp_all(output, count, low, high);
    }
}

/* ---- assembly shared by the loops --------------------------------------------------------------------- */

/* The sums of the loops are r8-r11, those of four outputs of one channel. */
#define HWCMP_SWAR_PUSH_ALL \
    "push {r4-r7, lr}\n\t"  \
    "mov r4, r8\n\t"        \
    "mov r5, r9\n\t"        \
    "mov r6, r10\n\t"       \
    "mov r7, r11\n\t"       \
    "push {r4-r7}\n\t"
#define HWCMP_SWAR_POP_ALL  \
    "pop {r4-r7}\n\t"       \
    "mov r8, r4\n\t"        \
    "mov r9, r5\n\t"        \
    "mov r10, r6\n\t"       \
    "mov r11, r7\n\t"       \
    "pop {r4-r7, pc}\n"
#define HWCMP_SWAR_SET_SUMS(a, b, c, d) \
    "mov r8, " a "\n\t"     \
    "mov r9, " b "\n\t"     \
    "mov r10, " c "\n\t"    \
    "mov r11, " d "\n\t"
#define HWCMP_SWAR_GET_SUMS \
    "mov r1, r8\n\t"        \
    "mov r2, r9\n\t"        \
    "mov r3, r10\n\t"       \
    "mov r4, r11\n\t"
/* r1-r4 times the weight in r5. */
#define HWCMP_SWAR_MAC_FOUR       \
    HWCMP_SWAR_MAC("r8", "r1")    \
    HWCMP_SWAR_MAC("r9", "r2")    \
    HWCMP_SWAR_MAC("r10", "r3")   \
    HWCMP_SWAR_MAC("r11", "r4")

/* The four sums to outputs; r3 channel, output in the stack slot `output`, step in `step`. A channel with shift 0 goes on
 * at the label 8, with r3 behind it. */
#define HWCMP_SWAR_FINISH(output, step)       \
    "ldmia r3!, {r4-r7}\n\t"                  \
    "cmp r6, #0\n\t"                          \
    "bne 0f\n\t"                              \
    "b 8f\n"                                  \
    "0:\n\t"                                  \
    HWCMP_SWAR_CONSTANTS                      \
    "mov r0, r8\n\t"                          \
    HWCMP_SWAR_SCALE                          \
    "ldr r1, [sp, #" output "]\n\t"           \
    "mov r8, r1\n\t"                          \
    "strb r0, [r1]\n\t"                       \
    "mov r0, r9\n\t"                          \
    HWCMP_SWAR_SCALE                          \
    "ldr r1, [sp, #" step "]\n\t"             \
    "mov r9, r1\n\t"                          \
    "add r8, r9\n\t"                          \
    "mov r1, r8\n\t"                          \
    "strb r0, [r1]\n\t"                       \
    "mov r0, r10\n\t"                         \
    HWCMP_SWAR_SCALE                          \
    "add r8, r9\n\t"                          \
    "mov r1, r8\n\t"                          \
    "strb r0, [r1]\n\t"                       \
    "mov r0, r11\n\t"                         \
    HWCMP_SWAR_SCALE                          \
    "add r8, r9\n\t"                          \
    "mov r1, r8\n\t"                          \
    "strb r0, [r1]\n"

#endif
