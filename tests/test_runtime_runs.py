"""Kernels that run the format runs as stored: the reference arm against numpy, the other arms against the reference arm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from properties import deterministic, seeds
from runtime_cases import CASES, Case, Rng
from runtime_library import STATUS, Call, kernels, prepare_call  # noqa: F401 (kernels is a fixture)

from keras_hwcompress import formats
from keras_hwcompress.runners.kernels import Kernels
from keras_hwcompress.tflite import layers

OPS = ("conv2d", "fully_connected")


def few_levels(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Sparse weights of up to 7 levels, sometimes scaled per row, sometimes with rows of zeros."""
    levels = rng.choice([-128, -127, -64, -63, -3, 1, 63, 64, 126, 127], int(rng.integers(1, 8)))
    values = rng.choice(levels, shape) * (rng.random(shape) < rng.choice([0.05, 0.2, 0.35, 0.6, 1.0]))
    if rng.random() < 0.3:
        values = values // rng.integers(1, 40, (shape[0], 1))
    return values.astype(np.int8)


def runs_case(op: str, rng: Rng) -> tuple[Case, bytes]:
    """A random layer with weights that `runs` admits, and its blob."""
    case = CASES[op](rng)
    values = few_levels(rng, case.layer.weights.values.shape)
    layer = replace(case.layer, weights=layers.Weights(0, values))
    return replace(case, layer=layer), formats.encode("runs", values, gap_bits=[None, 4, 8][rng.integers(3)])


def runs_call(kernels: Kernels, case: Case, blob: bytes) -> Call:
    call = prepare_call(kernels, case, blob)
    call.layer = replace(call.layer, function=f"hwcmp_{case.layer.op}_runs_s8")
    return replace(call, scratch=type(call.scratch)(kernels.scratch_bytes(call.layer, call.weights)))


@pytest.mark.parametrize("op", OPS)
@deterministic
@given(seed=seeds)
def test_the_reference_kernel_computes_what_numpy_computes(kernels: Kernels, op: str, seed: int) -> None:
    case, blob = runs_case(op, np.random.default_rng(seed))
    call = runs_call(kernels, case, blob)
    assert call.run(kernels) == STATUS["OK"]
    np.testing.assert_array_equal(call.output.values.reshape(case.output_shape), case.expected())
    call.output.check()
    call.scratch.check()


@pytest.mark.parametrize("op", OPS)
def test_other_formats_other_shapes_and_small_scratch_are_refused(kernels: Kernels, op: str) -> None:
    rng = np.random.default_rng(3)
    case, blob = runs_case(op, rng)
    dense = runs_call(kernels, case, formats.encode("dense8", case.layer.weights.values))
    assert dense.run(kernels) == STATUS["ERR_FORMAT"] and dense.output.is_untouched()
    other = runs_call(kernels, case, formats.encode("runs", np.zeros((2, 1001), np.int8)))
    assert other.run(kernels) == STATUS["ERR_SHAPE"] and other.output.is_untouched()
    call = runs_call(kernels, case, blob)
    if call.scratch.values.size:
        call.scratch.values = call.scratch.values[:-4]
        assert call.run(kernels) == STATUS["ERR_SCRATCH"] and call.output.is_untouched()
