"""Prepared layers: an operator with every constant computed, integers only, ready for any executor.

`prepare.prepare(graph)` makes them from a Graph once; `reference` runs them with numpy, `codegen` writes them as
C structs. The dataclass fields carry the names and meaning of the structs in `mcu_runtime/include/hwcmp/hwcmp.h`.
Each layer names its activation tensors by their index in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

# A part of a tensor is used in place only where kernels find it as aligned as the buffers of the memory plan.
VIEW_ALIGNMENT = 16


@dataclass(frozen=True, slots=True)
class Layer:
    """inputs, outputs: activation tensor indices, or a constant tensor's index for `Binary` operands.

    op: name of the C function without prefix and dtype suffix ("conv2d", "add", "lut"). name: of the output tensor.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a layer in canonical order.

    tensor: index of the weight tensor in the graph (layers that share it share the blob). values: int8, shape
    (rows, row_length): one row per output channel, height-width-input inside. blob: the encoded bytes if the file
    held them (custom op), None for a builtin op.
    """

    tensor: int
    values: np.ndarray
    blob: bytes | None = None


@dataclass(frozen=True, slots=True)
class Channels:
    """Per-channel constants. bias: int32 (rows,), folded: bias - input_zero_point * sum(row).

    multiplier: int32, shift: int8, shape (rows,) or (1,) for per-tensor. Positive shift = left, as in TFLite.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, slots=True)
class Conv(Layer):
    """op "conv2d" or "depthwise_conv2d". input, output: (h, w, c)."""

    weights: Weights
    channels: Channels
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    input_zero_point: int
    output_zero_point: int
    activation_min: int
    activation_max: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding taps counted."""
        return self.output[0] * self.output[1] * self.weights.values.size

    def stripe(self, first: int, count: int) -> Conv:
        """The rows [first, first + count) of the output as a convolution of their own, as conv2d_add.c runs them."""
        y = first * self.stride[0] - self.pad[0]
        return replace(
            self,
            input=(self.input[0] - max(y, 0), *self.input[1:]),
            output=(count, *self.output[1:]),
            pad=(max(-y, 0), self.pad[1]),
        )


@dataclass(frozen=True, slots=True)
class FullyConnected(Layer):
    """op "fully_connected": `batch` rows of `input_length` activations."""

    weights: Weights
    channels: Channels
    batch: int
    input_length: int
    input_zero_point: int
    output_zero_point: int
    activation_min: int
    activation_max: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.weights.values.size


@dataclass(frozen=True, slots=True)
class Binary(Layer):
    """op "add", "sub" or "mul"; shapes and strides in four axes, stride 0 broadcasts.

    affine_shift: not 0 if (a * affine_a + b * affine_b + affine_c) >> affine_shift, clamped, is the same for every pair.
    """

    shape: tuple[int, int, int, int]
    a_stride: tuple[int, int, int, int]
    b_stride: tuple[int, int, int, int]
    a_multiplier: int
    b_multiplier: int
    output_multiplier: int
    a_shift: int
    b_shift: int
    output_shift: int
    left_shift: int
    a_zero_point: int
    b_zero_point: int
    output_zero_point: int
    activation_min: int
    activation_max: int
    affine_a: int = 0
    affine_b: int = 0
    affine_c: int = 0
    affine_shift: int = 0


@dataclass(frozen=True, slots=True)
class ConvAdd(Layer):
    """op "conv2d_add": a convolution and the addition of inputs[1] to its result; made by the code generator.

    conv_is_b: the convolution is the addition's second operand.
    """

    conv: Conv
    add: Binary
    conv_is_b: bool

    @property
    def weights(self) -> Weights:
        """Of the convolution."""
        return self.conv.weights

    @property
    def channels(self) -> Channels:
        """Of the convolution."""
        return self.conv.channels

    @property
    def macs(self) -> int:
        """Of the convolution."""
        return self.conv.macs

    def stripes(self, rows: int) -> list[Conv]:
        """The convolutions that run one after the other, `rows` output rows each."""
        height = self.conv.output[0]
        return [self.conv.stripe(first, min(rows, height - first)) for first in range(0, height, rows)]


@dataclass(frozen=True, slots=True)
class Lut(Layer):
    """op "lut": table int8 (256,), indexed by the input byte taken as uint8."""

    table: np.ndarray
    count: int


@dataclass(frozen=True, slots=True)
class Concat(Layer):
    """op "concat": input i gives inner[i] consecutive elements to each of `outer` groups."""

    outer: int
    inner: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pad(Layer):
    """op "pad": shape is the input's, in four axes."""

    shape: tuple[int, int, int, int]
    before: tuple[int, int, int, int]
    after: tuple[int, int, int, int]
    value: int


@dataclass(frozen=True, slots=True)
class Pool(Layer):
    """op "average_pool" or "max_pool"."""

    input: tuple[int, int, int]
    output: tuple[int, int, int]
    filter: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    activation_min: int
    activation_max: int


@dataclass(frozen=True, slots=True)
class Reduce(Layer):
    """op "mean" or "reduce_max" over the axes of `shape` (four axes) whose bit is set in reduce_mask."""

    shape: tuple[int, int, int, int]
    multiplier: int
    shift: int
    reduce_mask: int
    input_zero_point: int
    output_zero_point: int


@dataclass(frozen=True, slots=True)
class Softmax(Layer):
    """op "softmax" over the last axis."""

    rows: int
    depth: int
    multiplier: int
    shift: int
    diff_min: int


@dataclass(frozen=True, slots=True)
class Slice(Layer):
    """op "slice": output element (i, j, k, l) is input element offset + i * stride[0] + ... + l * stride[3].

    shape: of the output, four axes. stride: in elements of the input, of either sign.
    """

    shape: tuple[int, int, int, int]
    stride: tuple[int, int, int, int]
    offset: int


@dataclass(frozen=True, slots=True)
class Reshape(Layer):
    """op "reshape": the same bytes under another shape, or `count` of them from `offset` on; free on the device.

    offset: in elements, a multiple of `VIEW_ALIGNMENT`.
    """

    count: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Affine(Layer):
    """op "quantize_f32" (float32 -> int8) or "dequantize_f32" (int8 -> float32)."""

    scale: float
    zero_point: int
    count: int


def weighted(layers: Sequence[Layer]) -> list[Conv | FullyConnected | ConvAdd]:
    """The layers that have weights."""
    return [layer for layer in layers if isinstance(layer, Conv | FullyConnected | ConvAdd)]
