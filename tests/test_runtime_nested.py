"""Kernels for weights in the layout `nested`: the reference arm against numpy, the DSP arm in QEMU, whole models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from arm_cases import ArmCase, run_cases
from hypothesis import given
from properties import deterministic, seeds
from runtime_cases import CASES, Case, Rng, int8, names, pick
from runtime_library import STATUS, Call, kernels, prepare_call  # noqa: F401 (kernels is a fixture)
from test_runtime_runs import IN_QEMU, conv

from keras_hwcompress import formats
from keras_hwcompress.codegen.scratch import scratch_bytes
from keras_hwcompress.runners.kernels import Kernels
from keras_hwcompress.targets import BOARDS
from keras_hwcompress.tflite import layers

OPS = ("conv2d", "fully_connected")
LAYOUTS = ("dense8_nested", "nary_nested")


def int8_weights(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Any int8, but no -128 above a negative value."""
    values = int8(rng, *shape)
    if rng.random() < 0.3:
        values = rng.choice(int8(rng, 2), shape).astype(np.int8)
    rows = values[1::2]
    rows[(rows == -128) & (values[: 2 * len(rows) : 2] < 0)] = -127
    return values


def grid_weights(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Evenly spaced levels, up to 4 or up to 16, of the tensor or of each row."""
    levels = int(rng.choice([1, 2, 3, 4, 5, 15, 16]))
    rows = shape[0] if rng.random() < 0.5 else 1
    step = rng.integers(0, 255 // max(levels - 1, 1) + 1, (rows, 1))
    base = -128 + rng.integers(0, 256 - step * (levels - 1))
    return (base + step * rng.integers(0, levels, shape)).astype(np.int8)


WEIGHTS = {"dense8_nested": int8_weights, "nary_nested": grid_weights}


def with_weights(case: Case, values: np.ndarray) -> Case:
    return replace(case, layer=replace(case.layer, weights=layers.Weights(0, values)))


def nested_case(op: str, layout: str, rng: Rng) -> tuple[Case, bytes]:
    """A random layer with weights that the layout admits, and its blob."""
    case = CASES[op](rng)
    case = with_weights(case, WEIGHTS[layout](rng, case.layer.weights.values.shape))
    return case, formats.encode(layout, case.layer.weights.values)


def nested_call(kernels: Kernels, case: Case, layout: str, blob: bytes) -> Call:
    call = prepare_call(kernels, case, blob)
    call.layer = replace(call.layer, function=f"hwcmp_{case.layer.op}_{layout}_s8")
    return replace(call, scratch=type(call.scratch)(kernels.scratch_bytes(call.layer, call.weights)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", OPS)
@deterministic
@given(seed=seeds)
def test_the_reference_arm_computes_what_numpy_computes(kernels: Kernels, op: str, layout: str, seed: int) -> None:
    case, blob = nested_case(op, layout, np.random.default_rng(seed))
    call = nested_call(kernels, case, layout, blob)
    for function in (call.layer.function, f"hwcmp_{op}_s8"):
        call.layer = replace(call.layer, function=function)
        assert call.run(kernels) == STATUS["OK"]
        np.testing.assert_array_equal(call.output.values.reshape(case.output_shape), case.expected())
        call.output.check()
        call.scratch.check()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", OPS)
def test_other_formats_layouts_and_shapes_are_refused(kernels: Kernels, op: str, layout: str) -> None:
    case, _ = nested_case(op, layout, np.random.default_rng(3))
    values = case.layer.weights.values
    others = {
        "ERR_LAYOUT": formats.encode(layout.removesuffix("_nested"), np.zeros_like(values)),
        "ERR_FORMAT": formats.encode("runs", np.zeros_like(values)),
        "ERR_SHAPE": formats.encode(layout, np.zeros((4, 1001), np.int8)),
    }
    for status, blob in others.items():
        call = nested_call(kernels, case, layout, blob)
        assert call.run(kernels) == STATUS[status] and call.output.is_untouched()


# ---- the DSP arm in QEMU -------------------------------------------------------------------------------------


def wide_case(op: str, rng: Rng) -> Case:
    """More rows than the kernel prepares at a time, whole groups or not; depths in fours; one pixel or a few."""
    rows, depth = pick(rng, 1, 3) * 32 + int(rng.choice([-1, 0, 1, 2, 4])), 4 * pick(rng, 1, 4)
    if op == "fully_connected":
        return fully_connected(rng, np.zeros((rows, pick(rng, 1, 70)), np.int8))
    taps = pick(rng, 1, 3)
    size = (pick(rng, taps, 5), pick(rng, taps, 5), depth)
    output = None if rng.random() < 0.7 else (1, pick(rng, 1, 2))
    pad = None if output is None else (0, 0)
    values = np.zeros((rows, taps * taps * depth), np.int8)
    return conv(rng, size, values, (taps, taps), output=output, pad=pad)


def fully_connected(rng: Rng, values: np.ndarray, batch: int = 1) -> Case:
    rows, length = values.shape
    constants = layers.Channels(
        rng.integers(-999, 999, rows, np.int32), rng.integers(1 << 30, 2**31, rows).astype(np.int32),
        -rng.integers(7, 11, rows).astype(np.int8),
    )  # fmt: skip
    layer = layers.FullyConnected(
        **names("fully_connected"), weights=layers.Weights(0, values), channels=constants, batch=batch,
        input_length=length, input_zero_point=-5, output_zero_point=3, activation_min=-128, activation_max=127,
    )  # fmt: skip
    return Case(layer, (int8(rng, batch, length),), (batch, rows))


def at_the_bound(layout: str) -> dict[str, np.ndarray]:
    """Four rows whose sums reach the largest that is added up whole, and one more, which must be cut into parts."""
    if layout == "dense8_nested":
        minus = np.tile(np.array([[0], [-128], [127], [-128]], np.int8), (1, 512))
        plus = np.tile(np.array([[-128], [127], [-128], [127]], np.int8), (1, 517))
        return {"minus_511": minus[:, :511], "minus_512": minus, "plus_516": plus[:, :516], "plus_517": plus}
    every = np.resize(np.arange(-8, 8), 4370)  # so that the grid is -8 + code
    low, high = (np.stack((every, *(np.full(4370, level) for level in rows))).astype(np.int8) for rows in ((7, -8, -8), (7, 7, 0)))
    return {"low_511": low[:, :511], "low_512": low[:, :512], "high_4369": high[:, :4369], "high_4370": high}


def extreme_cases(layout: str, rng: Rng) -> dict[str, Case]:
    found = {}
    for name, values in at_the_bound(layout).items():
        length = values.shape[1]
        blob = formats.encode(layout, values)
        assert bool(blob[7] & 64) == name.endswith(("512", "517", "4370")), name
        for x in (-128, 127):
            size = (1, 2, length)
            found[f"{name}_pairs_{x}"] = replace(conv(rng, size, values, (1, 1)), inputs=(np.full(size, x, np.int8),))
            case = fully_connected(rng, values)
            found[f"{name}_single_{x}"] = replace(case, inputs=(np.full((1, length), x, np.int8),))
    values = WEIGHTS[layout](rng, (96, 144))
    far = 2**31 - 2**22  # as far as sums of these values, below 2^22, allow
    bias = np.resize([0, 1, -1, 2**22, -(2**23), 2**29, -(2**30), far, -far], 96).astype(np.int32)
    factor = rng.choice([0, 1, 1 << 30, 2**31 - 1, 1518500250], 96).astype(np.int32)
    wild = layers.Channels(bias, factor, np.resize(np.arange(-31, 1), 96).astype(np.int8))
    for zero, low in ((3, -128), (-128, -128), (127, 0)):
        bounds = {"output_zero_point": zero, "activation_min": low, "channels": wild}
        found[f"wild_{zero}"] = conv(rng, (5, 5, 16), values, (3, 3), **bounds)
    long = WEIGHTS[layout](rng, (7, 1800))
    found["long"] = conv(rng, (3, 4, 200), long, (3, 3))
    found["long_single"] = fully_connected(rng, WEIGHTS[layout](rng, (9, 1203)), 2)
    return {name.replace("-", "m"): case for name, case in found.items()}


def arm_cases(layout: str, seed: int, count: int) -> list[ArmCase]:
    rng = np.random.default_rng(seed)
    found = [ArmCase(f"{op}_{i}", *nested_case(op, layout, rng)) for i in range(count) for op in OPS]
    drawn = {f"wide_{op}_{i}": wide_case(op, rng) for i in range(count // 4) for op in OPS}
    drawn = {name: with_weights(case, WEIGHTS[layout](rng, case.layer.weights.values.shape)) for name, case in drawn.items()}
    drawn |= extreme_cases(layout, rng)
    return found + [ArmCase(name, case, formats.encode(layout, case.layer.weights.values)) for name, case in drawn.items()]


@IN_QEMU
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("board", "level"), [("mps2-an386", "-O2"), ("mps2-an386", "-O0"), ("mps2-an500", "-Os"), ("mps2-an505", "-O3")]
)
def test_the_dsp_arm_computes_what_numpy_computes_within_the_planned_scratch(tmp_path, board, level, layout) -> None:
    cases = arm_cases(layout, len(level) + sum(map(ord, board)), 60)
    run = run_cases(BOARDS[board], {op: f"{op}_{layout}" for op in OPS}, cases, tmp_path, level)
    for item in cases:
        layer = item.case.layer
        planned = scratch_bytes(layer, "DIRECT", "dsp", 1, f"{layer.op}_{layout}")
        assert run.scratch[item.name] == planned, item.name
    assert run.stack_bytes < 1500
