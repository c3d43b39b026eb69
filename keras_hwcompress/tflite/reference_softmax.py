"""TFLite's int8 softmax with numpy."""

from __future__ import annotations

import numpy as np

from keras_hwcompress.tflite.arithmetic import (
    clamp_int8,
    multiply_by_quantized_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from keras_hwcompress.tflite.fixed_point import SUM_INTEGER_BITS, exp_on_negative_values, reciprocal
from keras_hwcompress.tflite.layers import Softmax

_OUTPUT_BITS = 8


def exp_table(layer: Softmax) -> np.ndarray:
    """exp(-d * beta * scale) in Q0 for the differences d = 0..255 from the maximum; 0 where TFLite skips the term.

    Returns:
        int64 array, shape (256,), of int32 values.
    """
    differences = -np.arange(256, dtype=np.int64)
    counted = differences >= layer.diff_min
    scaled = multiply_by_quantized_multiplier(np.where(counted, differences, 0), layer.multiplier, layer.shift)
    return np.where(counted, exp_on_negative_values(scaled), 0)


def softmax(layer: Softmax, values: np.ndarray) -> np.ndarray:
    """Softmax over the last axis.

    Args:
        values: int8 (rows, depth).

    Returns:
        int8 (rows, depth); real = (q + 128) / 256.
    """
    wide = values.astype(np.int64)
    exponentials = exp_table(layer)[wide.max(axis=1, keepdims=True) - wide]
    sums = rounding_divide_by_pot(exponentials, SUM_INTEGER_BITS).sum(axis=1, keepdims=True)
    scale, bits = reciprocal(sums, SUM_INTEGER_BITS)
    product = saturating_rounding_doubling_high_mul(scale, exponentials)
    # A term that TFLite skips is -128 there and 0 - 128 here.
    return clamp_int8(rounding_divide_by_pot(product, bits + 31 - _OUTPUT_BITS) - 128)
