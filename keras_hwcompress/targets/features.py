"""What the instructions of a layer grow with: counts that follow from its shape and its weights, nothing measured.

Every count has a name "<kernel>/<loop>/<path>/<count>". Kernels take different paths for different geometries, and
loops for different parameters of a format; each has coefficients of its own. Unpacking counts as a kernel
"unpack <format>" that all operators share. `cost.py` turns counts into instructions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from keras_hwcompress.formats.blob import unpack_header
from keras_hwcompress.formats.table import table
from keras_hwcompress.targets import features_nested
from keras_hwcompress.targets.features_nested import is_nested
from keras_hwcompress.targets.features_other import other_counts
from keras_hwcompress.tflite.layers import Binary, Conv, ConvAdd, FullyConnected, Layer

Features = dict[str, float]
# Output channels whose constants are prepared at a time where weights are not unpacked, and channels per tile group.
_PLAIN_ROWS = 64


@dataclass(frozen=True, slots=True)
class Stored:
    """Weights as stored. kernel: that runs them ("conv2d", "conv2d_runs"). tile_rows: channels unpacked at a time.

    stripe_rows: output rows at a time, of a convolution with a fused addition.
    """

    format: str
    blob: bytes
    kernel: str
    tile_rows: int
    stripe_rows: int = 1

    @property
    def kind(self) -> str:
        """The kind in the format table."""
        return table().format_by_name(self.format).kind

    def is_direct(self, op: str) -> bool:
        """Whether a kernel runs the weights as stored."""
        return self.kernel != op

    @property
    def is_unpacked(self) -> bool:
        """Whether rows are unpacked into scratch."""
        return self.kind != "PLAIN"


def layer_features(layer: Layer, stored: Stored | None = None) -> Features:
    """The counts of a prepared layer.

    Args:
        layer: any but a reshape, which costs nothing and has no counts.
        stored: how its weights are stored, for layers with weights.

    Raises:
        ValueError: the layer has weights and `stored` is None.
    """
    if isinstance(layer, Conv | FullyConnected | ConvAdd) and stored is None:
        raise ValueError(f"layer {layer.name!r} has weights: expected how they are stored")
    if isinstance(layer, ConvAdd):
        return _fused(layer, stored)
    if isinstance(layer, Conv | FullyConnected):
        return _weighted(layer, stored)
    counts = other_counts(layer)
    return {} if counts is None else _named(layer.op, "-", *counts)


def _named(kernel: str, loop: str, path: str, counts: Features) -> Features:
    return {f"{kernel}/{loop}/{path}/{name}": float(count) for name, count in counts.items() if count}


def _fused(layer: ConvAdd, stored: Stored) -> Features:
    """A convolution and an addition for every stripe."""
    total: Counter[str] = Counter()
    for stripe in layer.stripes(stored.stripe_rows):
        total.update(_weighted(stripe, stored))
        total.update(layer_features(_flat(layer.add, int(np.prod(stripe.output)))))
    return dict(total)


def _flat(add: Binary, count: int) -> Binary:
    return replace(add, shape=(1, 1, 1, count), a_stride=(0, 0, 0, 1), b_stride=(0, 0, 0, 1))


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


# ---- layers with weights ------------------------------------------------------------------------------------------


def _weighted(layer: Conv | FullyConnected, stored: Stored) -> Features:
    if is_nested(stored.blob):
        return _nested(layer, stored)
    work = _Work(layer, stored)
    path, counts = _WEIGHTED[layer.op](layer, work)
    if stored.is_direct(layer.op):
        return _named(stored.kernel, _loop(stored), path, counts | work.direct())
    features = _named(stored.kernel, "-", path, counts)
    return features | work.unpacking() if stored.is_unpacked else features


def _nested(layer: Conv | FullyConnected, stored: Stored) -> Features:
    inside = 0 if isinstance(layer, FullyConnected) else _inside(layer, 0) * _inside(layer, 1)
    features: Features = {}
    for (kernel, path), counts in features_nested.counts(layer, stored.kernel, stored.blob, inside).items():
        features |= _named(kernel, "-", path, counts)
    return features


@dataclass(frozen=True, slots=True)
class _Work:
    """Counts that all layers with weights have."""

    layer: Conv | FullyConnected
    stored: Stored

    @property
    def rows(self) -> int:
        return len(self.layer.weights.values)

    @property
    def length(self) -> int:
        return self.layer.weights.values.shape[1]

    @property
    def pixels(self) -> int:
        """Outputs of one channel."""
        return self.layer.batch if isinstance(self.layer, FullyConnected) else self.layer.output[0] * self.layer.output[1]

    @property
    def passes(self) -> int:
        """How often the activations are gone through."""
        if self.stored.is_direct(self.layer.op):
            return 1
        at_once = self.stored.tile_rows if self.stored.is_unpacked else _PLAIN_ROWS
        return -(-self.rows // min(at_once, self.rows))

    def common(self) -> Features:
        """Call, channels, outputs, and outputs that take a longer way."""
        shifts = np.broadcast_to(self.layer.channels.shift, (self.rows,))
        clamps = self.layer.activation_min > -128 or self.layer.activation_max < 127
        outputs = self.rows * self.pixels
        return {
            "call": 1,
            "passes": self.passes,
            "channels": self.rows,
            "outputs": outputs,
            "outputs not shifted right": self.pixels * int(np.count_nonzero(shifts >= 0)),
            "outputs clamped": outputs * clamps,
        }

    def unpacking(self) -> Features:
        """Once per call of the layer: every row is unpacked once."""
        return unpack_features(self.layer.weights.values, self.stored)

    def direct(self) -> Features:
        """For blocks of 1 to 16 outputs of a channel: entries, bytes and magnitudes are gone through once a block."""
        values = self.layer.weights.values
        nonzeros, magnitudes = int(np.count_nonzero(values)), sum(len(np.unique(np.abs(row[row != 0]))) for row in values.astype(int))
        counts: Features = {}
        for block in (1, 4, 8, 16):
            blocks = -(-self.pixels // block)
            counts |= {
                f"nonzeros x blocks of {block}": nonzeros * blocks,
                f"bytes x blocks of {block}": len(self.stored.blob) * blocks,
                f"magnitudes x blocks of {block}": magnitudes * blocks,
                f"channels x blocks of {block}": self.rows * blocks,
            }
        return counts


def unpack_features(values: np.ndarray, stored: Stored) -> Features:
    """The counts of unpacking all rows of a layer, int8 of shape (rows, row_length), `stored.tile_rows` per call."""
    rows, length = values.shape
    counts = {
        "calls": -(-rows // stored.tile_rows),
        "rows": rows,
        "weights": rows * length,
        "bytes": len(stored.blob),
        "nonzeros": int(np.count_nonzero(values)),
    }
    return _named(f"unpack {stored.format}", _loop(stored), "-", counts)


def _nary_loop(blob: bytes) -> str:
    constants = table().constants
    levels = unpack_header(blob).param & ~(constants["NARY_PER_CHANNEL"] | constants["NESTED_PARTS"])
    return str(next(limit for limit in (2, 3, 4, 6, 15, 16) if levels <= limit))


def _runs_loop(blob: bytes) -> str:
    return "wide" if unpack_header(blob).param & table().constants["RUNS_WIDE"] else "narrow"


def _entropy_loop(blob: bytes) -> str:
    """Gaps and levels, or, where the payload begins with the nibble of an empty gap code, a level for every weight."""
    return "levels" if blob[table().constants["HEADER_BYTES"]] & 15 == 1 else "gaps"


def _bitmap_loop(blob: bytes) -> str:
    param, code_bits = unpack_header(blob).param, 3
    units = "groups" if param & table().constants["BITMAP_GROUPS"] else "weights"
    return f"{units} as {'they are' if param & code_bits == code_bits else 'codes'}"


# Formats that run different loops for different parameters; each has coefficients of its own.
_LOOPS: dict[str, Callable[[bytes], str]] = {"nary": _nary_loop, "runs": _runs_loop, "entropy": _entropy_loop, "bitmap": _bitmap_loop}


def _loop(stored: Stored) -> str:
    return _LOOPS[stored.format](stored.blob) if stored.format in _LOOPS else "-"


def _conv2d(layer: Conv, work: _Work) -> tuple[str, Features]:
    depth, taps, columns = layer.input[2], layer.kernel[0] * layer.kernel[1], work.passes * work.pixels
    inside = _inside(layer, 0) * _inside(layer, 1) * work.passes
    padded = _up(work.pixels, 4) * work.rows
    counts = work.common() | {
        "macs": work.pixels * work.rows * work.length,
        "macs, 4 pixels x 4": padded * _up(work.length, 4),
        "macs, 4 pixels x 8": padded * _up(work.length, 8),
        "macs, 16": work.pixels * work.rows * _up(work.length, 16),
        "outputs, 4 pixels": padded,
        "columns": columns,
        "column bytes": columns * work.length,
        "column lines": columns * layer.kernel[0],
        "column taps": columns * taps,
        "border columns": columns - inside,
        "border bytes": (columns - inside) * work.length,
        "border taps": (columns - inside) * taps,
    }
    return _conv_path(layer, depth, work.pixels), counts


def _conv_path(layer: Conv, depth: int, pixels: int) -> str:
    if pixels < 4:
        return "few pixels"
    if layer.kernel == (1, 1):
        return "one tap"
    if depth % 8:
        return "odd depth" if depth % 4 else "depth of 4"
    overlap = layer.kernel[1] == 3 and layer.stride[1] == 1 and layer.dilation[1] == 1
    return "overlapping" if overlap else "groups"


def _inside(layer: Conv, axis: int) -> int:
    """Positions along an axis whose window does not reach beyond the input."""
    first = np.arange(layer.output[axis]) * layer.stride[axis] - layer.pad[axis]
    reach = (layer.kernel[axis] - 1) * layer.dilation[axis]
    return int(np.count_nonzero((first >= 0) & (first + reach < layer.input[axis])))


def _depthwise(layer: Conv, work: _Work) -> tuple[str, Features]:
    height, width, _ = layer.output
    is_3x3 = layer.kernel == (3, 3) and layer.dilation == (1, 1) and min(layer.stride) <= 2
    inputs = layer.input[0] * layer.input[1]
    lanes = {step: min(_up(height, step) * width, _up(width, step) * height) for step in (2, 4)}
    counts = work.common() | {
        "macs": work.pixels * work.rows * work.length,
        "tap lines": work.pixels * work.rows * layer.kernel[0],
        "output lines": work.rows * height,
        "output columns": work.rows * width,
        "shorter lines": work.rows * min(height, width),
        "macs, 2 lanes": lanes[2] * work.rows * work.length,
        "macs, 4 lanes": lanes[4] * work.rows * work.length,
        "macs, 4 along": _up(width, 4) * height * work.rows * work.length,
        "weights": work.rows * work.length,
        "plane": inputs * layer.input[2],
        "plane lines": layer.input[0] * layer.input[2],
        "plane groups": inputs * _up(layer.input[2], 4),
        "border outputs": work.rows * (work.pixels - _inside(layer, 0) * _inside(layer, 1)),
        "border macs": work.rows * work.length * (work.pixels - _inside(layer, 0) * _inside(layer, 1)),
    }
    path = f"3x3 stride {max(layer.stride)}" if is_3x3 else "any"
    return path, counts


def _fully_connected(layer: FullyConnected, work: _Work) -> tuple[str, Features]:
    macs = work.pixels * work.rows
    counts = work.common() | {
        "macs": macs * work.length,
        "macs, 4": macs * _up(work.length, 4),
        "macs, 8": macs * _up(work.length, 8),
        "macs, 16": macs * _up(work.length, 16),
        "inputs": work.pixels * work.length,
        "outputs, ragged": macs * bool(work.length % 4),
    }
    return "any", counts


_WEIGHTED: dict[str, Callable[..., tuple[str, Features]]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "fully_connected": _fully_connected,
}
