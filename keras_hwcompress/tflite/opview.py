"""Typed access to one operator while it is prepared: every question that can fail fails with a clear sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.arithmetic import INT8_MAX, INT8_MIN, activation_range
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Tensor

MAX_DIMENSION = 2**15 - 1
MAX_ELEMENTS = 2**31 - 1
_SMALLEST_SCALE = np.float32(2.0**-126)
_INT8, _UINT8 = np.dtype(np.int8), np.dtype(np.uint8)
_ZERO_POINTS = {_INT8: (INT8_MIN, INT8_MAX), _UINT8: (0, 255)}


@dataclass(frozen=True, slots=True)
class Affine1:
    """Per-tensor quantization: real = scale * (q - zero_point); scale stays float32, as in the file."""

    scale: np.float32
    zero_point: int


@dataclass(frozen=True, slots=True)
class OpView:
    """An operator of a graph. Tensors are named by their position in the operator: inputs 0.., output."""

    graph: Graph
    op: Op

    @property
    def name(self) -> str:
        """Name of the first output: the name of the layer."""
        return self.output.name

    @property
    def output(self) -> Tensor:
        """The only output; an operator with another number of outputs is not supported."""
        if len(self.op.outputs) != 1:
            raise UnsupportedModelError(f"expected one output. Received: {len(self.op.outputs)}")
        return self.graph.tensors[self.op.outputs[0]]

    def option(self, name: str, default: Any) -> Any:
        """A field of the options table; flatbuffers leave out fields that hold the default."""
        return self.op.options.get(name, default)

    def has_input(self, position: int) -> bool:
        """Whether an optional input is present."""
        return position < len(self.op.inputs) and self.op.inputs[position] != NO_TENSOR

    def input(self, position: int) -> Tensor:
        """The tensor at an input position."""
        if not self.has_input(position):
            raise UnsupportedModelError(f"input {position} is missing. Received: {len(self.op.inputs)} inputs")
        return self.graph.tensors[self.op.inputs[position]]

    def constant(self, position: int, what: str) -> np.ndarray:
        """The stored values of an input that must be a constant."""
        tensor = self.input(position)
        if tensor.data is None:
            raise UnsupportedModelError(
                f"the {what} must be a constant. Received: {tensor.name!r}, computed at run time"
            )
        if tensor.data.shape != tensor.shape or tensor.data.dtype != tensor.dtype:
            raise UnsupportedModelError(f"the {what} must have the tensor's shape and type. Received: {tensor.name!r}")
        return tensor.data

    def int8_input(self, position: int = 0) -> Affine1:
        """Quantization of an int8 input."""
        return quantization(self.input(position))

    def int8_output(self) -> Affine1:
        """Quantization of the int8 output."""
        return quantization(self.output)

    def activation(self, option: str = "fusedActivationFunction") -> tuple[int, int]:
        """int8 range of the fused activation."""
        quant = self.int8_output()
        return activation_range(int(self.option(option, 0)), quant.scale, quant.zero_point)

    def image(self, tensor: Tensor) -> tuple[int, int, int]:
        """(h, w, c) of an NHWC tensor with batch 1."""
        shape = tensor.shape
        if len(shape) != 4 or shape[0] != 1:
            raise UnsupportedModelError(f"expected the shape (1, h, w, c). Received: {tensor.name!r} {shape}")
        if not all(1 <= size <= MAX_DIMENSION for size in shape):
            raise UnsupportedModelError(f"dimensions must be in 1..{MAX_DIMENSION}. Received: {tensor.name!r} {shape}")
        return shape[1], shape[2], shape[3]

    def expect_shape(self, shape: Sequence[int]) -> None:
        """Checks the stored shape of the output against the computed one."""
        if tuple(shape) != self.output.shape:
            raise UnsupportedModelError(f"expected the output shape {tuple(shape)}. Received: {self.output.shape}")


def quantization(tensor: Tensor, dtypes: Sequence[np.dtype] = (_INT8,)) -> Affine1:
    """Checks type, element count and per-tensor quantization of an activation (or constant operand).

    Raises:
        UnsupportedModelError: another type, no or per-channel quantization, a scale or zero point out of range.
    """
    if tensor.dtype not in dtypes:
        expected = " or ".join(str(dtype) for dtype in dtypes)
        raise UnsupportedModelError(f"expected {expected}. Received: {tensor.name!r} of type {tensor.dtype}")
    check_size(tensor)
    quant = tensor.quantization
    if quant is None or np.size(quant.scale) != 1 or np.size(quant.zero_point) != 1:
        raise UnsupportedModelError(f"expected one scale and one zero point. Received: {tensor.name!r}")
    scale, zero_point = np.float32(np.ravel(quant.scale)[0]), int(np.ravel(quant.zero_point)[0])
    if not (_SMALLEST_SCALE <= scale < np.inf):
        raise UnsupportedModelError(f"scales must be at least 2**-126 and finite. Received: {tensor.name!r} {scale}")
    low, high = _ZERO_POINTS[tensor.dtype]
    if not low <= zero_point <= high:
        raise UnsupportedModelError(f"the zero point must be in {low}..{high}. Received: {tensor.name!r} {zero_point}")
    return Affine1(scale, zero_point)


def check_size(tensor: Tensor) -> int:
    """Number of elements, at least one and an int32."""
    count = math.prod(tensor.shape)
    if not (all(size > 0 for size in tensor.shape) and count <= MAX_ELEMENTS):
        raise UnsupportedModelError(f"expected 1..2**31-1 elements. Received: {tensor.name!r} {tensor.shape}")
    return count
