"""One-input int8 operators as tables of 256 entries: TFLite's kernels evaluated for every input byte.

Each `*_table` function gives int8 (256,), indexed by the input byte taken as uint8. Float32 steps are done in
float32 in the kernel's own order: they decide the last bit of a multiplier.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import (
    activation_range,
    clamp_int8,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_pot,
)
from keras_hwcompress.tflite.opview import Affine1

# |q - zero_point| <= 255, so q << 22 still fits an int32: larger scale ratios are refused.
MAX_LUT_SHIFT = 22
_INT16_MAX = 2**15 - 1
_INPUTS_INT8 = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
_INPUTS_UINT8 = np.arange(256, dtype=np.int64)


def _bounded_multiplier(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    if shift > MAX_LUT_SHIFT:
        raise UnsupportedModelError(f"input scale / output scale must be below 2**{MAX_LUT_SHIFT}. Received: {real}")
    return multiplier, shift


def relu_table(source: Affine1, target: Affine1, activation: int) -> np.ndarray:
    """RELU, RELU6, RELU_N1_TO_1 with requantization; the ratio of the scales is a float32 division."""
    multiplier, shift = _bounded_multiplier(float(source.scale / target.scale))
    minimum, maximum = activation_range(activation, target.scale, target.zero_point)
    scaled = multiply_by_quantized_multiplier(_INPUTS_INT8 - source.zero_point, multiplier, shift)
    return clamp_int8(scaled + target.zero_point, minimum, maximum)


def leaky_relu_table(source: Affine1, target: Affine1, alpha: float) -> np.ndarray:
    """LEAKY_RELU: one multiplier for each sign; alpha may be negative or above one."""
    identity = _bounded_multiplier(float(source.scale / target.scale))
    slope, slope_shift = _bounded_multiplier(float(source.scale * np.float32(alpha) / target.scale))
    values = _INPUTS_INT8 - source.zero_point
    positive = multiply_by_quantized_multiplier(values, *identity)
    negative = np.sign(slope) * multiply_by_quantized_multiplier(values, abs(slope), slope_shift)
    return clamp_int8(np.where(values >= 0, positive, negative) + target.zero_point)


def requantize_table(source: Affine1, target: Affine1, from_uint8: bool, to_uint8: bool) -> np.ndarray:
    """QUANTIZE between 8-bit types; a uint8 result is stored as the int8 with the same bits."""
    multiplier, shift = _bounded_multiplier(float(source.scale) / float(target.scale))
    inputs = _INPUTS_UINT8 if from_uint8 else _INPUTS_INT8
    scaled = multiply_by_quantized_multiplier(inputs - source.zero_point, multiplier, shift) + target.zero_point
    if to_uint8:
        return np.clip(scaled, 0, 255).astype(np.uint8).view(np.int8)
    return clamp_int8(scaled)


def logistic_table(source: Affine1, target: Affine1) -> np.ndarray:
    """LOGISTIC; TFLite insists on the output scale 1/256."""
    if target.scale != np.float32(1 / 256):
        raise UnsupportedModelError(f"LOGISTIC needs the output scale 1/256. Received: {target.scale}")
    one = np.float32(1)
    return _float_table(source, target, lambda x: one / (one + _rounded_to_float32(np.exp, -x)))


def tanh_table(source: Affine1, target: Affine1) -> np.ndarray:
    """TANH."""
    return _float_table(source, target, lambda x: _rounded_to_float32(np.tanh, x))


def _rounded_to_float32(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The float32 nearest to the exact result: what a correctly rounded expf or tanhf returns on any machine."""
    with np.errstate(over="ignore"):
        return function(x.astype(np.float64)).astype(np.float32)


def _float_table(source: Affine1, target: Affine1, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """TFLite's LUTPopulate: dequantize, apply, requantize, each step in float32."""
    inverse_scale = np.float32(1) / target.scale
    real = source.scale * (_INPUTS_INT8 - source.zero_point).astype(np.float32)
    rescaled = round_half_away(function(real) * inverse_scale).astype(np.float32)
    return clamp_int8(rescaled + np.float32(target.zero_point))


def hard_swish_table(source: Affine1, target: Affine1) -> np.ndarray:
    """HARD_SWISH: x * relu6(x + 3) / 6 in int16 fixed point."""
    hires_scale = np.float32(1 / 128) * source.scale
    out_multiplier, out_shift = _int16_multiplier(float(hires_scale / target.scale))
    relu_multiplier, relu_shift = _int16_multiplier(float(hires_scale / np.float32(3 / 32768)))
    if out_shift > 0:
        raise UnsupportedModelError("HARD_SWISH needs input scale / output scale < 128")
    hires = (_INPUTS_INT8 - source.zero_point) << 7
    preshift = _high_mul_int16(hires, out_multiplier)
    gate = _hard_sigmoid(hires, relu_multiplier, relu_shift)
    # Division towards zero, not a shift: this is what cancels the bias of the two roundings before.
    product = np.sign(gate * preshift) * (np.abs(gate * preshift) >> 15)
    return clamp_int8(rounding_divide_by_pot(product, -out_shift) + target.zero_point)


def _int16_multiplier(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    if shift < -15:
        raise UnsupportedModelError(f"HARD_SWISH's scales are too far apart: multiplier {real}")
    return min((multiplier + (1 << 15)) >> 16, _INT16_MAX), shift


def _high_mul_int16(a: np.ndarray, b: int) -> np.ndarray:
    """round(a * b / 2**15) of int16 values; b >= 0, so nothing saturates."""
    return (a * b + (1 << 14)) >> 15


def _saturating_left_shift_int16(a: np.ndarray, amount: int) -> np.ndarray:
    # A shift by 15 saturates every int16 but zero: more changes nothing.
    return np.clip(a << min(amount, 15), -_INT16_MAX - 1, _INT16_MAX)


def _hard_sigmoid(hires: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    """relu6(x + 3) / 6 in Q15, saturating at [0, 1)."""
    value = _saturating_left_shift_int16(hires, shift - 1) if shift > 0 else hires
    value = _high_mul_int16(value, multiplier)
    if shift > 0:
        value = _saturating_left_shift_int16(value, 1)
    return (rounding_divide_by_pot(value, max(-shift, 0)) + (1 << 15)) >> 1

