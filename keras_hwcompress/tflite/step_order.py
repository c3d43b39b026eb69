"""An order of execution for unrolled recurrent layers in which no step's input is computed before its turn.

The converter puts the products of all time steps' inputs with the input kernel first, as nothing holds them up: 49 steps
of a GRU of 32 units keep 4,704 bytes waiting. Right before the step that reads them, they take 96 bytes, and as every
step then finds the same free memory, most of its layers get the same addresses as in the step before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from keras_hwcompress.tflite.graph import Graph, Op
from keras_hwcompress.tflite.weights import WEIGHTS


def in_step_order(graph: Graph) -> Graph:
    """The same graph with what only prepares the steps of a recurrence moved to where it is read first.

    Args:
        graph: a plain graph.

    Returns:
        A graph of the same operators and tensors; the graph itself if it holds no unrolled recurrence.
    """
    waiting = _preparing(graph)
    if not waiting:
        return graph
    order = [op for number, op in enumerate(graph.ops) if number not in waiting]
    for number in sorted(waiting, reverse=True):
        op = graph.ops[number]
        order.insert(_first_reader(order, op), op)
    return replace(graph, ops=tuple(order))


def _preparing(graph: Graph) -> set[int]:
    """Operators behind fully connected ones that share their weights, none of whose weights are in a loop."""
    uses = Counter(op.inputs[WEIGHTS] for op in graph.ops if op.kind == "FULLY_CONNECTED")
    behind: dict[int, frozenset[int]] = {}  # tensor -> the shared weights that it depends on
    looped: set[int] = set()
    for op in graph.ops:
        found = frozenset().union(*(behind.get(index, frozenset()) for index in op.inputs))
        if op.kind == "FULLY_CONNECTED" and uses[op.inputs[WEIGHTS]] > 1:
            looped |= found & {op.inputs[WEIGHTS]}
            found |= {op.inputs[WEIGHTS]}
        behind.update(dict.fromkeys(op.outputs, found))
    if not looped:
        return set()
    return {number for number, op in enumerate(graph.ops) if behind[op.outputs[0]] and looped.isdisjoint(behind[op.outputs[0]])}


def _first_reader(order: list[Op], op: Op) -> int:
    """The position of the first operator that reads the results; the end if none does."""
    results = set(op.outputs)
    return next((position for position, reader in enumerate(order) if not results.isdisjoint(reader.inputs)), len(order))
