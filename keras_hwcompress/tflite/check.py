"""Whether a model is of the kind that can be compiled at all: full int8, batch 1, static shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Tensor

# The borders of a quantized model: here, and only here, other activations than int8 may appear.
_BORDERS = ("QUANTIZE", "DEQUANTIZE")
_REMEDIES = {
    "f": "convert with full int8 quantization (optimizations=[DEFAULT], a representative_dataset, "
    "supported_ops=[TFLITE_BUILTINS_INT8])",
    "int16": "convert with int8 activations, not with the 16x8 scheme",
    "uint8": "convert again with TensorFlow 2, which quantizes to int8",
}


def check_compilable(graph: Graph) -> None:
    """Refuses models that this package cannot compile, before anything looks at single operators.

    A first dimension that is only declared unknown (shape_signature -1, stored size 1) counts as batch 1: the
    converter writes it for every Keras model, and interpreters run such files with batch 1 too.
    Operators that are not supported are listed by `prepare.prepare`, not here.

    Raises:
        UnsupportedModelError: one sentence with every reason found: float, int16 or uint8 activations, a batch
            other than 1, dimensions that are unknown, int8 activations without one scale and zero point.
    """
    problems = list(dict.fromkeys([*_interface(graph), *_dimensions(graph), *_types(graph), *_quantization(graph)]))
    if problems:
        raise UnsupportedModelError("the model cannot be compiled: " + "; ".join(problems))


def _interface(graph: Graph) -> Iterator[str]:
    if not graph.ops or not graph.inputs or not graph.outputs:
        yield "it has no operators, no inputs or no outputs"
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if len(tensor.shape) > 1 and tensor.shape[0] != 1:
            yield f"input {tensor.name!r} has batch {tensor.shape[0]}, expected 1"


def _dimensions(graph: Graph) -> Iterator[str]:
    unknown = [tensor for _, tensor in _activations(graph) if -1 in tensor.shape_signature[1:]]
    unknown += [graph.tensors[index] for index in graph.inputs if graph.tensors[index].shape_signature == (-1,)]
    if unknown:
        yield (
            f"{len(unknown)} tensors have unknown dimensions, first {unknown[0].name!r} {unknown[0].shape_signature}: "
            "convert with a fixed input shape"
        )


def _types(graph: Graph) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for op in graph.ops:
        if op.kind in _BORDERS:
            continue
        for index in (*op.inputs, *op.outputs):
            if index != NO_TENSOR and not graph.tensors[index].is_constant:
                tensor = graph.tensors[index]
                found.setdefault(tensor.dtype.name, []).append(tensor.name)
    for name, tensors in found.items():
        remedy = _REMEDIES.get(np.dtype(name).kind) or _REMEDIES.get(name)
        if remedy:
            unique = list(dict.fromkeys(tensors))
            yield f"{len(unique)} activations are {name}, first {unique[0]!r}: {remedy}"


def _quantization(graph: Graph) -> Iterator[str]:
    for _, tensor in _activations(graph):
        if tensor.dtype != np.int8:
            continue
        quantization = tensor.quantization
        if quantization is None or quantization.scale.size != 1:
            yield f"int8 tensor {tensor.name!r} needs one scale and zero point"
        elif not -128 <= int(quantization.zero_point[0]) <= 127:
            yield f"int8 tensor {tensor.name!r} has the zero point {int(quantization.zero_point[0])}"


def _activations(graph: Graph) -> Iterator[tuple[int, Tensor]]:
    """The tensors that are computed or given, in the order of the file; unused ones are left out."""
    used = {index for op in graph.ops for index in (*op.inputs, *op.outputs)} | {*graph.inputs, *graph.outputs}
    for index, tensor in enumerate(graph.tensors):
        if index in used and not tensor.is_constant:
            yield index, tensor
