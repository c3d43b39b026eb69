"""ADD as one affine map: (a * A + b * B + C) >> shift, clamped, where that equals the defining form for every pair.

TFLite rounds both scaled operands and their sum. Each rounding moves the result by far less than one output step, so a
single affine map with a well chosen C mostly gives the same 65,536 bytes; a kernel then needs 7 instructions instead
of 20 or more. "Mostly" is not enough, so every pair is checked here and an ADD without such a map gets none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_hwcompress.tflite.arithmetic import INT8_MAX, INT8_MIN, INT32_MAX, multiply_by_quantized_multiplier

# Tried in this order. The fast kernels shift by a constant 22; more bits fit more often, fewer fit larger scales.
SHIFTS = (22, 23, 21, 20)
_VALUES = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)
_NEIGHBOURS = sorted(((a, b) for a in range(-2, 3) for b in range(-2, 3)), key=lambda pair: abs(pair[0]) + abs(pair[1]))
_FAR = np.int64(2) ** 60


@dataclass(frozen=True, slots=True)
class Operand:
    """One input of an ADD: zero_point, and the multiplier and shift that bring it to the common scale."""

    zero_point: int
    multiplier: int
    shift: int


@dataclass(frozen=True, slots=True)
class Output:
    """The output of an ADD: zero point, multiplier and shift from the common scale, and the activation's range."""

    zero_point: int
    multiplier: int
    shift: int
    activation_min: int
    activation_max: int


@dataclass(frozen=True, slots=True)
class AffineAdd:
    """clamp((a * affine_a + b * affine_b + affine_c) >> affine_shift); all zero: there is no such form."""

    affine_a: int = 0
    affine_b: int = 0
    affine_c: int = 0
    affine_shift: int = 0


def add_table(a: Operand, b: Operand, output: Output, left_shift: int) -> np.ndarray:
    """What ADD gives for every pair of int8 values, by its definition.

    Returns:
        int64 (256, 256): a along the first axis, b along the second, both from -128 to 127.
    """
    scaled_a, scaled_b = (
        multiply_by_quantized_multiplier((_VALUES - item.zero_point) << left_shift, item.multiplier, item.shift)
        for item in (a, b)
    )
    total = scaled_a[:, None] + scaled_b[None, :]
    result = multiply_by_quantized_multiplier(total, output.multiplier, output.shift) + output.zero_point
    return np.clip(result, output.activation_min, output.activation_max)


@functools.lru_cache(maxsize=256)  # the steps of an unrolled recurrent layer repeat theirs
def find_affine(a: Operand, b: Operand, output: Output, left_shift: int) -> AffineAdd:
    """The affine form of an ADD, or zeros where none was found. All 65,536 pairs are compared.

    The sum a * affine_a + b * affine_b + affine_c fits int32 for every pair.
    """
    table = add_table(a, b, output, left_shift)
    low, high = output.activation_min, output.activation_max
    slopes = [_slope(item, output, left_shift) for item in (a, b)]
    for shift in SHIFTS:
        # Beyond these limits a sum would give less or more than the table says; the clamp hides that at its ends.
        at_least = np.where(table > low, table << shift, -_FAR)
        at_most = np.where(table < high, ((table + 1) << shift) - 1, _FAR)
        for slope_a, slope_b in _candidates(slopes, shift):
            sums = slope_a * _VALUES[:, None] + slope_b * _VALUES[None, :]
            first, last = int((at_least - sums).max()), int((at_most - sums).min())
            found = AffineAdd(slope_a, slope_b, (first + last) // 2, shift)
            if first <= last and _fits(found):
                return found
    return AffineAdd()


def _slope(operand: Operand, output: Output, left_shift: int) -> float:
    """Output steps for one step of the operand."""
    exponent = left_shift - 62 + operand.shift + output.shift
    return float(operand.multiplier) * float(output.multiplier) * 2.0**exponent


def _candidates(slopes: list[float], shift: int) -> Iterator[tuple[int, int]]:
    """The slopes as integers, rounded to nearest first."""
    nearest = [round(slope * 2**shift) for slope in slopes]
    for change_a, change_b in _NEIGHBOURS:
        yield nearest[0] + change_a, nearest[1] + change_b


def _fits(form: AffineAdd) -> bool:
    """Whether the constants and the sums of every pair fit int32; a sum is largest and smallest at corners."""
    ends = (INT8_MIN, INT8_MAX)
    sums = [a * form.affine_a + b * form.affine_b + form.affine_c for a in ends for b in ends]
    return all(abs(value) <= INT32_MAX for value in (*sums, form.affine_a, form.affine_b, form.affine_c))
