/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of positions times 16 pixels: the inner loop of conv2d_runs.
 *
 * The tile has 16 bytes for each position of a window: the activations of 16 pixels. An entry of a list adds such a
 * line to 16 lanes of 16 bits in r0-r7 with SXTAB16, after which r0 holds pixels 0 and 2, r1 pixels 1 and 3, r2 pixels
 * 4 and 6 and so on. The lanes wrap, but the difference of the two sums of a group does not: at most 255 weights in a
 * group (the format's rule), |x| <= 128, so it is at most 32640. Multiplying by the group's value gives 32 bits.
 */
#ifndef HWCMP_DSP_RUN_LANES_H
#define HWCMP_DSP_RUN_LANES_H

#include "dsp.h"

enum { HWCMP_DSP_LANES = 16 };

/* How the sums of a channel become outputs. `bias` and the group values are scaled by 2^log_scale, which is part of the
 * rest:
 *   GENERAL     hwcmp_dsp_scale(), log_scale 1: its doubling of the value.
 *   RECTIFIED   the activation's lower end is at or above the output zero point z, so that the sum's sign, which
 *               double rounding asks for, does not matter: a negative sum gives z or less. With d = log_scale - 1 and
 *               k = HWCMP_DSP_RECTIFIED_SHIFT = s + d, multiplying numerator and denominator of dsp.h by 2^d:
 *                   floor((a 2^d m + (2^(d-1) + 2^(k-1)) 2^31) / 2^(31 + k)) + z = (smmla(a 2^(d+1), m, offset) >> k)
 *               for offset = 2^(d-1) + 2^(k-1) + z 2^k, d >= 1: the shift is the same for all channels, SSAT does it.
 *   LITERAL     log_scale 0; hwcmp_dsp_scale_literally() with shift and zero point in the halves of `offset`. */
enum { HWCMP_DSP_GENERAL, HWCMP_DSP_RECTIFIED, HWCMP_DSP_LITERAL };

#define HWCMP_DSP_RECTIFIED_SHIFT 14

/* The assembly below reads these words by offset. */
typedef struct {
    int32_t bias, multiplier, offset;
    uint8_t shift, log_scale, how, unused;
} hwcmp_dsp_run_channel;

typedef struct {
    const uint8_t *groups;                /*  0: of the first row */
    const int8_t *tile;                   /*  4 */
    uint32_t segment_bytes;               /*  8: of the tile, from segment to segment */
    const hwcmp_dsp_run_channel *channel; /* 12: of the first row */
    const hwcmp_dsp_run_channel *end;     /* 16: behind that of the last row */
    int8_t *output;                       /* 20: first pixel, first row's channel */
    uint32_t pixel_step;                  /* 24: bytes from pixel to pixel */
    uint32_t marks;                       /* 28: HWCMP_DSP_FIRST_GROUP, and HWCMP_DSP_WIDE for gaps of 8 bits */
    uint32_t pixels;                      /* 32: 16, or fewer if all channels are LITERAL */
} hwcmp_dsp_lanes_job;

/* Bits that a head does not use, set in its copy on the stack. */
#define HWCMP_DSP_FIRST_GROUP 0x01000000U
#define HWCMP_DSP_WIDE 0x02000000U

/* What the end of the stack frame holds. */
typedef struct {
    uint32_t pixels;
    int32_t sums[HWCMP_DSP_LANES];
} hwcmp_dsp_lane_sums;

HWCMP_DSP_SHARED void hwcmp_dsp_finish_lanes(const hwcmp_dsp_lane_sums *lanes, const hwcmp_dsp_run_channel *channel,
                                             int8_t *output, uint32_t pixel_step);
HWCMP_DSP_NAKED void hwcmp_dsp_run_lanes(const hwcmp_dsp_lanes_job *job);

/* LITERAL channels. */
HWCMP_DSP_SHARED __attribute__((used)) void hwcmp_dsp_finish_lanes(const hwcmp_dsp_lane_sums *lanes,
                                                                   const hwcmp_dsp_run_channel *channel,
                                                                   int8_t *output, uint32_t pixel_step)
{
    for (uint32_t i = 0; i < lanes->pixels; i++) {
        *output = hwcmp_dsp_scale_literally(lanes->sums[i], channel->multiplier, channel->offset >> 16,
                                            (int16_t)(channel->offset & 0xFFFF));
        output += pixel_step;
    }
}

/* One entry: gap in bits [bit, bit + bits) of lr, tile line in r12. 11 instructions for 16 pixels. */
#define HWCMP_RUN_ENTRY(label, bit, bits)    \
    label ":\n\t"                            \
    "ubfx r8, lr, #" bit ", #" bits "\n\t"   \
    "add r12, r12, r8, lsl #4\n\t"           \
    "ldmia r12!, {r8-r11}\n\t"               \
    "sxtab16 r0, r0, r8\n\t"                 \
    "sxtab16 r1, r1, r8, ror #8\n\t"         \
    "sxtab16 r2, r2, r9\n\t"                 \
    "sxtab16 r3, r3, r9, ror #8\n\t"         \
    "sxtab16 r4, r4, r10\n\t"                \
    "sxtab16 r5, r5, r10, ror #8\n\t"        \
    "sxtab16 r6, r6, r11\n\t"                \
    "sxtab16 r7, r7, r11, ror #8\n\t"
/* The list whose length is at bit `at` of the head in r9 and whose gaps begin at r8; leaves r8 behind it. Words are
 * loaded so that the last ends with the list; the first turn jumps over what lies before its beginning. An empty list
 * goes to label 89. length = 8 * words + unused, or 4 * words + unused; to_words is the shift to 4 * words. */
#define HWCMP_RUN_LIST_HEAD(mask, at, unused_bits, to_bytes, to_words) \
    "ands r11, r9, #" mask "\n\t"                 \
    "beq.w 89f\n\t"                               \
    "ubfx r10, r9, #" at ", #" unused_bits "\n\t" \
    "sub r8, r8, r10" to_bytes "\n\t"             \
    "add r11, r8, r11" to_words "\n\t"            \
    "ldr lr, [r8], #4\n\t"                        \
    "strd r8, r11, [sp]\n\t"                      \
    "ldr r12, [sp, #8]\n\t"                       \
    "tbb [pc, r10]\n"                             \
    "80:\n\t"
#define HWCMP_RUN_LIST_NEXT    \
    "81:\n\t"                  \
    "ldr lr, [r8], #4\n\t"     \
    "str r8, [sp]\n"
#define HWCMP_RUN_LIST_END     \
    "ldrd r8, r9, [sp]\n\t"    \
    "cmp r8, r9\n\t"           \
    "bne.w 81b\n\t"
#define HWCMP_RUN_NARROW(mask, at, to_words)                                                                 \
    HWCMP_RUN_LIST_HEAD(mask, at, "3", ", lsr #1", to_words)                                                 \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n\t"                                           \
    ".byte (74f-80b)/2, (75f-80b)/2, (76f-80b)/2, (77f-80b)/2\n"                                             \
    HWCMP_RUN_LIST_NEXT                                                                                      \
    HWCMP_RUN_ENTRY("70", "0", "4") HWCMP_RUN_ENTRY("71", "4", "4") HWCMP_RUN_ENTRY("72", "8", "4")          \
    HWCMP_RUN_ENTRY("73", "12", "4") HWCMP_RUN_ENTRY("74", "16", "4") HWCMP_RUN_ENTRY("75", "20", "4")       \
    HWCMP_RUN_ENTRY("76", "24", "4") HWCMP_RUN_ENTRY("77", "28", "4") HWCMP_RUN_LIST_END
#define HWCMP_RUN_WIDE(mask, at, to_words)                                                                   \
    HWCMP_RUN_LIST_HEAD(mask, at, "2", "", to_words)                                                         \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n"                                             \
    HWCMP_RUN_LIST_NEXT                                                                                      \
    HWCMP_RUN_ENTRY("70", "0", "8") HWCMP_RUN_ENTRY("71", "8", "8") HWCMP_RUN_ENTRY("72", "16", "8")         \
    HWCMP_RUN_ENTRY("73", "24", "8") HWCMP_RUN_LIST_END
#define HWCMP_RUN_NEGATE                                                                                     \
    "mov r10, #0\n\t"                                                                                        \
    "ssub16 r0, r10, r0\n\tssub16 r1, r10, r1\n\tssub16 r2, r10, r2\n\tssub16 r3, r10, r3\n\t"               \
    "ssub16 r4, r10, r4\n\tssub16 r5, r10, r5\n\tssub16 r6, r10, r6\n\tssub16 r7, r10, r7\n\t"               \
    "ldr r9, [sp, #12]\n"                                                                                    \
    "89:\n\t"
/* Four pixels from two lane registers: r8-r11 = value in r12 * lanes + what is named. */
#define HWCMP_RUN_SCALE(even, odd, s0, s1, s2, s3)     \
    "smlabb r8, " even ", r12, " s0 "\n\t"             \
    "smlabb r9, " odd ", r12, " s1 "\n\t"              \
    "smlatb r10, " even ", r12, " s2 "\n\t"            \
    "smlatb r11, " odd ", r12, " s3 "\n\t"
#define HWCMP_RUN_FIRST(even, odd) HWCMP_RUN_SCALE(even, odd, "lr", "lr", "lr", "lr")
#define HWCMP_RUN_AGAIN(even, odd) HWCMP_RUN_SCALE(even, odd, "r8", "r9", "r10", "r11")
/* hwcmp_dsp_scale() of twice the value: r4 multiplier, r5 offset, r6 right shift. */
#define HWCMP_RUN_GENERAL(sum, address)       \
    "add r7, r5, " sum ", asr #31\n\t"        \
    "smmlar " sum ", " sum ", r4, r7\n\t"     \
    "asr " sum ", " sum ", r6\n\t"            \
    "ssat " sum ", #8, " sum "\n\t"           \
    "strb " sum ", " address "\n\t"
#define HWCMP_RUN_RECTIFIED(sum, address)     \
    "smmla " sum ", " sum ", r4, r5\n\t"      \
    "ssat " sum ", #8, " sum ", asr #14\n\t"  \
    "strb " sum ", " address "\n\t"
#define HWCMP_RUN_FOUR(OUT)                   \
    "ldmia r12!, {r0-r3}\n\t"                 \
    OUT("r0", "[r9]")                         \
    OUT("r1", "[r9, r10]")                    \
    OUT("r2", "[r9, r10, lsl #1]")            \
    OUT("r3", "[r9, r11]")
#define HWCMP_RUN_SIXTEEN(OUT)                \
    HWCMP_RUN_FOUR(OUT)                       \
    "add r9, r9, r10, lsl #2\n\t"             \
    HWCMP_RUN_FOUR(OUT)                       \
    "add r9, r9, r10, lsl #2\n\t"             \
    HWCMP_RUN_FOUR(OUT)                       \
    "add r9, r9, r10, lsl #2\n\t"             \
    HWCMP_RUN_FOUR(OUT)

/* Stack: 0 next group, 4 list end, 8 tile of the segment, 12 head, 16..47 the job from `tile` on, whose channel and
 * output move on, 48..111 sums of 16 pixels. */
HWCMP_DSP_NAKED void hwcmp_dsp_run_lanes(const hwcmp_dsp_lanes_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        "push {r3-r11, lr}\n\t"
        "sub sp, sp, #112\n\t"
        "ldmia r0, {r1-r9}\n\t"
        "str r1, [sp]\n\t"
        "add r0, sp, #16\n\t"
        "stmia r0, {r2-r9}\n"
        /* a row */
        "1:\n\t"
        "ldr r8, [sp]\n\t"
        "ldr r10, [sp, #16]\n\t"
        "str r10, [sp, #8]\n\t"
        "ldr r9, [r8], #4\n\t"
        "ldr r10, [sp, #40]\n"
        /* a group */
        "2:\n\t"
        "orr r9, r9, r10\n\t"
        "str r9, [sp, #12]\n\t"
        "movs r0, #0\n\t"
        "movs r1, #0\n\t"
        "movs r2, #0\n\t"
        "movs r3, #0\n\t"
        "movs r4, #0\n\t"
        "movs r5, #0\n\t"
        "movs r6, #0\n\t"
        "movs r7, #0\n\t"
        "tst r9, #0x02000000\n\t"
        "bne.w 3f\n\t"
        HWCMP_RUN_NARROW("0xF8", "0", ", lsr #1")
        HWCMP_RUN_NEGATE
        HWCMP_RUN_NARROW("0xF800", "8", ", lsr #9")
        "89:\n\t"
        "b.w 4f\n"
        "3:\n\t"
        HWCMP_RUN_WIDE("0xFC", "0", "")
        HWCMP_RUN_NEGATE
        HWCMP_RUN_WIDE("0xFC00", "8", ", lsr #8")
        "89:\n"
        "4:\n\t"
        "ldr r9, [sp, #12]\n\t"
        "str r8, [sp]\n\t"
        "ldr r10, [sp, #24]\n\t"
        "ldrb r11, [r10, #13]\n\t"
        "ldr lr, [r10]\n\t"
        "sbfx r12, r9, #16, #8\n\t"
        "lsl r12, r12, r11\n\t"
        "tst r9, #0x01000000\n\t"
        "beq 7f\n\t"
        HWCMP_RUN_FIRST("r0", "r1")
        "strd r8, r9, [sp, #48]\n\t"
        "strd r10, r11, [sp, #56]\n\t"
        "add r0, sp, #64\n\t"
        HWCMP_RUN_FIRST("r2", "r3")
        "stmia r0!, {r8-r11}\n\t"
        HWCMP_RUN_FIRST("r4", "r5")
        "stmia r0!, {r8-r11}\n\t"
        HWCMP_RUN_FIRST("r6", "r7")
        "stmia r0!, {r8-r11}\n"
        "5:\n\t"
        "ldr r9, [sp, #12]\n\t"
        "lsls r7, r9, #1\n\t"
        "bcs 8f\n\t"
        /* another group, perhaps of the next segment */
        "bpl 6f\n\t"
        "ldr r10, [sp, #8]\n\t"
        "ldr r11, [sp, #20]\n\t"
        "add r10, r10, r11\n\t"
        "str r10, [sp, #8]\n"
        "6:\n\t"
        "ldr r8, [sp]\n\t"
        "ldr r10, [sp, #40]\n\t"
        "ldr r9, [r8], #4\n\t"
        "bic r10, r10, #0x01000000\n\t"
        "b.w 2b\n"
        "7:\n\t"
        "ldrd r8, r9, [sp, #48]\n\t"
        "ldrd r10, r11, [sp, #56]\n\t"
        HWCMP_RUN_AGAIN("r0", "r1")
        "strd r8, r9, [sp, #48]\n\t"
        "strd r10, r11, [sp, #56]\n\t"
        "add r0, sp, #64\n\t"
        "ldmia r0, {r8-r11}\n\t"
        HWCMP_RUN_AGAIN("r2", "r3")
        "stmia r0!, {r8-r11}\n\t"
        "ldmia r0, {r8-r11}\n\t"
        HWCMP_RUN_AGAIN("r4", "r5")
        "stmia r0!, {r8-r11}\n\t"
        "ldmia r0, {r8-r11}\n\t"
        HWCMP_RUN_AGAIN("r6", "r7")
        "stmia r0!, {r8-r11}\n\t"
        "b 5b\n"
        /* outputs of a row */
        "8:\n\t"
        "ldr lr, [sp, #24]\n\t"
        "ldrd r9, r10, [sp, #32]\n\t"
        "ldmia lr!, {r3-r6}\n\t"
        "add r7, r9, #1\n\t"
        "str lr, [sp, #24]\n\t"
        "str r7, [sp, #32]\n\t"
        "add r12, sp, #48\n\t"
        "add r11, r10, r10, lsl #1\n\t"
        "lsrs r7, r6, #16\n\t"
        "bne.w 9f\n\t"
        HWCMP_RUN_SIXTEEN(HWCMP_RUN_GENERAL)
        "10:\n\t"
        "ldr r7, [sp, #28]\n\t"
        "cmp lr, r7\n\t"
        "bne.w 1b\n\t"
        "add sp, sp, #112\n\t"
        "pop {r3-r11, pc}\n"
        "9:\n\t"
        "cmp r7, #1\n\t"
        "bne 11f\n\t"
        HWCMP_RUN_SIXTEEN(HWCMP_RUN_RECTIFIED)
        "b 10b\n"
        "11:\n\t"
        "add r0, sp, #44\n\t"
        "sub r1, lr, #16\n\t"
        "mov r2, r9\n\t"
        "mov r3, r10\n\t"
        "bl hwcmp_dsp_finish_lanes\n\t"
        "ldr lr, [sp, #24]\n\t"
        "b 10b\n");
}

#endif
