"""The packed operators: weights from a blob, constants as the file holds them, geometry from custom_options."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.errors import HwcmpError, ModelFormatError, UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import MAX_SHIFT, MIN_SHIFT
from keras_hwcompress.tflite.layers import Channels, Conv, FullyConnected, Layer, Weights
from keras_hwcompress.tflite.options import BUILTIN_KINDS, PackedOptions, unpack_options
from keras_hwcompress.tflite.opview import OpView, quantization
from keras_hwcompress.tflite.prepare_weighted import check_weight_shape, checked_channels, fully_connected_batch
from keras_hwcompress.tflite.window import Window

BLOB, BIAS, MULTIPLIER, SHIFT = 1, 2, 3, 4


def packed(view: OpView) -> Layer:
    """HwcmpConv2D, HwcmpDepthwiseConv2D, HwcmpFullyConnected.

    Raises:
        UnsupportedModelError: damaged options, blob or constants, or an accumulator that could leave int32.
    """
    try:
        return _packed(view)
    except UnsupportedModelError:
        raise
    except HwcmpError as error:
        raise UnsupportedModelError(str(error)) from error


def _packed(view: OpView) -> Layer:
    options = unpack_options(bytes(view.op.options.get("custom", b"")))
    if options.builtin_kind != BUILTIN_KINDS[view.op.kind]:
        raise ModelFormatError(f"the options are those of {options.builtin_kind}")
    # The zero points and ranges come from the options, but the tensors must be int8 activations all the same.
    quantization(view.input(0))
    quantization(view.output)
    blob = _constant(view, BLOB, "weight blob", np.uint8).tobytes()
    weights = Weights(view.op.inputs[BLOB], formats.decode(blob), blob)
    check_weight_shape(*weights.values.shape)
    common = {
        "name": view.name,
        "inputs": view.op.inputs[:1],
        "outputs": view.op.outputs,
        "weights": weights,
        "channels": _channels(view, weights.values),
        "input_zero_point": options.input_zero_point,
        "output_zero_point": options.output_zero_point,
        "activation_min": options.activation_min,
        "activation_max": options.activation_max,
    }
    if options.builtin_kind == "FULLY_CONNECTED":
        rows, length = weights.values.shape
        batch = fully_connected_batch(view, rows, length)
        return FullyConnected(op="fully_connected", batch=batch, input_length=length, **common)
    depthwise = options.builtin_kind == "DEPTHWISE_CONV_2D"
    _check_convolution(view, options, weights.values.shape, depthwise)
    op = "depthwise_conv2d" if depthwise else "conv2d"
    return Conv(op=op, **common, **_window(options).geometry(view, weights.values.shape[0]))


def _window(options: PackedOptions) -> Window:
    return Window(
        (options.kernel_h, options.kernel_w),
        (options.stride_h, options.stride_w),
        (options.dilation_h, options.dilation_w),
        options.padding == 0,
    )


def _check_convolution(view: OpView, options: PackedOptions, shape: tuple[int, int], depthwise: bool) -> None:
    channels = view.image(view.input(0))[2]
    taps = options.kernel_h * options.kernel_w
    rows = channels * options.depth_multiplier if depthwise else shape[0]
    expected = (rows, taps if depthwise else taps * channels)
    if shape != expected:
        raise ModelFormatError(f"the blob must hold weights of shape {expected}. Received: {shape}")


def _channels(view: OpView, values: np.ndarray) -> Channels:
    rows = values.shape[0]
    bias = _constant(view, BIAS, "bias", np.int32)
    multiplier = _constant(view, MULTIPLIER, "multiplier", np.int32)
    shift = _constant(view, SHIFT, "shift", np.int8)
    if bias.size != rows or multiplier.size not in (1, rows) or shift.size != multiplier.size:
        raise ModelFormatError(
            f"expected {rows} biases and {rows} multipliers and shifts or one. "
            f"Received: {bias.size}, {multiplier.size}, {shift.size}"
        )
    if np.any(multiplier < 0) or np.any(shift < MIN_SHIFT) or np.any(shift > MAX_SHIFT):
        raise ModelFormatError(f"multipliers must not be negative, shifts in {MIN_SHIFT}..{MAX_SHIFT}")
    return checked_channels(values, bias.astype(np.int64), multiplier, shift)


def _constant(view: OpView, position: int, what: str, dtype: type[np.generic]) -> np.ndarray:
    data = view.constant(position, what)
    if data.dtype != dtype:
        raise ModelFormatError(f"expected the {what} as {np.dtype(dtype)}. Received: {data.dtype}")
    return np.ravel(data)


HANDLERS: Mapping[str, Callable[[OpView], Layer]] = dict.fromkeys(BUILTIN_KINDS, packed)
