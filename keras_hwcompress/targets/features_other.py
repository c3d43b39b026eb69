"""Counts of layers without weights, see `features`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_hwcompress.tflite.layers import Affine, Binary, Concat, Layer, Lut, Pad, Pool, Reduce, Slice, Softmax

# (path, counts)
Counts = tuple[str, dict[str, float]]


def other_counts(layer: Layer) -> Counts | None:
    """The path that the layer's kernel takes and its counts; None for a reshape, which costs nothing."""
    return _OTHERS[type(layer)](layer) if type(layer) in _OTHERS else None


def _binary(layer: Binary) -> Counts:
    elements = int(np.prod(layer.shape))
    clamps = layer.activation_min > -128 or layer.activation_max < 127
    shifted = int(layer.a_shift != 0) + int(layer.b_shift != 0)
    lines = elements // layer.shape[3]
    counts = {"call": 1, "lines": lines, "elements": elements, "elements clamped": elements * clamps, "operands shifted": elements * shifted}
    if layer.a_stride != layer.b_stride:
        counts |= {"broadcast lines": lines, "broadcast elements": elements}
    return "affine" if layer.affine_shift else "general", counts


def _count(layer: Lut | Affine) -> Counts:
    return "-", {"call": 1, "elements": layer.count}


def _concat(layer: Concat) -> Counts:
    return "-", {"call": 1, "parts": layer.outer * len(layer.inner), "elements": layer.outer * sum(layer.inner)}


def _pad(layer: Pad) -> Counts:
    elements = int(np.prod([s + b + a for s, b, a in zip(layer.shape, layer.before, layer.after, strict=True)]))
    return "-", {"call": 1, "elements": elements, "lines": elements // max(1, layer.shape[3])}


def _slice(layer: Slice) -> Counts:
    elements = int(np.prod(layer.shape))
    path = "lines" if layer.stride[3] == 1 else "elements"
    return path, {"call": 1, "lines": elements // layer.shape[3], "elements": elements}


def _pool(layer: Pool) -> Counts:
    windows = layer.output[0] * layer.output[1]
    lines, taps = _pool_taps(layer, 0) * layer.output[1], _pool_taps(layer, 0) * _pool_taps(layer, 1)
    depth = layer.output[2]
    counts = {"call": 1, "windows": windows, "outputs": windows * depth, "lines": lines, "output lines": lines * depth, "taps": taps * depth}
    return "-", counts | {"window taps": taps}


def _pool_taps(layer: Pool, axis: int) -> int:
    """Taps along an axis, of all windows together; padding does not count."""
    first = np.arange(layer.output[axis]) * layer.stride[axis] - layer.pad[axis]
    last = np.minimum(first + layer.filter[axis], layer.input[axis])
    return int((last - np.maximum(first, 0)).sum())


def _reduce(layer: Reduce) -> Counts:
    kept = [s for axis, s in enumerate(layer.shape) if not layer.reduce_mask >> axis & 1]
    elements = int(np.prod(layer.shape))
    counts = {"call": 1, "elements": elements, "outputs": int(np.prod(kept, dtype=int)), "lines": elements // layer.shape[3]}
    return "-", counts


def _softmax(layer: Softmax) -> Counts:
    return "-", {"call": 1, "rows": layer.rows, "elements": layer.rows * layer.depth}


_OTHERS: dict[type, Callable[..., Counts]] = {
    Binary: _binary, Lut: _count, Affine: _count, Concat: _concat, Pad: _pad, Pool: _pool, Reduce: _reduce, Slice: _slice,
    Softmax: _softmax,
}  # fmt: skip
