"""TFLite's int8 arithmetic with integers: multipliers, double rounding, activation ranges, gemmlowp fixed point.

Every function here is the definition that the C kernels, the numpy reference and the exporter share. Real
multipliers become a Q31 integer and a power of two (`quantize_multiplier`); applying one rounds twice
(`multiply_by_quantized_multiplier`): once in the doubling high multiply, once in the shift to the right.
"""

from __future__ import annotations

import math

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError

INT8_MIN, INT8_MAX = -128, 127
INT32_MAX = 2**31 - 1
MIN_SHIFT, MAX_SHIFT = -31, 30
NO_ACTIVATION, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
_REAL_RANGES = {
    NO_ACTIVATION: (None, None),
    RELU: (0.0, None),
    RELU_N1_TO_1: (-1.0, 1.0),
    RELU6: (0.0, 6.0),
}


def round_half_away(values: np.ndarray) -> np.ndarray:
    """Rounds to the nearest integer, ties away from zero, as C's round().

    Args:
        values: float array below 2**52 in magnitude; widened to double, where adding a half is exact for every
            float32, so 0.49999997 does not become 1.

    Returns:
        float64 array of integral values.
    """
    wide = np.asarray(values, np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Writes a real multiplier as multiplier * 2**(shift - 31).

    Args:
        real: finite, computed in double (or in float32 and widened, where TFLite's kernel does that).

    Returns:
        (multiplier, shift): multiplier in [2**30, 2**31) with the sign of `real`; a positive shift is to the left.
        Reals below 2**-32 in magnitude give (0, 0), as in TFLite.

    Raises:
        UnsupportedModelError: `real` is not finite, or so large that the shift leaves int32.

    Example:
        >>> quantize_multiplier(0.75)
        (1610612736, 0)
    """
    if not math.isfinite(real):
        raise UnsupportedModelError(f"the quantization gives a multiplier that is not finite. Received: {real}")
    fraction, shift = math.frexp(real)
    fixed = int(math.copysign(math.floor(abs(fraction) * 2**31 + 0.5), fraction))
    if abs(fixed) == 2**31:
        fixed, shift = fixed // 2, shift + 1
    if fixed == 0 or shift < MIN_SHIFT:
        return 0, 0
    if shift > MAX_SHIFT:
        raise UnsupportedModelError(f"the quantization gives a multiplier above 2**30. Received: {real}")
    return fixed, shift


def saturating_rounding_doubling_high_mul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """round(a * b / 2**31) of int32 values; gemmlowp's function of that name.

    gemmlowp adds 2**30 to a product >= 0 and 1 - 2**30 to a negative one and then divides towards zero. For a
    negative p that is -floor((-p + 2**30 - 1) / 2**31) = floor((p + 2**30) / 2**31): one shift serves both.

    Args:
        a, b: int64 arrays (or ints) holding int32 values.

    Returns:
        int64 array; -2**31 times itself saturates to 2**31 - 1.
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, INT32_MAX)


def rounding_divide_by_pot(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """x / 2**exponent rounded to nearest, ties away from zero; gemmlowp's RoundingDivideByPOT.

    Args:
        x: int64 array holding int32 values. exponent: int or array in [0, 31], broadcast against x.

    Returns:
        int64 array.
    """
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def multiply_by_quantized_multiplier(
    x: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int
) -> np.ndarray:
    """x * multiplier * 2**(shift - 31) with TFLite's double rounding.

    Args:
        x: integer array with |x| * 2**max(shift, 0) < 2**31; `prepare` proves that for every layer it makes.
        multiplier, shift: ints or int arrays that broadcast against x (per channel: the last axis).

    Returns:
        int64 array of int32 values.
    """
    shift = np.asarray(shift, np.int64)
    left = np.asarray(x, np.int64) << np.maximum(shift, 0)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(left, multiplier), np.maximum(-shift, 0))


def quantize_value(real: float, scale: np.float32, zero_point: int) -> int:
    """round(real / scale) + zero_point with TFLite's float32 division, not clamped.

    Raises:
        UnsupportedModelError: the quotient leaves int32.
    """
    with np.errstate(over="ignore"):
        steps = float(round_half_away(np.float32(real) / np.float32(scale)))
    if abs(steps) >= 2**31:
        raise UnsupportedModelError(f"{real} / {scale} leaves int32")
    return int(steps) + zero_point


def activation_range(activation: int, scale: np.float32, zero_point: int) -> tuple[int, int]:
    """The int8 range of a fused activation: TFLite's CalculateActivationRangeQuantized.

    Args:
        activation: value of the schema's ActivationFunctionType. scale, zero_point: of the output.

    Returns:
        (minimum, maximum) in [-128, 127].

    Raises:
        UnsupportedModelError: the activation cannot be fused into an int8 kernel (TANH, SIGN_BIT).
    """
    if activation not in _REAL_RANGES:
        raise UnsupportedModelError(
            f"a fused activation must be NONE, RELU, RELU_N1_TO_1 or RELU6. Received: code {activation}"
        )
    low, high = _REAL_RANGES[activation]
    minimum = INT8_MIN if low is None else max(INT8_MIN, quantize_value(low, scale, zero_point))
    maximum = INT8_MAX if high is None else min(INT8_MAX, quantize_value(high, scale, zero_point))
    return minimum, maximum


def clamp_int8(values: np.ndarray, minimum: int = INT8_MIN, maximum: int = INT8_MAX) -> np.ndarray:
    """Clamps integers into [minimum, maximum] and narrows them to int8."""
    return np.clip(values, minimum, maximum).astype(np.int8)
