"""What holds for every Graph of this package: indices in range, data of the stated shape, order of computation."""

from __future__ import annotations

import math

import numpy as np

from keras_hwcompress.errors import ModelFormatError
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Quantization, Tensor

MAX_RANK = 8
MAX_TENSOR_BYTES = 2**31 - 1

# The options table that an operator must have; a trailing "?" marks one that files may leave out.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "SOFTMAX": "SoftmaxOptions",
    "MEAN": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "RESHAPE": "ReshapeOptions?",
    "PAD": "PadOptions?",
    "PADV2": "PadV2Options?",
    "QUANTIZE": "QuantizeOptions?",
    "DEQUANTIZE": "DequantizeOptions?",
}


def validate(graph: Graph) -> None:
    """Checks that a graph holds together, whoever made it.

    Raises:
        ModelFormatError: naming the first tensor or operator that contradicts the rest.
    """
    for tensor in graph.tensors:
        _check_tensor(tensor)
    _check_indices("the inputs", graph.inputs, graph)
    _check_indices("the outputs", graph.outputs, graph)
    for signature in graph.signatures:
        named = [index for _, index in (*signature.inputs, *signature.outputs)]
        _check_indices(f"signature {signature.key!r}", named, graph)
    for index, op in enumerate(graph.ops):
        _check_op(index, op, graph)
    _check_order(graph)


def _check_tensor(tensor: Tensor) -> None:
    count = math.prod(tensor.shape)
    if len(tensor.shape) > MAX_RANK or any(size < 0 for size in tensor.shape):
        raise ModelFormatError(f"tensor {tensor.name!r} has no valid shape. Received: {tensor.shape[:MAX_RANK]}")
    if count * tensor.dtype.itemsize > MAX_TENSOR_BYTES:
        raise ModelFormatError(f"tensor {tensor.name!r} is larger than 2 GB. Received: shape={tensor.shape}")
    signature = tensor.shape_signature
    same_rank = len(signature) in (0, len(tensor.shape))
    if not same_rank or any(declared not in (-1, size) for declared, size in zip(signature, tensor.shape)):
        raise ModelFormatError(f"tensor {tensor.name!r}: the shape signature {signature} contradicts {tensor.shape}")
    if tensor.data is not None and (tensor.data.shape != tensor.shape or tensor.data.dtype != tensor.dtype):
        raise ModelFormatError(f"tensor {tensor.name!r}: the data contradict {tensor.dtype} {tensor.shape}")
    if tensor.quantization is not None:
        _check_quantization(tensor, tensor.quantization)


def _check_quantization(tensor: Tensor, quantization: Quantization) -> None:
    scale, zero_point = quantization.scale, quantization.zero_point
    if scale.ndim != 1 or zero_point.shape != scale.shape:
        raise ModelFormatError(f"tensor {tensor.name!r}: {scale.size} scales with {zero_point.size} zero points")
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise ModelFormatError(f"tensor {tensor.name!r}: scales must be finite and positive")
    if scale.size == 1:
        return
    if not 0 <= quantization.axis < len(tensor.shape) or tensor.shape[quantization.axis] != scale.size:
        raise ModelFormatError(
            f"tensor {tensor.name!r}: {scale.size} scales do not fit axis {quantization.axis} of {tensor.shape}"
        )


def _check_indices(what: str, indices: tuple[int, ...] | list[int], graph: Graph) -> None:
    wrong = [index for index in indices if not 0 <= index < len(graph.tensors)]
    if wrong:
        raise ModelFormatError(f"{what} name tensor {wrong[0]} of {len(graph.tensors)}")


def _check_op(index: int, op: Op, graph: Graph) -> None:
    what = f"operator {index} ({op.kind})"
    _check_indices(what, [tensor for tensor in op.inputs if tensor != NO_TENSOR], graph)
    _check_indices(what, op.outputs, graph)
    expected = "" if op.is_custom else _OPTIONS.get(op.kind, "")
    optional = expected.endswith("?") and not op.options_type
    if expected and not optional and op.options_type != expected.rstrip("?"):
        raise ModelFormatError(f"{what} needs {expected.rstrip('?')}. Received: {op.options_type or 'no options'}")


def _check_order(graph: Graph) -> None:
    """Every tensor is written once, before it is read: an executor needs no further check."""
    stored = {index for index, tensor in enumerate(graph.tensors) if tensor.is_constant}
    written = stored | set(graph.inputs)
    if stored & set(graph.inputs) or len(set(graph.inputs)) != len(graph.inputs):
        raise ModelFormatError("an input of the model is a constant or listed twice")
    # A tensor without elements needs no values: some files give RESHAPE such a shape tensor, without a buffer.
    written |= {index for index, tensor in enumerate(graph.tensors) if tensor.size == 0 and index not in written}
    for index, op in enumerate(graph.ops):
        for tensor in op.inputs:
            if tensor != NO_TENSOR and tensor not in written:
                raise ModelFormatError(f"operator {index} ({op.kind}) reads tensor {tensor} before it is computed")
        for tensor in op.outputs:
            if tensor in written and graph.tensors[tensor].size:
                raise ModelFormatError(f"operator {index} ({op.kind}) overwrites tensor {tensor}")
            written.add(tensor)
    missing = [tensor for tensor in graph.outputs if tensor not in written]
    if missing:
        raise ModelFormatError(f"output tensor {missing[0]} is never computed")
