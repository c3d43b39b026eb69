"""Float detours of a converted graph become int8 again, and what nobody reads is dropped.

The converter has no statistics for a result that nobody reads. If it is one part of a SPLIT (the reset gate in the
first step of an unrolled GRU), the whole operator stays float: DEQUANTIZE - SPLIT - QUANTIZE. Such operators only move
values, and a value that goes from int8 to float32 and back to the same scale and zero point is the same int8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_hwcompress.tflite.compare import same_quantization
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Signature, Tensor

# Operators that move values without computing -> the position of the input that they move.
MOVES: Mapping[str, int] = {
    "RESHAPE": 0, "SQUEEZE": 0, "EXPAND_DIMS": 0, "SPLIT": 1, "SPLIT_V": 0, "UNPACK": 0, "STRIDED_SLICE": 0, "SLICE": 0,
    "TRANSPOSE": 0, "REVERSE_V2": 0,
}  # fmt: skip


def simplify(graph: Graph) -> Graph:
    """The same graph without float detours; every remaining result is bit for bit what it was.

    Args:
        graph: a plain graph.

    Returns:
        The graph itself where there is no such detour.
    """
    detours = _Detours(graph)
    for op in graph.ops:
        detours.add(replace(op, inputs=tuple(detours.replaced.get(index, index) for index in op.inputs)))
    if not detours.replaced:
        return graph
    return without_unused(replace(graph, tensors=tuple(detours.tensors), ops=tuple(detours.ops)))


class _Detours:
    """The new lists while they are made. twins: float tensor -> int8 tensor of the same values."""

    def __init__(self, graph: Graph) -> None:
        self.tensors, self.ops = list(graph.tensors), []
        self.twins: dict[int, int] = {}
        self.replaced: dict[int, int] = {}
        self._exposed = _exposed(graph)

    def add(self, op: Op) -> None:
        """Appends an operator, and its int8 twin; drops it where it only leads back to int8."""
        moved = MOVES.get(op.kind, 0)
        source = op.inputs[moved] if moved < len(op.inputs) else NO_TENSOR
        if op.kind == "QUANTIZE" and self._leads_back(op):
            self.replaced[op.outputs[0]] = self.twins[source]
            return
        self.ops.append(op)
        if op.kind == "DEQUANTIZE" and _is_quantized(self.tensors[source]):
            self.twins[op.outputs[0]] = source
        elif op.kind in MOVES and source in self.twins:
            self._add_twin(op, moved)

    def _leads_back(self, op: Op) -> bool:
        twin, output = self.twins.get(op.inputs[0]), op.outputs[0]
        if twin is None or output in self._exposed:
            return False
        old, new = self.tensors[output], self.tensors[twin]
        return old.dtype == new.dtype and same_quantization(old.quantization, new.quantization)

    def _add_twin(self, op: Op, moved: int) -> None:
        source = self.twins[op.inputs[moved]]
        quantization, int8 = self.tensors[source].quantization, np.dtype(np.int8)
        outputs = []
        for index in op.outputs:
            old = self.tensors[index]
            self.tensors.append(replace(old, name=f"{old.name}/int8", dtype=int8, quantization=quantization))
            self.twins[index] = len(self.tensors) - 1
            outputs.append(self.twins[index])
        inputs = (*op.inputs[:moved], source, *op.inputs[moved + 1 :])
        self.ops.append(replace(op, inputs=inputs, outputs=tuple(outputs)))


def _is_quantized(tensor: Tensor) -> bool:
    return tensor.dtype == np.int8 and tensor.quantization is not None and tensor.quantization.scale.size == 1


def _exposed(graph: Graph) -> set[int]:
    named = (index for s in graph.signatures for _, index in (*s.inputs, *s.outputs))
    return {*graph.inputs, *graph.outputs, *named}


def without_unused(graph: Graph) -> Graph:
    """The graph without operators whose results nobody reads, and without tensors that nobody names."""
    read, kept = _exposed(graph), []
    for op in reversed(graph.ops):
        if not read.isdisjoint(op.outputs):
            read.update(op.inputs)
            kept.append(op)
    ops = tuple(reversed(kept))
    named = sorted((_exposed(graph) | {i for op in ops for i in (*op.inputs, *op.outputs)}) - {NO_TENSOR})
    number = {index: position for position, index in enumerate(named)} | {NO_TENSOR: NO_TENSOR}
    return replace(
        graph,
        tensors=tuple(graph.tensors[index] for index in named),
        ops=tuple(_op(op, number) for op in ops),
        inputs=_renumbered(graph.inputs, number),
        outputs=_renumbered(graph.outputs, number),
        signatures=tuple(_signature(signature, number) for signature in graph.signatures),
    )


def _renumbered(indices: Sequence[int], number: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(number[index] for index in indices)


def _op(op: Op, number: Mapping[int, int]) -> Op:
    return replace(op, inputs=_renumbered(op.inputs, number), outputs=_renumbered(op.outputs, number))


def _signature(signature: Signature, number: Mapping[int, int]) -> Signature:
    inputs, outputs = (
        tuple((name, number[index]) for name, index in side) for side in (signature.inputs, signature.outputs)
    )
    return replace(signature, inputs=inputs, outputs=outputs)
