"""The integer arithmetic against literal definitions in Python integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import deterministic

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

int32s = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, -1, 2**30, -(2**30), 2**31 - 1, -(2**31)]))


def _literal_high_mul(a: int, b: int) -> int:
    """gemmlowp, word by word: saturate, nudge by the sign, divide towards zero."""
    if a == b == -(2**31):
        return 2**31 - 1
    total = a * b + (2**30 if a * b >= 0 else 1 - 2**30)
    return total // 2**31 if total >= 0 else -(-total // 2**31)


def _nearest_away(value: Fraction) -> int:
    magnitude = int(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


@deterministic
@given(a=int32s, b=int32s)
def test_the_high_multiply_is_gemmlowps(a, b):
    assert int(saturating_rounding_doubling_high_mul(np.int64(a), np.int64(b))) == _literal_high_mul(a, b)


@deterministic
@given(x=int32s, exponent=st.integers(0, 31), tie=st.booleans())
def test_the_rounding_shift_rounds_ties_away_from_zero(x, exponent, tie):
    if tie and exponent:
        x = (x >> exponent << exponent) + (1 << exponent >> 1)
    assert int(rounding_divide_by_pot(np.int64(x), exponent)) == _nearest_away(Fraction(x, 2**exponent))


@deterministic
@given(x=st.integers(-(2**22), 2**22), multiplier=st.integers(2**30, 2**31 - 1), shift=st.integers(-31, 8))
def test_requantization_rounds_twice(x, multiplier, shift):
    high = _literal_high_mul(x << max(shift, 0), multiplier)
    expected = _nearest_away(Fraction(high, 2 ** max(-shift, 0)))
    assert int(multiply_by_quantized_multiplier(np.int64(x), multiplier, shift)) == expected


@deterministic
@given(st.floats(2**-31, 2**29))
def test_a_quantized_multiplier_is_the_nearest_with_31_bits(real):
    multiplier, shift = quantize_multiplier(real)
    assert 2**30 <= multiplier < 2**31
    step = Fraction(2) ** (shift - 31)
    assert abs(Fraction(real) - multiplier * step) <= step / 2


def test_multipliers_at_the_edges():
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(1 - 2**-40) == (2**30, 1)
    assert quantize_multiplier(-0.5) == (-(2**30), 0)
    assert quantize_multiplier(2.0**-33) == (0, 0)
    for real in (float("nan"), float("inf"), 2.0**31):
        with pytest.raises(UnsupportedModelError, match="multiplier"):
            quantize_multiplier(real)
