"""ADD, SUB, MUL, the one-input functions (as tables), QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite import luts
from keras_hwcompress.tflite.affine_add import AffineAdd, Operand, Output, find_affine
from keras_hwcompress.tflite.arithmetic import RELU, RELU6, RELU_N1_TO_1, quantize_multiplier
from keras_hwcompress.tflite.axes import contiguous_strides, four_axes
from keras_hwcompress.tflite.layers import Affine, Binary, Layer, Lut
from keras_hwcompress.tflite.opview import Affine1, OpView, check_size, quantization

LEFT_SHIFT = 20
# |a * b| <= 255 * 255, and 65025 << 15 still fits an int32 with room for the output zero point.
MAX_MUL_SHIFT = 15
_EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))


def _binary(view: OpView, op: str, constants: Mapping[str, int]) -> Layer:
    first, second, target = view.int8_input(0), view.int8_input(1), view.int8_output()
    activation_min, activation_max = view.activation()
    shape, a_stride, b_stride = _broadcast(view)
    return Binary(
        op=op,
        name=view.name,
        inputs=view.op.inputs,
        outputs=view.op.outputs,
        shape=shape,
        a_stride=a_stride,
        b_stride=b_stride,
        a_zero_point=first.zero_point,
        b_zero_point=second.zero_point,
        output_zero_point=target.zero_point,
        activation_min=activation_min,
        activation_max=activation_max,
        **constants,
    )


def add(view: OpView) -> Layer:
    """ADD, with its affine form where there is one."""
    constants = _sum_constants(view)
    return _binary(view, "add", constants | asdict(_affine_add(view, constants)))


def _affine_add(view: OpView, constants: Mapping[str, int]) -> AffineAdd:
    a, b = (
        Operand(view.int8_input(number).zero_point, constants[f"{name}_multiplier"], constants[f"{name}_shift"])
        for number, name in enumerate("ab")
    )
    zero_point = view.int8_output().zero_point
    output = Output(zero_point, constants["output_multiplier"], constants["output_shift"], *view.activation())
    return find_affine(a, b, output, constants["left_shift"])


def sub(view: OpView) -> Layer:
    """SUB."""
    return _binary(view, "sub", _sum_constants(view))


def mul(view: OpView) -> Layer:
    """MUL; TFLite multiplies and divides the three scales in float32."""
    first, second, target = view.int8_input(0).scale, view.int8_input(1).scale, view.int8_output().scale
    real = float(first * second / target)
    multiplier, shift = quantize_multiplier(real)
    if shift > MAX_MUL_SHIFT:
        raise UnsupportedModelError(
            f"scale a * scale b / output scale must be below 2**{MAX_MUL_SHIFT}. Received: {real}"
        )
    names = ("a_multiplier", "b_multiplier", "a_shift", "b_shift", "left_shift")
    return _binary(view, "mul", {**dict.fromkeys(names, 0), "output_multiplier": multiplier, "output_shift": shift})


def _sum_constants(view: OpView) -> dict[str, int]:
    """Both inputs are brought to twice the larger scale with 20 extra bits, added, and scaled to the output.

    |a| <= 255 << 20 < 2**28 and the multipliers are at most 1/2, so the sum stays below 2**28.
    """
    first, second, target = view.int8_input(0).scale, view.int8_input(1).scale, view.int8_output().scale
    twice_max = 2.0 * float(max(first, second))
    real = twice_max / (float(target) * 2**LEFT_SHIFT)
    output_multiplier, output_shift = quantize_multiplier(real)
    if output_shift > 0:
        raise UnsupportedModelError(
            f"2 * max(input scale) / output scale must be below 2**{LEFT_SHIFT}. Received: {real * 2**LEFT_SHIFT}"
        )
    a_multiplier, a_shift = quantize_multiplier(float(first) / twice_max)
    b_multiplier, b_shift = quantize_multiplier(float(second) / twice_max)
    return {
        "a_multiplier": a_multiplier,
        "a_shift": a_shift,
        "b_multiplier": b_multiplier,
        "b_shift": b_shift,
        "output_multiplier": output_multiplier,
        "output_shift": output_shift,
        "left_shift": LEFT_SHIFT,
    }


def _broadcast(view: OpView) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(output shape, stride of a, stride of b) in four axes; stride 0 repeats an operand along an axis."""
    shapes = view.input(0).shape, view.input(1).shape
    try:
        output = np.broadcast_shapes(*shapes)
    except ValueError:
        raise UnsupportedModelError(f"the shapes cannot be broadcast. Received: {shapes[0]} and {shapes[1]}") from None
    view.expect_shape(output)
    padded = [(1,) * (len(output) - len(shape)) + tuple(shape) for shape in shapes]
    sizes, operands = four_axes(output, list(zip(*padded)), fill=(1, 1))
    a_shape, b_shape = zip(*operands)
    return sizes, _operand_strides(sizes, a_shape), _operand_strides(sizes, b_shape)


def _operand_strides(output: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = contiguous_strides(shape)
    return tuple(0 if size != full else stride for size, full, stride in zip(shape, output, strides))


def _lut(view: OpView, table: np.ndarray) -> Layer:
    view.expect_shape(view.input(0).shape)
    frozen = table.astype(np.int8)
    frozen.setflags(write=False)
    return Lut("lut", view.name, view.op.inputs[:1], view.op.outputs, frozen, check_size(view.input(0)))


def _relu(view: OpView, activation: int) -> Layer:
    return _lut(view, luts.relu_table(view.int8_input(), view.int8_output(), activation))


def _function(view: OpView, table: Callable[[Affine1, Affine1], np.ndarray]) -> Layer:
    return _lut(view, table(view.int8_input(), view.int8_output()))


def leaky_relu(view: OpView) -> Layer:
    """LEAKY_RELU."""
    alpha = float(view.option("alpha", 0.0))
    return _lut(view, luts.leaky_relu_table(view.int8_input(), view.int8_output(), alpha))


def quantize(view: OpView) -> Layer:
    """QUANTIZE: float32 to int8, or between the two 8-bit types (a table)."""
    source, target = view.input(0), view.output
    if source.dtype == np.float32:
        quant = view.int8_output()
        return _affine(view, "quantize_f32", quant)
    pair = quantization(source, _EIGHT_BITS), quantization(target, _EIGHT_BITS)
    return _lut(view, luts.requantize_table(*pair, source.dtype == np.uint8, target.dtype == np.uint8))


def dequantize(view: OpView) -> Layer:
    """DEQUANTIZE: int8 to float32."""
    if view.output.dtype != np.float32:
        raise UnsupportedModelError(f"expected a float32 output. Received: {view.name!r} of type {view.output.dtype}")
    return _affine(view, "dequantize_f32", view.int8_input())


def _affine(view: OpView, op: str, quant: Affine1) -> Layer:
    view.expect_shape(view.input(0).shape)
    count = check_size(view.input(0))
    return Affine(op, view.name, view.op.inputs[:1], view.op.outputs, float(quant.scale), quant.zero_point, count)


HANDLERS: Mapping[str, Callable[[OpView], Layer]] = {
    "ADD": add,
    "SUB": sub,
    "MUL": mul,
    "RELU": partial(_relu, activation=RELU),
    "RELU6": partial(_relu, activation=RELU6),
    "RELU_N1_TO_1": partial(_relu, activation=RELU_N1_TO_1),
    "LOGISTIC": partial(_function, table=luts.logistic_table),
    "TANH": partial(_function, table=luts.tanh_table),
    "HARD_SWISH": partial(_function, table=luts.hard_swish_table),
    "LEAKY_RELU": leaky_relu,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
}
