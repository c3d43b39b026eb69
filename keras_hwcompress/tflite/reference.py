"""The numpy executor of prepared layers: integers only, the definition every other executor is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from keras_hwcompress.tflite import reference_softmax
from keras_hwcompress.tflite.arithmetic import clamp_int8, multiply_by_quantized_multiplier, round_half_away
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Affine, Binary, Channels, Concat, Conv, FullyConnected, Layer, Lut, Pad
from keras_hwcompress.tflite.layers import Pool, Reduce, Reshape, Slice, Softmax
from keras_hwcompress.tflite.prepare import prepare


def run(graph: Graph, inputs: Sequence[np.ndarray], layers: Sequence[Layer] | None = None) -> list[np.ndarray]:
    """Runs a graph once.

    Args:
        graph: as for `prepare`. inputs: one array per graph input, of the tensor's shape and dtype.
        layers: what `prepare(graph)` gave, to save that work when the same graph runs often.

    Returns:
        One array per graph output.

    Raises:
        ValueError: number, shape or dtype of the inputs. UnsupportedModelError: see `prepare`.
    """
    tensors = run_all(graph, inputs, layers)
    return [tensors[index] for index in graph.outputs]


def run_all(
    graph: Graph, inputs: Sequence[np.ndarray], layers: Sequence[Layer] | None = None
) -> dict[int, np.ndarray]:
    """Like `run`, giving every tensor that was read or computed: tensor index -> array of the tensor's shape."""
    layers = prepare(graph) if layers is None else layers
    tensors = {index: tensor.data for index, tensor in enumerate(graph.tensors) if tensor.is_constant}
    tensors |= _checked_inputs(graph, inputs)
    for layer in layers:
        operands = [tensors[index] for index in layer.inputs]
        target = graph.tensors[layer.outputs[0]]
        result = _KERNELS[type(layer)](layer, operands)
        if result.dtype.itemsize == target.dtype.itemsize:
            result = result.view(target.dtype)
        tensors[layer.outputs[0]] = np.ascontiguousarray(result).reshape(target.shape)
    return tensors


def _checked_inputs(graph: Graph, inputs: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"expected {len(graph.inputs)} inputs. Received: {len(inputs)}")
    for index, array in zip(graph.inputs, inputs):
        tensor = graph.tensors[index]
        if array.shape != tensor.shape or array.dtype != tensor.dtype:
            raise ValueError(
                f"input {tensor.name!r}: expected {tensor.dtype} {tensor.shape}. Received: {array.dtype} {array.shape}"
            )
    return dict(zip(graph.inputs, inputs))


def _exact_matmul(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """int8 (n, k) times int8 (rows, k) transposed, as int64 (n, rows).

    numpy multiplies integer matrices slowly, so this goes through BLAS in floats. It is exact: every partial sum, in
    any order of summation, is an integer of at most 128 * sum|w|. `prepare` bounds that by 2**31, and doubles hold
    all integers up to 2**53; where it is at most 2**24, float32 is enough.
    """
    largest = 128 * int(np.abs(weights.astype(np.int16)).sum(axis=1, dtype=np.int64).max())
    dtype = np.float32 if largest <= 2**24 else np.float64
    return (activations.astype(dtype) @ weights.astype(dtype).T).astype(np.int64)


def _requantize(accumulators: np.ndarray, channels: Channels, layer: Conv | FullyConnected) -> np.ndarray:
    """int64 (..., rows) without bias -> int8."""
    scaled = multiply_by_quantized_multiplier(accumulators + channels.bias, channels.multiplier, channels.shift)
    return clamp_int8(scaled + layer.output_zero_point, layer.activation_min, layer.activation_max)


def _windows(
    image: np.ndarray, layer: Conv | Pool, kernel: tuple[int, int], dilation: tuple[int, int], fill: int
) -> np.ndarray:
    """A view (out_h, out_w, c, kernel_h, kernel_w) of the padded image (h, w, c).

    The image is padded (or cut) to exactly the extent that the output positions touch.
    """
    reach = tuple((kernel[i] - 1) * dilation[i] + 1 for i in range(2))
    extents = [(layer.output[i] - 1) * layer.stride[i] + reach[i] for i in range(2)]
    padded = np.full((*extents, image.shape[2]), fill, image.dtype)
    top, left = layer.pad
    inside = image[: extents[0] - top, : extents[1] - left]
    padded[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    windows = sliding_window_view(padded, reach, axis=(0, 1))
    return windows[:: layer.stride[0], :: layer.stride[1], :, :: dilation[0], :: dilation[1]]


def _conv(layer: Conv, operands: Sequence[np.ndarray]) -> np.ndarray:
    image = operands[0].reshape(layer.input)
    windows = _windows(image, layer, layer.kernel, layer.dilation, layer.input_zero_point)
    kernel = _depthwise_sums if layer.op == "depthwise_conv2d" else _conv_sums
    return _requantize(kernel(layer, windows), layer.channels, layer)


def _conv_sums(layer: Conv, windows: np.ndarray) -> np.ndarray:
    columns = windows.transpose(0, 1, 3, 4, 2).reshape(layer.output[0] * layer.output[1], -1)
    return _exact_matmul(columns, layer.weights.values).reshape(layer.output)


def _depthwise_sums(layer: Conv, windows: np.ndarray) -> np.ndarray:
    """Output channel c * multiplier + m reads input channel c; int32 sums are exact by prepare's bound."""
    multiplier = layer.output[2] // layer.input[2]
    sums = np.zeros(layer.output, np.int32)
    for tap, (row, column) in enumerate(np.ndindex(*layer.kernel)):
        values = np.repeat(windows[:, :, :, row, column], multiplier, axis=2).astype(np.int32)
        sums += values * layer.weights.values[:, tap].astype(np.int32)
    return sums.astype(np.int64)


def _fully_connected(layer: FullyConnected, operands: Sequence[np.ndarray]) -> np.ndarray:
    rows = operands[0].reshape(layer.batch, layer.input_length)
    return _requantize(_exact_matmul(rows, layer.weights.values), layer.channels, layer)


def _binary(layer: Binary, operands: Sequence[np.ndarray]) -> np.ndarray:
    a = _broadcast(operands[0], layer.shape, layer.a_stride) - layer.a_zero_point
    b = _broadcast(operands[1], layer.shape, layer.b_stride) - layer.b_zero_point
    if layer.op == "mul":
        total = a * b
    else:
        a = multiply_by_quantized_multiplier(a << layer.left_shift, layer.a_multiplier, layer.a_shift)
        b = multiply_by_quantized_multiplier(b << layer.left_shift, layer.b_multiplier, layer.b_shift)
        total = a + b if layer.op == "add" else a - b
    scaled = multiply_by_quantized_multiplier(total, layer.output_multiplier, layer.output_shift)
    return clamp_int8(scaled + layer.output_zero_point, layer.activation_min, layer.activation_max)


def _broadcast(operand: np.ndarray, shape: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    wide = np.ascontiguousarray(operand).astype(np.int64).ravel()
    return as_strided(wide, shape, tuple(step * wide.itemsize for step in stride), writeable=False)


def _lut(layer: Lut, operands: Sequence[np.ndarray]) -> np.ndarray:
    return layer.table[np.ascontiguousarray(operands[0]).view(np.uint8)]


def _concat(layer: Concat, operands: Sequence[np.ndarray]) -> np.ndarray:
    parts = [operand.reshape(layer.outer, size) for operand, size in zip(operands, layer.inner)]
    return np.concatenate(parts, axis=1)


def _pad(layer: Pad, operands: Sequence[np.ndarray]) -> np.ndarray:
    widths = list(zip(layer.before, layer.after))
    return np.pad(operands[0].reshape(layer.shape), widths, constant_values=layer.value)


def _pool(layer: Pool, operands: Sequence[np.ndarray]) -> np.ndarray:
    image = operands[0].reshape(layer.input)
    if layer.op == "max_pool":
        result = _windows(image, layer, layer.filter, (1, 1), -128).max(axis=(3, 4))
    else:
        result = _rounded_means(layer, image)
    return clamp_int8(result, layer.activation_min, layer.activation_max)


def _rounded_means(layer: Pool, image: np.ndarray) -> np.ndarray:
    """sum / taps inside the image, rounded half away from zero (count is positive)."""
    sums = _windows(image.astype(np.int64), layer, layer.filter, (1, 1), 0).sum(axis=(3, 4))
    ones = np.ones((*layer.input[:2], 1), np.int64)
    count = _windows(ones, layer, layer.filter, (1, 1), 0).sum(axis=(3, 4))
    return np.sign(sums) * ((np.abs(sums) + count // 2) // count)


def _reduce(layer: Reduce, operands: Sequence[np.ndarray]) -> np.ndarray:
    values = operands[0].reshape(layer.shape)
    axes = tuple(axis for axis in range(4) if layer.reduce_mask >> axis & 1)
    if layer.op == "reduce_max":
        return values.max(axis=axes)
    centred = (values.astype(np.int64) - layer.input_zero_point).sum(axis=axes)
    scaled = multiply_by_quantized_multiplier(centred, layer.multiplier, layer.shift)
    return clamp_int8(scaled + layer.output_zero_point)


def _softmax(layer: Softmax, operands: Sequence[np.ndarray]) -> np.ndarray:
    return reference_softmax.softmax(layer, operands[0].reshape(layer.rows, layer.depth))


def _reshape(layer: Reshape, operands: Sequence[np.ndarray]) -> np.ndarray:
    return np.ravel(operands[0])[layer.offset : layer.offset + layer.count]


def _slice(layer: Slice, operands: Sequence[np.ndarray]) -> np.ndarray:
    source = np.ascontiguousarray(operands[0]).ravel()
    steps = tuple(step * source.itemsize for step in layer.stride)
    return as_strided(source[layer.offset :], layer.shape, steps, writeable=False)


def _affine(layer: Affine, operands: Sequence[np.ndarray]) -> np.ndarray:
    """Values that int8 cannot hold saturate; what a NaN becomes is not defined (here: the zero point)."""
    scale = np.float32(layer.scale)
    if layer.op == "dequantize_f32":
        return scale * (operands[0].astype(np.float32) - np.float32(layer.zero_point))
    with np.errstate(over="ignore"):
        steps = round_half_away(operands[0] / scale)
    return clamp_int8(np.nan_to_num(steps, nan=0.0) + layer.zero_point)


_KERNELS: Mapping[type[Layer], Callable[..., np.ndarray]] = {
    Conv: _conv,
    FullyConnected: _fully_connected,
    Binary: _binary,
    Lut: _lut,
    Concat: _concat,
    Pad: _pad,
    Pool: _pool,
    Reduce: _reduce,
    Softmax: _softmax,
    Reshape: _reshape,
    Slice: _slice,
    Affine: _affine,
}
