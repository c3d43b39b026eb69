"""Graph -> bytes of a .tflite file: the same graph gives the same bytes."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.builtin_options import write_options
from keras_hwcompress.tflite.graph import Graph, Op, Quantization, Signature, Tensor
from keras_hwcompress.tflite.schema import (
    CUSTOM,
    FILE_IDENTIFIER,
    PLACEHOLDER,
    SCHEMA_VERSION,
    numbers_of,
    schema,
    tensor_type_of,
)
from keras_hwcompress.tflite.sharing import memory_key
from keras_hwcompress.tflite.validate import validate

BUFFER_ALIGNMENT = 16
_MAX_FILE_BYTES = 2**31 - 1


def write_model(graph: Graph) -> bytes:
    """Writes a graph as a TFLite flatbuffer.

    Tensors whose data are the same memory share a buffer. Operator codes are written in the old and the new field,
    so interpreters from before 2020 read the file too.

    Args:
        graph: any graph for which `validate` holds.

    Returns:
        The file; `read_model` of it gives an equal graph.

    Raises:
        ModelFormatError: the graph does not hold together.
        UnsupportedModelError: an operator or option is unknown to the installed schema, or the file exceeds 2 GB.
    """
    validate(graph)
    writer = _Writer()
    model = schema().ModelT()
    model.version = SCHEMA_VERSION
    model.description = graph.description
    model.subgraphs = [writer.subgraph(graph)]
    model.metadata = [writer.metadata(name, values) for name, values in graph.metadata] or None
    model.signatureDefs = [_signature(signature) for signature in graph.signatures] or None
    model.operatorCodes = [_operator_code(*code) for code in writer.codes]
    model.buffers = writer.buffers
    if sum(len(buffer.values) for buffer in writer.buffers) > _MAX_FILE_BYTES:
        raise UnsupportedModelError("a .tflite file cannot hold more than 2 GB")
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


class _Buffer:
    """Takes the place of the schema's BufferT, which leaves out the alignment that the schema asks for."""

    def __init__(self, values: bytes | None) -> None:
        self.values = values or b""
        self.present = values is not None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - called by the generated ModelT
        """Writes the buffer table; returns its offset."""
        if self.present:
            builder.Prep(BUFFER_ALIGNMENT, len(self.values))
            data = builder.CreateByteVector(self.values)
        schema().BufferStart(builder)
        if self.present:
            schema().BufferAddData(builder, data)
        return schema().BufferEnd(builder)


class _Writer:
    """Collects buffers and operator codes while the subgraph is converted."""

    def __init__(self) -> None:
        # By convention buffer 0 is empty and stands for every tensor without stored values.
        self.buffers = [_Buffer(None)]
        self.codes: dict[tuple[str, int, bool], int] = {}
        self._by_memory: dict[tuple[int, ...], int] = {}

    def subgraph(self, graph: Graph) -> Any:
        table = schema().SubGraphT()
        table.name = graph.name
        table.tensors = [self._tensor(tensor) for tensor in graph.tensors]
        table.operators = [self._op(op) for op in graph.ops]
        table.inputs, table.outputs = list(graph.inputs), list(graph.outputs)
        return table

    def metadata(self, name: str, values: bytes) -> Any:
        table = schema().MetadataT()
        table.name, table.buffer = name, self._append(values)
        return table

    def _append(self, values: bytes) -> int:
        self.buffers.append(_Buffer(values))
        return len(self.buffers) - 1

    def _tensor(self, tensor: Tensor) -> Any:
        table = schema().TensorT()
        table.name, table.shape = tensor.name, list(tensor.shape)
        table.type = tensor_type_of(tensor.dtype)
        table.buffer = 0 if tensor.data is None else self._buffer_of(tensor.data)
        table.hasRank = True
        table.shapeSignature = list(tensor.shape_signature) or None
        table.quantization = None if tensor.quantization is None else _quantization(tensor.quantization)
        return table

    def _buffer_of(self, data: np.ndarray) -> int:
        key = memory_key(data)
        if key not in self._by_memory:
            self._by_memory[key] = self._append(data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes())
        return self._by_memory[key]

    def _op(self, op: Op) -> Any:
        table = schema().OperatorT()
        table.opcodeIndex = self.codes.setdefault((op.kind, op.version, op.is_custom), len(self.codes))
        table.inputs, table.outputs = list(op.inputs), list(op.outputs)
        if op.is_custom:
            table.customOptions = np.frombuffer(op.options["custom"], np.uint8)
        else:
            write_options(table, op.options_type, op.options)
        return table


def _operator_code(kind: str, version: int, is_custom: bool) -> Any:
    numbers = numbers_of("BuiltinOperator")
    number = numbers.get(CUSTOM if is_custom else kind)
    if number is None:
        raise UnsupportedModelError(f"the installed TFLite schema has no operator {kind!r}")
    table = schema().OperatorCodeT()
    table.builtinCode, table.version = number, version
    table.deprecatedBuiltinCode = min(number, numbers[PLACEHOLDER])
    table.customCode = kind if is_custom else None
    return table


def _quantization(quantization: Quantization) -> Any:
    table = schema().QuantizationParametersT()
    table.scale = quantization.scale.astype("<f4")
    table.zeroPoint = quantization.zero_point.astype("<i8")
    table.quantizedDimension = quantization.axis
    return table


def _signature(signature: Signature) -> Any:
    table = schema().SignatureDefT()
    table.signatureKey, table.subgraphIndex = signature.key, 0
    table.inputs = [_tensor_map(*entry) for entry in signature.inputs]
    table.outputs = [_tensor_map(*entry) for entry in signature.outputs]
    return table


def _tensor_map(name: str, index: int) -> Any:
    table = schema().TensorMapT()
    table.name, table.tensorIndex = name, index
    return table
