"""CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED: canonical weights, folded bias, one multiplier per channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.arithmetic import quantize_multiplier
from keras_hwcompress.tflite.graph import Tensor
from keras_hwcompress.tflite.layers import Channels, Conv, FullyConnected, Layer, Weights
from keras_hwcompress.tflite.opview import OpView, check_size
from keras_hwcompress.tflite.window import Window, is_same, pair_option

# Room for the output zero point that is added after the requantization.
ACCUMULATOR_LIMIT = 2**31 - 256
MAX_ROWS = 2**16 - 1


def conv2d(view: OpView) -> Layer:
    """CONV_2D: weights OHWI are canonical rows already."""
    weights = _weight_tensor(view, rank=4)
    rows, kernel_h, kernel_w, channels = weights.shape
    if channels != view.image(view.input(0))[2]:
        raise UnsupportedModelError(
            f"grouped convolutions are not supported: weights for {channels} input channels. "
            f"Received: {view.input(0).name!r} {view.input(0).shape}"
        )
    values = weights.data.reshape(rows, -1)
    return _convolution(view, "conv2d", values, (kernel_h, kernel_w), channel_axis=0)


def depthwise_conv2d(view: OpView) -> Layer:
    """DEPTHWISE_CONV_2D: weights 1HWC are transposed to one row of height * width per output channel."""
    weights = _weight_tensor(view, rank=4)
    one, kernel_h, kernel_w, rows = weights.shape
    if one != 1 or rows % view.image(view.input(0))[2]:
        raise UnsupportedModelError(
            f"expected weights (1, h, w, input channels * multiplier). Received: {weights.name!r} {weights.shape}"
        )
    values = np.ascontiguousarray(weights.data.reshape(-1, rows).T)
    return _convolution(view, "depthwise_conv2d", values, (kernel_h, kernel_w), channel_axis=3)


def _convolution(view: OpView, op: str, values: np.ndarray, kernel: tuple[int, int], channel_axis: int) -> Layer:
    source, target = view.int8_input(), view.int8_output()
    multiplier, shift = _multipliers(view, values.shape[0], channel_axis)
    activation_min, activation_max = view.activation()
    window = Window(kernel, pair_option(view, "stride"), pair_option(view, "dilation", 1), is_same(view))
    return Conv(
        op=op,
        name=view.name,
        inputs=view.op.inputs[:1],
        outputs=view.op.outputs,
        weights=Weights(view.op.inputs[1], _frozen(values)),
        channels=folded_channels(values, _bias(view, values.shape[0]), source.zero_point, multiplier, shift),
        input_zero_point=source.zero_point,
        output_zero_point=target.zero_point,
        activation_min=activation_min,
        activation_max=activation_max,
        **window.geometry(view, values.shape[0]),
    )


def fully_connected(view: OpView) -> Layer:
    """FULLY_CONNECTED: as many rows of activations as the input holds."""
    weights = _weight_tensor(view, rank=2)
    rows, length = weights.shape
    source, target = view.int8_input(), view.int8_output()
    if int(view.option("weightsFormat", 0)) != 0:
        raise UnsupportedModelError("shuffled weights are not supported")
    batch = fully_connected_batch(view, rows, length)
    multiplier, shift = _multipliers(view, rows, channel_axis=0)
    activation_min, activation_max = view.activation()
    return FullyConnected(
        op="fully_connected",
        name=view.name,
        inputs=view.op.inputs[:1],
        outputs=view.op.outputs,
        weights=Weights(view.op.inputs[1], _frozen(weights.data)),
        channels=folded_channels(weights.data, _bias(view, rows), source.zero_point, multiplier, shift),
        batch=batch,
        input_length=length,
        input_zero_point=source.zero_point,
        output_zero_point=target.zero_point,
        activation_min=activation_min,
        activation_max=activation_max,
    )


def fully_connected_batch(view: OpView, rows: int, length: int) -> int:
    """Number of rows of `length` activations in the input; the output must hold that many rows."""
    batch, rest = divmod(check_size(view.input(0)), length)
    if rest or check_size(view.output) != batch * rows:
        raise UnsupportedModelError(
            f"weights ({rows}, {length}) do not fit the shapes. Received: {view.input(0).shape} -> {view.output.shape}"
        )
    return batch


def folded_channels(
    values: np.ndarray, bias: np.ndarray, input_zero_point: int, multiplier: np.ndarray, shift: np.ndarray
) -> Channels:
    """Folds the input zero point into the bias and proves that nothing overflows.

    Args:
        values: int8 (rows, row_length). bias: int64 (rows,). multiplier, shift: (rows,) or (1,).

    Raises:
        UnsupportedModelError: an accumulator or its requantization could leave int32.
    """
    folded = bias - input_zero_point * values.sum(axis=1, dtype=np.int64)
    return checked_channels(values, folded, multiplier, shift)


def checked_channels(values: np.ndarray, folded: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> Channels:
    """Channels from a bias that is folded already; see `folded_channels`."""
    # np.abs(int8 -128) would be -128: widen first. int16 is enough for the values, int64 for their sum.
    weight_sums = np.abs(values.astype(np.int16)).sum(axis=1, dtype=np.int64)
    bound = (np.abs(folded) + 128 * weight_sums) << np.maximum(shift, 0).astype(np.int64)
    if np.any(bound >= ACCUMULATOR_LIMIT):
        row = int(np.argmax(bound))
        raise UnsupportedModelError(
            f"output channel {row} can overflow: (|bias| + 128 * sum|w|) << max(shift, 0) must be below 2**31 - 256. "
            f"Received: {int(bound[row])}"
        )
    return Channels(
        _frozen(folded.astype(np.int32)), _frozen(multiplier.astype(np.int32)), _frozen(shift.astype(np.int8))
    )


def check_weight_shape(rows: int, row_length: int) -> None:
    """Limits of the binary format."""
    longest = table().constants["MAX_ROW_LENGTH"]
    if not (1 <= rows <= MAX_ROWS and 1 <= row_length <= longest):
        raise UnsupportedModelError(
            f"weights must have 1..{MAX_ROWS} rows of 1..{longest}. Received: ({rows}, {row_length})"
        )


def _weight_tensor(view: OpView, rank: int) -> Tensor:
    view.constant(1, "weights")
    tensor = view.input(1)
    if tensor.dtype != np.int8:
        raise UnsupportedModelError(f"expected int8 weights. Received: {tensor.name!r} of type {tensor.dtype}")
    if len(tensor.shape) != rank:
        raise UnsupportedModelError(f"expected weights with {rank} axes. Received: {tensor.name!r} {tensor.shape}")
    size = check_size(tensor)
    rows = tensor.shape[3] if view.op.kind == "DEPTHWISE_CONV_2D" else tensor.shape[0]
    check_weight_shape(rows, size // rows)
    return tensor


def _bias(view: OpView, rows: int) -> np.ndarray:
    """int64 (rows,); zeros when the operator has none."""
    if not view.has_input(2):
        return np.zeros(rows, np.int64)
    data = view.constant(2, "bias")
    if data.dtype != np.int32 or data.size != rows:
        raise UnsupportedModelError(f"expected an int32 bias of {rows}. Received: {data.dtype} {data.shape}")
    return data.reshape(rows).astype(np.int64)


def _multipliers(view: OpView, rows: int, channel_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """input_scale * weight_scale / output_scale in double as integers, one per scale of the weights.

    Older TFLite (tflite-runtime 2.14, ai-edge-litert 1.0) rounded the product of the scales to float32 for a fully
    connected layer with one scale; ai-edge-litert 1.4, TensorFlow 2.21 and TFLite Micro do not.
    """
    scales = _weight_scales(view, rows, channel_axis)
    source, target = view.int8_input().scale, view.int8_output().scale
    reals = [float(source) * float(scale) / float(target) for scale in scales]
    pairs = np.array([quantize_multiplier(real) for real in reals], np.int64)
    return pairs[:, 0], pairs[:, 1]


def _weight_scales(view: OpView, rows: int, channel_axis: int) -> np.ndarray:
    tensor = view.input(1)
    quant = tensor.quantization
    if quant is None:
        raise UnsupportedModelError(f"expected quantized weights. Received: {tensor.name!r} without scales")
    scales = np.ravel(quant.scale).astype(np.float32)
    if len(scales) != 1 and (len(scales) != rows or quant.axis != channel_axis):
        raise UnsupportedModelError(
            f"expected one scale or one per output channel (axis {channel_axis}). "
            f"Received: {tensor.name!r} with {len(scales)} along axis {quant.axis}"
        )
    if np.any(np.asarray(quant.zero_point) != 0):
        raise UnsupportedModelError(f"weights must have zero point 0. Received: {tensor.name!r}")
    if not np.all(np.isfinite(scales) & (scales > 0)):
        raise UnsupportedModelError(f"weight scales must be positive and finite. Received: {tensor.name!r}")
    return scales


def _frozen(array: np.ndarray) -> np.ndarray:
    copy = np.ascontiguousarray(array)
    copy = copy.copy() if copy is array else copy
    copy.setflags(write=False)
    return copy


HANDLERS: Mapping[str, Callable[[OpView], Layer]] = {
    "CONV_2D": conv2d,
    "DEPTHWISE_CONV_2D": depthwise_conv2d,
    "FULLY_CONNECTED": fully_connected,
}
