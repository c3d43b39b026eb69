"""gemmlowp's int32 fixed point as far as the int8 softmax needs it: exp, reciprocal, the scaling constants.

A number in Q(i) is raw / 2**(31 - i), raw an int32. All functions work on int64 arrays that hold int32 values.
"""

from __future__ import annotations

import math

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import INT32_MAX, MAX_SHIFT, quantize_multiplier, rounding_divide_by_pot
from keras_hwcompress.tflite.arithmetic import saturating_rounding_doubling_high_mul as _mul

DIFF_INTEGER_BITS = 5
SUM_INTEGER_BITS = 12
# The sum of exponentials is a Q12 int32 and each term is at most 1.0 = 2**19: one class more could overflow it.
# TFLite itself aborts as soon as a sum reaches 512; here the outputs, all below 1/512, are then 0.
MAX_SOFTMAX_DEPTH = 2**SUM_INTEGER_BITS - 1

_ONE = INT32_MAX
_EXP_MINUS_ONE_EIGHTH = 1895147668
_ONE_THIRD = 715827883
# exp(-2**k) in Q0 for k = -2 .. 4.
_EXP_MINUS_POWERS_OF_TWO = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_Q2_48_OVER_17 = 1515870810
_Q2_MINUS_32_OVER_17 = -1010580540
_Q2_ONE = 1 << 29


def softmax_constants(scale: np.float32, beta: float) -> tuple[int, int, int]:
    """(multiplier, shift, diff_min): TFLite's PreprocessSoftmaxScaling and CalculateInputRadius for 5 integer bits.

    Args:
        scale: of the input, float32. beta: of the options.

    Returns:
        Differences from the row's maximum below `diff_min` count as zero; others are scaled to Q5 by
        multiplier * 2**(shift - 31), shift > 0.

    Raises:
        UnsupportedModelError: beta * scale is so small that the multiplier is not above one.
    """
    real = float(beta) * float(scale) * 2 ** (31 - DIFF_INTEGER_BITS)
    if not real > 1.0:
        raise UnsupportedModelError(f"softmax needs beta * scale > 2**-26. Received: {float(beta) * float(scale)}")
    if real >= 2**30 - 0.25:
        # TFLite's shift is 31 from here on and diff_min 0: the constants meet no difference but zero.
        return INT32_MAX, MAX_SHIFT, 0
    fixed, shift = quantize_multiplier(real)
    limit = (2**DIFF_INTEGER_BITS - 1) * 2 ** (31 - DIFF_INTEGER_BITS)
    return fixed, shift, -math.floor(limit / 2**shift)


def saturating_multiply_by_pot(x: np.ndarray, exponent: int) -> np.ndarray:
    """x * 2**exponent, exponent > 0, saturated to int32."""
    return np.clip(np.asarray(x, np.int64) << exponent, -(2**31), INT32_MAX)


def exp_on_negative_values(a: np.ndarray) -> np.ndarray:
    """exp(a) in Q0 for a <= 0 in Q5.

    a is split into a multiple of a quarter and a rest in [-1/4, 0): a polynomial for the rest, one factor
    exp(-2**k) for each bit of the multiple.
    """
    a = np.asarray(a, np.int64)
    fraction_bits = 31 - DIFF_INTEGER_BITS
    quarter = 1 << (fraction_bits - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(saturating_multiply_by_pot(rest, DIFF_INTEGER_BITS))
    remainder = rest - a
    for exponent, factor in enumerate(_EXP_MINUS_POWERS_OF_TWO, start=-2):
        bit = (remainder >> (fraction_bits + exponent)) & 1
        result = np.where(bit == 1, _mul(result, factor), result)
    return np.where(a == 0, _ONE, result)


def _exp_between_minus_quarter_and_zero(a: np.ndarray) -> np.ndarray:
    """Taylor series of exp around -1/8 to the fourth power, a and result in Q0."""
    x = a + (1 << 28)
    x2 = _mul(x, x)
    x3 = _mul(x2, x)
    x4_over_4 = rounding_divide_by_pot(_mul(x2, x2), 2)
    tail = rounding_divide_by_pot(_mul(x4_over_4 + x3, _ONE_THIRD) + x2, 1)
    return _EXP_MINUS_ONE_EIGHTH + _mul(np.int64(_EXP_MINUS_ONE_EIGHTH), x + tail)


def reciprocal(x: np.ndarray, integer_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """1 / x as (scale in Q0, bits): 1 / x = scale * 2**-bits.

    Args:
        x: int64 array of positive raw values in Q(integer_bits).
    """
    x = np.asarray(x, np.int64)
    # frexp of an int32 is exact in double and gives its bit length.
    headroom_plus_one = 32 - np.frexp(x.astype(np.float64))[1].astype(np.int64)
    return _one_over_one_plus_x((x << headroom_plus_one) - 2**31), integer_bits - headroom_plus_one


def _one_over_one_plus_x(a: np.ndarray) -> np.ndarray:
    """1 / (1 + a) in Q0 for a in [0, 1): three Newton-Raphson steps in Q2."""
    half_denominator = (a + _ONE + 1) >> 1
    x = _Q2_48_OVER_17 + _mul(half_denominator, _Q2_MINUS_32_OVER_17)
    for _ in range(3):
        error = _Q2_ONE - _mul(half_denominator, x)
        x = x + saturating_multiply_by_pot(_mul(x, error), 2)
    return saturating_multiply_by_pot(x, 1)
