"""Random layers of every operator, made directly as `Layer` dataclasses, with inputs and the expected output.

Each function draws one layer from a numpy generator; it goes beyond what TensorFlow Lite's padding modes can make
(any padding below the reach of the kernel), but stays inside the bounds that `prepare` proves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.tflite import layers, reference
from keras_hwcompress.tflite.fixed_point import softmax_constants
from keras_hwcompress.tflite.graph import Graph, Tensor

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """inputs: activations as the C function takes them. blobs: format name -> bytes, for layers with weights."""

    layer: layers.Layer
    inputs: tuple[np.ndarray, ...]
    output_shape: tuple[int, ...]
    dtype: type = np.int8
    blobs: tuple[tuple[str, bytes], ...] = ()

    def expected(self) -> np.ndarray:
        """The numpy reference's result."""
        count = len(self.inputs)
        tensors = [Tensor(f"x{i}", array.shape, array.dtype) for i, array in enumerate(self.inputs)]
        tensors.append(Tensor("y", self.output_shape, np.dtype(self.dtype)))
        graph = Graph(tuple(tensors), (), tuple(range(count)), (count,))
        return reference.run(graph, list(self.inputs), [self.layer])[0]


def int8(rng: Rng, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape, np.int8)


def pick(rng: Rng, low: int, high: int) -> int:
    """low..high, both included."""
    return int(rng.integers(low, high + 1))


def zero_point(rng: Rng) -> int:
    return int(rng.choice([-128, 127, 0, pick(rng, -128, 127)]))


def multiplier(rng: Rng) -> int:
    return int(rng.choice([1 << 30, (1 << 31) - 1, pick(rng, 1 << 30, (1 << 31) - 1)]))


def activation(rng: Rng) -> dict[str, int]:
    low, high = sorted((pick(rng, -128, 127), pick(rng, -128, 127)))
    return [{"activation_min": -128, "activation_max": 127}, {"activation_min": low, "activation_max": high}][
        pick(rng, 0, 1)
    ]


def names(op: str, inputs: int = 1) -> dict[str, object]:
    return {"op": op, "name": op, "inputs": tuple(range(inputs)), "outputs": (inputs,)}


def weights(rng: Rng, rows: int, length: int) -> tuple[layers.Weights, tuple[tuple[str, bytes], ...]]:
    """Any int8, or few levels per row so that every format admits the values."""
    values = int8(rng, rows, length)
    if rng.random() < 0.6:
        levels = int8(rng, pick(rng, 1, 16))
        values = rng.choice(levels, (rows, length))
    return layers.Weights(0, values), tuple(formats.admissible(values).items())


def channels(rng: Rng, rows: int, length: int) -> layers.Channels:
    """Shifts that spread most outputs over int8, and the extremes that the sums allow."""
    entries = rows if rng.random() < 0.8 else 1
    usual = -7 - int(np.log2(length) / 2)
    shift = rng.integers(usual - 3, usual + 3, entries, np.int8)
    shift[rng.random(entries) < 0.1] = rng.choice([-31, 0, 4])
    factors = np.array([multiplier(rng) for _ in range(entries)], np.int32)
    return layers.Channels(rng.integers(-(2**17), 2**17, rows, np.int32), factors, shift)


def _output(rng: Rng) -> dict[str, int]:
    return {"input_zero_point": zero_point(rng), "output_zero_point": zero_point(rng), **activation(rng)}


def _window(rng: Rng, extent: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """(padding before, outputs) of one axis; every window touches the input."""
    reach = (taps - 1) * dilation + 1
    before, after = pick(rng, 0, reach - 1), pick(rng, 0, reach - 1)
    if extent + before + after < reach:
        before = after = reach - 1
    return before, (extent + before + after - reach) // stride + 1


def _axes(rng: Rng, kernel: int, dilation: int) -> dict[str, tuple[int, int]]:
    """Geometry of both axes: input (without channels), output, kernel, stride, dilation, pad."""
    rows = []
    for _ in range(2):
        taps, stride, step = pick(rng, 1, kernel), pick(rng, 1, 3), pick(rng, 1, dilation)
        extent = pick(rng, 1, 9)
        before, outputs = _window(rng, extent, taps, stride, step)
        rows.append((extent, outputs, taps, stride, step, before))
    keys = ("input", "output", "kernel", "stride", "dilation", "pad")
    return {key: (rows[0][i], rows[1][i]) for i, key in enumerate(keys)}


def conv2d(rng: Rng) -> Case:
    axes, depth, rows = _axes(rng, 4, 3), pick(rng, 1, 20), pick(rng, 1, 10)
    return _conv(rng, axes, depth, rows, depth, "conv2d")


def depthwise_conv2d(rng: Rng) -> Case:
    axes, depth = _axes(rng, 4, 3), pick(rng, 1, 9)
    return _conv(rng, axes, depth, depth * pick(rng, 1, 3), 1, "depthwise_conv2d")


def _conv(rng: Rng, axes: dict[str, tuple[int, int]], depth: int, rows: int, row_depth: int, op: str) -> Case:
    axes["input"], axes["output"] = (*axes["input"], depth), (*axes["output"], rows)
    length = int(np.prod(axes["kernel"])) * row_depth
    stored, blobs = weights(rng, rows, length)
    layer = layers.Conv(**names(op), weights=stored, channels=channels(rng, rows, length), **axes, **_output(rng))
    return Case(layer, (int8(rng, *layer.input),), layer.output, blobs=blobs)


def fully_connected(rng: Rng) -> Case:
    batch, length, rows = pick(rng, 1, 3), pick(rng, 1, 200), pick(rng, 1, 20)
    stored, blobs = weights(rng, rows, length)
    layer = layers.FullyConnected(
        **names("fully_connected"), weights=stored, channels=channels(rng, rows, length), batch=batch,
        input_length=length, **_output(rng),
    )  # fmt: skip
    return Case(layer, (int8(rng, batch, length),), (batch, rows), blobs=blobs)


def _operand(rng: Rng, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """An operand broadcast along some axes, and its strides in four axes."""
    extents = [1 if rng.random() < 0.25 else extent for extent in shape]
    strides, step = [0] * 4, 1
    for axis in (3, 2, 1, 0):
        strides[axis] = step if extents[axis] > 1 else 0
        step *= extents[axis]
    return int8(rng, *extents), tuple(strides)


def _binary(rng: Rng, op: str) -> Case:
    shape = tuple(pick(rng, 1, 5) for _ in range(4))
    (a, a_stride), (b, b_stride) = _operand(rng, shape), _operand(rng, shape)
    layer = layers.Binary(
        **names(op, 2), shape=shape, a_stride=a_stride, b_stride=b_stride, a_multiplier=multiplier(rng),
        b_multiplier=multiplier(rng), output_multiplier=multiplier(rng), a_shift=-pick(rng, 0, 6),
        b_shift=-pick(rng, 0, 6), output_shift=-pick(rng, 4, 12) if op == "mul" else -pick(rng, 14, 24),
        left_shift=20, a_zero_point=zero_point(rng), b_zero_point=zero_point(rng),
        output_zero_point=zero_point(rng), **activation(rng),
    )  # fmt: skip
    return Case(layer, (a, b), shape)


def add(rng: Rng) -> Case:
    return _binary(rng, "add")


def sub(rng: Rng) -> Case:
    return _binary(rng, "sub")


def mul(rng: Rng) -> Case:
    return _binary(rng, "mul")


def lut(rng: Rng) -> Case:
    count = pick(rng, 1, 300)
    return Case(layers.Lut(**names("lut"), table=int8(rng, 256), count=count), (int8(rng, count),), (count,))


def concat(rng: Rng) -> Case:
    outer, inner = pick(rng, 1, 5), tuple(pick(rng, 1, 9) for _ in range(pick(rng, 1, 4)))
    layer = layers.Concat(**names("concat", len(inner)), outer=outer, inner=inner)
    return Case(layer, tuple(int8(rng, outer, size) for size in inner), (outer, sum(inner)))


def pad(rng: Rng) -> Case:
    shape, before, after = (tuple(pick(rng, low, high) for _ in range(4)) for low, high in ((1, 4), (0, 2), (0, 2)))
    layer = layers.Pad(**names("pad"), shape=shape, before=before, after=after, value=zero_point(rng))
    return Case(layer, (int8(rng, *shape),), tuple(map(sum, zip(before, shape, after))))


def slice(rng: Rng) -> Case:
    """Every axis takes a part, forward or backward, with a step or by repetition; then the axes change places."""
    whole, sizes, strides, offset, step = [], [], [], 0, 1
    for _ in range(4):
        size, hop = pick(rng, 1, 5), int(rng.choice([-2, -1, 0, 1, 1, 3]))
        first = pick(rng, 0, 2) + (-hop * (size - 1) if hop < 0 else 0)
        whole.append(first + max(hop, 0) * (size - 1) + pick(rng, 1, 3))
        sizes.append(size), strides.append(hop * step)
        offset, step = offset + first * step, step * whole[-1]
    order = rng.permutation(4) if rng.random() < 0.5 else np.arange(3, -1, -1)
    shape, stride = (tuple(values[axis] for axis in order) for values in (sizes, strides))
    layer = layers.Slice(**names("slice"), shape=shape, stride=stride, offset=offset)
    return Case(layer, (int8(rng, step),), shape)


def _pool(rng: Rng, op: str) -> Case:
    axes, depth = _axes(rng, 5, 1), pick(rng, 1, 9)
    layer = layers.Pool(
        **names(op), input=(*axes["input"], depth), output=(*axes["output"], depth), filter=axes["kernel"],
        stride=axes["stride"], pad=axes["pad"], **activation(rng),
    )  # fmt: skip
    return Case(layer, (int8(rng, *layer.input),), layer.output)


def average_pool(rng: Rng) -> Case:
    return _pool(rng, "average_pool")


def max_pool(rng: Rng) -> Case:
    return _pool(rng, "max_pool")


def _reduce(rng: Rng, op: str) -> Case:
    shape, mask = tuple(pick(rng, 1, 6) for _ in range(4)), pick(rng, 0, 15)
    kept = tuple(extent for axis, extent in enumerate(shape) if not mask >> axis & 1)
    gone = np.prod(shape) // int(np.prod(kept))
    layer = layers.Reduce(
        **names(op), shape=shape, multiplier=multiplier(rng), shift=pick(rng, -2, 1) - int(np.log2(gone)),
        reduce_mask=mask, input_zero_point=zero_point(rng), output_zero_point=zero_point(rng),
    )  # fmt: skip
    return Case(layer, (int8(rng, *shape),), kept)


def mean(rng: Rng) -> Case:
    return _reduce(rng, "mean")


def reduce_max(rng: Rng) -> Case:
    return _reduce(rng, "reduce_max")


def softmax(rng: Rng) -> Case:
    rows, depth = pick(rng, 1, 4), int(rng.choice([1, 2, 10, pick(rng, 1, 300)]))
    factor, shift, diff_min = softmax_constants(np.float32(np.exp(rng.uniform(-7, 1))), 1.0)
    layer = layers.Softmax(
        **names("softmax"), rows=rows, depth=depth, multiplier=factor, shift=shift, diff_min=diff_min
    )
    spread = pick(rng, 0, 127)
    return Case(layer, (rng.integers(-spread - 1, spread + 1, (rows, depth), np.int8),), (rows, depth))


def _affine(rng: Rng, op: str, count: int) -> layers.Affine:
    scale = float(np.float32(rng.choice([0.25, np.exp(rng.uniform(-12, 6))])))
    return layers.Affine(**names(op), scale=scale, zero_point=zero_point(rng), count=count)


def quantize_f32(rng: Rng) -> Case:
    """Ties, neighbours of ties, overflow and infinities among usual values."""
    steps = np.concatenate((rng.uniform(-300, 300, 40), np.arange(-8, 8) + 0.5)).astype(np.float32)
    steps = np.concatenate((steps, np.nextafter(steps, np.float32(0)), np.float32([0, -0.0, 1e30, -1e30, 2**31])))
    layer = _affine(rng, "quantize_f32", steps.size + 2)
    values = np.concatenate((steps * np.float32(layer.scale), np.float32([np.inf, -np.inf])))
    return Case(layer, (values.astype(np.float32),), (layer.count,))


def dequantize_f32(rng: Rng) -> Case:
    layer = _affine(rng, "dequantize_f32", 256)
    return Case(layer, (np.arange(-128, 128).astype(np.int8),), (256,), np.float32)


CASES: dict[str, Callable[[Rng], Case]] = {
    make.__name__: make
    for make in (
        conv2d, depthwise_conv2d, fully_connected, add, sub, mul, lut, concat, pad, slice, average_pool, max_pool, mean,
        reduce_max, softmax, quantize_f32, dequantize_f32,
    )
}  # fmt: skip
