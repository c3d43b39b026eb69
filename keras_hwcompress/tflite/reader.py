"""Bytes of a .tflite file -> Graph. The bytes are untrusted: they give a graph that holds together, or an error."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import numpy as np

from keras_hwcompress.errors import HwcmpError, ModelFormatError, UnsupportedModelError
from keras_hwcompress.tflite.builtin_options import read_options
from keras_hwcompress.tflite.graph import Graph, Op, Quantization, Signature, Tensor
from keras_hwcompress.tflite.schema import (
    CUSTOM,
    FILE_IDENTIFIER,
    PLACEHOLDER,
    SCHEMA_VERSION,
    Budget,
    checked,
    dtype_of,
    names_of,
    numbers_of,
    schema,
)
from keras_hwcompress.tflite.validate import MAX_RANK, validate

_UNREADABLE = (struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def read_model(data: bytes) -> Graph:
    """Reads a TFLite model.

    Tensors that share a buffer in the file share one array (the same object when shape and type agree).
    Statistics (min, max) and debugging references are dropped; everything that an interpreter acts on is kept.

    Args:
        data: the whole file.

    Returns:
        A graph for which `validate` holds.

    Raises:
        ModelFormatError: the bytes are truncated, damaged or contradict themselves.
        UnsupportedModelError: several subgraphs, weights outside the flatbuffer, sparse or variable tensors,
            element types without a numpy counterpart.
        ToolError: no package with the TFLite schema is installed.
    """
    data = bytes(data)
    if data[4:8] != FILE_IDENTIFIER:
        raise ModelFormatError(f"expected a TFLite file (identifier TFL3). Received: {data[4:8]!r}")
    try:
        return _Reader(data).graph()
    except HwcmpError:
        raise
    except _UNREADABLE as error:
        raise ModelFormatError(f"the TFLite file is damaged: {type(error).__name__}: {error}") from error


class _Reader:
    """State of one reading: the checked model view, its buffers, its operator codes."""

    def __init__(self, data: bytes) -> None:
        self.budget = Budget(len(data))
        root = schema().Model.GetRootAs(data, 0)
        self.model = self._checked(root)
        if self.model.Version() != SCHEMA_VERSION:
            raise UnsupportedModelError(f"expected a TFLite model of version 3. Received: {self.model.Version()}")
        self.buffers = [self._buffer(view) for view in self._tables(self.model, "Buffers")]
        self.arrays: dict[tuple[int, str, tuple[int, ...]], np.ndarray] = {}
        self.codes = [_operator_code(view) for view in self._tables(self.model, "OperatorCodes")]

    def graph(self) -> Graph:
        if self.model.SubgraphsLength() != 1:
            raise UnsupportedModelError(
                f"expected a model with one subgraph (no IF, WHILE, CALL). Received: {self.model.SubgraphsLength()}"
            )
        (view,) = self._tables(self.model, "Subgraphs")
        graph = Graph(
            tensors=tuple(self._tensor(tensor) for tensor in self._tables(view, "Tensors")),
            ops=tuple(self._op(operator) for operator in self._tables(view, "Operators")),
            inputs=_integers(view, "Inputs"),
            outputs=_integers(view, "Outputs"),
            name=_text(view.Name()),
            description=_text(self.model.Description()),
            metadata=tuple(self._metadata(entry) for entry in self._tables(self.model, "Metadata")),
            signatures=tuple(self._signature(entry) for entry in self._tables(self.model, "SignatureDefs")),
        )
        validate(graph)
        return graph

    def _checked(self, view: Any) -> Any:
        return checked(view, self.budget)

    def _tables(self, view: Any, field: str) -> Iterator[Any]:
        element: Callable[[int], Any] = getattr(view, field)
        for index in range(getattr(view, field + "Length")()):
            yield self._checked(element(index))

    def _buffer(self, view: Any) -> np.ndarray | None:
        """The buffer's bytes as an aligned read-only uint8 array; None where the file has none."""
        if view.Offset() > 1:  # 0 and 1 mean "inside", as in the interpreter
            raise UnsupportedModelError("the model keeps its weights outside the flatbuffer, as files above 2 GB do")
        if view.DataIsNone():
            return None
        return _read_only(np.array(view.DataAsNumpy(), np.uint8))

    def _tensor(self, view: Any) -> Tensor:
        name = _text(view.Name())
        if view.IsVariable() or view.Sparsity() is not None or view.VariantTensorsLength():
            raise UnsupportedModelError(f"tensor {name!r} is variable, variant or stored sparse; only plain ones work")
        if hasattr(view, "ExternalBuffer") and view.ExternalBuffer():
            raise UnsupportedModelError(f"the values of tensor {name!r} are stored outside the file")
        dtype = _dtype(name, view.Type())
        shape = _shape(name, view)
        signature = _integers(view, "ShapeSignature")
        data = self._values(name, view.Buffer(), dtype, shape)
        return Tensor(name, shape, dtype, self._quantization(name, view), data, signature)

    def _values(self, name: str, buffer: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray | None:
        """The constant of `shape` in a buffer; one object for all tensors that read the buffer the same way."""
        values, count = self.buffers[buffer], math.prod(shape)
        if values is None or (values.size == 0 and count > 0):
            return None
        if values.size != count * dtype.itemsize:
            raise ModelFormatError(f"tensor {name!r} of {dtype} {shape} has a buffer of {values.size} bytes")
        key = (buffer, dtype.str, shape)
        if key not in self.arrays:
            self.arrays[key] = values.view(dtype).reshape(shape)
        return self.arrays[key]

    def _quantization(self, name: str, view: Any) -> Quantization | None:
        parameters = view.Quantization()
        if parameters is None:
            return None
        self._checked(parameters)
        if parameters.DetailsType():
            raise UnsupportedModelError(f"tensor {name!r} has custom or blockwise quantization")
        if not parameters.ScaleLength():
            return None
        scale = np.array(parameters.ScaleAsNumpy(), np.float32)
        points = parameters.ZeroPointAsNumpy() if parameters.ZeroPointLength() else np.zeros(scale.shape)
        zero_point = np.array(points, np.int64)
        return Quantization(_read_only(scale), _read_only(zero_point), parameters.QuantizedDimension())

    def _op(self, view: Any) -> Op:
        kind, version, is_custom = self.codes[view.OpcodeIndex()]
        if view.IntermediatesLength() or view.LargeCustomOptionsOffset() > 1 or _any(view, "MutatingVariableInputs"):
            raise UnsupportedModelError(f"operator {kind} has state, intermediate tensors or options outside the file")
        options_type, options = read_options(view, self.budget)
        if is_custom:
            if options_type:
                raise ModelFormatError(f"the custom operator {kind} has options of a builtin one")
            custom = b"" if view.CustomOptionsIsNone() else view.CustomOptionsAsNumpy().tobytes()
            options = MappingProxyType({"custom": custom})
        inputs, outputs = _integers(view, "Inputs"), _integers(view, "Outputs")
        return Op(kind, inputs, outputs, options, options_type, version, is_custom)

    def _metadata(self, view: Any) -> tuple[str, bytes]:
        values = self.buffers[view.Buffer()]
        return _text(view.Name()), b"" if values is None else values.tobytes()

    def _signature(self, view: Any) -> Signature:
        if view.SubgraphIndex() != 0:
            raise ModelFormatError(f"a signature names the subgraph {view.SubgraphIndex()} of 1")
        sides = [
            tuple((_text(entry.Name()), entry.TensorIndex()) for entry in self._tables(view, side))
            for side in ("Inputs", "Outputs")
        ]
        return Signature(_text(view.SignatureKey()), *sides)


def _operator_code(view: Any) -> tuple[str, int, bool]:
    """(kind, version, is_custom); files of 2020 and older have only the deprecated byte."""
    number = max(view.BuiltinCode(), view.DeprecatedBuiltinCode())
    kind = names_of("BuiltinOperator").get(number)
    if kind is None or kind == PLACEHOLDER:
        raise UnsupportedModelError(f"the builtin operator {number} is unknown to the installed TFLite schema")
    if kind != CUSTOM:
        return kind, view.Version(), False
    code = _text(view.CustomCode())
    if not code or code in numbers_of("BuiltinOperator"):
        raise ModelFormatError(f"a custom operator needs a name of its own. Received: {code!r}")
    return code, view.Version(), True


def _dtype(name: str, number: int) -> np.dtype:
    kind = names_of("TensorType").get(number, f"number {number}")
    dtype = dtype_of(kind)
    if dtype is None:
        raise UnsupportedModelError(f"tensor {name!r} holds elements of type {kind}, which cannot be carried")
    return dtype


def _shape(name: str, view: Any) -> tuple[int, ...]:
    shape = _integers(view, "Shape")
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise ModelFormatError(f"tensor {name!r} has no valid shape. Received: {shape[:MAX_RANK]}")
    return shape


def _integers(view: Any, field: str) -> tuple[int, ...]:
    if getattr(view, field + "IsNone")():
        return ()
    return tuple(getattr(view, field + "AsNumpy")().tolist())


def _any(view: Any, field: str) -> bool:
    return any(_integers(view, field))


def _text(value: bytes | None) -> str:
    """Names are for people: bytes that are not UTF-8 become replacement characters instead of an error."""
    return "" if value is None else value.decode("utf-8", errors="replace")


def _read_only(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values
