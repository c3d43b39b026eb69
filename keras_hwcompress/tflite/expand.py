"""C -> P: blobs back to int8 weights, custom operators back to builtin ones."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.errors import ModelFormatError
from keras_hwcompress.tflite.expand_info import METADATA_NAME, ExpandInfo, read_info
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Tensor
from keras_hwcompress.tflite.options import BUILTIN_KINDS, PackedOptions, unpack_options
from keras_hwcompress.tflite.packed_op import builtin_options, has_bias, inputs_of, packed_op
from keras_hwcompress.tflite.sharing import memory_key
from keras_hwcompress.tflite.validate import MAX_RANK, validate
from keras_hwcompress.tflite.weights import BIAS, WEIGHTS, from_rows

_CONSTANT_DTYPES = ("uint8", "int32", "int32", "int8")


def expand(graph: Graph) -> Graph:
    """The plain graph that `pack` was given: every tensor and operator bit for bit.

    The constants of each packed operator are computed again from the result and compared, so a packed model whose
    multipliers, shifts, bias or options do not belong to its weights and scales is refused.

    Args:
        graph: a graph from `pack`; one without packed operators is returned as it is.

    Raises:
        ModelFormatError: the packed operators, their metadata or constants contradict each other.
        BlobError: a weight blob is damaged.
    """
    numbers = [number for number, op in enumerate(graph.ops) if op.is_custom and op.kind in BUILTIN_KINDS]
    entries = [data for name, data in graph.metadata if name == METADATA_NAME]
    if not numbers and not entries:
        return graph
    if len(entries) != 1:
        raise ModelFormatError(f"a packed model has one metadata buffer {METADATA_NAME}. Received: {len(entries)}")
    info = read_info(entries[0])
    _check_info(graph, info, numbers)
    expansion = _Expansion(graph, info)
    for number in numbers:
        expansion.expand_op(number)
    plain = expansion.graph()
    validate(plain)
    for number in numbers:
        _check_constants(graph, plain, number)
    return plain


class _Expansion:
    """The lists of the plain graph while it is made."""

    def __init__(self, graph: Graph, info: ExpandInfo) -> None:
        self.packed, self.info = graph, info
        self.tensors = list(graph.tensors)
        self.ops = list(graph.ops)
        self.rows: dict[tuple[int, ...], np.ndarray] = {}
        self.arrays: dict[tuple[object, ...], np.ndarray] = {}

    def graph(self) -> Graph:
        metadata = tuple(entry for entry in self.packed.metadata if entry[0] != METADATA_NAME)
        tensors = tuple(self.tensors[: self.info.tensors])
        return replace(self.packed, tensors=tensors, ops=tuple(self.ops), metadata=metadata)

    def expand_op(self, number: int) -> None:
        op = self.packed.ops[number]
        options = _checked_options(self.packed, number)
        weights, bias = op.inputs[WEIGHTS], self.info.bias[number]
        rows = self._decoded(weights)
        self._restore_weights(weights, options.builtin_kind, rows)
        if has_bias(bias) and bias == op.inputs[BIAS]:
            self._restore_bias(bias, options, rows)
        kind, options_type, fields = builtin_options(options)
        inputs = inputs_of(op.inputs[0], weights, bias)
        self.ops[number] = Op(kind, inputs, op.outputs, MappingProxyType(fields), options_type, options.op_version)

    def _decoded(self, index: int) -> np.ndarray:
        data = self.packed.tensors[index].data
        key = memory_key(data)
        if key not in self.rows:
            self.rows[key] = formats.decode(data.tobytes())
        return self.rows[key]

    def _restore_weights(self, index: int, kind: str, rows: np.ndarray) -> None:
        old, plain = self.packed.tensors[index], self.info.weights[index]
        channels = plain.shape[-1:] if kind == "DEPTHWISE_CONV_2D" else plain.shape[:1]
        if len(plain.shape) > MAX_RANK or math.prod(plain.shape) != rows.size or channels != (len(rows),):
            raise ModelFormatError(f"weights {old.name!r}: shape {plain.shape} does not fit a blob of {rows.shape}")
        key = (memory_key(old.data), kind, plain.shape)
        if key not in self.arrays:
            self.arrays[key] = from_rows(kind, rows, plain.shape)
        self.tensors[index] = replace(plain, name=old.name, data=self.arrays[key])

    def _restore_bias(self, index: int, options: PackedOptions, rows: np.ndarray) -> None:
        tensor = self.packed.tensors[index]
        sums = rows.sum(axis=1, dtype=np.int64)
        wide = tensor.data.reshape(-1).astype(np.int64)
        if wide.shape != sums.shape:
            raise ModelFormatError(f"bias {tensor.name!r}: {wide.size} values for {sums.size} channels")
        bias = wide + options.input_zero_point * sums
        if np.any(bias != bias.astype(np.int32)):
            raise ModelFormatError(f"bias {tensor.name!r} leaves int32 when it is unfolded")
        data = bias.astype(np.int32).reshape(tensor.shape)
        data.setflags(write=False)
        self.tensors[index] = replace(tensor, data=data)


def _check_info(graph: Graph, info: ExpandInfo, numbers: list[int]) -> None:
    weights = {graph.ops[number].inputs[WEIGHTS] for number in numbers if len(graph.ops[number].inputs) > WEIGHTS}
    if set(info.bias) != set(numbers) or set(info.weights) != weights or info.tensors > len(graph.tensors):
        raise ModelFormatError(f"the metadata {METADATA_NAME} describes other operators than the model has")


def _checked_options(graph: Graph, number: int) -> PackedOptions:
    """The options of a packed operator whose inputs have the right number, types and order."""
    op = graph.ops[number]
    constants = [graph.tensors[index] if index != NO_TENSOR else None for index in op.inputs[1:]]
    types = tuple(_constant_type(tensor) for tensor in constants)
    if types != _CONSTANT_DTYPES or op.version != 1:
        raise ModelFormatError(
            f"operator {number} ({op.kind}), version 1, has the constants {_CONSTANT_DTYPES}. "
            f"Received: {types}, version {op.version}"
        )
    options = unpack_options(op.options["custom"])
    if options.builtin_kind != BUILTIN_KINDS[op.kind]:
        raise ModelFormatError(f"operator {number} ({op.kind}) has the options of {options.builtin_kind}")
    return options


def _constant_type(tensor: Tensor | None) -> str:
    return tensor.dtype.name if tensor is not None and tensor.is_constant else "none"


def _check_constants(packed: Graph, plain: Graph, number: int) -> None:
    op = packed.ops[number]
    again = packed_op(plain, number)
    stored = [packed.tensors[index].data.reshape(-1) for index in op.inputs[BIAS:]]
    expected = [again.channels.bias, again.channels.multiplier, again.channels.shift]
    same = all(np.array_equal(a, b) for a, b in zip(stored, expected))
    if not same or again.options != unpack_options(op.options["custom"]):
        raise ModelFormatError(
            f"operator {number} ({op.kind}): its constants or options contradict its weights and scales"
        )
