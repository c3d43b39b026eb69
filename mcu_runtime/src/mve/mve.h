/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels of the MVE arm share (Armv8.1-M with the vector extension: Cortex-M55, M85).
 * Activations and weights are read and written bytewise, so nothing need be aligned but scratch, to 4 bytes.
 * Tails are predicated: nothing is read behind the end of a tensor or a weight row.
 *
 * Larger functions are weak definitions in headers, so that a project lists nothing but the files of its ops and the
 * linker still keeps one copy of each.
 */
#ifndef HWCMP_MVE_H
#define HWCMP_MVE_H

#include "../hwcmp_internal.h"

#if !defined(__ARM_FEATURE_MVE)
#error "the MVE arm needs a core with the vector extension: choose another arm"
#endif
#include <arm_mve.h>

#define HWCMP_MVE_SHARED __attribute__((weak, noinline))
/* The same for a function written in assembly, whose parameters are named in r0-r3 only. */
#define HWCMP_MVE_NAKED __attribute__((weak, noinline, naked))
#define HWCMP_MVE_IN_REGISTER __attribute__((unused))

enum { HWCMP_MVE_BYTES = 16 /* of a vector */ };

/* ---- requantization, any constants -------------------------------------------------------------------- */

/* Four values with a multiplier and a shift (positive = left) each, without the output zero point. VQRDMULH is
 * TensorFlow Lite's first rounding; VRSHL rounds ties up, so negative values are lowered by one before a right
 * shift, which moves nothing but their ties. */
static inline int32x4_t hwcmp_mve_requantize(int32x4_t values, int32x4_t multipliers, int32x4_t shifts)
{
    const int32x4_t zero = vdupq_n_s32(0);
    const int32x4_t right = vminq_s32(shifts, zero);
    const int32x4_t high = vqrdmulhq_s32(vshlq_s32(values, vmaxq_s32(shifts, zero)), multipliers);
    const int32x4_t sign = vshrq_n_s32(vandq_s32(high, right), 31);

    return vrshlq_s32(vqaddq_s32(high, sign), right);
}

/* The same with the zero point, within the activation's range. */
static inline int32x4_t hwcmp_mve_finish(const hwcmp_output_stage *stage, int32x4_t values, int32x4_t multipliers,
                                         int32x4_t shifts)
{
    const int32x4_t scaled = vaddq_n_s32(hwcmp_mve_requantize(values, multipliers, shifts), stage->zero_point);
    return vminq_s32(vmaxq_s32(scaled, vdupq_n_s32(stage->low)), vdupq_n_s32(stage->high));
}

/* ---- requantization, common constants ----------------------------------------------------------------- */

/* TensorFlow Lite rounds twice: h = floor((a * m + 2^30) / 2^31), then h / 2^s with ties away from zero. For
 * 0 <= m < 2^31 and s >= 1 the second rounding is (h + 2^(s-1) - [h < 0]) >> s, and a may stand for h in the bracket,
 * because h = 0 where their signs differ. With the output zero point z this is, in four instructions for four values,
 *     t = offset + (a >> 31)          offset = 2^(s-1) + z * 2^s
 *     t = vqrdmlah(t, a, m)           t + h, saturated
 *     out = t >> s
 * exact for any a and s <= HWCMP_MVE_MAX_SHIFT: offset fits int32_t then, and a t that saturates is beyond -255..254
 * after the shift, as the true one would be. */
#define HWCMP_MVE_MAX_SHIFT 23U

/* One output channel as the assembly loops read it. */
typedef struct {
    int32_t multiplier, offset;
    int32_t shift; /* -s; 0 for a channel outside the bounds above: its shift and zero point are the halves of offset */
    int32_t bias;
} hwcmp_mve_channel;

static inline hwcmp_mve_channel hwcmp_mve_channel_at(const hwcmp_output_stage *stage, int32_t ch)
{
    const hwcmp_channels *channels = stage->channels;
    const int32_t entry = channels->channel_step == 0U ? 0 : ch;
    const int32_t multiplier = channels->multiplier[entry];
    const int32_t shift = channels->shift[entry];
    const int32_t right = multiplier == 0 ? 1 : -shift;
    hwcmp_mve_channel channel = {multiplier, 0, 0, channels->bias[ch]};

    if (multiplier >= 0 && (uint32_t)right - 1U < HWCMP_MVE_MAX_SHIFT) {
        channel.offset = (2 * stage->zero_point + 1) * (INT32_C(1) << (right - 1));
        channel.shift = -right;
    } else {
        channel.offset = (int32_t)(((uint32_t)shift << 16) | ((uint32_t)stage->zero_point & 0xFFFFU));
    }
    return channel;
}

/* Four sums of one channel, the bias not yet added; neither saturated nor clamped. */
static inline int32x4_t hwcmp_mve_scale(const hwcmp_mve_channel *channel, int32x4_t sums)
{
    const int32x4_t values = vaddq_n_s32(sums, channel->bias);

    if (channel->shift != 0) {
        const int32x4_t offsets = vaddq_n_s32(vshrq_n_s32(values, 31), channel->offset);
        return vshlq_r_s32(vqrdmlahq_n_s32(offsets, values, channel->multiplier), channel->shift);
    }
    const int32x4_t scaled = hwcmp_mve_requantize(values, vdupq_n_s32(channel->multiplier),
                                                  vdupq_n_s32(channel->offset >> 16));
    return vaddq_n_s32(scaled, (int16_t)(channel->offset & 0xFFFF));
}

#endif
