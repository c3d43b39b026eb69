/* SPDX-License-Identifier: Apache-2.0
 *
 * TensorFlow Lite's int8 softmax in fixed point. A comment "Qa.b" says that a number has a integer bits and b
 * fractional bits beside its sign; the product of Qa and Qb numbers by hwcmp_high_mul() has a + b integer bits.
 */
#include "../hwcmp_internal.h"

enum {
    DIFF_INTEGER_BITS = 5, /* of input differences: Q5.26 */
    DIFF_FRACTION_BITS = 31 - DIFF_INTEGER_BITS,
    SUM_INTEGER_BITS = 12, /* of the sum of exponentials: Q12.19 */
    OUTPUT_BITS = 8,
    MAX_DEPTH = 1 << SUM_INTEGER_BITS /* a longer row could overflow that sum */
};

/* exp(-1/4), exp(-1/2), exp(-1) ... exp(-16) in Q0.31. */
static const int32_t exp_factor[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};

/* hwcmp_rounding_shift() for any exponent: what is shifted out entirely is below one half. */
static int32_t rounding_shift_far(int32_t value, int32_t exponent)
{
    return exponent > 31 ? 0 : hwcmp_rounding_shift(value, exponent);
}

static int32_t saturating_left_shift(int32_t value, int32_t exponent)
{
    const int64_t shifted = (int64_t)value * (INT64_C(1) << exponent);
    if (shifted > INT32_MAX) {
        return INT32_MAX;
    }
    return shifted < INT32_MIN ? INT32_MIN : (int32_t)shifted;
}

/* exp(a) for a in [-1/4, 0), Q0.31: Taylor polynomial of degree 4 around -1/8. */
static int32_t exp_of_quarter(int32_t a)
{
    const int32_t exp_minus_eighth = 1895147668;
    const int32_t third = 715827883;
    const int32_t x = a + (1 << 28);
    const int32_t x2 = hwcmp_high_mul(x, x);
    const int32_t x3 = hwcmp_high_mul(x2, x);
    const int32_t x4 = hwcmp_high_mul(x2, x2);
    const int32_t x4_over_4 = hwcmp_rounding_shift(x4, 2);
    const int32_t tail = hwcmp_rounding_shift(hwcmp_high_mul(x4_over_4 + x3, third) + x2, 1);
    return exp_minus_eighth + hwcmp_high_mul(exp_minus_eighth, x + tail);
}

/* exp(a) in Q0.31 for a <= 0 in Q5.26: the last quarter by polynomial, one constant factor per bit of the rest. */
static int32_t exp_of_negative(int32_t a)
{
    const int32_t quarter = 1 << (DIFF_FRACTION_BITS - 2);

    if (a == 0) {
        return INT32_MAX;
    }
    const int32_t last = (int32_t)((uint32_t)a & (uint32_t)(quarter - 1)) - quarter;
    const uint32_t rest = (uint32_t)last - (uint32_t)a;
    int32_t result = exp_of_quarter(saturating_left_shift(last, DIFF_INTEGER_BITS));
    for (size_t bit = 0; bit < sizeof exp_factor / sizeof exp_factor[0]; bit++) {
        if (((rest >> (DIFF_FRACTION_BITS - 2 + (int)bit)) & 1U) != 0U) {
            result = hwcmp_high_mul(result, exp_factor[bit]);
        }
    }
    return result;
}

/* 1 / (1 + a) in Q0.31 for a in [0, 1): three steps of Newton-Raphson in Q2.29. */
static int32_t one_over_one_plus(int32_t a)
{
    const int32_t one = 1 << 29;
    const int32_t forty_eight_17ths = 1515870810;
    const int32_t minus_thirty_two_17ths = -1010580540;
    const int32_t half_denominator = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = forty_eight_17ths + hwcmp_high_mul(half_denominator, minus_thirty_two_17ths);

    for (int step = 0; step < 3; step++) {
        const int32_t error = one - hwcmp_high_mul(half_denominator, x);
        x += saturating_left_shift(hwcmp_high_mul(x, error), 2);
    }
    return saturating_left_shift(x, 1);
}

/* Zero bits above the highest one; value is not 0. */
static int32_t leading_zeros(uint32_t value)
{
    int32_t count = 0;

    while ((value & 0x80000000U) == 0U) {
        value <<= 1;
        count++;
    }
    return count;
}

static int32_t row_maximum(const int8_t *input, int32_t depth)
{
    int32_t maximum = INT8_MIN;

    for (int32_t i = 0; i < depth; i++) {
        maximum = hwcmp_max(maximum, input[i]);
    }
    return maximum;
}

/* exp of the scaled difference of an input to the maximum of its row, Q0.31. */
static int32_t exp_of_difference(const hwcmp_softmax_params *params, int32_t difference)
{
    const int32_t shifted = (int32_t)((uint32_t)difference << params->shift);
    return exp_of_negative(hwcmp_high_mul(shifted, params->multiplier));
}

static void softmax_row(const hwcmp_softmax_params *params, const int8_t *input, int8_t *output)
{
    const int32_t maximum = row_maximum(input, params->depth);
    uint32_t sum = 0;

    for (int32_t i = 0; i < params->depth; i++) {
        if (input[i] - maximum >= params->diff_min) {
            const int32_t value = exp_of_difference(params, input[i] - maximum);
            sum += (uint32_t)hwcmp_rounding_shift(value, SUM_INTEGER_BITS);
        }
    }
    /* The maximum itself adds 1 to the sum, so sum is not 0 and 1 / sum = scale * 2^-magnitude. */
    const int32_t headroom = leading_zeros(sum);
    const int32_t scale = one_over_one_plus((int32_t)((sum << headroom) - 0x80000000U));
    const int32_t magnitude = SUM_INTEGER_BITS - headroom;
    for (int32_t i = 0; i < params->depth; i++) {
        int32_t value = INT8_MIN;
        if (input[i] - maximum >= params->diff_min) {
            const int32_t product = hwcmp_high_mul(scale, exp_of_difference(params, input[i] - maximum));
            value += rounding_shift_far(product, magnitude + 31 - OUTPUT_BITS);
        }
        output[i] = (int8_t)hwcmp_min(value, INT8_MAX);
    }
}

hwcmp_status hwcmp_softmax_s8(const hwcmp_softmax_params *params, const int8_t *input, int8_t *output)
{
    if (params == NULL || params->rows < 1 || params->depth < 1 || params->depth > MAX_DEPTH || params->shift < 0 ||
        params->shift > 31 || params->multiplier < 0 || params->diff_min > 0 || input == NULL || output == NULL) {
        return HWCMP_ERR_ARGUMENT;
    }
    for (size_t row = 0; row < (size_t)params->rows; row++) {
        softmax_row(params, input + row * (size_t)params->depth, output + row * (size_t)params->depth);
    }
    return HWCMP_OK;
}
