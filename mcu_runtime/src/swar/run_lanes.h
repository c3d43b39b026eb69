/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of positions times 8 pixels: the inner loop of conv2d_runs.
 *
 * The tile has a line of four words for each position of a window. Word i is x + y * 2^16 as one integer, x the
 * activation of pixel i and y that of pixel i + 4, and an entry of a list adds a line to the sums in r8-r11. Sums are
 * linear modulo 2^32, so the difference of the two sums of a group is again lo + hi * 2^16: with at most 255 weights in
 * a group (the format's rule) and |x| <= 128 both are at most 32640, and lo is the low half as int16.
 */
#ifndef HWCMP_SWAR_RUN_LANES_H
#define HWCMP_SWAR_RUN_LANES_H

#include "swar.h"

enum { HWCMP_SWAR_LANES = 8, HWCMP_SWAR_LINE_BYTES = 16 };

/* The assembly below reads these words by offset. */
typedef struct {
    const uint8_t *groups;             /*  0: of the first row */
    const int8_t *tile;                /*  4 */
    uint32_t segment_bytes;            /*  8: of the tile, from segment to segment */
    const hwcmp_swar_channel *channel; /* 12: constants of the first row */
    const hwcmp_swar_channel *end;     /* 16: behind those of the last row */
    int8_t *output;                    /* 20: 8 pixels, first row's channel */
    uint32_t pixel_step;               /* 24: bytes from pixel to pixel */
    uint32_t is_wide;                  /* 28: gaps of 8 bits */
    int32_t floor;                     /* 32: output zero point if outputs below it do not matter, or above int8 */
} hwcmp_swar_lanes_job;

enum { HWCMP_SWAR_NO_FLOOR = 128 };

/* Where the activation's lower end is at or above the output zero point z, a sum that is not positive becomes z, and
 * others need no correction for their sign. */
static inline int32_t hwcmp_swar_floor(const hwcmp_output_stage *stage)
{
    return stage->low >= stage->zero_point ? stage->zero_point : HWCMP_SWAR_NO_FLOOR;
}

HWCMP_SWAR_SHARED void hwcmp_swar_finish_lanes(const int32_t *sums, const hwcmp_swar_channel *channel, int8_t *output,
                                               uint32_t pixel_step);
HWCMP_SWAR_NAKED void hwcmp_swar_run_lanes(const hwcmp_swar_lanes_job *job);

/* Channels for which hwcmp_swar_scale() is not exact. The sums contain the bias. */
HWCMP_SWAR_SHARED __attribute__((used)) void hwcmp_swar_finish_lanes(const int32_t *sums,
                                                                     const hwcmp_swar_channel *channel,
                                                                     int8_t *output, uint32_t pixel_step)
{
    for (uint32_t i = 0; i < HWCMP_SWAR_LANES; i++) {
        *output = hwcmp_swar_scale_literally(sums[i], channel->multiplier, channel->offset >> 16,
                                             (int16_t)(channel->offset & 0xFFFF));
        output += pixel_step;
    }
}

/* r0 tile line, r5 16 * gap. */
#define HWCMP_SWAR_RUN_ADD    \
    "adds r0, r0, r5\n\t"     \
    "ldmia r0!, {r1-r4}\n\t"  \
    "add r8, r1\n\t"          \
    "add r9, r2\n\t"          \
    "add r10, r3\n\t"         \
    "add r11, r4\n\t"
/* Two entries, gaps of 4 bits in a byte at r6; 17 instructions. The second one may be jumped to, its byte is in r7. */
#define HWCMP_SWAR_RUN_TWO(first, second, byte) \
    first ":\n\t"                \
    "ldrb r7, [r6, #" byte "]\n\t" \
    "lsls r5, r7, #28\n\t"       \
    "lsrs r5, r5, #24\n\t"       \
    HWCMP_SWAR_RUN_ADD           \
    second ":\n\t"               \
    "lsrs r5, r7, #4\n\t"        \
    "lsls r5, r5, #4\n\t"        \
    HWCMP_SWAR_RUN_ADD
#define HWCMP_SWAR_RUN_ONE(label, byte) \
    label ":\n\t"                \
    "ldrb r5, [r6, #" byte "]\n\t" \
    "lsls r5, r5, #4\n\t"        \
    HWCMP_SWAR_RUN_ADD
/* r3 length of a list that begins at r6; leaves r6 behind it. Words of gaps end with the list, the first turn jumps
 * over what lies before its beginning: length = slots * words + unused, of which to_bytes makes bytes and to_words
 * words. */
#define HWCMP_SWAR_RUN_LIST(mask, to_bytes, to_words) \
    "lsls r5, r3, #" mask "\n\t" \
    "lsrs r5, r5, #" mask "\n\t" \
    "lsrs r3, r3, #" to_words "\n\t" \
    "lsls r3, r3, #2\n\t"        \
    to_bytes                     \
    "subs r6, r6, r4\n\t"        \
    "ldrb r7, [r6, r4]\n\t"      \
    "adds r3, r3, r6\n\t"        \
    "mov r12, r3\n\t"            \
    "ldr r0, [sp, #4]\n\t"       \
    "adr r4, 79f\n\t"            \
    "ldrb r4, [r4, r5]\n\t"      \
    "add pc, r4\n"               \
    "78:\n\t"                    \
    ".balign 4\n"                \
    "79:\n\t"
#define HWCMP_SWAR_RUN_LIST_END  \
    "adds r6, r6, #4\n\t"        \
    "cmp r6, r12\n\t"            \
    "beq 88f\n\t"                \
    "b 81b\n"                    \
    "88:\n\t"
#define HWCMP_SWAR_RUN_NARROW                                                                    \
    HWCMP_SWAR_RUN_LIST("29", "lsrs r4, r5, #1\n\t", "3")                                        \
    ".byte 70f-78b-2, 71f-78b-2, 72f-78b-2, 73f-78b-2\n\t"                                       \
    ".byte 74f-78b-2, 75f-78b-2, 76f-78b-2, 77f-78b-2\n"                                         \
    "81:\n"                                                                                      \
    HWCMP_SWAR_RUN_TWO("70", "71", "0") HWCMP_SWAR_RUN_TWO("72", "73", "1")                      \
    HWCMP_SWAR_RUN_TWO("74", "75", "2") HWCMP_SWAR_RUN_TWO("76", "77", "3") HWCMP_SWAR_RUN_LIST_END
#define HWCMP_SWAR_RUN_WIDE                                                                      \
    HWCMP_SWAR_RUN_LIST("30", "movs r4, r5\n\t", "2")                                            \
    ".byte 70f-78b-2, 71f-78b-2, 72f-78b-2, 73f-78b-2\n"                                         \
    "81:\n"                                                                                      \
    HWCMP_SWAR_RUN_ONE("70", "0") HWCMP_SWAR_RUN_ONE("71", "1")                                  \
    HWCMP_SWAR_RUN_ONE("72", "2") HWCMP_SWAR_RUN_ONE("73", "3") HWCMP_SWAR_RUN_LIST_END
/* The minus list, negated, and the plus list. */
#define HWCMP_SWAR_RUN_GROUP(LIST) \
    "ldrb r3, [r6]\n\t"          \
    "adds r6, r6, #4\n\t"        \
    "cmp r3, #0\n\t"             \
    "bne 0f\n\t"                 \
    "b 89f\n"                    \
    "0:\n\t"                     \
    LIST                         \
    "movs r1, #0\n\t"            \
    HWCMP_SWAR_RUN_NEGATE("r8") HWCMP_SWAR_RUN_NEGATE("r9") \
    HWCMP_SWAR_RUN_NEGATE("r10") HWCMP_SWAR_RUN_NEGATE("r11") \
    "89:\n\t"                    \
    "ldr r5, [sp, #40]\n\t"      \
    "ldrb r3, [r5, #1]\n\t"      \
    "cmp r3, #0\n\t"             \
    "bne 0f\n\t"                 \
    "b 89f\n"                    \
    "0:\n\t"                     \
    LIST                         \
    "89:\n\t"
#define HWCMP_SWAR_RUN_NEGATE(sum) \
    "mov r2, " sum "\n\t"        \
    "subs r2, r1, r2\n\t"        \
    "mov " sum ", r2\n\t"
/* Two pixels from one word of sums: r0 sums of 32 bits, r7 value. */
#define HWCMP_SWAR_RUN_SCALE(sum, low, high) \
    "mov r1, " sum "\n\t"        \
    "sxth r2, r1\n\t"            \
    "subs r1, r1, r2\n\t"        \
    "asrs r1, r1, #16\n\t"       \
    "muls r2, r7\n\t"            \
    "muls r1, r7\n\t"            \
    "ldr r3, [r0, #" low "]\n\t" \
    "adds r3, r3, r2\n\t"        \
    "str r3, [r0, #" low "]\n\t" \
    "ldr r3, [r0, #" high "]\n\t" \
    "adds r3, r3, r1\n\t"        \
    "str r3, [r0, #" high "]\n\t"
/* The sum in the stack slot `sum` to the output at r8, which is then r9 bytes behind it. */
#define HWCMP_SWAR_RUN_OUT(sum)  \
    "ldr r0, [sp, #" sum "]\n\t" \
    HWCMP_SWAR_SCALE             \
    "mov r1, r8\n\t"             \
    "strb r0, [r1]\n\t"          \
    "add r8, r9\n\t"
/* The same with the floor in r11. */
#define HWCMP_SWAR_RUN_FLOOR_OUT(sum) \
    "ldr r0, [sp, #" sum "]\n\t" \
    "mov r1, r11\n\t"            \
    "cmp r0, #0\n\t"             \
    "ble 0f\n\t"                 \
    HWCMP_SWAR_SCALE_POSITIVE    \
    "cmp r1, #127\n\t"           \
    "ble 0f\n\t"                 \
    "movs r1, #127\n"            \
    "0:\n\t"                     \
    "mov r0, r8\n\t"             \
    "strb r1, [r0]\n\t"          \
    "add r8, r9\n\t"
#define HWCMP_SWAR_RUN_EIGHT(OUT) OUT("48") OUT("52") OUT("56") OUT("60") OUT("64") OUT("68") OUT("72") OUT("76")

/* Stack: 0 next group, 4 tile of the segment, 8..39 the job from `tile` on, whose channel and output move on, 40 head,
 * 48..79 sums with the bias. */
HWCMP_SWAR_NAKED void hwcmp_swar_run_lanes(const hwcmp_swar_lanes_job *job HWCMP_SWAR_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_SWAR_UNIFIED
        HWCMP_SWAR_PUSH_ALL
        "sub sp, sp, #84\n\t"
        "ldmia r0!, {r1}\n\t"
        "str r1, [sp]\n\t"
        "add r7, sp, #8\n\t"
        "ldmia r0!, {r1-r4}\n\t"
        "stmia r7!, {r1-r4}\n\t"
        "ldmia r0!, {r1-r4}\n\t"
        "stmia r7!, {r1-r4}\n"
        /* a row */
        "1:\n\t"
        "ldr r0, [sp, #16]\n\t"
        "ldr r0, [r0, #12]\n\t"
        "movs r1, r0\n\t"
        "movs r2, r0\n\t"
        "movs r3, r0\n\t"
        "add r4, sp, #48\n\t"
        "stmia r4!, {r0-r3}\n\t"
        "stmia r4!, {r0-r3}\n\t"
        "ldr r0, [sp, #8]\n\t"
        "str r0, [sp, #4]\n"
        /* a group */
        "2:\n\t"
        "ldr r6, [sp]\n\t"
        "str r6, [sp, #40]\n\t"
        "movs r0, #0\n\t"
        HWCMP_SWAR_SET_SUMS("r0", "r0", "r0", "r0")
        "ldr r1, [sp, #32]\n\t"
        "cmp r1, #0\n\t"
        "beq 3f\n\t"
        "b 4f\n"
        "3:\n\t"
        HWCMP_SWAR_RUN_GROUP(HWCMP_SWAR_RUN_NARROW)
        "b 5f\n"
        "4:\n\t"
        HWCMP_SWAR_RUN_GROUP(HWCMP_SWAR_RUN_WIDE)
        "5:\n\t"
        "str r6, [sp]\n\t"
        "ldr r6, [sp, #40]\n\t"
        "ldrb r7, [r6, #2]\n\t"
        "sxtb r7, r7\n\t"
        "add r0, sp, #48\n\t"
        HWCMP_SWAR_RUN_SCALE("r8", "0", "16")
        HWCMP_SWAR_RUN_SCALE("r9", "4", "20")
        HWCMP_SWAR_RUN_SCALE("r10", "8", "24")
        HWCMP_SWAR_RUN_SCALE("r11", "12", "28")
        "ldrb r5, [r6, #3]\n\t"
        "lsls r5, r5, #25\n\t"
        "bcs 6f\n\t"
        /* another group, perhaps of the next segment */
        "bmi 7f\n\t"
        "b 2b\n"
        "7:\n\t"
        "ldr r0, [sp, #4]\n\t"
        "ldr r1, [sp, #12]\n\t"
        "adds r0, r0, r1\n\t"
        "str r0, [sp, #4]\n\t"
        "b 2b\n"
        /* outputs of a row */
        "6:\n\t"
        "ldr r3, [sp, #16]\n\t"
        "ldmia r3!, {r4-r7}\n\t"
        "cmp r6, #0\n\t"
        "bne 0f\n\t"
        "b 8f\n"
        "0:\n\t"
        HWCMP_SWAR_CONSTANTS
        "ldr r1, [sp, #24]\n\t"
        "mov r8, r1\n\t"
        "ldr r1, [sp, #28]\n\t"
        "mov r9, r1\n\t"
        "ldr r1, [sp, #36]\n\t"
        "cmp r1, #127\n\t"
        "bgt 0f\n\t"
        "b 7f\n"
        "0:\n\t"
        HWCMP_SWAR_RUN_EIGHT(HWCMP_SWAR_RUN_OUT)
        "b 9f\n"
        "8:\n\t"
        "add r0, sp, #48\n\t"
        "ldr r1, [sp, #16]\n\t"
        "ldr r2, [sp, #24]\n\t"
        "ldr r3, [sp, #28]\n\t"
        "bl hwcmp_swar_finish_lanes\n\t"
        "b 9f\n"
        "7:\n\t"
        "mov r11, r1\n\t"
        HWCMP_SWAR_RUN_EIGHT(HWCMP_SWAR_RUN_FLOOR_OUT)
        "9:\n\t"
        "ldr r0, [sp, #24]\n\t"
        "adds r0, r0, #1\n\t"
        "str r0, [sp, #24]\n\t"
        "ldr r3, [sp, #16]\n\t"
        "adds r3, r3, #16\n\t"
        "str r3, [sp, #16]\n\t"
        "ldr r0, [sp, #20]\n\t"
        "cmp r3, r0\n\t"
        "beq 7f\n\t"
        "b 1b\n"
        "7:\n\t"
        "add sp, sp, #84\n\t"
        HWCMP_SWAR_POP_ALL);
}

#endif
