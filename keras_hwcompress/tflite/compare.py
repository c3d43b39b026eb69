"""Equality of graphs, with the first difference in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from keras_hwcompress.tflite.graph import Graph, Op, Quantization, Tensor
from keras_hwcompress.tflite.sharing import memory_key


def difference(a: Graph, b: Graph) -> str | None:
    """Where two graphs differ: in any field, any bit of any array, or in which tensors share their data.

    Returns:
        One line naming the first difference; None for equal graphs.
    """
    for name in ("inputs", "outputs", "name", "description", "metadata", "signatures"):
        if getattr(a, name) != getattr(b, name):
            return f"{name}: {getattr(a, name)!r} != {getattr(b, name)!r}"
    for name, compare in (("tensors", _tensor_difference), ("ops", _op_difference)):
        left, right = getattr(a, name), getattr(b, name)
        if len(left) != len(right):
            return f"{len(left)} {name} != {len(right)} {name}"
        for index, pair in enumerate(zip(left, right)):
            found = compare(*pair)
            if found:
                return f"{name}[{index}] {found}"
    return None if _sharing(a) == _sharing(b) else "tensors share their data in another way"


def same_bits(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two arrays agree in shape, type and every bit (so that a NaN equals itself)."""
    if a is None or b is None:
        return a is b
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())


def same_quantization(a: Quantization | None, b: Quantization | None) -> bool:
    """Whether scales, zero points and axis agree in every bit, or both are absent."""
    if a is None or b is None:
        return a is b
    return a.axis == b.axis and same_bits(a.scale, b.scale) and same_bits(a.zero_point, b.zero_point)


def _tensor_difference(a: Tensor, b: Tensor) -> str | None:
    for name in ("name", "shape", "dtype", "shape_signature"):
        if getattr(a, name) != getattr(b, name):
            return f"{name}: {getattr(a, name)!r} != {getattr(b, name)!r}"
    if not same_quantization(a.quantization, b.quantization):
        return f"({a.name}) quantization: {a.quantization} != {b.quantization}"
    return None if same_bits(a.data, b.data) else f"({a.name}) data"


def _op_difference(a: Op, b: Op) -> str | None:
    for name in (field.name for field in fields(Op) if field.name != "options"):
        if getattr(a, name) != getattr(b, name):
            return f"{name}: {getattr(a, name)!r} != {getattr(b, name)!r}"
    return None if _frozen(a.options) == _frozen(b.options) else f"options: {dict(a.options)} != {dict(b.options)}"


def _frozen(options: Mapping[str, Any]) -> dict[str, str]:
    """repr tells 1 from 1.0 and True, and lets NaN equal itself."""
    return {name: repr(value) for name, value in options.items()}


def _sharing(graph: Graph) -> list[int]:
    """For each constant the index of the first tensor with the same memory."""
    first: dict[tuple[int, ...], int] = {}
    constants = [(index, tensor.data) for index, tensor in enumerate(graph.tensors) if tensor.data is not None]
    return [first.setdefault(memory_key(data), index) for index, data in constants]
