"""Operators that combine several elements: pools, MEAN, REDUCE_MAX, SOFTMAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import quantize_multiplier
from keras_hwcompress.tflite.axes import four_axes
from keras_hwcompress.tflite.fixed_point import MAX_SOFTMAX_DEPTH, softmax_constants
from keras_hwcompress.tflite.layers import Layer, Pool, Reduce, Softmax
from keras_hwcompress.tflite.opview import OpView
from keras_hwcompress.tflite.prepare_weighted import ACCUMULATOR_LIMIT
from keras_hwcompress.tflite.window import Window, is_same, pair_option

_SOFTMAX_SCALE_TOLERANCE = 0.001


def average_pool(view: OpView) -> Layer:
    """AVERAGE_POOL_2D: the mean of the taps inside the image, rounded half away from zero; no requantization."""
    return _pool(view, "average_pool")


def max_pool(view: OpView) -> Layer:
    """MAX_POOL_2D."""
    return _pool(view, "max_pool")


def _pool(view: OpView, op: str) -> Layer:
    view.int8_input()
    filter_size = (int(view.option("filterHeight", 0)), int(view.option("filterWidth", 0)))
    window = Window(filter_size, pair_option(view, "stride"), (1, 1), is_same(view))
    channels = view.image(view.input(0))[2]
    geometry = window.geometry(view, channels)
    geometry["filter"] = geometry.pop("kernel")
    del geometry["dilation"]
    activation_min, activation_max = view.activation()
    return Pool(
        op=op,
        name=view.name,
        inputs=view.op.inputs,
        outputs=view.op.outputs,
        activation_min=activation_min,
        activation_max=activation_max,
        **geometry,
    )


def mean(view: OpView) -> Layer:
    """MEAN: the division by the number of elements is folded into the multiplier, as in TFLite's reference kernel."""
    source, target = view.int8_input(), view.int8_output()
    shape, mask, count = _reduced_axes(view)
    multiplier, shift = mean_multiplier(float(source.scale) / float(target.scale), count)
    if (255 * count) << max(shift, 0) >= ACCUMULATOR_LIMIT:
        raise UnsupportedModelError(f"the sum of {count} elements with a shift of {shift} leaves int32")
    return Reduce(
        op="mean",
        name=view.name,
        inputs=view.op.inputs[:1],
        outputs=view.op.outputs,
        shape=shape,
        multiplier=multiplier,
        shift=shift,
        reduce_mask=mask,
        input_zero_point=source.zero_point,
        output_zero_point=target.zero_point,
    )


def mean_multiplier(real: float, count: int) -> tuple[int, int]:
    """(multiplier, shift) of real / count, the way TFLite's reference kernel divides: an integer division.

    The multiplier is first shifted left by floor(log2(count)), so it keeps its bits but need not reach 2**30.
    """
    multiplier, shift = quantize_multiplier(real)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << extra) // count, shift - extra


def reduce_max(view: OpView) -> Layer:
    """REDUCE_MAX: TFLite demands equal quantization of input and output."""
    source = view.int8_input()
    if source != view.int8_output():
        raise UnsupportedModelError("REDUCE_MAX needs the same scale and zero point for input and output")
    shape, mask, _ = _reduced_axes(view)
    return Reduce(
        op="reduce_max",
        name=view.name,
        inputs=view.op.inputs[:1],
        outputs=view.op.outputs,
        shape=shape,
        multiplier=0,
        shift=0,
        reduce_mask=mask,
        input_zero_point=source.zero_point,
        output_zero_point=source.zero_point,
    )


def _reduced_axes(view: OpView) -> tuple[tuple[int, int, int, int], int, int]:
    """(shape in four axes, mask of the reduced ones, number of elements reduced to one)."""
    full = view.input(0).shape
    axes = {int(axis) + len(full) * (axis < 0) for axis in np.ravel(view.constant(1, "axes"))}
    if not axes <= set(range(len(full))):
        raise UnsupportedModelError(f"axes out of range for the shape {full}. Received: {sorted(axes)}")
    keep = bool(view.option("keepDims", False))
    view.expect_shape([1 if i in axes else size for i, size in enumerate(full) if keep or i not in axes])
    shape, reduced = four_axes(full, [int(i in axes) for i in range(len(full))], fill=0)
    mask = sum(bit << position for position, bit in enumerate(reduced))
    return shape, mask, math.prod(full[axis] for axis in axes)


def softmax(view: OpView) -> Layer:
    """SOFTMAX in gemmlowp's fixed point."""
    source, target = view.int8_input(), view.int8_output()
    if target.zero_point != -128 or abs(float(target.scale) * 256 - 1) > _SOFTMAX_SCALE_TOLERANCE:
        raise UnsupportedModelError(
            f"softmax needs the output scale 1/256 and zero point -128. Received: {target.scale}, {target.zero_point}"
        )
    shape = view.input(0).shape
    view.expect_shape(shape)
    depth = shape[-1] if shape else 1
    if depth > MAX_SOFTMAX_DEPTH:
        raise UnsupportedModelError(f"softmax needs at most {MAX_SOFTMAX_DEPTH} classes. Received: {depth}")
    multiplier, shift, diff_min = softmax_constants(source.scale, float(view.option("beta", 0.0)))
    return Softmax(
        op="softmax",
        name=view.name,
        inputs=view.op.inputs,
        outputs=view.op.outputs,
        rows=math.prod(shape) // depth,
        depth=depth,
        multiplier=multiplier,
        shift=shift,
        diff_min=diff_min,
    )


HANDLERS: Mapping[str, Callable[[OpView], Layer]] = {
    "AVERAGE_POOL_2D": average_pool,
    "MAX_POOL_2D": max_pool,
    "MEAN": mean,
    "REDUCE_MAX": reduce_max,
    "SOFTMAX": softmax,
}
