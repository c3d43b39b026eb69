"""Weights of a graph: which operators share them, and their canonical order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from keras_hwcompress.tflite.graph import Graph, Op
from keras_hwcompress.tflite.options import PACKED_KINDS
from keras_hwcompress.tflite.sharing import memory_key

WEIGHTS, BIAS = 1, 2


@dataclass(frozen=True, slots=True)
class WeightGroup:
    """Operators of one kind with the same weights. tensors: the weight tensors, one unless a file has duplicates."""

    kind: str
    tensors: tuple[int, ...]
    ops: tuple[int, ...]


def channel_axis(kind: str) -> int:
    """The axis of output channels in the weights of a builtin operator."""
    return 3 if kind == "DEPTHWISE_CONV_2D" else 0


def to_rows(kind: str, weights: np.ndarray) -> np.ndarray:
    """Weights in TFLite's layout -> canonical order: one row per output channel, height-width-input inside.

    Args:
        kind: builtin operator. weights: int8, OHWI, 1HWC (depthwise) or OI.

    Returns:
        int8 array, shape (rows, row_length), contiguous.
    """
    if kind == "DEPTHWISE_CONV_2D":
        return np.ascontiguousarray(weights.reshape(-1, weights.shape[-1]).T)
    return np.ascontiguousarray(weights.reshape(weights.shape[0], -1))


def from_rows(kind: str, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_rows`; a read-only array of `shape`."""
    values = np.ascontiguousarray(rows.T if kind == "DEPTHWISE_CONV_2D" else rows).reshape(shape)
    values.setflags(write=False)
    return values


def uses(graph: Graph) -> dict[tuple[int, ...], list[tuple[int, int]]]:
    """For the memory of each constant: (operator, position of the input) of everything that reads it."""
    found: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, op in enumerate(graph.ops):
        for position, index in enumerate(op.inputs):
            data = graph.tensors[index].data if index >= 0 else None
            if data is not None:
                found[memory_key(data)].append((number, position))
    return found


def tensors_by_memory(graph: Graph) -> dict[tuple[int, ...], list[int]]:
    """For the memory of each constant: the tensors that are stored there."""
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, tensor in enumerate(graph.tensors):
        if tensor.data is not None:
            found[memory_key(tensor.data)].append(index)
    return found


def weight_groups(graph: Graph) -> tuple[WeightGroup, ...]:
    """The groups whose weights can be replaced, in the order of their first operators.

    Left out are weights with any other reader: operators of different kinds, another input position, the outputs
    or signatures of the graph, tensors of another shape over the same buffer.
    """
    stored = tensors_by_memory(graph)
    exposed = {*graph.outputs, *(index for s in graph.signatures for _, index in (*s.inputs, *s.outputs))}
    groups = []
    for key, readers in uses(graph).items():
        tensors = stored[key]
        kinds = {_weighted_kind(graph.ops[number], position) for number, position in readers}
        shapes = {(graph.tensors[index].shape, graph.tensors[index].dtype) for index in tensors}
        if len(kinds) == 1 and len(shapes) == 1 and "" not in kinds and exposed.isdisjoint(tensors):
            groups.append(WeightGroup(kinds.pop(), tuple(tensors), tuple(number for number, _ in readers)))
    return tuple(sorted(groups, key=lambda group: group.ops[0]))


def _weighted_kind(op: Op, position: int) -> str:
    return op.kind if position == WEIGHTS and not op.is_custom and op.kind in PACKED_KINDS else ""
