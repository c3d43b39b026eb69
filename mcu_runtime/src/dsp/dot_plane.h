/* SPDX-License-Identifier: Apache-2.0
 *
 * 3x3 windows over an int16 plane of one channel, four neighbours at a time: the inner loops of depthwise_conv2d.
 *
 * Taps and bias come multiplied by a power of two, so the sums are too:
 *   - HALVES: by 2. The doubling that hwcmp_dsp_scale() wants is done; 5 instructions for an output of any layer.
 *   - POSITIVE: by 2^(j + 1) with j = HWCMP_DSP_PLANE_SHIFT - s, which makes the final shift the same for every
 *     channel: 3 instructions for an output. Outputs below the zero point are wrong there, but not above it, so the
 *     layer must clamp at its zero point or above (a fused ReLU). In the terms of hwcmp_dsp_scale() and scaled by 2^j,
 *         out = floor((2^(j+1) * a * m + (2^(s-1) * 2^j - [a < 0] * 2^j + 2^(j-1) + z * 2^(s+j)) * 2^32) / 2^(32+s+j))
 *     is SMMLA with offset 2^(K-1) + 2^(j-1) + z * 2^K and a shift by K = s + j, but for [a < 0]: without that term a
 *     negative sum still gives at most z, because its first rounding h is at most 0 and (h + 2^(s-1)) >> s is too.
 */
#ifndef HWCMP_DSP_DOT_PLANE_H
#define HWCMP_DSP_DOT_PLANE_H

#include "dsp.h"

/* K above. j >= 1 keeps 2^(j-1) an integer, j <= 7 keeps 2^(j+1) * tap in int16. */
#define HWCMP_DSP_PLANE_SHIFT 11
#define HWCMP_DSP_PLANE_SHIFT_TEXT "11"
enum { HWCMP_DSP_PLANE_MOST = 7 };

/* The assembly below reads these words by offset and moves line and output on. */
typedef struct {
    int32_t multiplier, offset; /*  0 */
    int32_t shift;              /*  8: of HALVES */
    uint32_t output_step;       /* 12: bytes from output to output in a line */
    const int8_t *blocks_end;   /* 16: set by the assembly */
    uint32_t bias;              /* 20: scaled as the taps are */
    uint32_t taps[6];           /* 24: (t0 t1) (t1 t2) of each line */
    const int16_t *line;        /* 48: first of the three lines of the next output line, 4-byte aligned */
    int8_t *output;             /* 52 */
    uint32_t line_step;         /* 56: bytes in the plane from output line to output line */
    uint32_t output_line_step;  /* 60: bytes from output line to output line */
    uint32_t line_bytes;        /* 64: from line to line of the plane, a multiple of 4 */
    uint32_t blocks_bytes;      /* 68: of a line of the plane: whole blocks of four outputs, may be 0 */
    uint32_t rest;              /* 72: outputs behind them, 0..3 */
    uint32_t lines;             /* 76: output lines left, >= 1 */
} hwcmp_dsp_plane_job;

/* Windows `stride` lanes apart; a line of n outputs reads 2 * ((n + 1) / 2) * stride + 2 values. */
static void hwcmp_dsp_plane_halves_stride1(hwcmp_dsp_plane_job *job);
static void hwcmp_dsp_plane_halves_stride2(hwcmp_dsp_plane_job *job);
static void hwcmp_dsp_plane_positive_stride1(hwcmp_dsp_plane_job *job);
static void hwcmp_dsp_plane_positive_stride2(hwcmp_dsp_plane_job *job);

/* r0-r3 sums of four outputs, r4-r6 values (x0 x1) (x2 x3) (x4 x5), r7 taps (t0 t1), r8 taps (t1 t2), r9 plane,
 * r10 output, r11 line_bytes, r12 job, lr from the third line to the next block. a0..a3: what the sums begin with. */
#define HWCMP_PLANE_FOUR_STRIDE1(taps, a0, a1, a2, a3) \
    "ldm r9, {r4-r6}\n\t"                              \
    "ldrd r7, r8, [r12, #" taps "]\n\t"                \
    "smlad r0, r4, r7, " a0 "\n\t"                     \
    "smlatb r1, r4, r7, " a1 "\n\t"                    \
    "smlad r2, r5, r7, " a2 "\n\t"                     \
    "smlatb r3, r5, r7, " a3 "\n\t"                    \
    "smlabt r0, r5, r8, r0\n\t"                        \
    "smlad r1, r5, r8, r1\n\t"                         \
    "smlabt r2, r6, r8, r2\n\t"                        \
    "smlad r3, r6, r8, r3\n\t"
#define HWCMP_PLANE_FOUR_STRIDE2(taps, a0, a1, a2, a3) \
    "ldm r9, {r4-r6}\n\t"                              \
    "ldrd r7, r8, [r12, #" taps "]\n\t"                \
    "smlad r0, r4, r7, " a0 "\n\t"                     \
    "smlad r1, r5, r7, " a1 "\n\t"                     \
    "smlabt r0, r5, r8, r0\n\t"                        \
    "smlad r2, r6, r7, " a2 "\n\t"                     \
    "smlabt r1, r6, r8, r1\n\t"                        \
    "ldrd r4, r5, [r9, #12]\n\t"                       \
    "smlabt r2, r4, r8, r2\n\t"                        \
    "smlad r3, r4, r7, " a3 "\n\t"                     \
    "smlabt r3, r5, r8, r3\n\t"
/* Two outputs. */
#define HWCMP_PLANE_TWO_STRIDE1(taps, a0, a1) \
    "ldrd r4, r5, [r9]\n\t"                   \
    "ldrd r7, r8, [r12, #" taps "]\n\t"       \
    "smlad r0, r4, r7, " a0 "\n\t"            \
    "smlatb r1, r4, r7, " a1 "\n\t"           \
    "smlabt r0, r5, r8, r0\n\t"               \
    "smlad r1, r5, r8, r1\n\t"
#define HWCMP_PLANE_TWO_STRIDE2(taps, a0, a1) \
    "ldm r9, {r4-r6}\n\t"                     \
    "ldrd r7, r8, [r12, #" taps "]\n\t"       \
    "smlad r0, r4, r7, " a0 "\n\t"            \
    "smlad r1, r5, r7, " a1 "\n\t"            \
    "smlabt r0, r5, r8, r0\n\t"               \
    "smlabt r1, r6, r8, r1\n\t"
/* r4 multiplier, r5 offset, r6 shift. */
#define HWCMP_PLANE_OUT_HALVES(sum, address) \
    "add r8, r5, " sum ", asr #31\n\t"       \
    "smmlar r8, " sum ", r4, r8\n\t"         \
    "asr r8, r8, r6\n\t"                     \
    "ssat r8, #8, r8\n\t"                    \
    "strb r8, " address "\n\t"
#define HWCMP_PLANE_OUT_POSITIVE(sum, address)                            \
    "smmla " sum ", " sum ", r4, r5\n\t"                                  \
    "ssat " sum ", #8, " sum ", asr #" HWCMP_DSP_PLANE_SHIFT_TEXT "\n\t" \
    "strb " sum ", " address "\n\t"
#define HWCMP_PLANE_LOOP(FOUR, TWO, OUT, four_bytes, two_bytes) \
    "push {r4-r11, lr}\n\t"                                     \
    "mov r12, r0\n\t"                                           \
    "ldr r11, [r12, #64]\n\t"                                   \
    "rsb lr, r11, #0\n\t"                                       \
    "lsl lr, lr, #1\n\t"                                        \
    "add lr, lr, #" four_bytes "\n"                             \
    "1:\n\t"                                                    \
    "ldrd r9, r10, [r12, #48]\n\t"                              \
    "ldrd r0, r1, [r12, #56]\n\t"                               \
    "ldrd r2, r3, [r12, #68]\n\t"                               \
    "add r0, r0, r9\n\t"                                        \
    "add r1, r1, r10\n\t"                                       \
    "strd r0, r1, [r12, #48]\n\t"                               \
    "cmp r2, #0\n\t"                                            \
    "beq 3f\n\t"                                                \
    "add r2, r2, r9\n\t"                                        \
    "str r2, [r12, #16]\n"                                      \
    "2:\n\t"                                                    \
    "ldr r3, [r12, #20]\n\t"                                    \
    FOUR("24", "r3", "r3", "r3", "r3")                          \
    "add r9, r9, r11\n\t"                                       \
    FOUR("32", "r0", "r1", "r2", "r3")                          \
    "add r9, r9, r11\n\t"                                       \
    FOUR("40", "r0", "r1", "r2", "r3")                          \
    "add r9, r9, lr\n\t"                                        \
    "ldm r12, {r4-r8}\n\t"                                      \
    "cmp r9, r8\n\t"                                            \
    OUT("r0", "[r10]")                                          \
    OUT("r1", "[r10, r7]")                                      \
    "add r10, r10, r7, lsl #1\n\t"                              \
    OUT("r2", "[r10]")                                          \
    OUT("r3", "[r10, r7]")                                      \
    "add r10, r10, r7, lsl #1\n\t"                              \
    "bne 2b\n\t"                                                \
    "ldr r3, [r12, #72]\n"                                      \
    "3:\n\t"                                                    \
    "cmp r3, #0\n\t"                                            \
    "beq 5f\n"                                                  \
    "4:\n\t"                                                    \
    "ldr r1, [r12, #20]\n\t"                                    \
    TWO("24", "r1", "r1")                                       \
    "add r9, r9, r11\n\t"                                       \
    TWO("32", "r0", "r1")                                       \
    "add r9, r9, r11\n\t"                                       \
    TWO("40", "r0", "r1")                                       \
    "ldm r12, {r4-r7}\n\t"                                      \
    OUT("r0", "[r10]")                                          \
    "subs r3, r3, #1\n\t"                                       \
    "beq 5f\n\t"                                                \
    OUT("r1", "[r10, r7]")                                      \
    "add r10, r10, r7, lsl #1\n\t"                              \
    "add r9, r9, lr\n\t"                                        \
    "sub r9, r9, #" two_bytes "\n\t"                            \
    "subs r3, r3, #1\n\t"                                       \
    "bne 4b\n"                                                  \
    "5:\n\t"                                                    \
    "ldr r0, [r12, #76]\n\t"                                    \
    "subs r0, r0, #1\n\t"                                       \
    "str r0, [r12, #76]\n\t"                                    \
    "bne 1b\n\t"                                                \
    "pop {r4-r11, pc}\n"

static __attribute__((naked, noinline)) void hwcmp_dsp_plane_halves_stride1(hwcmp_dsp_plane_job *job
                                                                                HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_PLANE_LOOP(HWCMP_PLANE_FOUR_STRIDE1, HWCMP_PLANE_TWO_STRIDE1, HWCMP_PLANE_OUT_HALVES, "8", "4"));
}

static __attribute__((naked, noinline)) void hwcmp_dsp_plane_halves_stride2(hwcmp_dsp_plane_job *job
                                                                                HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_PLANE_LOOP(HWCMP_PLANE_FOUR_STRIDE2, HWCMP_PLANE_TWO_STRIDE2, HWCMP_PLANE_OUT_HALVES, "16", "8"));
}

static __attribute__((naked, noinline)) void hwcmp_dsp_plane_positive_stride1(hwcmp_dsp_plane_job *job
                                                                                  HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_PLANE_LOOP(HWCMP_PLANE_FOUR_STRIDE1, HWCMP_PLANE_TWO_STRIDE1, HWCMP_PLANE_OUT_POSITIVE, "8", "4"));
}

static __attribute__((naked, noinline)) void hwcmp_dsp_plane_positive_stride2(hwcmp_dsp_plane_job *job
                                                                                  HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_PLANE_LOOP(HWCMP_PLANE_FOUR_STRIDE2, HWCMP_PLANE_TWO_STRIDE2, HWCMP_PLANE_OUT_POSITIVE, "16", "8"));
}

#endif
