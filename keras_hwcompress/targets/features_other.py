"""Counts of layers without weights, see `features`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from keras_hwcompress.targets.features_windows import Counts, ceil
from keras_hwcompress.tflite.layers import Affine, Binary, Concat, Layer, Lut, Pad, Pool, Reduce, Slice, Softmax

# Channels that a pool or a reduction takes at a time, by operator and arm; one where nothing is said.
_LANES = {
    ("average_pool", "dsp"): 4, ("average_pool", "mve"): 4, ("mean", "dsp"): 4, ("mean", "mve"): 4,
    ("max_pool", "dsp"): 4, ("max_pool", "mve"): 16,
}  # fmt: skip
_CHANNELS_BIT = 8


def other_counts(layer: Layer, arm: str) -> tuple[str, Counts] | None:
    """The path that the layer's kernel takes and its counts; None for a reshape, which costs nothing."""
    return _OTHERS[type(layer)](layer, arm) if type(layer) in _OTHERS else None


def _binary(layer: Binary, arm: str) -> tuple[str, Counts]:
    elements = int(np.prod(layer.shape))
    clamps = layer.activation_min > -128 or layer.activation_max < 127
    shifted = int(layer.a_shift != 0) + int(layer.b_shift != 0)
    lines = elements // layer.shape[3]
    counts = {"call": 1, "lines": lines, "elements": elements, "elements clamped": elements * clamps, "operands shifted": elements * shifted}
    if layer.a_stride != layer.b_stride:
        counts["broadcast lines"] = lines
    path = _binary_path(layer)
    return path, counts if path != "literal" else {f"sums/-/-/{name}": count for name, count in counts.items()}


def _binary_path(layer: Binary) -> str:
    """Additions have an affine form, or one operand that is exactly halved, or are done as literally as subtractions."""
    halves = ((layer.a_multiplier, layer.a_shift), (layer.b_multiplier, layer.b_shift))
    if layer.op == "mul":
        return "-"
    if layer.affine_shift:
        return "affine"
    return "halved" if layer.op == "add" and (1 << 30, 0) in halves else "literal"


def _count(layer: Lut | Affine, arm: str) -> tuple[str, Counts]:
    return "-", {"call": 1, "elements": layer.count}


# ---- copies ------------------------------------------------------------------------------------------------------------


def _memory(function: str, times: int, length: int, is_aligned: bool) -> Counts:
    """`times` calls of memcpy or memset: short or unaligned ones go byte by byte, or take what they can."""
    kind = "aligned" if is_aligned and length >= 16 else "other"
    blocks, rest = divmod(length, 16) if kind == "aligned" else (0, length)
    counts = {f"{kind} calls": 1, f"{kind} turns": blocks // 4, f"{kind} blocks": blocks, f"{kind} words": rest // 4, f"{kind} bytes behind": rest % 4}
    if kind != "aligned":
        counts |= {"bytes one by one": length, "calls that begin with bytes": int(length >= 16)}
    return {f"{function}/-/-/{name}": times * count for name, count in counts.items()}


def _concat(layer: Concat, arm: str) -> tuple[str, Counts]:
    total: Counter[str] = Counter({"call": 1, "parts": layer.outer * len(layer.inner)})
    is_aligned = all(length % 4 == 0 for length in layer.inner)
    for length in layer.inner:
        total.update(_memory("memcpy", layer.outer, length, is_aligned))
    return "-", dict(total)


def _pad(layer: Pad, arm: str) -> tuple[str, Counts]:
    depth = layer.shape[3] + layer.before[3] + layer.after[3]
    padded = [s + b + a for s, b, a in zip(layer.shape, layer.before, layer.after, strict=True)]
    lines, inside = int(np.prod(padded[:3])), int(np.prod(layer.shape[:3]))
    total: Counter[str] = Counter({"call": 1, "lines": lines, "lines inside": inside})
    total.update(_memory("memset", lines - inside, depth, depth % 4 == 0))
    for length in (layer.before[3], layer.after[3]):
        total.update(_memory("memset", inside, length, length % 4 == 0))
    total.update(_memory("memcpy", inside, layer.shape[3], layer.shape[3] % 4 == 0 and depth % 4 == 0))
    return "-", dict(total)


def _slice(layer: Slice, arm: str) -> tuple[str, Counts]:
    elements, depth = int(np.prod(layer.shape)), layer.shape[3]
    lines = elements // depth
    if layer.stride[3] != 1:
        return "elements", {"call": 1, "lines": lines, "elements": elements}
    steps = (depth, *layer.stride[:3]) if lines > 1 else ()
    is_aligned = all(step % 4 == 0 for step in (layer.offset, *steps))
    return "lines", {"call": 1, "lines": lines, "rows": lines // layer.shape[2]} | _memory("memcpy", lines, depth, is_aligned)


# ---- pools and reductions ----------------------------------------------------------------------------------------------


def _in_lanes(lanes: int, depth: int, windows: int, lines: int, taps: int) -> Counts:
    """Windows of `lines` lines and `taps` taps in all, for every group of channels."""
    groups = ceil(depth, lanes)
    return {"groups": windows * groups, "group lines": lines * groups, "group taps": taps * groups}


def _pool(layer: Pool, arm: str) -> tuple[str, Counts]:
    depth, lanes = layer.output[2], _LANES.get((layer.op, arm), 1)
    if arm == "dsp" and depth < lanes:
        lanes = 1
    windows, rows, columns = layer.output[0] * layer.output[1], _pool_taps(layer, 0), _pool_taps(layer, 1)
    is_joined = arm == "dsp" and lanes > 1 and layer.output[1] == 1 and columns == layer.input[1]
    lines = layer.output[0] if is_joined else rows * layer.output[1]
    counts = {"call": 1, "windows": windows, "lines": lines, "taps": rows * columns}
    return "lanes" if lanes > 1 else "channels", counts | _in_lanes(lanes, depth, windows, lines, rows * columns)


def _pool_taps(layer: Pool, axis: int) -> int:
    """Taps along an axis, of all windows together; padding does not count."""
    first = np.arange(layer.output[axis]) * layer.stride[axis] - layer.pad[axis]
    last = np.minimum(first + layer.filter[axis], layer.input[axis])
    return int((last - np.maximum(first, 0)).sum())


def _reduce(layer: Reduce, arm: str) -> tuple[str, Counts]:
    gone = [size if layer.reduce_mask >> axis & 1 else 1 for axis, size in enumerate(layer.shape)]
    outputs = int(np.prod(layer.shape)) // int(np.prod(gone))
    stays = not layer.reduce_mask & _CHANNELS_BIT
    depth, lanes = layer.shape[3], _LANES.get((layer.op, arm), 1)
    if not stays or (arm == "dsp" and depth < lanes):
        lanes = 1
    windows = outputs // depth if stays else outputs
    lines = windows * gone[0] * (1 if lanes > 1 and arm == "dsp" and gone[2] == layer.shape[2] else gone[1])
    taps = windows * int(np.prod(gone))
    counts = {"call": 1, "windows": windows, "outputs": outputs}
    path = "lanes" if lanes > 1 else "channels" if stays else "elements"
    return path, counts | _in_lanes(lanes, depth if stays else 1, windows, lines, taps)


def _softmax(layer: Softmax, arm: str) -> tuple[str, Counts]:
    return "-", {"call": 1, "rows": layer.rows, "elements": layer.rows * layer.depth}


_OTHERS: dict[type, Callable[..., tuple[str, Counts]]] = {
    Binary: _binary, Lut: _count, Affine: _count, Concat: _concat, Pad: _pad, Pool: _pool, Reduce: _reduce, Slice: _slice,
    Softmax: _softmax,
}  # fmt: skip
