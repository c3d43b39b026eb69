"""Operators that pick elements of a tensor: SPLIT, SPLIT_V, UNPACK, STRIDED_SLICE, SLICE, TRANSPOSE, REVERSE_V2.

Each output is one strided copy. The pattern is asked of numpy: the operator is applied, as indexing, to an array
without memory of its own, and the offset and the strides of the resulting view are the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.axes import AXES, contiguous_strides
from keras_hwcompress.tflite.layers import VIEW_ALIGNMENT, Layer, Reshape, Slice
from keras_hwcompress.tflite.opview import OpView

_Pick = Callable[[np.ndarray], np.ndarray]
_MASKS = ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask")


def split(view: OpView) -> tuple[Layer, ...]:
    """SPLIT: equal parts along an axis."""
    count, axis = len(view.op.outputs), _axis(view, position=0, source=1)
    size = view.input(1).shape[axis]
    if int(view.option("numSplits", count)) != count or count == 0 or size % count:
        raise UnsupportedModelError(f"{size} elements of axis {axis} do not split into {count} equal parts")
    return _parts(view, 1, axis, [size // count] * count)


def split_v(view: OpView) -> tuple[Layer, ...]:
    """SPLIT_V: parts of given sizes, one of which may be -1 (what is left)."""
    axis = _axis(view, position=2, source=0)
    sizes = _integers(view, 1, "sizes of the parts")
    full = view.input(0).shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = full - (sum(sizes) + 1)
    if len(sizes) != len(view.op.outputs) or sum(sizes) != full or min(sizes, default=0) < 1:
        raise UnsupportedModelError(f"{full} elements of axis {axis} do not split into parts of {sizes}")
    return _parts(view, 0, axis, sizes)


def unpack(view: OpView) -> tuple[Layer, ...]:
    """UNPACK: one output per index of an axis, which disappears."""
    shape = view.input(0).shape
    axis = _in_rank(int(view.option("axis", 0)), len(shape))
    if shape[axis] != len(view.op.outputs):
        raise UnsupportedModelError(f"axis {axis} of {shape} does not give {len(view.op.outputs)} outputs")
    return _each(view, 0, [lambda x, i=i: x[(*_all(axis), i, ...)] for i in range(shape[axis])])


def strided_slice(view: OpView) -> Layer:
    """STRIDED_SLICE with constant bounds and all its masks."""
    rows = [_integers(view, position, what) for position, what in ((1, "begin"), (2, "end"), (3, "strides"))]
    if len({len(row) for row in rows}) != 1:
        raise UnsupportedModelError(f"begin, end and strides differ in length. Received: {rows}")
    masks = {name: int(view.option(name, 0)) for name in _MASKS}
    relative = bool(view.option("offset", False))
    bounds = enumerate(zip(*rows, strict=True))
    index = tuple(_bounds(position, *entry, masks, relative) for position, entry in bounds)
    # An index without slices would give a number instead of a view.
    whole = index if Ellipsis in index else (*index, Ellipsis)
    return _one(view, lambda x: x[whole])


def slice_(view: OpView) -> Layer:
    """SLICE with constant begin and size; a size of -1 reaches to the end."""
    begin, size = _integers(view, 1, "begin"), _integers(view, 2, "size")
    shape = view.input(0).shape
    if len(begin) != len(shape) or len(size) != len(shape):
        raise UnsupportedModelError(f"expected {len(shape)} bounds. Received: begin {begin}, size {size}")
    ends = [full if extent == -1 else first + extent for first, extent, full in zip(begin, size, shape, strict=True)]
    if any(not 0 <= first < end <= full for first, end, full in zip(begin, ends, shape, strict=True)):
        raise UnsupportedModelError(f"begin {begin} and size {size} leave the shape {shape}")
    return _one(view, lambda x: x[tuple(slice(first, end) for first, end in zip(begin, ends, strict=True))])


def transpose(view: OpView) -> Layer:
    """TRANSPOSE with a constant permutation."""
    axes = _integers(view, 1, "permutation")
    return _one(view, lambda x: x.transpose(axes))


def reverse(view: OpView) -> Layer:
    """REVERSE_V2 along constant axes."""
    axes = _integers(view, 1, "axes")
    return _one(view, lambda x: np.flip(x, axes))


def _bounds(position: int, begin: int, end: int, step: int, masks: Mapping[str, int], relative: bool) -> Any:
    """One entry of a numpy index."""
    first_free, last_free, ellipsis, new_axis, shrink = (masks[name] >> position & 1 for name in _MASKS)
    if ellipsis:
        return Ellipsis
    if new_axis:
        return np.newaxis
    if shrink:
        return 0 if first_free else begin
    return slice(None if first_free else begin, None if last_free else end + begin * relative, step)


def _parts(view: OpView, source: int, axis: int, sizes: Sequence[int]) -> tuple[Layer, ...]:
    ends = list(accumulate(sizes))
    cuts = [(*_all(axis), slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    return _each(view, source, [lambda x, cut=cut: x[cut] for cut in cuts])


def _all(axis: int) -> tuple[slice, ...]:
    return (slice(None),) * axis


def _axis(view: OpView, position: int, source: int) -> int:
    axes = _integers(view, position, "axis")
    if len(axes) != 1:
        raise UnsupportedModelError(f"expected one axis. Received: {axes}")
    return _in_rank(axes[0], len(view.input(source).shape))


def _integers(view: OpView, position: int, what: str) -> list[int]:
    values = view.constant(position, what)
    if values.dtype.kind != "i":
        raise UnsupportedModelError(f"the {what} must be integers. Received: {values.dtype}")
    return np.ravel(values).tolist()


def _in_rank(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise UnsupportedModelError(f"expected an axis in {-rank}..{rank - 1}. Received: {axis}")
    return axis % rank


def _each(view: OpView, source: int, picks: Sequence[_Pick]) -> tuple[Layer, ...]:
    """One layer for every output that something reads."""
    read = {index for op in view.graph.ops for index in op.inputs} | set(view.graph.outputs)
    views = [OpView(view.graph, replace(view.op, outputs=(output,))) for output in view.op.outputs]
    pairs = zip(views, picks, strict=True)
    return tuple(_copy(part, source, pick) for part, pick in pairs if part.op.outputs[0] in read)


def _one(view: OpView, pick: _Pick) -> Layer:
    return _copy(view, 0, pick)


def _copy(view: OpView, source: int, pick: _Pick) -> Layer:
    """The layer for one output, which is `pick` of an input.

    Elements that lie together, aligned, are no copy but a view of the input.
    """
    # Bytes are copied whatever the two scales say, as TFLite does: the converter gives REVERSE_V2 two different ones.
    view.int8_input(source), view.int8_output()
    shape, strides, offset = _pattern(view.input(source).shape, pick)
    view.expect_shape(shape)
    axes = _merged(shape, strides)
    if len(axes) > AXES:
        raise UnsupportedModelError(f"expected a pattern of at most {AXES} axes. Received: {axes} for {view.name!r}")
    inputs = view.op.inputs[source : source + 1]
    together = not axes or (len(axes) == 1 and axes[0][1] == 1)
    exposed = view.input(source).is_constant or view.op.outputs[0] in view.graph.outputs
    if together and offset % VIEW_ALIGNMENT == 0 and not exposed:
        return Reshape("reshape", view.name, inputs, view.op.outputs, view.output.size, offset)
    sizes, steps = zip(*([(1, 0)] * (AXES - len(axes)) + axes), strict=True)
    return Slice("slice", view.name, inputs, view.op.outputs, sizes, steps, offset)


def _pattern(shape: Sequence[int], pick: _Pick) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """(shape, strides, offset) of `pick(x)` in elements of a row-major x of `shape`."""
    whole = as_strided(np.zeros(1, np.int8), tuple(shape), contiguous_strides(shape), writeable=False)
    try:
        part = pick(whole)
    except (IndexError, ValueError) as error:
        raise UnsupportedModelError(f"it does not fit the shape {tuple(shape)}: {error}") from error
    if part.size == 0:
        raise UnsupportedModelError(f"nothing is left of the shape {tuple(shape)}")
    start, first = (array.__array_interface__["data"][0] for array in (whole, part))
    return part.shape, part.strides, first - start


def _merged(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(size, stride) of as few axes as describe the same order of elements."""
    axes: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == size * stride:
            axes[-1] = (axes[-1][0] * size, stride)
        else:
            axes.append((size, stride))
    return axes


HANDLERS: Mapping[str, Callable[[OpView], Layer | tuple[Layer, ...]]] = {
    "SPLIT": split,
    "SPLIT_V": split_v,
    "UNPACK": unpack,
    "STRIDED_SLICE": strided_slice,
    "SLICE": slice_,
    "TRANSPOSE": transpose,
    "REVERSE_V2": reverse,
}
