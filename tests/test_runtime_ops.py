"""Every kernel of the reference arm against the numpy reference, bit for bit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import deterministic, seeds
from runtime_cases import CASES, Case, int8, names
from runtime_library import CC, STATUS, kernels, prepare_call  # noqa: F401  (kernels is a fixture)

from keras_hwcompress.runners.kernels import Kernels
from keras_hwcompress.tflite import layers

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"{CC} is not installed")
OK = STATUS["OK"]


def check(kernels: Kernels, case: Case, blob: bytes | None = None, tile_rows: int = 3) -> None:
    call = prepare_call(kernels, case, blob, tile_rows)
    assert call.run(kernels) == OK
    np.testing.assert_array_equal(call.output.values.reshape(case.output_shape), case.expected())
    call.output.check()
    call.scratch.check()
    for before, after in zip(case.inputs, call.inputs):
        np.testing.assert_array_equal(before, after, err_msg="an input was written")


@pytest.mark.parametrize("op", CASES)
@deterministic
@given(seed=seeds, tile_rows=st.integers(1, 12))
def test_the_kernel_computes_what_the_numpy_reference_computes(
    kernels: Kernels, op: str, seed: int, tile_rows: int
) -> None:
    case = CASES[op](np.random.default_rng(seed))
    for _, blob in case.blobs or ((None, None),):
        check(kernels, case, blob, tile_rows)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "lut", "softmax"])
def test_the_output_may_be_the_input(kernels: Kernels, op: str) -> None:
    case = CASES[op](np.random.default_rng(7))
    if op in ("add", "sub", "mul"):
        whole = (60, 20, 5, 1)
        layer = replace(case.layer, shape=(2, 3, 4, 5), a_stride=whole, b_stride=whole)
        rng = np.random.default_rng(8)
        case = Case(layer, (int8(rng, 120), int8(rng, 120)), (2, 3, 4, 5))
    call = prepare_call(kernels, case)
    for operand in call.inputs:
        operands = [call.output.values if array is operand else array for array in call.inputs]
        call.output.values[:] = operand.reshape(-1)
        assert kernels.run(call.layer, operands, call.output.values) == OK
        np.testing.assert_array_equal(call.output.values, case.expected().reshape(-1))


# ---- requantization ----------------------------------------------------------------------------------------


def literal_requantize(x: int, multiplier: int, shift: int) -> int:
    """gemmlowp's definition, word by word: nudge and truncate, then round half away from zero."""
    x = (x * 2 ** max(shift, 0) + 2**31) % 2**32 - 2**31
    product = x * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    exponent = max(-shift, 0)
    mask = 2**exponent - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> exponent) + ((high & mask) > threshold)


@deterministic
@given(
    factor=st.one_of(st.sampled_from([1 << 30, 2**31 - 1, -(2**30), 1, 0]), st.integers(1 - 2**31, 2**31 - 1)),
    shift=st.integers(-31, 30),
    seed=seeds,
)
def test_requantization_is_gemmlowps_for_every_multiplier_and_shift(
    kernels: Kernels, factor: int, shift: int, seed: int
) -> None:
    a, b = np.arange(-128, 128).astype(np.int8), int8(np.random.default_rng(seed), 4)
    layer = layers.Binary(
        **names("mul", 2), shape=(1, 1, 4, 256), a_stride=(0, 0, 0, 1), b_stride=(0, 0, 1, 0), a_multiplier=0,
        b_multiplier=0, output_multiplier=factor, a_shift=0, b_shift=0, output_shift=shift, left_shift=0,
        a_zero_point=127, b_zero_point=-128, output_zero_point=3, activation_min=-128, activation_max=127,
    )  # fmt: skip
    call = prepare_call(kernels, Case(layer, (a, b), (4, 256)))
    assert call.run(kernels) == OK
    expected = [
        min(max((literal_requantize((x - 127) * (w + 128), factor, shift) + 3 + 2**31) % 2**32 - 2**31, -128), 127)
        for w in b.tolist()
        for x in a.tolist()
    ]
    assert call.output.values.tolist() == expected


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d", "fully_connected"])
@deterministic
@given(seed=seeds)
def test_extreme_constants_are_not_undefined_behaviour(kernels: Kernels, op: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = CASES[op](rng)
    rows = case.layer.weights.values.shape[0]
    int32 = rng.choice([-(2**31), 2**31 - 1, 0], (2, rows)).astype(np.int32)
    wild = layers.Channels(int32[0], int32[1], rng.choice([-31, 0, 30], rows).astype(np.int8))
    geometry = {} if op == "fully_connected" else {"dilation": (32767, 32767), "pad": (32767, 0)}
    for changes in ({}, geometry):
        layer = replace(case.layer, channels=wild, **changes)
        call = prepare_call(kernels, replace(case, layer=layer), case.blobs[0][1])
        assert call.run(kernels) == OK
        call.output.check()
        call.scratch.check()
