"""Operators that join or keep bytes: CONCATENATION, PACK, PAD, PADV2, RESHAPE and its relatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import NO_ACTIVATION
from keras_hwcompress.tflite.axes import four_axes
from keras_hwcompress.tflite.graph import Tensor
from keras_hwcompress.tflite.layers import Concat, Layer, Pad, Reshape
from keras_hwcompress.tflite.opview import OpView, check_size, quantization

_RESHAPED = tuple(np.dtype(name) for name in ("int8", "uint8", "float32"))


def concatenation(view: OpView) -> Layer:
    """CONCATENATION; as in TFLite no activation can be fused and all tensors share one quantization."""
    if int(view.option("fusedActivationFunction", NO_ACTIVATION)) != NO_ACTIVATION:
        raise UnsupportedModelError("TFLite defines no fused activation for CONCATENATION")
    tensors = _of_one_quantization(view)
    axis = _normalized_axis(int(view.option("axis", 0)), len(view.output.shape))
    shapes = [tensor.shape for tensor in tensors]
    rests = {(len(shape), shape[:axis], shape[axis + 1 :]) for shape in shapes}
    if len(rests) != 1 or len(shapes[0]) != len(view.output.shape):
        raise UnsupportedModelError(f"the inputs differ outside axis {axis}. Received: {shapes}")
    joined = (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])
    view.expect_shape(joined)
    return _concat(view, math.prod(joined[:axis]), tuple(math.prod(shape[axis:]) for shape in shapes))


def stack(view: OpView) -> Layer:
    """PACK: tensors of one shape along a new axis."""
    shapes = [tensor.shape for tensor in _of_one_quantization(view)]
    axis = _normalized_axis(int(view.option("axis", 0)), len(view.output.shape))
    if len(set(shapes)) != 1 or int(view.option("valuesCount", len(shapes))) != len(shapes):
        raise UnsupportedModelError(f"the inputs differ in shape. Received: {shapes}")
    view.expect_shape((*shapes[0][:axis], len(shapes), *shapes[0][axis:]))
    return _concat(view, math.prod(shapes[0][:axis]), (math.prod(shapes[0][axis:]),) * len(shapes))


def _of_one_quantization(view: OpView) -> list[Tensor]:
    """All inputs, which must have the output's scale and zero point."""
    tensors = [view.input(position) for position in range(max(len(view.op.inputs), 1))]
    target = view.int8_output()
    for tensor in tensors:
        if quantization(tensor) != target:
            raise UnsupportedModelError(
                f"all inputs need the output's scale and zero point. Received: {tensor.name!r} {quantization(tensor)}"
            )
    return tensors


def _concat(view: OpView, outer: int, inner: tuple[int, ...]) -> Concat:
    return Concat(op="concat", name=view.name, inputs=view.op.inputs, outputs=view.op.outputs, outer=outer, inner=inner)


def _normalized_axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise UnsupportedModelError(f"expected an axis in {-rank}..{rank - 1}. Received: {axis}")
    return axis % rank


def pad(view: OpView) -> Layer:
    """PAD (with the output's zero point) and PADV2 (with a constant)."""
    view.int8_input()
    shape = view.input(0).shape
    widths = np.asarray(view.constant(1, "paddings"))
    if widths.shape != (len(shape), 2) or np.any(widths < 0):
        raise UnsupportedModelError(f"expected paddings >= 0 of shape ({len(shape)}, 2). Received: {widths.tolist()}")
    pairs = [(int(before), int(after)) for before, after in widths]
    view.expect_shape([size + before + after for size, (before, after) in zip(shape, pairs)])
    sizes, pairs = four_axes(shape, pairs, fill=(0, 0), droppable=(0, 0))
    before, after = zip(*pairs)
    return Pad("pad", view.name, view.op.inputs[:1], view.op.outputs, sizes, before, after, _pad_value(view))


def _pad_value(view: OpView) -> int:
    target = view.int8_output()
    if not view.has_input(2):
        return target.zero_point
    value = view.constant(2, "padding value")
    if quantization(view.input(2)) != target or value.size != 1:
        raise UnsupportedModelError("PADV2 needs one value with the output's scale and zero point")
    return int(np.ravel(value)[0])


def reshape(view: OpView) -> Layer:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the new shape is the one stored for the output."""
    if view.has_input(1):
        view.constant(1, "shape" if view.op.kind == "RESHAPE" else "axis")
    source, target = view.input(0), view.output
    if source.dtype not in _RESHAPED or source.dtype != target.dtype:
        raise UnsupportedModelError(f"expected int8, uint8 or float32. Received: {source.dtype} -> {target.dtype}")
    count = check_size(source)
    if check_size(target) != count:
        raise UnsupportedModelError(f"the number of elements changes. Received: {source.shape} -> {target.shape}")
    return Reshape("reshape", view.name, view.op.inputs[:1], view.op.outputs, count)


HANDLERS: Mapping[str, Callable[[OpView], Layer]] = {
    "CONCATENATION": concatenation,
    "PACK": stack,
    "PAD": pad,
    "PADV2": pad,
    "RESHAPE": reshape,
    "SQUEEZE": reshape,
    "EXPAND_DIMS": reshape,
}
