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
#define HWCMP_DSP_GENERAL 0U
#define HWCMP_DSP_LITERAL 0x40000000U
#define HWCMP_DSP_RECTIFIED 0x80000000U

#define HWCMP_DSP_RECTIFIED_SHIFT 14

/* The assembly below reads these words by offset. how: one of the three | s << 8 | log_scale. */
typedef struct {
    int32_t multiplier, offset;
    uint32_t how;
    int32_t bias;
} hwcmp_dsp_run_channel;

typedef struct {
    const uint8_t *groups;                /*  0: of the first row */
    const int8_t *tile;                   /*  4 */
    uint32_t segment_bytes;               /*  8: of the tile, from segment to segment */
    const hwcmp_dsp_run_channel *channel; /* 12: of the first row */
    const hwcmp_dsp_run_channel *end;     /* 16: behind that of the last row */
    int8_t *output;                       /* 20: 16 pixels, first row's channel */
    uint32_t pixel_step;                  /* 24: bytes from pixel to pixel */
    uint32_t is_wide;                     /* 28: gaps of 8 bits */
} hwcmp_dsp_lanes_job;

HWCMP_DSP_SHARED void hwcmp_dsp_finish_lanes(const int32_t *sums, const hwcmp_dsp_run_channel *channel, int8_t *output,
                                             uint32_t pixel_step);
HWCMP_DSP_NAKED void hwcmp_dsp_run_lanes(const hwcmp_dsp_lanes_job *job);

/* LITERAL channels. */
HWCMP_DSP_SHARED __attribute__((used)) void hwcmp_dsp_finish_lanes(const int32_t *sums,
                                                                   const hwcmp_dsp_run_channel *channel,
                                                                   int8_t *output, uint32_t pixel_step)
{
    for (uint32_t i = 0; i < HWCMP_DSP_LANES; i++) {
        *output = hwcmp_dsp_scale_literally(sums[i], channel->multiplier, channel->offset >> 16,
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
/* The list whose length is at bit `at` of the head in r9 and whose gaps begin at r8: leaves the gaps that it does not
 * use in r10, a word of gaps in lr and the tile in r12. Words are loaded so that the last ends with the list; the first
 * turn jumps over what lies before its beginning. An empty list goes to the label `none`.
 * length = 8 * words + unused, or 4 * words + unused; to_words is the shift to 4 * words. */
#define HWCMP_RUN_LIST_HEAD(none, mask, at, unused_bits, to_bytes, to_words) \
    "ands r11, r9, #" mask "\n\t"                 \
    "beq.w " none "\n\t"                         \
    "ubfx r10, r9, #" at ", #" unused_bits "\n\t" \
    "sub r8, r8, r10" to_bytes "\n\t"             \
    "add r11, r8, r11" to_words "\n\t"            \
    "ldr lr, [r8], #4\n\t"                        \
    "strd r8, r11, [sp]\n\t"                      \
    "ldr r12, [sp, #8]\n\t"
/* The first entry of the first list of a group: sets the lanes. Gaps of 2^log_bits bits. */
#define HWCMP_RUN_FIRST_ENTRY(log_bits, bits)    \
    "lsl r9, r10, #" log_bits "\n\t"            \
    "lsr r9, lr, r9\n\t"                        \
    "ubfx r9, r9, #0, #" bits "\n\t"            \
    "add r12, r12, r9, lsl #4\n\t"              \
    "ldmia r12!, {r0, r2, r4, r6}\n\t"          \
    "sxtb16 r1, r0, ror #8\n\t"                 \
    "sxtb16 r0, r0\n\t"                         \
    "sxtb16 r3, r2, ror #8\n\t"                 \
    "sxtb16 r2, r2\n\t"                         \
    "sxtb16 r5, r4, ror #8\n\t"                 \
    "sxtb16 r4, r4\n\t"                         \
    "sxtb16 r7, r6, ror #8\n\t"                 \
    "sxtb16 r6, r6\n\t"
#define HWCMP_RUN_JUMP         \
    "tbb [pc, r10]\n"         \
    "80:\n\t"
#define HWCMP_RUN_LIST_NEXT    \
    "81:\n\t"                  \
    "ldr lr, [r8], #4\n\t"     \
    "str r8, [sp]\n"
/* r10 becomes 0. */
#define HWCMP_RUN_LIST_END     \
    "78:\n\t"                  \
    "ldrd r8, r9, [sp]\n\t"    \
    "subs r10, r8, r9\n\t"     \
    "bne.w 81b\n\t"
#define HWCMP_RUN_8_ENTRIES                                                                                  \
    HWCMP_RUN_LIST_NEXT                                                                                      \
    HWCMP_RUN_ENTRY("70", "0", "4") HWCMP_RUN_ENTRY("71", "4", "4") HWCMP_RUN_ENTRY("72", "8", "4")          \
    HWCMP_RUN_ENTRY("73", "12", "4") HWCMP_RUN_ENTRY("74", "16", "4") HWCMP_RUN_ENTRY("75", "20", "4")       \
    HWCMP_RUN_ENTRY("76", "24", "4") HWCMP_RUN_ENTRY("77", "28", "4") HWCMP_RUN_LIST_END
#define HWCMP_RUN_4_ENTRIES                                                                                  \
    HWCMP_RUN_LIST_NEXT                                                                                      \
    HWCMP_RUN_ENTRY("70", "0", "8") HWCMP_RUN_ENTRY("71", "8", "8") HWCMP_RUN_ENTRY("72", "16", "8")         \
    HWCMP_RUN_ENTRY("73", "24", "8") HWCMP_RUN_LIST_END
#define HWCMP_RUN_NARROW_MINUS                                               \
    HWCMP_RUN_LIST_HEAD("88b", "0xF8", "0", "3", ", lsr #1", ", lsr #1")     \
    HWCMP_RUN_FIRST_ENTRY("2", "4")                                          \
    HWCMP_RUN_JUMP                                                           \
    ".byte (71f-80b)/2, (72f-80b)/2, (73f-80b)/2, (74f-80b)/2\n\t"           \
    ".byte (75f-80b)/2, (76f-80b)/2, (77f-80b)/2, (78f-80b)/2\n"             \
    HWCMP_RUN_8_ENTRIES
#define HWCMP_RUN_NARROW_PLUS                                                \
    HWCMP_RUN_LIST_HEAD("89f", "0xF800", "8", "3", ", lsr #1", ", lsr #9")   \
    HWCMP_RUN_JUMP                                                           \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n\t"           \
    ".byte (74f-80b)/2, (75f-80b)/2, (76f-80b)/2, (77f-80b)/2\n"             \
    HWCMP_RUN_8_ENTRIES
#define HWCMP_RUN_WIDE_MINUS                                                 \
    HWCMP_RUN_LIST_HEAD("88b", "0xFC", "0", "2", "", "")                     \
    HWCMP_RUN_FIRST_ENTRY("3", "8")                                          \
    HWCMP_RUN_JUMP                                                           \
    ".byte (71f-80b)/2, (72f-80b)/2, (73f-80b)/2, (78f-80b)/2\n"             \
    HWCMP_RUN_4_ENTRIES
#define HWCMP_RUN_WIDE_PLUS                                                  \
    HWCMP_RUN_LIST_HEAD("89f", "0xFC00", "8", "2", "", ", lsr #8")           \
    HWCMP_RUN_JUMP                                                           \
    ".byte (70f-80b)/2, (71f-80b)/2, (72f-80b)/2, (73f-80b)/2\n"             \
    HWCMP_RUN_4_ENTRIES
/* The lanes times -1 (r10 is 0). */
#define HWCMP_RUN_NEGATE                                                                                     \
    "ssub16 r0, r10, r0\n\tssub16 r1, r10, r1\n\tssub16 r2, r10, r2\n\tssub16 r3, r10, r3\n\t"               \
    "ssub16 r4, r10, r4\n\tssub16 r5, r10, r5\n\tssub16 r6, r10, r6\n\tssub16 r7, r10, r7\n\t"               \
    "ldr r9, [sp, #12]\n"                                                                                    \
    "87:\n\t"
/* In place of a minus list that is empty; the plus list may be, too. */
#define HWCMP_RUN_NO_MINUS                                                                                   \
    "88:\n\t"                                                                                                \
    "movs r0, #0\n\tmovs r1, #0\n\tmovs r2, #0\n\tmovs r3, #0\n\t"                                           \
    "movs r4, #0\n\tmovs r5, #0\n\tmovs r6, #0\n\tmovs r7, #0\n\t"                                           \
    "str r8, [sp]\n\t"                                                                                       \
    "b.w 87f\n"
/* Two pixels from a lane register: value in lr * lane + what is named. */
#define HWCMP_RUN_SCALE(even, odd, s0, s1, s2, s3)     \
    "smlabb r8, " even ", lr, " s0 "\n\t"             \
    "smlabb r9, " odd ", lr, " s1 "\n\t"              \
    "smlatb r10, " even ", lr, " s2 "\n\t"            \
    "smlatb r11, " odd ", lr, " s3 "\n\t"
#define HWCMP_RUN_FIRST(even, odd) HWCMP_RUN_SCALE(even, odd, "r12", "r12", "r12", "r12")
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
/* RECTIFIED without a detour through memory: half `half` of `lane`, in `to`. r8 multiplier, r9 offset, r12 bias, lr
 * value. */
#define HWCMP_RUN_DIRECT(to, lane, half)      \
    "smla" half "b " to ", " lane ", lr, r12\n\t" \
    "smmla " to ", " to ", r8, r9\n\t"        \
    "ssat " to ", #8, " to ", asr #14\n\t"
/* Four pixels more from r10 on: r0 three pixels, r11 one; r1 is free. */
#define HWCMP_RUN_DIRECT_FOUR(even, odd)      \
    "add r10, r10, r11, lsl #2\n\t"           \
    HWCMP_RUN_DIRECT("r1", even, "b")         \
    "strb r1, [r10]\n\t"                      \
    HWCMP_RUN_DIRECT("r1", odd, "b")          \
    "strb r1, [r10, r11]\n\t"                 \
    HWCMP_RUN_DIRECT("r1", even, "t")         \
    "strb r1, [r10, r11, lsl #1]\n\t"         \
    HWCMP_RUN_DIRECT("r1", odd, "t")          \
    "strb r1, [r10, r0]\n\t"

/* Stack: 0 next group, 4 list end, 8 tile of the segment, 12 head, 16..39 the job from `tile` to `pixel_step`, whose
 * channel and output move on, 40 where rows begin in the code, 48..111 sums of 16 pixels. The copy of a head that is
 * not the first of its row has bit 24 set and END_ROW in bit 25 instead of 31. */
HWCMP_DSP_NAKED void hwcmp_dsp_run_lanes(const hwcmp_dsp_lanes_job *job HWCMP_DSP_IN_REGISTER)
{
    __asm__ volatile(
        "push {r3-r11, lr}\n\t"
        "sub sp, sp, #112\n\t"
        "ldmia r0, {r1-r8}\n\t"
        "str r2, [sp, #8]\n\t"
        "add r0, sp, #16\n\t"
        "stmia r0, {r2-r7}\n\t"
        "adr.w r0, 1f\n\t"
        "cmp r8, #0\n\t"
        "bne 0f\n\t"
        "adr.w r0, 3f\n"
        "0:\n\t"
        "orr r0, r0, #1\n\t"
        "mov r8, r1\n\t"
        "str r0, [sp, #40]\n\t"
        "bx r0\n"
        /* a row with gaps of 8 bits; r8 its first head */
        HWCMP_RUN_NO_MINUS
        "1:\n\t"
        "ldr r9, [r8], #4\n\t"
        "str r9, [sp, #12]\n\t"
        HWCMP_RUN_WIDE_MINUS
        HWCMP_RUN_NEGATE
        HWCMP_RUN_WIDE_PLUS
        "89:\n\t"
        "b.w 5f\n"
        /* the same with gaps of 4 bits */
        HWCMP_RUN_NO_MINUS
        "3:\n\t"
        "ldr r9, [r8], #4\n\t"
        "str r9, [sp, #12]\n\t"
        HWCMP_RUN_NARROW_MINUS
        HWCMP_RUN_NEGATE
        HWCMP_RUN_NARROW_PLUS
        "89:\n"
        /* the sums of a group; the only one of a row whose channel is RECTIFIED goes on here */
        "5:\n\t"
        "ldr r11, [sp, #12]\n\t"
        "ldr lr, [sp, #24]\n\t"
        "ldmia lr!, {r8-r10, r12}\n\t"
        "tst r10, r11\n\t"
        "bpl.w 6f\n\t"
        "str lr, [sp, #24]\n\t"
        "sbfx lr, r11, #16, #8\n\t"
        "lsl lr, lr, r10\n\t"
        "ldr r10, [sp, #32]\n\t"
        "add r11, r10, #1\n\t"
        "str r11, [sp, #32]\n\t"
        HWCMP_RUN_DIRECT("r11", "r0", "b")
        "strb r11, [r10]\n\t"
        HWCMP_RUN_DIRECT("r0", "r0", "t")
        "ldr r11, [sp, #36]\n\t"
        "strb r0, [r10, r11, lsl #1]\n\t"
        HWCMP_RUN_DIRECT("r0", "r1", "b")
        "strb r0, [r10, r11]\n\t"
        HWCMP_RUN_DIRECT("r1", "r1", "t")
        "add r0, r11, r11, lsl #1\n\t"
        "strb r1, [r10, r0]\n\t"
        HWCMP_RUN_DIRECT_FOUR("r2", "r3")
        HWCMP_RUN_DIRECT_FOUR("r4", "r5")
        HWCMP_RUN_DIRECT_FOUR("r6", "r7")
        "ldrd r6, r7, [sp, #24]\n\t"
        "12:\n\t"
        "ldr r8, [sp]\n\t"
        "cmp r6, r7\n\t"
        "beq 13f\n\t"
        "ldr pc, [sp, #40]\n"
        "13:\n\t"
        "add sp, sp, #112\n\t"
        "pop {r3-r11, pc}\n"
        /* other groups: sums to memory */
        "6:\n\t"
        "sbfx lr, r11, #16, #8\n\t"
        "lsl lr, lr, r10\n\t"
        "tst r11, #0x01000000\n\t"
        "bne 7f\n\t"
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
        "tst r9, #0x82000000\n\t"
        "bne 8f\n\t"
        /* another group, perhaps of the next segment */
        "tst r9, #0x40000000\n\t"
        "beq 6f\n\t"
        "ldr r10, [sp, #8]\n\t"
        "ldr r11, [sp, #20]\n\t"
        "add r10, r10, r11\n\t"
        "str r10, [sp, #8]\n"
        "6:\n\t"
        "ldr r8, [sp]\n\t"
        "ldr r10, [sp, #40]\n\t"
        "ldr r9, [r8], #4\n\t"
        "adds r10, r10, #4\n\t"
        "lsr r11, r9, #31\n\t"
        "orr r9, r9, #0x01000000\n\t"
        "bfi r9, r11, #25, #1\n\t"
        "bic r9, r9, #0x80000000\n\t"
        "bx r10\n"
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
        "ldr r8, [sp, #16]\n\t"
        "ldr lr, [sp, #24]\n\t"
        "ldrd r9, r10, [sp, #32]\n\t"
        "str r8, [sp, #8]\n\t"
        "ldmia lr!, {r4-r7}\n\t"
        "add r7, r9, #1\n\t"
        "str lr, [sp, #24]\n\t"
        "str r7, [sp, #32]\n\t"
        "add r12, sp, #48\n\t"
        "add r11, r10, r10, lsl #1\n\t"
        "lsrs r7, r6, #30\n\t"
        "bne.w 9f\n\t"
        "lsrs r6, r6, #8\n\t"
        HWCMP_RUN_SIXTEEN(HWCMP_RUN_GENERAL)
        "10:\n\t"
        "ldrd r6, r7, [sp, #24]\n\t"
        "b.w 12b\n"
        "9:\n\t"
        "cmp r7, #1\n\t"
        "beq 11f\n\t"
        HWCMP_RUN_SIXTEEN(HWCMP_RUN_RECTIFIED)
        "b 10b\n"
        "11:\n\t"
        "add r0, sp, #48\n\t"
        "sub r1, lr, #16\n\t"
        "mov r2, r9\n\t"
        "mov r3, r10\n\t"
        "bl hwcmp_dsp_finish_lanes\n\t"
        "b 10b\n");
}

#endif
