"""Kernels that run the format runs as stored, on the host and in QEMU: equal to numpy, within their scratch, fast."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arm_cases import ArmCase, run_cases
from hypothesis import given
from properties import deterministic, seeds
from runtime_cases import CASES, Case, Rng, channels, int8, names, pick
from runtime_library import ARM_CC, STATUS, Call, kernels, prepare_call  # noqa: F401 (kernels is a fixture)

from keras_hwcompress import formats
from keras_hwcompress.codegen.project import generate_project
from keras_hwcompress.codegen.scratch import scratch_bytes
from keras_hwcompress.runners.kernels import Kernels
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.targets import BOARDS
from keras_hwcompress.tflite import layers, reference
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.synthetic import GraphBuilder
from keras_hwcompress.tflite.writer import write_model

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


# ---- the other arms, in QEMU ---------------------------------------------------------------------------------

KERNELS = {op: f"{op}_runs" for op in OPS}
IN_QEMU = pytest.mark.skipif(
    not (shutil.which(ARM_CC) and shutil.which("qemu-system-arm")) and not os.environ.get("HWCMP_REQUIRE_QEMU"),
    reason="the Arm compiler or QEMU is not installed",
)


def _case(layer: layers.Conv | layers.FullyConnected, rng: Rng) -> Case:
    if isinstance(layer, layers.FullyConnected):
        return Case(layer, (int8(rng, layer.batch, layer.input_length),), (layer.batch, len(layer.weights.values)))
    return Case(layer, (int8(rng, *layer.input),), layer.output)


def conv(
    rng: Rng, size: tuple[int, int, int], values: np.ndarray, kernel: tuple[int, int], stride: int = 1,
    dilation: int = 1, pad: tuple[int, int] | None = None, output: tuple[int, int] | None = None, **more: object,
) -> Case:  # fmt: skip
    """A convolution over `size` (h, w, channels), with the padding "same" unless pad and output are given."""
    output = output or tuple(-(-extent // stride) for extent in size[:2])
    reach = [(taps - 1) * dilation + 1 for taps in kernel]
    pad = pad or tuple(max((o - 1) * stride + r - i, 0) // 2 for o, r, i in zip(output, reach, size, strict=False))
    fields = {"input_zero_point": -5, "output_zero_point": 3, "activation_min": -128, "activation_max": 127} | more
    fields.setdefault("channels", channels(rng, *values.shape))
    layer = layers.Conv(
        **names("conv2d"), weights=layers.Weights(0, values), input=size, output=(*output, len(values)), kernel=kernel,
        stride=(stride, stride), dilation=(dilation, dilation), pad=pad, **fields,
    )  # fmt: skip
    return _case(layer, rng)


def strip_case(rng: Rng) -> Case:
    """Widths at which blocks of 16 pixels lie in strips, or just not; every way in which kernel rows are shared."""
    kernel, stride, dilation = tuple(rng.integers(1, 6, 2).tolist()), pick(rng, 1, 3), pick(rng, 1, 2)
    width, height = int(rng.choice([1, 2, 4, 5, 8, 15, 16, 17, 20, 32, 48])), pick(rng, 1, 7)
    pad = tuple(pick(rng, 0, taps) for taps in kernel)
    reach = [(taps - 1) * dilation + 1 for taps in kernel]
    less = rng.integers(-1, 3, 2).tolist()
    full = [(o - 1) * stride + r for o, r in zip((height, width), reach, strict=True)]
    extents = [max(f - p - l, 1) for f, p, l in zip(full, pad, less, strict=True)]
    depth, rows = int(rng.choice([1, 2, 3, 4, 5, 7, 8, 12, 16])), pick(rng, 1, 4)
    values = few_levels(rng, (rows, kernel[0] * kernel[1] * depth))
    zero = int(rng.choice([-128, 127, pick(rng, -128, 127)]))
    low = zero if rng.random() < 0.5 else -128
    bounds = {"output_zero_point": zero, "activation_min": low, "activation_max": max(low, pick(rng, 0, 127))}
    return conv(rng, (*extents, depth), values, kernel, stride, dilation, pad, (height, width), **bounds)


def extreme_cases(rng: Rng) -> dict[str, Case]:
    """Sums at the bound of 16-bit lanes, and channels at the bounds of the cheap ways to requantize."""
    found = {}
    full = np.full((4, 255), 127, np.int8)
    full[1], full[2, ::2], full[3] = -128, -127, np.resize([127, -127, 0], 255)
    for name, x in (("low", -128), ("high", 127)):
        case = conv(rng, (5, 7, 255), full, (1, 1))
        found[f"bound_{name}"] = replace(case, inputs=(np.full((5, 7, 255), x, np.int8),))
    signs = np.where(full > 0, -128, 127)[2]
    against = np.tile(signs, (4, 4, 1)).astype(np.int8)
    found["bound_signs"] = replace(conv(rng, (4, 4, 255), full[2:3], (1, 1)), inputs=(against,))
    values = few_levels(rng, (96, 144))
    far = 2**31 - 2**22  # as far as sums of these values, below 2^22, allow
    bias = np.resize([0, 1, -1, 2**22, -(2**23), 2**29, -(2**30), far, -far], 96).astype(np.int32)
    factor = rng.choice([0, 1, 1 << 30, 2**31 - 1, 1518500250], 96).astype(np.int32)
    wild = layers.Channels(bias, factor, np.resize(np.arange(-31, 1), 96).astype(np.int8))
    few, most = rng.integers(-300, 300, 96, np.int32), np.full(96, 2**31 - 1, np.int32)
    small = layers.Channels(few, most, np.resize(np.arange(-14, 7), 96).astype(np.int8))
    for name, constants in (("wild", wild), ("small", small)):
        for zero, low in ((3, -128), (-128, -128), (-7, -7), (127, 127)):
            bounds = {"output_zero_point": zero, "activation_min": low, "channels": constants}
            found[f"{name}_{zero}"] = conv(rng, (2, 16, 16), values, (3, 3), **bounds)
    ones, powers = rng.integers(-2, 3, (56, 16)).astype(np.int8), np.full(56, 1 << 30, np.int32)
    ties = layers.Channels(np.zeros(56, np.int32), powers, np.resize(np.arange(-13, -6), 56).astype(np.int8))
    for zero, low in ((5, 4), (5, 5), (5, -128), (-128, -128)):
        bounds = {"output_zero_point": zero, "activation_min": low, "channels": ties}
        found[f"ties_{zero}_{low}"] = conv(rng, (9, 16, 16), ones, (1, 1), **bounds)
    for taps in range(1, 6):
        values = few_levels(rng, (3, 15 * taps))
        found[f"taps_{taps}"] = conv(rng, (3, 32, 5), values, (3, taps))
        for rows in (1, 2, 3):  # no padding; scratch ends at the wall in one of three
            inside = {"pad": (0, 0), "output": (rows, 16)}
            found[f"valid_{taps}_{rows}"] = conv(rng, (rows + 2, 15 + taps, 5), values, (3, taps), **inside)
    for stride, dilation in ((1, 1), (1, 2), (2, 2), (2, 1), (3, 2), (3, 3), (2, 3)):
        for width in (8, 16):
            size, values = ((7 * stride, width * stride, 4), few_levels(rng, (2, 60)))
            found[f"steps_{stride}_{dilation}_{width}"] = conv(rng, size, values, (5, 3), stride, dilation)
    for pixels in (1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 18, 19, 20, 49):
        found[f"pixels_{pixels}"] = conv(rng, (1, pixels, 40), few_levels(rng, (5, 40)), (1, 1))
        found[f"padded_{pixels}"] = conv(rng, (pixels, 1, 7), few_levels(rng, (4, 63)), (3, 3), output_zero_point=-128)
    found["three_segments"] = conv(rng, (3, 3, 600), few_levels(rng, (6, 5400)), (3, 3))
    found["segments_of_one_pixel"] = conv(rng, (1, 1, 3000), few_levels(rng, (6, 3000)), (1, 1))
    return found | extreme_dense_cases(rng)


def dense(rng: Rng, values: np.ndarray, batch: int = 1, **more: object) -> Case:
    """A fully connected layer."""
    fields = {"input_zero_point": 9, "output_zero_point": 3, "activation_min": -128, "activation_max": 127} | more
    fields.setdefault("channels", channels(rng, *values.shape))
    length = values.shape[1]
    layer = layers.FullyConnected(
        **names("fully_connected"), weights=layers.Weights(0, values), batch=batch, input_length=length, **fields
    )
    return _case(layer, rng)


def extreme_dense_cases(rng: Rng) -> dict[str, Case]:
    """Every number of entries in a list, rows of several segments, and sums at the bounds of cheap requantization."""
    found = {"dense_segments": dense(rng, few_levels(rng, (7, 3001)), batch=2)}
    counts = np.arange(1, 41)[:, None] > np.arange(44)[None]
    found["dense_plus"] = dense(rng, np.where(counts, 3, 0).astype(np.int8))
    found["dense_minus"] = dense(rng, np.where(counts, np.where(np.arange(44) < 43, -3, 3), 0).astype(np.int8))
    # one weight of 127: sums from bias - 127 * 128 to bias + 127 * 127, around the limits 2^29 and 2^30
    near = np.array([2**29, 2**29 + 1, -(2**29), 2**30, 2**30 - 1, -(2**30), 1 - 2**30, 0, -1, 1], np.int32)
    spread = rng.integers(-1, 2, 10, np.int32)
    factor = rng.choice([1 << 30, 2**31 - 1, 1518500250], 10).astype(np.int32)
    for shift in (-31, -23, -22, -21, -1, 0):
        stored = layers.Channels(near + spread, factor, np.full(10, shift, np.int8))
        found[f"dense_bound{shift}"] = dense(rng, np.full((10, 1), 127, np.int8), batch=3, channels=stored)
    return found


def arm_cases(seed: int, count: int) -> list[ArmCase]:
    rng = np.random.default_rng(seed)
    found = [ArmCase(f"{op}_{i}", *runs_case(op, rng)) for i in range(count) for op in OPS]
    drawn = {f"strip_{i}": strip_case(rng) for i in range(count)} | extreme_cases(rng)
    widths = (None, 4, 8)
    return found + [
        ArmCase(name, case, formats.encode("runs", case.layer.weights.values, gap_bits=widths[i % 3]))
        for i, (name, case) in enumerate(drawn.items())
    ]


@IN_QEMU
@pytest.mark.parametrize(
    ("board", "level"),
    [
        ("mps2-an386", "-O2"),
        ("mps2-an386", "-O0"),
        ("mps2-an500", "-Os"),
        ("mps2-an505", "-O3"),
        ("mps2-an385-m0", "-O2"),
        ("mps2-an385", "-Os"),
        ("mps3-an547", "-O2"),
    ],
)
def test_every_arm_computes_what_numpy_computes_within_the_planned_scratch(
    tmp_path: Path, board: str, level: str
) -> None:
    cases = arm_cases(len(level) + sum(map(ord, board)), 35)
    run = run_cases(BOARDS[board], KERNELS, cases, tmp_path, level)
    for item in cases:
        layer = item.case.layer
        planned = scratch_bytes(layer, "DIRECT", BOARDS[board].arm, 8, KERNELS[layer.op])
        assert run.scratch[item.name] == planned, item.name
    assert run.stack_bytes < 1100


# Instructions per multiply-accumulate of the whole call on Cortex-M4. Size, output channels, kernel, stride, levels,
# share of non-zero weights; the limits for any output zero point and for a fused ReLU.
TERNARY, QUINARY = (-127, 127), (-126, -63, 63, 126)
LIMITS = {
    "conv3x3_16to32_16x16_50": ((16, 16, 16), 32, (3, 3), 1, TERNARY, 0.5, 0.49, 0.46),
    "conv3x3_16to32_16x16_35": ((16, 16, 16), 32, (3, 3), 1, TERNARY, 0.35, 0.38, 0.355),
    "conv3x3_16to32_16x16_20": ((16, 16, 16), 32, (3, 3), 1, TERNARY, 0.2, 0.31, 0.29),
    "conv3x3_32to32_16x16_35": ((16, 16, 32), 32, (3, 3), 1, TERNARY, 0.35, 0.35, 0.34),
    "conv3x3_16to32_16x16_quinary_60": ((16, 16, 16), 32, (3, 3), 1, QUINARY, 0.6, 0.65, 0.64),
    "conv3x3_32to32_16x16_quinary_60": ((16, 16, 32), 32, (3, 3), 1, QUINARY, 0.6, 0.60, 0.59),
    "conv3x3_64to64_8x8_35": ((8, 8, 64), 64, (3, 3), 1, TERNARY, 0.35, 0.34, 0.34),
    "conv1x1_64to64_25x5_35": ((25, 5, 64), 64, (1, 1), 1, TERNARY, 0.35, 0.50, 0.43),
    "conv1x1_64to64_25x5_20": ((25, 5, 64), 64, (1, 1), 1, TERNARY, 0.2, 0.41, 0.35),
    "conv3x3_16to16_32x32_35": ((32, 32, 16), 16, (3, 3), 1, TERNARY, 0.35, 0.42, 0.41),
    "conv3x3s2_16to32_32x32_35": ((32, 32, 16), 32, (3, 3), 2, TERNARY, 0.35, 0.43, 0.42),
    "conv3x3_16to32_13x13_35": ((13, 13, 16), 32, (3, 3), 1, TERNARY, 0.35, 0.49, 0.48),
    "conv3x3_18to30_15x11_35": ((15, 11, 18), 30, (3, 3), 1, TERNARY, 0.35, 0.49, 0.48),
    "conv3x3_5to16_16x16_35": ((16, 16, 5), 16, (3, 3), 1, TERNARY, 0.35, 0.65, 0.63),
    "conv1x7_16to32_16x16_35": ((16, 16, 16), 32, (1, 7), 1, TERNARY, 0.35, 0.49, 0.48),
}


def counted(name: str, rectified: bool) -> ArmCase:
    size, rows, kernel, stride, levels, density, *_ = LIMITS[name]
    rng = np.random.default_rng(5)
    values = np.zeros((rows, kernel[0] * kernel[1] * size[2]), np.int8)
    chosen = rng.permutation(values.size)[: round(density * values.size)]
    values.reshape(-1)[chosen] = rng.choice(levels, chosen.size)
    factors = rng.integers(1 << 30, 2**31, rows).astype(np.int32)
    shift = -rng.integers(7, 11, rows).astype(np.int8)
    constants = layers.Channels(rng.integers(-999, 999, rows, np.int32), factors, shift)
    bounds = {"output_zero_point": -128 if rectified else 3, "channels": constants}
    case = conv(rng, size, values, kernel, stride, **bounds)
    blob = formats.encode("runs", values, gap_bits=4)
    return ArmCase(f"{name}{'_relu' if rectified else ''}", case, blob, is_counted=True)


# Ternary fully connected layers: length, rows, share of non-zero weights, bits of a gap.
DENSE_LAYERS = {
    "fc_640to128_35": (640, 128, 0.35, 4),
    "fc_640to128_20_8": (640, 128, 0.2, 8),
    "fc_640to128_10_8": (640, 128, 0.1, 8),
}
DENSE_LIMITS = {
    "mps2-an386": {"fc_640to128_35": 1.30, "fc_640to128_20_8": 0.75, "fc_640to128_10_8": 0.45},
    "mps2-an385-m0": {"fc_640to128_35": 2.6, "fc_640to128_20_8": 1.5, "fc_640to128_10_8": 0.9},
    "mps2-an385": {"fc_640to128_35": 1.9, "fc_640to128_20_8": 1.2, "fc_640to128_10_8": 0.75},
    "mps3-an547": {"fc_640to128_35": 1.35, "fc_640to128_20_8": 0.8, "fc_640to128_10_8": 0.5},
}
# Convolutions 3x3 32->32 without padding over few output pixels, on Cortex-M4: (height, width) of the output.
FEW_PIXELS = {(1, 1): 1.55, (1, 2): 1.52, (2, 2): 1.62, (3, 3): 0.72, (3, 5): 0.45, (7, 7): 0.41}


def counted_dense(name: str) -> ArmCase:
    length, rows, density, bits = DENSE_LAYERS[name]
    rng = np.random.default_rng(5)
    values = np.zeros((rows, length), np.int8)
    chosen = rng.permutation(values.size)[: round(density * values.size)]
    values.reshape(-1)[chosen] = rng.choice(TERNARY, chosen.size)
    return ArmCase(name, dense(rng, values), formats.encode("runs", values, gap_bits=bits), is_counted=True)


def counted_few(size: tuple[int, int]) -> ArmCase:
    rng = np.random.default_rng(5)
    values = np.where(rng.random((32, 288)) < 0.35, rng.choice(TERNARY, (32, 288)), 0).astype(np.int8)
    case = conv(rng, (size[0] + 2, size[1] + 2, 32), values, (3, 3), pad=(0, 0), output=size)
    return ArmCase(f"few_{size[0]}x{size[1]}", case, formats.encode("runs", values, gap_bits=4), is_counted=True)


@IN_QEMU
@pytest.mark.parametrize("board", DENSE_LIMITS)
def test_fully_connected_layers_and_few_pixels_execute_no_more_instructions_than_promised(
    tmp_path: Path, board: str
) -> None:
    limits = dict(DENSE_LIMITS[board])
    cases = [counted_dense(name) for name in limits]
    if board == "mps2-an386":
        cases += [counted_few(size) for size in FEW_PIXELS]
        limits |= {f"few_{h}x{w}": limit for (h, w), limit in FEW_PIXELS.items()}
    run = run_cases(BOARDS[board], KERNELS, cases, tmp_path)
    shares = {item.name: run.insns[item.name] / item.case.layer.macs for item in cases}
    assert not {name: round(share, 3) for name, share in shares.items() if share > limits[name]}


# The same on other cores, for any output zero point.
OTHER_LIMITS = {
    "mps3-an547": {
        "conv3x3_16to32_16x16_35": 0.22,
        "conv3x3_16to32_16x16_20": 0.17,
        "conv1x1_64to64_25x5_20": 0.22,
        "conv3x3_16to32_16x16_quinary_60": 0.36,
    },
    "mps2-an385-m0": {
        "conv3x3_16to32_16x16_35": 0.88,
        "conv3x3_16to32_16x16_20": 0.77,
        "conv3x3_16to32_16x16_quinary_60": 1.35,
    },
    "mps2-an385": {"conv3x3_16to32_16x16_35": 0.72},
}
# With a fused ReLU.
OTHER_RELU_LIMITS = {
    "mps3-an547": {"conv3x3_16to32_16x16_20": 0.17},
    "mps2-an385-m0": {"conv3x3_16to32_16x16_35": 0.80, "conv3x3_16to32_16x16_20": 0.69},
    "mps2-an385": {"conv3x3_16to32_16x16_35": 0.72},
}


@IN_QEMU
@pytest.mark.parametrize("board", OTHER_LIMITS)
def test_the_other_arms_execute_no_more_instructions_than_promised(tmp_path: Path, board: str) -> None:
    limits = OTHER_LIMITS[board] | {f"{name}_relu": limit for name, limit in OTHER_RELU_LIMITS[board].items()}
    cases = [counted(name.removesuffix("_relu"), name.endswith("_relu")) for name in limits]
    run = run_cases(BOARDS[board], KERNELS, cases, tmp_path)
    shares = {item.name: run.insns[item.name] / item.case.layer.macs for item in cases}
    assert not {name: round(share, 3) for name, share in shares.items() if share > limits[name]}


@IN_QEMU
def test_the_dsp_arm_executes_no_more_instructions_than_promised(tmp_path: Path) -> None:
    cases = [counted(name, rectified) for name in LIMITS for rectified in (False, True)]
    run = run_cases(BOARDS["mps2-an386"], KERNELS, cases, tmp_path)
    slow = {}
    for item in cases:
        limit = LIMITS[item.name.removesuffix("_relu")][-1 if item.name.endswith("_relu") else -2]
        share = run.insns[item.name] / item.case.layer.macs
        if share > limit:
            slow[item.name] = (round(share, 3), limit)
    assert not slow


# ---- whole models --------------------------------------------------------------------------------------------


def residual_net() -> Graph:
    """Two convolutions and a residual on 16 x 16, a depthwise layer, a pool and a dense layer: all weights ternary."""
    builder = GraphBuilder(4)

    def weights(*shape: int) -> np.ndarray:
        rng = np.random.default_rng(sum(shape))
        return (rng.choice([-127, 127], shape) * (rng.random(shape) < 0.35)).astype(np.int8)

    x = builder.input((1, 16, 16, 8))
    y = builder.conv2d(x, 8, activation="relu", weights=weights(8, 3, 3, 8))
    y = builder.conv2d(y, 8, weights=weights(8, 3, 3, 8))
    y = builder.add(x, y, activation="relu")
    y = builder.depthwise(y, weights=weights(1, 3, 3, 8))
    y = builder.pool(y, filter=(4, 4), stride=(4, 4))
    y = builder.reshape(y, (1, 128))
    return builder.build([builder.fully_connected(y, 10, weights=weights(10, 128))])


@IN_QEMU
def test_a_packed_model_runs_its_direct_kernels_and_keeps_its_outputs(tmp_path: Path) -> None:
    plain = residual_net()
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    packed = pack(plain, {i: "runs" for i, op in enumerate(plain.ops) if op.kind in kinds})
    inputs = random_batch(plain, 2)
    expected = np.stack([reference.run(plain, [inputs[0][i]])[0] for i in range(2)])
    for board in ("mps2-an386", "mps2-an385"):
        np.testing.assert_array_equal(run_qemu(packed, inputs, board=board).outputs[0], expected)
    project = generate_project(write_model(packed), tmp_path / "project")
    source = (project.path / "model" / "model.c").read_text()
    assert all(f"hwcmp_{name}_s8" in source for name in ("conv2d_runs", "depthwise_conv2d", "fully_connected_runs"))
    assert "hwcmp_conv2d_s8" not in source and "hwcmp_fully_connected_s8" not in source
    assert (project.path / "runtime" / "src" / "dsp" / "conv2d_runs.c").is_file()
    assert not (project.path / "runtime" / "src" / "dsp" / "conv2d.c").exists()
