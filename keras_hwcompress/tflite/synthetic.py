"""A fluent builder of small int8 graphs for tests and benchmarks: random weights, plausible scales, TFLite's layouts.

    builder = GraphBuilder(seed=1)
    x = builder.input((1, 8, 8, 3))
    x = builder.conv2d(x, 16, kernel=(3, 3), stride=(2, 2), activation="relu")
    graph = builder.build([builder.fully_connected(x, 10)])

Every method returns the index of the output tensor. `stride`, `kernel`, `dilation` are (height, width). Weights may
be given (`weights=`, TensorFlow Lite's layout: OHWI, 1HWC, OI); otherwise they are uniform in -127..127.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Quantization, Tensor

PADDINGS = {"same": 0, "valid": 1}
ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}


class GraphBuilder:
    """Collects tensors and operators; `build` makes the frozen graph."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.inputs: list[int] = []

    def input(
        self, shape: Sequence[int], scale: float | None = 0.05, zp: int = -3, *, dtype: Any = np.int8, name: str = ""
    ) -> int:
        """A graph input; scale=None for one without quantization (float)."""
        index = self.activation(shape, scale, zp, dtype=dtype, name=name or f"input{len(self.inputs)}")
        self.inputs.append(index)
        return index

    def activation(
        self, shape: Sequence[int], scale: float | None, zp: int, *, dtype: Any = np.int8, name: str = ""
    ) -> int:
        """A tensor without stored values."""
        quantization = None if scale is None else quantized(scale, zp)
        return self._add(Tensor(name or f"t{len(self.tensors)}", _ints(shape), np.dtype(dtype), quantization))

    def constant(
        self, values: Any, scale: Any = None, zp: Any = 0, axis: int = 0, *, dtype: Any = None, name: str = ""
    ) -> int:
        """A tensor stored in the file; `scale` a number, a vector along `axis`, or None for no quantization."""
        data = np.array(values, dtype)
        data.setflags(write=False)
        quantization = None if scale is None else quantized(scale, zp, axis)
        name = name or f"constant{len(self.tensors)}"
        return self._add(Tensor(name, data.shape, data.dtype, quantization, data))

    def conv2d(
        self,
        x: int,
        out_channels: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        padding: str = "same",
        dilation: tuple[int, int] = (1, 1),
        activation: str = "none",
        per_channel: bool = True,
        *,
        weights: Any = None,
        bias: bool = True,
        scale: float | None = None,
        zp: int = 5,
    ) -> int:
        """CONV_2D. scale, zp: of the output (default: a scale that lets few outputs saturate)."""
        n, h, w, c = self.tensors[x].shape
        values = self._weights((out_channels, *kernel, c), weights)
        options = self._window(stride, padding, dilation, activation)
        shape = (n, *window_output((h, w), kernel, stride, padding, dilation), out_channels)
        return self._weighted("CONV_2D", "Conv2DOptions", x, values, 0, shape, options, per_channel, bias, scale, zp)

    def depthwise(
        self,
        x: int,
        multiplier: int = 1,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        padding: str = "same",
        dilation: tuple[int, int] = (1, 1),
        activation: str = "none",
        per_channel: bool = True,
        *,
        weights: Any = None,
        bias: bool = True,
        scale: float | None = None,
        zp: int = 5,
    ) -> int:
        """DEPTHWISE_CONV_2D with `multiplier` outputs per input channel."""
        n, h, w, c = self.tensors[x].shape
        values = self._weights((1, *kernel, c * multiplier), weights)
        options = self._window(stride, padding, dilation, activation) | {"depthMultiplier": multiplier}
        shape = (n, *window_output((h, w), kernel, stride, padding, dilation), c * multiplier)
        kind, table = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
        return self._weighted(kind, table, x, values, 3, shape, options, per_channel, bias, scale, zp)

    def fully_connected(
        self,
        x: int,
        out_channels: int,
        activation: str = "none",
        per_channel: bool = True,
        *,
        weights: Any = None,
        bias: bool = True,
        scale: float | None = None,
        zp: int = 5,
        length: int | None = None,
    ) -> int:
        """FULLY_CONNECTED over rows of `length` activations (default: all but the first axis)."""
        size = self.tensors[x].size
        length = length or size // self.tensors[x].shape[0]
        values = self._weights((out_channels, length), weights)
        options = {
            "fusedActivationFunction": ACTIVATIONS[activation],
            "weightsFormat": 0,
            "keepNumDims": False,
            "asymmetricQuantizeInputs": False,
            "quantizedBiasType": 0,
        }
        kind, table, shape = "FULLY_CONNECTED", "FullyConnectedOptions", (size // length, out_channels)
        return self._weighted(kind, table, x, values, 0, shape, options, per_channel, bias, scale, zp)

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        out_shape: Sequence[int],
        scale: float | None = 0.05,
        zp: int = 0,
        options_type: str = "",
        options: Mapping[str, Any] | None = None,
        *,
        dtype: Any = np.int8,
        version: int = 1,
        name: str = "",
    ) -> int:
        """Any other builtin operator with one output."""
        output = self.activation(out_shape, scale, zp, dtype=dtype, name=name)
        self.ops.append(Op(kind, tuple(inputs), (output,), dict(options or {}), options_type, version))
        return output

    def parts(
        self,
        kind: str,
        inputs: Sequence[int],
        out_shapes: Sequence[Sequence[int]],
        quant: tuple[float | None, int],
        options_type: str = "",
        options: Mapping[str, Any] | None = None,
        *,
        dtype: Any = np.int8,
        version: int = 1,
    ) -> tuple[int, ...]:
        """A builtin operator with several outputs of one quantization (SPLIT, UNPACK)."""
        outputs = tuple(self.activation(shape, *quant, dtype=dtype) for shape in out_shapes)
        self.ops.append(Op(kind, tuple(inputs), outputs, dict(options or {}), options_type, version))
        return outputs

    def add(self, a: int, b: int, scale: float = 0.1, zp: int = 1, activation: str = "none", kind: str = "ADD") -> int:
        """ADD (or SUB, MUL) with broadcasting."""
        shape = np.broadcast_shapes(self.tensors[a].shape, self.tensors[b].shape)
        options = {"fusedActivationFunction": ACTIVATIONS[activation]}
        if kind != "MUL":
            options["potScaleInt16"] = True
        return self.op(kind, (a, b), shape, scale, zp, f"{kind.capitalize()}Options", options)

    def pool(
        self,
        x: int,
        kind: str = "AVERAGE_POOL_2D",
        filter: tuple[int, int] = (2, 2),
        stride: tuple[int, int] = (2, 2),
        padding: str = "valid",
        activation: str = "none",
    ) -> int:
        """AVERAGE_POOL_2D or MAX_POOL_2D; quantization of the output is the input's."""
        n, h, w, c = self.tensors[x].shape
        options = {
            "padding": PADDINGS[padding],
            "strideW": stride[1],
            "strideH": stride[0],
            "filterWidth": filter[1],
            "filterHeight": filter[0],
            "fusedActivationFunction": ACTIVATIONS[activation],
        }
        shape = (n, *window_output((h, w), filter, stride, padding, (1, 1)), c)
        return self.op(kind, (x,), shape, *self._scale_of(x), "Pool2DOptions", options)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        """RESHAPE with a constant shape tensor."""
        target = self.constant(shape, dtype=np.int32)
        options = {"newShape": _ints(shape)}
        return self.op("RESHAPE", (x, target), shape, *self._scale_of(x), "ReshapeOptions", options)

    def softmax(self, x: int, beta: float = 1.0) -> int:
        """SOFTMAX over the last axis."""
        return self.op("SOFTMAX", (x,), self.tensors[x].shape, 1 / 256, -128, "SoftmaxOptions", {"beta": beta})

    def build(self, outputs: Sequence[int], **fields: Any) -> Graph:
        """The frozen graph; `fields` are further fields of `Graph`."""
        return Graph(tuple(self.tensors), tuple(self.ops), tuple(self.inputs), tuple(outputs), **fields)

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _scale_of(self, x: int) -> tuple[float, int]:
        quantization = self.tensors[x].quantization
        return float(quantization.scale[0]), int(quantization.zero_point[0])

    def _weights(self, shape: tuple[int, ...], given: Any) -> np.ndarray:
        if given is None:
            return self.rng.integers(-127, 128, shape).astype(np.int8)
        return np.asarray(given, np.int8).reshape(shape)

    def _window(
        self, stride: tuple[int, int], padding: str, dilation: tuple[int, int], activation: str
    ) -> dict[str, Any]:
        return {
            "padding": PADDINGS[padding],
            "strideW": stride[1],
            "strideH": stride[0],
            "fusedActivationFunction": ACTIVATIONS[activation],
            "dilationWFactor": dilation[1],
            "dilationHFactor": dilation[0],
        }

    def _weighted(
        self, kind: str, table: str, x: int, values: np.ndarray, axis: int, shape: tuple[int, ...],
        options: dict[str, Any], per_channel: bool, bias: bool, scale: float | None, zp: int,
    ) -> int:  # fmt: skip
        channels = values.shape[axis]
        weight_scale = np.exp(self.rng.uniform(-7, -5, channels if per_channel else 1)).astype(np.float32)
        input_scale = np.float32(self.tensors[x].quantization.scale[0])
        if kind == "CONV_2D":
            options["quantizedBiasType"] = 0
        row = values.size // channels
        if scale is None:
            scale = float(input_scale * weight_scale.mean() * np.sqrt(row) * 74 * (1 + np.abs(values).mean()) / 30)
        weights = self.constant(values, weight_scale, 0, axis, name=f"weights{len(self.tensors)}")
        inputs = [x, weights]
        if bias:
            numbers = self.rng.integers(-3000, 3000, channels).astype(np.int32)
            inputs.append(self.constant(numbers, input_scale * weight_scale, name=f"bias{len(self.tensors)}"))
        elif kind == "FULLY_CONNECTED":
            inputs.append(NO_TENSOR)
        return self.op(kind, inputs, shape, scale, zp, table, options, version=3)


def quantized(scale: Any, zp: Any = 0, axis: int = 0) -> Quantization:
    """Quantization with float32 scales and int64 zero points of the same shape."""
    scales = np.atleast_1d(np.array(scale, np.float32))
    points = np.broadcast_to(np.array(zp, np.int64), scales.shape).copy()
    scales.setflags(write=False)
    points.setflags(write=False)
    return Quantization(scales, points, axis)


def window_output(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: str, dilation: tuple[int, int]
) -> tuple[int, int]:
    """Height and width after a convolution or pooling window."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    if padding == "same":
        return tuple(-(-n // s) for n, s in zip(size, stride))
    return tuple((n - r + s) // s for n, r, s in zip(size, reach, stride))


def _ints(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
