"""The TFLite schema: generated flatbuffer classes, names of enumerations, and a table reader that trusts nothing.

The generated classes come from ai-edge-litert (0.1 s to import), or from TensorFlow where only that is installed.
They follow offsets wherever these lead; `checked` replaces the cursor inside such a class by one that verifies every
table, vector and string against the bytes of the file before anything is read from them.
"""

from __future__ import annotations

import functools
import importlib
import struct
from types import ModuleType
from typing import Any

import flatbuffers.encode
import flatbuffers.table
import numpy as np

from keras_hwcompress.errors import ModelFormatError, ToolError

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
CUSTOM = "CUSTOM"
PLACEHOLDER = "PLACEHOLDER_FOR_GREATER_OP_CODES"
_MODULES = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
_DTYPES = {
    "FLOAT16": "<f2", "FLOAT32": "<f4", "FLOAT64": "<f8", "COMPLEX64": "<c8", "COMPLEX128": "<c16", "BOOL": "|b1",
    "INT8": "|i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "|u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
}  # fmt: skip


@functools.cache
def schema() -> ModuleType:
    """The module of generated classes.

    Raises:
        ToolError: neither ai-edge-litert nor TensorFlow is installed.
    """
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ToolError("reading .tflite files needs the schema of ai-edge-litert: pip install ai-edge-litert")


@functools.cache
def names_of(enumeration: str) -> dict[int, str]:
    """Number -> name of an enumeration of the schema ("BuiltinOperator", "TensorType" ...)."""
    members = vars(getattr(schema(), enumeration)).items()
    return {value: name for name, value in members if isinstance(value, int) and not name.startswith("_")}


@functools.cache
def numbers_of(enumeration: str) -> dict[str, int]:
    """Name -> number of an enumeration of the schema."""
    return {name: value for value, name in names_of(enumeration).items()}


def dtype_of(tensor_type: str) -> np.dtype | None:
    """The numpy dtype of a TensorType name; None for types that numpy does not have (STRING, INT4 ...)."""
    return np.dtype(_DTYPES[tensor_type]) if tensor_type in _DTYPES else None


def tensor_type_of(dtype: np.dtype) -> int:
    """The TensorType number of a numpy dtype; KeyError for a dtype that TFLite does not have."""
    little = np.dtype(dtype).newbyteorder("<")
    name = {np.dtype(code): name for name, code in _DTYPES.items()}[little]
    return numbers_of("TensorType")[name]


class Budget:
    """Bounds the work of reading a file: vectors that overlap could otherwise multiply."""

    def __init__(self, data_bytes: int) -> None:
        self.left = 16 * data_bytes + 4096

    def spend(self, amount: int) -> None:
        """Takes `amount` elements; ModelFormatError when more are read than a sane file can hold."""
        self.left -= amount
        if self.left < 0:
            raise ModelFormatError("the vectors of the flatbuffer overlap: it holds more elements than bytes")


class CheckedTable(flatbuffers.table.Table):
    """A flatbuffers cursor that refuses tables, vectors and strings which leave the file."""

    __slots__ = ("budget",)

    def __init__(self, data: bytes, position: int, budget: Budget) -> None:
        super().__init__(data, position)
        self.budget = budget
        vtable = position - struct.unpack_from("<i", data, position)[0]
        if not 0 <= vtable <= len(data) - 4:
            raise ModelFormatError(f"the flatbuffer table at byte {position} points outside the file")
        vtable_bytes, table_bytes = struct.unpack_from("<HH", data, vtable)
        if vtable_bytes < 4 or vtable_bytes % 2 or vtable + vtable_bytes > len(data):
            raise ModelFormatError(f"the flatbuffer table at byte {position} has a damaged field list")
        fields = struct.unpack_from(f"<{vtable_bytes // 2 - 2}H", data, vtable + 4)
        if table_bytes < 4 or position + table_bytes > len(data) or max(fields, default=0) >= table_bytes:
            raise ModelFormatError(f"the flatbuffer table at byte {position} is longer than the file")

    def VectorLen(self, off: int) -> int:
        """Number of elements of the vector whose offset is stored at `off`; an element has at least one byte."""
        length = super().VectorLen(off)
        if self.Vector(off) + length > len(self.Bytes):
            raise ModelFormatError(f"the flatbuffer vector at byte {self.Vector(off)} is longer than the file")
        self.budget.spend(length)
        return length

    def String(self, off: int) -> bytes:
        """The bytes of the string whose offset is stored at `off`."""
        start = self.Indirect(off) + 4
        length = flatbuffers.encode.Get(struct.Struct("<I"), self.Bytes, start - 4)
        if start + length > len(self.Bytes):
            raise ModelFormatError(f"the flatbuffer string at byte {start} is longer than the file")
        self.budget.spend(length)
        return bytes(self.Bytes[start : start + length])


def checked(view: Any, budget: Budget) -> Any:
    """Swaps the cursor of a generated class for a `CheckedTable` at the same place; returns the view."""
    view._tab = CheckedTable(view._tab.Bytes, view._tab.Pos, budget)
    return view
