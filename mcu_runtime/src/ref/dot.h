/* SPDX-License-Identifier: Apache-2.0
 *
 * Dot products of one window of activations with rows of weights: the inner loop of conv2d and fully_connected.
 * The loops are written so that a compiler vectorizes them (contiguous, wrapping sums) and a scalar core reads every
 * activation once for four output channels.
 */
#ifndef HWCMP_REF_DOT_H
#define HWCMP_REF_DOT_H

#include "../hwcmp_internal.h"

/* `rows` runs of `run` activations, `step` apart; weight rows hold the same rows * run values without gaps. */
typedef struct {
    const int8_t *x;
    size_t step, run, rows;
} hwcmp_window;

static HWCMP_NOINLINE uint32_t hwcmp_dot(const hwcmp_window *window, const int8_t *weights)
{
    const size_t run = window->run;
    uint32_t sum = 0;

    for (size_t row = 0; row < window->rows; row++) {
        const int8_t *x = window->x + row * window->step;
        for (size_t k = 0; k < run; k++) {
            sum += (uint32_t)(x[k] * weights[k]);
        }
        weights += run;
    }
    return sum;
}

/* Four weight rows, `row_length` apart. */
static HWCMP_NOINLINE void hwcmp_dot_x4(const hwcmp_window *window, const int8_t *weights, size_t row_length,
                                        uint32_t sums[4])
{
    const size_t run = window->run;
    const int8_t *w0 = weights;
    const int8_t *w1 = w0 + row_length;
    const int8_t *w2 = w1 + row_length;
    const int8_t *w3 = w2 + row_length;
    uint32_t sum0 = 0;
    uint32_t sum1 = 0;
    uint32_t sum2 = 0;
    uint32_t sum3 = 0;

    for (size_t row = 0; row < window->rows; row++) {
        const int8_t *x = window->x + row * window->step;
        for (size_t k = 0; k < run; k++) {
            const int32_t value = x[k];
            sum0 += (uint32_t)(value * w0[k]);
            sum1 += (uint32_t)(value * w1[k]);
            sum2 += (uint32_t)(value * w2[k]);
            sum3 += (uint32_t)(value * w3[k]);
        }
        w0 += run;
        w1 += run;
        w2 += run;
        w3 += run;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* output[i] = finished sum of channel first + i, for `count` channels whose rows begin at `weights`. */
static inline void hwcmp_dot_channels(const hwcmp_window *window, const int8_t *weights, size_t row_length,
                                      const hwcmp_output_stage *stage, int32_t first, int32_t count, int8_t *output)
{
    int32_t i = 0;

    for (; i + 4 <= count; i += 4) {
        uint32_t sums[4];
        hwcmp_dot_x4(window, weights, row_length, sums);
        weights += 4U * row_length;
        for (int32_t lane = 0; lane < 4; lane++) {
            output[i + lane] = hwcmp_finish(hwcmp_channel_at(stage, first + i + lane), sums[lane]);
        }
    }
    for (; i < count; i++) {
        output[i] = hwcmp_finish(hwcmp_channel_at(stage, first + i), hwcmp_dot(window, weights));
        weights += row_length;
    }
}

#endif
