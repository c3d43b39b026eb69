"""Editing .tflite files behind the package's back, with nothing but the schema's object API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def load(data: bytes) -> Any:
    """The whole file as a ModelT."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def save(model: Any) -> bytes:
    """The bytes of a ModelT."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def edited(data: bytes, change: Callable[[Any], None]) -> bytes:
    """A file after `change(model)`."""
    model = load(data)
    change(model)
    return save(model)


def hand_made(deprecated_only: bool = False) -> bytes:
    """x (1, 4) int8 -> FULLY_CONNECTED with weights (2, 4), no bias -> y (1, 2), written field by field."""
    model = schema.ModelT(version=3, description="by hand")
    code = schema.OperatorCodeT(deprecatedBuiltinCode=9, version=4)
    code.builtinCode = 0 if deprecated_only else 9
    model.operatorCodes = [code]
    weights = np.array([1, 0, -127, 5, 0, 127, 3, -2], np.int8)
    model.buffers = [schema.BufferT(), schema.BufferT(data=weights.view(np.uint8))]
    tensors = [
        _tensor("x", [1, 4], 0, 0.5, -1),
        _tensor("w", [2, 4], 1, 0.25, 0),
        _tensor("y", [1, 2], 0, 2.0, 3),
    ]
    operator = schema.OperatorT(opcodeIndex=0, inputs=[0, 1, -1], outputs=[2], builtinOptionsType=8)
    operator.builtinOptions = schema.FullyConnectedOptionsT(fusedActivationFunction=1)
    model.subgraphs = [schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[2], operators=[operator], name="main")]
    return save(model)


def _tensor(name: str, shape: list[int], buffer: int, scale: float, zero_point: int) -> Any:
    quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero_point])
    return schema.TensorT(shape=shape, type=9, buffer=buffer, name=name, quantization=quantization)
