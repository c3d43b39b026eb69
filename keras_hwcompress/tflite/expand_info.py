"""The metadata buffer "hwcmp.expand": what `expand` needs beyond the packed operators themselves.

JSON, compact, keys in a fixed order:

    {"version":1,"tensors":38,"ops":[[0,8],[1,null]],
     "weights":[{"tensor":7,"shape":[16,3,3,3],"signature":[],"axis":0,"scale":"zczMPQ=="}]}

tensors: number of tensors of the plain file; those after them were appended by `pack`. ops: packed operator and the
tensor of its bias (-1: absent but listed, null: not listed). weights: one entry for each replaced weight tensor;
scale: base64 of little-endian float32. Zero points of packed weights are always 0.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_hwcompress.errors import ModelFormatError
from keras_hwcompress.tflite.graph import Quantization, Tensor

METADATA_NAME = "hwcmp.expand"
_VERSION = 1
_KEYS = {"version", "tensors", "ops", "weights"}
_WEIGHT_KEYS = {"tensor", "shape", "signature", "axis", "scale"}


@dataclass(frozen=True, slots=True)
class ExpandInfo:
    """weights: index -> the weight tensor without its data. bias: packed operator -> tensor, -1 or None."""

    tensors: int
    bias: dict[int, int | None]
    weights: dict[int, Tensor]


def write_info(info: ExpandInfo) -> bytes:
    """The JSON text; the same info gives the same bytes."""
    content = {
        "version": _VERSION,
        "tensors": info.tensors,
        "ops": [[number, bias] for number, bias in sorted(info.bias.items())],
        "weights": [_weight_entry(index, tensor) for index, tensor in sorted(info.weights.items())],
    }
    return json.dumps(content, separators=(",", ":")).encode("ascii")


def read_info(data: bytes) -> ExpandInfo:
    """Parses and checks what `write_info` wrote; tensor names are left empty.

    Raises:
        ModelFormatError: anything else.
    """
    try:
        content = json.loads(data)
        _expect(isinstance(content, dict) and set(content) == _KEYS, "its keys")
        _expect(content["version"] == _VERSION, "its version")
        bias = {_index(number): _bias(index) for number, index in content["ops"]}
        weights = {_index(entry["tensor"]): _weight_tensor(entry) for entry in content["weights"]}
        unique = len(bias) == len(content["ops"]) and len(weights) == len(content["weights"])
        _expect(unique, "an operator or a tensor listed twice")
        return ExpandInfo(_index(content["tensors"]), bias, weights)
    except ModelFormatError:
        raise
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ModelFormatError(f"the metadata {METADATA_NAME} is damaged: {error}") from error


def _weight_entry(index: int, tensor: Tensor) -> dict[str, Any]:
    quantization = tensor.quantization
    return {
        "tensor": index,
        "shape": list(tensor.shape),
        "signature": list(tensor.shape_signature),
        "axis": quantization.axis,
        "scale": base64.b64encode(quantization.scale.astype("<f4").tobytes()).decode("ascii"),
    }


def _weight_tensor(entry: Any) -> Tensor:
    _expect(isinstance(entry, dict) and set(entry) == _WEIGHT_KEYS, "the keys of a weight tensor")
    scale = np.frombuffer(base64.b64decode(entry["scale"], validate=True), "<f4").astype(np.float32)
    zero_point = np.zeros(scale.shape, np.int64)
    for array in (scale, zero_point):
        array.setflags(write=False)
    shape = tuple(_index(size) for size in entry["shape"])
    signature = tuple(_integer(size) for size in entry["signature"])
    _expect(scale.size > 0, "a weight tensor without scales")
    quantization = Quantization(scale, zero_point, _integer(entry["axis"]))
    return Tensor("", shape, np.dtype(np.int8), quantization, None, signature)


def _bias(index: Any) -> int | None:
    return None if index is None else _integer(index)


def _index(value: Any) -> int:
    _expect(_integer(value) >= 0, "a negative number")
    return value


def _integer(value: Any) -> int:
    # bool is a subclass of int, and JSON's true is not a number.
    _expect(type(value) is int and abs(value) < 2**31, "a number")
    return value


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ModelFormatError(f"the metadata {METADATA_NAME} is damaged: {what}")
