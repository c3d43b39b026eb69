/* SPDX-License-Identifier: Apache-2.0
 *
 * All rows of weights in the format `runs` times one column of activations: an entry of a list moves a pointer, loads
 * what it points to and adds it.
 */
#ifndef HWCMP_SWAR_RUN_COLUMNS_H
#define HWCMP_SWAR_RUN_COLUMNS_H

#include "../hwcmp_runs.h"
#include "swar.h"

HWCMP_SWAR_NAKED uint64_t hwcmp_swar_run_sum(const int8_t *x, const uint8_t *gaps, uint32_t length, uint32_t is_wide);
HWCMP_SWAR_SHARED void hwcmp_swar_run_column(const hwcmp_output_stage *stage, const hwcmp_weights *weights,
                                             const int8_t *column, int8_t *output);

/* r0 activations, r1 gaps, r2 sum, r4 0, r5 1, r6 end of the list, r7 two gaps of 4 bits. */
#define HWCMP_SWAR_RUN_SUM_TWO(first, second, byte) \
    first ":\n\t"                 \
    "ldrb r7, [r1, #" byte "]\n\t" \
    HWCMP_SWAR_RUN_SUM_FIRST      \
    second ":\n\t"                \
    HWCMP_SWAR_RUN_SUM_SECOND
#define HWCMP_SWAR_RUN_SUM_ONE(label, byte) \
    label ":\n\t"                 \
    "ldrb r3, [r1, #" byte "]\n\t" \
    HWCMP_SWAR_RUN_SUM_WIDE
/* Jumps into the loop by the table behind it. Words end with the list; the first turn jumps over what lies before its
 * beginning: r2 length = slots * words + unused, of which to_bytes makes bytes in r7 and to_words words. */
#define HWCMP_SWAR_RUN_SUM_ENTER(most_unused, to_bytes, to_words) \
    "movs r5, #" most_unused "\n\t" \
    "ands r5, r2\n\t"             \
    "lsrs r6, r2, #" to_words "\n\t" \
    "lsls r6, r6, #2\n\t"         \
    to_bytes                      \
    "subs r1, r1, r7\n\t"         \
    "adds r6, r6, r1\n\t"         \
    "ldrb r7, [r1, r7]\n\t"       \
    "adr r3, 79f\n\t"             \
    "ldrb r3, [r3, r5]\n\t"       \
    "movs r2, #0\n\t"             \
    "movs r4, #0\n\t"             \
    "movs r5, #1\n\t"             \
    "add pc, r3\n"                \
    "78:\n\t"                     \
    ".balign 4\n"                 \
    "79:\n\t"
#define HWCMP_SWAR_RUN_SUM_LOOP   \
    "adds r1, r1, #4\n\t"         \
    "cmp r1, r6\n\t"              \
    "bne 81b\n\t"                 \
    "movs r0, r2\n\t"             \
    "pop {r4-r7, pc}\n"

/* The sum of x over the list whose length byte is `length`, in the lower half, and the end of its gaps in the upper. */
HWCMP_SWAR_NAKED uint64_t hwcmp_swar_run_sum(const int8_t *x HWCMP_SWAR_IN_REGISTER,
                                             const uint8_t *gaps HWCMP_SWAR_IN_REGISTER,
                                             uint32_t length HWCMP_SWAR_IN_REGISTER,
                                             uint32_t is_wide HWCMP_SWAR_IN_REGISTER)
{
    __asm__ volatile(
        HWCMP_SWAR_UNIFIED
        "push {r4-r7, lr}\n\t"
        "cmp r2, #0\n\t"
        "beq 2f\n\t"
        "cmp r3, #0\n\t"
        "bne 1f\n\t"
        HWCMP_SWAR_RUN_SUM_ODD
        HWCMP_SWAR_RUN_SUM_ENTER("7", "lsrs r7, r5, #1\n\t", "3")
        ".byte 70f-78b-2, 71f-78b-2, 72f-78b-2, 73f-78b-2\n\t"
        ".byte 74f-78b-2, 75f-78b-2, 76f-78b-2, 77f-78b-2\n"
        "81:\n"
        HWCMP_SWAR_RUN_SUM_TWO("70", "71", "0") HWCMP_SWAR_RUN_SUM_TWO("72", "73", "1")
        HWCMP_SWAR_RUN_SUM_TWO("74", "75", "2") HWCMP_SWAR_RUN_SUM_TWO("76", "77", "3")
        HWCMP_SWAR_RUN_SUM_LOOP
        "2:\n\t"
        "movs r0, #0\n\t"
        "pop {r4-r7, pc}\n"
        "1:\n\t"
        HWCMP_SWAR_RUN_SUM_ENTER("3", "movs r7, r5\n\t", "2")
        ".byte 70f-78b-2, 71f-78b-2, 72f-78b-2, 73f-78b-2\n"
        "81:\n"
        HWCMP_SWAR_RUN_SUM_ONE("70", "0") HWCMP_SWAR_RUN_SUM_ONE("71", "1")
        HWCMP_SWAR_RUN_SUM_ONE("72", "2") HWCMP_SWAR_RUN_SUM_ONE("73", "3")
        HWCMP_SWAR_RUN_SUM_LOOP);
}

/* The dot product of the row whose first group is at `*at`, which moves on to the next row, with x, modulo 2^32. */
static inline uint32_t hwcmp_swar_run_dot(const hwcmp_runs_shape *shape, const uint8_t **at, const int8_t *x)
{
    const uint32_t is_wide = hwcmp_runs_is_wide(shape) ? 1U : 0U;
    const uint8_t *head;
    uint32_t total = 0;

    do {
        head = *at;
        const uint64_t minus = hwcmp_swar_run_sum(x, head + HWCMP_RUNS_HEAD_BYTES, head[0], is_wide);
        const uint64_t plus = hwcmp_swar_run_sum(x, (const uint8_t *)(uintptr_t)(minus >> 32), head[1], is_wide);
        total += (uint32_t)(int8_t)head[2] * ((uint32_t)plus - (uint32_t)minus);
        x += head[3] == HWCMP_RUNS_END_SEGMENT ? shape->width : 0U;
        *at = (const uint8_t *)(uintptr_t)(plus >> 32);
    } while ((head[3] & HWCMP_RUNS_END_ROW) == 0U);
    return total;
}

/* The outputs are saturated to int8 only. */
HWCMP_SWAR_SHARED void hwcmp_swar_run_column(const hwcmp_output_stage *stage, const hwcmp_weights *weights,
                                             const int8_t *column, int8_t *output)
{
    const hwcmp_runs_shape shape = hwcmp_runs_shape_of(weights);
    const hwcmp_channels *channels = stage->channels;
    const int32_t *bias = channels->bias;
    const int32_t *multiplier = channels->multiplier;
    const int8_t *shift = channels->shift;
    const uint32_t step = channels->channel_step;
    const int32_t zero_point = stage->zero_point;
    const uint32_t rows = weights->rows;
    const uint32_t limit = (uint32_t)HWCMP_SWAR_LIMIT;
    const uint8_t *at = weights->payload;

    for (const int8_t *end = output + rows; output != end; output++) {
        const int32_t sum = hwcmp_wrap_add(*bias++, (int32_t)hwcmp_swar_run_dot(&shape, &at, column));
        const int32_t right = -*shift;
        const bool is_small = (uint32_t)sum + (limit - 1U) < 2U * limit - 1U;
        if (is_small && hwcmp_swar_scale_is_fast(*multiplier, right)) {
            const int32_t offset = hwcmp_swar_offset(zero_point, right);
            *output = (int8_t)hwcmp_swar_scale(sum, *multiplier, offset, right);
        } else {
            *output = hwcmp_swar_scale_literally(sum, *multiplier, *shift, zero_point);
        }
        multiplier += step;
        shift += step;
    }
}

#endif
