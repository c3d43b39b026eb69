"""The matrix of the kernel benchmark: layers x weights x output stages.

A case is one layer; its weights are drawn as `Levels` says and stored in any format of the table that admits them.
Everything follows from names and numbers, so a row of the CSV can be built again (`fit_cost.py` does).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_hwcompress.formats.table import WeightFormat, table
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.synthetic import GraphBuilder
from keras_hwcompress.tflite.weights import from_rows

WEIGHTED = ("conv2d", "depthwise_conv2d", "fully_connected")
_KINDS = {"conv2d": "CONV_2D", "depthwise_conv2d": "DEPTHWISE_CONV_2D", "fully_connected": "FULLY_CONNECTED"}

# Output stages: zero point, activation and scale (None: few outputs saturate). "relu": the zero point is the least
# output, which kernels may exploit. "left": multipliers around 1, so that channels shift by 0 or to the left; for additions
# it means scales in such ratios that sums lie halfway between two outputs, where no affine form rounds as TFLite does.
STAGES = {"general": (5, "none", None), "relu": (-128, "relu", None), "left": (3, "none", 1e-4)}


@dataclass(frozen=True, slots=True)
class Levels:
    """How weights are drawn: `count` distinct values (256: any int8), a share `density` of them not zero."""

    name: str
    count: int
    density: float | None = None

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """int8 weights, shape (rows, row_length)."""
        half = self.count // 2
        step = max(127 // half, 1)
        values = rng.integers(-half if self.count % 2 else 1 - half, half + 1, shape)
        if self.density is not None:
            nonzero = rng.integers(1, half + 1, shape) * rng.choice((-1, 1), shape)
            rank = rng.permutation(values.size).reshape(shape)
            values = np.where(rank < round(self.density * values.size), nonzero, 0)
        return np.clip(values * step, -127, 127).astype(np.int8)


LEVELS = {
    level.name: level
    for level in (
        Levels("int8", 256), Levels("int8 20%", 256, 0.2), Levels("2", 2), Levels("3 50%", 3, 0.5), Levels("3 35%", 3, 0.35),
        Levels("3 20%", 3, 0.2), Levels("3 10%", 3, 0.1), Levels("4", 4), Levels("5 60%", 5, 0.6), Levels("7", 7), Levels("16", 16),
    )
}  # fmt: skip

# Format -> levels that it is measured with. The first two go with every layer, all of them with the regular ones.
_OF_FORMAT = {
    "dense8": ("int8",),
    "nary": ("3 35%", "16", "4", "2", "5 60%", "7"),
    "runs": ("3 35%", "5 60%", "3 50%", "3 20%", "3 10%"),
}
_OF_OTHERS = ("3 20%", "16", "3 35%", "3 10%", "int8 20%")


@dataclass(frozen=True, slots=True)
class Case:
    """One layer. input: (h, w, c), or (length,) for fully connected. regular: measured with every kind of weights."""

    name: str
    op: str
    input: tuple[int, ...]
    rows: int = 0
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "same"
    stage: str = "general"
    regular: bool = False

    @property
    def is_random(self) -> bool:
        """Whether the layer is there for the cost model only."""
        return self.name.startswith("random_")


    @property
    def weights_shape(self) -> tuple[int, int]:
        """(rows, row_length)."""
        if self.op == "fully_connected":
            return self.rows, self.input[0]
        depth = 1 if self.op == "depthwise_conv2d" else self.input[2]
        return self.rows, self.kernel[0] * self.kernel[1] * depth

    def rng(self, *more: object) -> np.random.Generator:
        """A generator that depends on the name only."""
        return np.random.default_rng(zlib.crc32(repr((self.name, *more)).encode()))

    def graph(self, levels: Levels | None = None) -> Graph:
        """The layer as a plain graph; `levels` for layers with weights."""
        builder = GraphBuilder(zlib.crc32(self.name.encode()))
        is_float = self.op == "quantize_f32"
        x = builder.input((1, *self.input), None if is_float else 0.05, dtype=np.float32 if is_float else np.int8)
        if self.op not in WEIGHTED:
            return builder.build([_UNWEIGHTED[self.op](builder, x, self)])
        zp, activation, scale = STAGES[self.stage]
        rows = levels.draw(self.weights_shape, self.rng(levels.name))
        options = {"weights": self._layout(rows), "activation": activation, "scale": scale, "zp": zp}
        if self.op == "fully_connected":
            return builder.build([builder.fully_connected(x, self.rows, **options)])
        window = {"kernel": self.kernel, "stride": self.stride, "dilation": self.dilation, "padding": self.padding}
        if self.op == "depthwise_conv2d":
            return builder.build([builder.depthwise(x, self.rows // self.input[2], **window, **options)])
        return builder.build([builder.conv2d(x, self.rows, **window, **options)])

    def _layout(self, rows: np.ndarray) -> np.ndarray:
        if self.op == "depthwise_conv2d":
            return from_rows(_KINDS[self.op], rows, (1, *self.kernel, self.rows))
        shape = (self.rows, *self.input) if self.op == "fully_connected" else (self.rows, *self.kernel, self.input[2])
        return from_rows(_KINDS[self.op], rows, shape)


def _binary(b: GraphBuilder, x: int, case: Case) -> int:
    """The second operand is broadcast over height and width where the case has a kernel of (1, 1)."""
    shape = (1, 1, 1, case.input[2]) if case.kernel == (1, 1) else (1, *case.input)
    rng = case.rng("scale")
    scale = float(rng.choice((0.03, 0.05, 0.07, 0.11)) if case.stage == "left" else rng.uniform(0.02, 0.12))
    activation = "relu" if case.stage == "relu" else "none"
    return b.add(x, b.input(shape, scale, 11), activation=activation, kind=case.op.upper())


def _pool(b: GraphBuilder, x: int, case: Case) -> int:
    return b.pool(x, f"{case.op.upper()}_2D", case.kernel, case.stride, case.padding)


def _reduce(b: GraphBuilder, x: int, case: Case) -> int:
    axes = b.constant([1, 2], dtype=np.int32)
    scale, zp = (0.04, 2) if case.op == "mean" else (0.05, -3)
    return b.op(case.op.upper(), [x, axes], (1, case.input[2]), scale, zp, "ReducerOptions", {"keepDims": False})


def _pad(b: GraphBuilder, x: int, case: Case) -> int:
    h, w, c = case.input
    borders = b.constant([[0, 0], [1, 1], [1, 1], [0, 0]], dtype=np.int32)
    return b.op("PAD", [x, borders], (1, h + 2, w + 2, c), 0.05, -3)


def _concat(b: GraphBuilder, x: int, case: Case) -> int:
    h, w, c = case.input
    parts = [x, b.input((1, *case.input), 0.05, -3)]
    return b.op("CONCATENATION", parts, (1, h, w, 2 * c), 0.05, -3, "ConcatenationOptions", {"axis": 3, "fusedActivationFunction": 0})


def _transpose(b: GraphBuilder, x: int, case: Case) -> int:
    """Swaps height and width, or with a stride of 2 width and channels, which scatters single elements."""
    order = (0, 2, 1, 3) if case.stride[0] != 2 else (0, 1, 3, 2)
    shape = tuple((1, *case.input)[axis] for axis in order)
    return b.op("TRANSPOSE", [x, b.constant(order, dtype=np.int32)], shape, 0.05, -3, "TransposeOptions")


_UNWEIGHTED = {
    "slice": _transpose,
    "add": _binary, "sub": _binary, "mul": _binary, "average_pool": _pool, "max_pool": _pool, "mean": _reduce, "reduce_max": _reduce,
    "softmax": lambda b, x, case: b.softmax(x), "pad": _pad, "concat": _concat,
    "lut": lambda b, x, case: b.op("LOGISTIC", [x], (1, *case.input), 1 / 256, -128),
    "quantize_f32": lambda b, x, case: b.op("QUANTIZE", [x], (1, *case.input), 0.02, 3),
    "dequantize_f32": lambda b, x, case: b.op("DEQUANTIZE", [x], (1, *case.input), None, dtype=np.float32),
}  # fmt: skip


_REGULAR = (
    Case("conv3x3_16to32_16x16", "conv2d", (16, 16, 16), 32),
    Case("conv3x3_32to32_16x16", "conv2d", (16, 16, 32), 32),
    Case("conv3x3_64to64_8x8", "conv2d", (8, 8, 64), 64),
    Case("conv3x3_3to16_32x32", "conv2d", (32, 32, 3), 16),
    Case("conv1x1_64to64_25x5", "conv2d", (25, 5, 64), 64, (1, 1)),
    Case("dw3x3_64_25x5", "depthwise_conv2d", (25, 5, 64), 64),
    Case("fc_640to128", "fully_connected", (640,), 128),
)

# Cases with this end get the layouts of the fastest kernels, even those that take more flash.
FAST = "_fast"

_ODD = (
    Case("conv3x3_16to32_16x16_fast", "conv2d", (16, 16, 16), 32),
    Case("conv3x3_32to32_16x16_fast", "conv2d", (16, 16, 32), 32),
    Case("conv3x3_16to32_13x13", "conv2d", (13, 13, 16), 32),
    Case("conv3x3_16to32_16x16_left_shifts", "conv2d", (16, 16, 16), 32, stage="left"),
    Case("conv3x3_16to32_32x32_stride2", "conv2d", (32, 32, 16), 32, stride=(2, 2)),
    Case("conv3x3_16to32_33x33_stride3", "conv2d", (33, 33, 16), 32, stride=(3, 3)),
    Case("conv3x3_16to32_16x16_dilation2", "conv2d", (16, 16, 16), 32, dilation=(2, 2)),
    Case("conv3x3_5to16_16x16", "conv2d", (16, 16, 5), 16),
    Case("conv3x3_18to30_15x11", "conv2d", (15, 11, 18), 30),
    Case("conv1x7_16to32_16x16", "conv2d", (16, 16, 16), 32, (1, 7)),
    Case("conv5x5_8to16_12x12_valid", "conv2d", (12, 12, 8), 16, (5, 5), padding="valid"),
    Case("conv10x4_1to64_49x10_stride2", "conv2d", (49, 10, 1), 64, (10, 4), (2, 2), stage="relu"),
    Case("conv1x1_16to32_32x32_stride2", "conv2d", (32, 32, 16), 32, (1, 1), (2, 2)),
    Case("conv1x1_7to9_12x9", "conv2d", (12, 9, 7), 9, (1, 1)),
    Case("conv3x3_64to32_3x3_one_pixel", "conv2d", (3, 3, 64), 32, padding="valid"),
    Case("dw3x3_16_24x24", "depthwise_conv2d", (24, 24, 16), 16),
    Case("dw3x3_32_24x24_stride2", "depthwise_conv2d", (24, 24, 32), 32, stride=(2, 2), stage="relu"),
    Case("dw3x3_8x2_16x16", "depthwise_conv2d", (16, 16, 8), 16),
    Case("dw5x5_12_15x9_dilation2", "depthwise_conv2d", (15, 9, 12), 12, (5, 5), dilation=(2, 2)),
    Case("dw1x7_20_9x30", "depthwise_conv2d", (9, 30, 20), 20, (1, 7)),
    Case("fc_128to8", "fully_connected", (128,), 8, stage="relu"),
    Case("fc_77to33", "fully_connected", (77,), 33),
    Case("fc_64to10_left_shifts", "fully_connected", (64,), 10, stage="left"),
)

_WITHOUT_WEIGHTS = (
    Case("add_16x16x32", "add", (16, 16, 32)),
    Case("add_16x16x32_relu", "add", (16, 16, 32), stage="relu"),
    Case("add_16x16x32_midway", "add", (16, 16, 32), stage="left"),
    Case("add_15x11x5_broadcast", "add", (15, 11, 5), kernel=(1, 1)),
    Case("average_pool8x8_8x8x64", "average_pool", (8, 8, 64), kernel=(8, 8), stride=(8, 8)),
    Case("average_pool25x5_25x5x64", "average_pool", (25, 5, 64), kernel=(25, 5), stride=(25, 5)),
    Case("max_pool2x2_16x16x32", "max_pool", (16, 16, 32), kernel=(2, 2), stride=(2, 2)),
    Case("softmax_10", "softmax", (10,)),
)

_RANDOM = {"conv2d": 180, "depthwise_conv2d": 80, "fully_connected": 44} | dict.fromkeys(_UNWEIGHTED, 14) | dict.fromkeys(("add", "sub", "average_pool", "max_pool", "pad"), 28) | dict.fromkeys(("concat", "slice"), 40)
# Convolutions of these numbers have one tap; every other one of them, and every fully connected layer from a number on, is "left".
_ONE_TAP, _LEFT = range(120, 140), 36
_MOST_MACS = 400_000
_DEPTHS = (1, 2, 3, 4, 5, 8, 8, 12, 16, 16, 18, 20, 24, 32, 32, 40, 48, 64, 64)
_KERNELS = ((3, 3), (3, 3), (3, 3), (1, 1), (5, 5), (1, 7), (3, 1), (10, 4), (2, 2))
# What every fourth random layer has, in turn: paths that few others take.
_EDGES = ("left", "few pixels", "short rows", "dilated with stride")


def named_cases() -> Iterator[Case]:
    """The layers of the tables: regular ones in two output stages, odd ones, and layers without weights."""
    for case in _REGULAR:
        yield replace(case, regular=True)
        yield replace(case, regular=True, stage="relu", name=f"{case.name}_relu")
    yield from _ODD
    yield from _WITHOUT_WEIGHTS


def random_cases() -> Iterator[Case]:
    """Layers of random shapes, for the fit of the cost model."""
    for op, count in _RANDOM.items():
        yield from (_random_case(op, number) for number in range(count))


def _random_case(op: str, number: int) -> Case:
    name = f"random_{op}_{number:03}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    edge = _EDGES[number // 4 % len(_EDGES)] if number % 4 == 3 else ""
    if (op in ("add", "sub") or op == "conv2d" and number in _ONE_TAP) and number % 2 or (op == "fully_connected" and number >= _LEFT):
        edge = "left"
    stage = "left" if edge == "left" else str(rng.choice(("general", "relu", "left"), p=(0.6, 0.3, 0.1)))
    if op == "fully_connected":
        length = rng.integers(3, 20) if edge == "short rows" else rng.integers(3, 700)
        return Case(name, op, (int(length),), int(rng.integers(2, 100)), stage=stage)
    if op not in WEIGHTED:
        return _random_unweighted(name, op, stage, rng)
    while True:
        case = _random_window(name, op, stage, edge, rng)
        case = replace(case, kernel=(1, 1)) if op == "conv2d" and number in _ONE_TAP else case
        pixels = -(-case.input[0] // case.stride[0]) * -(-case.input[1] // case.stride[1])
        if 500 <= pixels * case.weights_shape[0] * case.weights_shape[1] <= _MOST_MACS:
            return case


def _random_window(name: str, op: str, stage: str, edge: str, rng: np.random.Generator) -> Case:
    is_short, is_both = edge == "short rows" and op == "conv2d", edge == "dilated with stride"
    kernels = ((1, 1), (2, 2), (3, 1)) if is_short else _KERNELS
    kernel = kernels[int(rng.integers(len(kernels)))]
    step, spread = (2, 2) if is_both else (int(rng.choice((1, 1, 1, 2, 3))), int(rng.choice((1, 1, 1, 1, 2))))
    reach = [(k - 1) * spread + 1 for k in kernel]
    few = edge == "few pixels"
    size = tuple(r + int(rng.integers(2)) * step if few else int(rng.integers(r, 26)) for r in reach)
    depth = int(rng.choice(_DEPTHS[:6] if is_short else _DEPTHS))
    rows = depth * int(rng.choice((1, 1, 1, 2))) if op == "depthwise_conv2d" else int(rng.integers(4, 65))
    padding = "valid" if few else str(rng.choice(("same", "valid")))
    return Case(name, op, (*size, depth), rows, kernel, (step, step), (spread, spread), padding, stage)


def _random_unweighted(name: str, op: str, stage: str, rng: np.random.Generator) -> Case:
    if op == "softmax":
        return Case(name, op, (int(rng.integers(2, 200)),))
    size, filter_size, step = rng.integers(4, 20, 2), rng.integers(2, 5, 2), int(rng.integers(1, 4))
    kernel = (1, 1) if op in ("add", "sub", "mul") and rng.random() < 0.3 else tuple(map(int, filter_size))
    depth = int(rng.integers(1, 4) if int(name[-3:]) % 4 == 1 else rng.choice(_DEPTHS))
    return Case(name, op, (int(size[0]), int(size[1]), depth), 0, kernel, (step, step), padding=str(rng.choice(("same", "valid"))), stage=stage)


@dataclass(frozen=True, slots=True)
class Cell:
    """A case with its weights as one format stores them; format "" and levels None for layers without weights."""

    case: Case
    format: str = ""
    levels: Levels | None = None

    @property
    def keys(self) -> dict[str, str]:
        """What names the cell in the CSV."""
        return {"case": self.case.name, "format": self.format, "levels": self.levels.name if self.levels else ""}

    @property
    def layouts(self) -> str:
        """Which weights get the layout of an arm: as projects choose by default; all and none of the random ones in turn."""
        if self.case.name.endswith(FAST):
            return "fast"
        return ("fast", "canonical")[int(self.case.name[-3:]) % 2] if self.case.is_random else "same"


def cells(cases: Iterator[Case], formats: list[str]) -> Iterator[Cell]:
    """The cells of the cases, in the formats of those names."""
    rows = [row for row in table().formats if row.name in formats]
    for number, case in enumerate(cases):
        if case.op not in WEIGHTED:
            yield Cell(case)
            continue
        for row in _in_turn(rows, number) if case.is_random else rows:
            yield from (Cell(case, row.name, LEVELS[name]) for name in _levels_of(case, row.name, number))


def _in_turn(rows: list[WeightFormat], number: int) -> list[WeightFormat]:
    """Of the formats that are unpacked, which all run the same kernel, one for each random layer."""
    unpacked = [row for row in rows if row.kind == "TILE"]
    return [row for row in rows if row.kind != "TILE" or row is unpacked[number % len(unpacked)]]


def _levels_of(case: Case, name: str, number: int) -> tuple[str, ...]:
    names = _OF_FORMAT.get(name, _OF_OTHERS)
    if case.is_random:
        return (names[number // len(table().formats) % len(names)],)
    return names if case.regular and (case.stage == "general" or name == "runs") else names[: 3 if case.regular else 2]
