"""One scale for all time steps: what an unrolled recurrent layer repeats gets equal constants in every step.

The converter calibrates every tensor on its own, so the 50 copies of one gate have 50 scales, hence 50 tables for its
sigmoid and 50 sets of biases and multipliers for its kernel: with 32 units more bytes than the weights. Here tensors
that play the same role in several steps get one scale that spans the ranges of all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np

from keras_hwcompress.tflite.arithmetic import INT8_MAX, INT8_MIN, round_half_away
from keras_hwcompress.tflite.compare import same_quantization
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Quantization, Tensor
from keras_hwcompress.tflite.simplify import MOVES
from keras_hwcompress.tflite.weights import BIAS, WEIGHTS, WeightGroup, weight_groups

_SCALE_ERROR = 2.0**-21  # several roundings of float32 scales, relative
# Operators whose result may get another scale, and those that must have the scale of their (other) inputs.
_FREE = ("FULLY_CONNECTED", "ADD", "SUB", "MUL")
_SAME_SCALE = (*MOVES, "CONCATENATION", "PACK", "MAX_POOL_2D", "AVERAGE_POOL_2D", "REDUCE_MAX", "PAD")
_READERS = (
    *_FREE, *_SAME_SCALE, "LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "HARD_SWISH", "MEAN", "QUANTIZE",
    "DEQUANTIZE",
)  # fmt: skip


def align_steps(graph: Graph) -> Graph:
    """Gives the tensors that repeat from step to step of a recurrence one scale and zero point.

    Fully connected operators that share their weights, and whose results feed further ones of them, are the steps.
    The range of a shared scale is the union of the ranges, so nothing saturates that did not before; steps with a
    smaller range lose resolution. Biases are requantized. Tensors and operators keep their indices.

    Args:
        graph: a plain graph.

    Returns:
        An ordinary graph whose results differ by rounding; the graph itself if it holds no unrolled recurrence.
    """
    groups = _recurrent_groups(graph)
    if not groups:
        return graph
    roles = _roles(graph, groups)
    scales: dict[int, Quantization] = {}
    for members in _scale_classes(graph, roles):
        shared = _shared_scale(graph, members)
        if shared is not None:
            scales |= dict.fromkeys(members, shared)
    return _rescaled(graph, scales)


class _Classes:
    """Disjoint sets of tensors."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def of(self, item: int) -> int:
        """The name of the set of an item."""
        while item in self._parent:
            item = self._parent[item]
        return item

    def join(self, a: int, b: int) -> bool:
        """Makes two sets one; whether they were two."""
        a, b = self.of(a), self.of(b)
        if a != b:
            self._parent[max(a, b)] = min(a, b)
        return a != b


def _recurrent_groups(graph: Graph) -> list[WeightGroup]:
    """Shared weights of which one operator feeds another, and shared weights that feed such ones."""
    reach: dict[int, frozenset[int]] = {}
    groups = [group for group in weight_groups(graph) if group.kind == "FULLY_CONNECTED" and len(group.ops) > 1]
    number = {op: position for position, group in enumerate(groups) for op in group.ops}
    fed: set[tuple[int, int]] = set()
    for position, op in enumerate(graph.ops):
        before = frozenset().union(*(reach.get(index, frozenset()) for index in op.inputs))
        if position in number:
            fed.update((earlier, number[position]) for earlier in before)
            before |= {number[position]}
        reach.update(dict.fromkeys(op.outputs, before))
    loops = {a for a, b in fed if a == b}
    return [group for position, group in enumerate(groups) if any((position, loop) in fed for loop in loops)]


def _roles(graph: Graph, groups: list[WeightGroup]) -> _Classes:
    """Sets of tensors that mean the same in different steps.

    The inputs and the outputs of a group's operators do. Operators of one kind with equal inputs have equal outputs;
    with equal outputs and all inputs equal but one, that one is equal too (so the cell state, which no weights read, is
    found from the output that it makes).
    """
    roles = _Classes()
    for group in groups:
        ops = [graph.ops[number] for number in group.ops]
        for op in ops:
            roles.join(ops[0].inputs[0], op.inputs[0])
        for with_bias in (True, False):
            alike = [op for op in ops if (_bias(op) != NO_TENSOR) == with_bias]
            for op in alike:
                roles.join(alike[0].outputs[0], op.outputs[0])
    while _propagate(graph, roles):
        pass
    return roles


def _propagate(graph: Graph, roles: _Classes) -> bool:
    """One pass over the operators; whether it joined anything."""
    changed = False
    by_inputs: dict[Hashable, Op] = {}
    by_rest: dict[Hashable, int] = {}
    for op in graph.ops:
        kind = (op.kind, repr(sorted(op.options.items())), len(op.outputs))
        inputs = tuple(_constant_or_role(graph, roles, index) for index in op.inputs)
        first = by_inputs.setdefault((kind, inputs), op)
        for a, b in zip(first.outputs, op.outputs, strict=True):
            changed |= roles.join(a, b)
        outputs = tuple(roles.of(index) for index in op.outputs)
        for position, index in enumerate(op.inputs):
            if not _is_fixed(graph, index):
                rest = (kind, outputs, position, inputs[:position], inputs[position + 1 :])
                changed |= roles.join(by_rest.setdefault(rest, index), index)
    return changed


def _bias(op: Op) -> int:
    return op.inputs[BIAS] if len(op.inputs) > BIAS else NO_TENSOR


def _is_fixed(graph: Graph, index: int) -> bool:
    return index == NO_TENSOR or graph.tensors[index].is_constant


def _constant_or_role(graph: Graph, roles: _Classes, index: int) -> Hashable:
    return ("constant", index) if _is_fixed(graph, index) else roles.of(index)


def _scale_classes(graph: Graph, roles: _Classes) -> Iterator[list[int]]:
    """Tensors that need one scale: equal roles, and what only moves from one to the other."""
    classes = _Classes()
    for op in graph.ops:
        if op.kind in _SAME_SCALE:
            moved = [op.inputs[MOVES[op.kind]]] if op.kind in MOVES else list(op.inputs)
            for index in (*moved, *op.outputs):
                if index != NO_TENSOR and graph.tensors[index].dtype == np.int8:
                    classes.join(moved[0], index)
    activations = [index for op in graph.ops for index in op.outputs]
    for index in activations:
        classes.join(index, roles.of(index))
    members: dict[int, list[int]] = defaultdict(list)
    read = [index for op in graph.ops for index in op.inputs if index != NO_TENSOR]
    for index in dict.fromkeys([*graph.inputs, *activations, *read]):
        members[classes.of(index)].append(index)
    yield from (found for found in members.values() if len(found) > 1)


def _shared_scale(graph: Graph, members: list[int]) -> Quantization | None:
    """The scale that spans all members; None where they agree already or one of them must keep its own."""
    tensors = [graph.tensors[index] for index in members]
    first = tensors[0].quantization
    if all(same_quantization(first, tensor.quantization) for tensor in tensors):
        return None
    if not all(_may_change(graph, index) for index in members):
        return None
    ends = [_range(tensor) for tensor in tensors]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    scale = np.float32((high - low) / (INT8_MAX - INT8_MIN))
    zero = int(np.clip(round_half_away(np.float64(INT8_MIN - low / scale)), INT8_MIN, INT8_MAX))
    return Quantization(_read_only(np.array([scale])), _read_only(np.array([zero], np.int64)), first.axis)


def _may_change(graph: Graph, index: int) -> bool:
    tensor = graph.tensors[index]
    if index in graph.inputs or tensor.is_constant or tensor.dtype != np.int8:
        return False
    if tensor.quantization is None or tensor.quantization.scale.size != 1:
        return False
    makers = [op for op in graph.ops if index in op.outputs]
    readers = [op for op in graph.ops if index in op.inputs]
    return all(op.kind in (*_FREE, *_SAME_SCALE) for op in makers) and all(op.kind in _READERS for op in readers)


def _range(tensor: Tensor) -> tuple[float, float]:
    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zero_point[0])
    return scale * (INT8_MIN - zero), scale * (INT8_MAX - zero)


def _rescaled(graph: Graph, scales: dict[int, Quantization]) -> Graph:
    """The graph with new scales, and the biases in units of them."""
    tensors = [replace(old, quantization=scales.get(index, old.quantization)) for index, old in enumerate(graph.tensors)]
    ops = list(graph.ops)
    finest = _finest_biases(graph, scales)
    made: dict[Hashable, int] = {}
    for number, op in enumerate(graph.ops):
        if _has_scaled_bias(op, scales):
            tensor = _new_bias(graph, op, finest[op.inputs[WEIGHTS]], scales[op.inputs[0]].scale)
            key = (op.inputs[WEIGHTS], tensor.data.tobytes(), tensor.quantization.scale.tobytes())
            if key not in made:
                made[key] = len(tensors)
                tensors.append(tensor)
            ops[number] = replace(op, inputs=(*op.inputs[:BIAS], made[key], *op.inputs[BIAS + 1 :]))
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _has_scaled_bias(op: Op, scales: dict[int, Quantization]) -> bool:
    return op.kind == "FULLY_CONNECTED" and _bias(op) != NO_TENSOR and op.inputs[0] in scales


def _finest_biases(graph: Graph, scales: dict[int, Quantization]) -> dict[int, Op]:
    """For each weight tensor the operator whose bias has the most resolution."""
    finest: dict[int, Op] = {}
    for op in graph.ops:
        if _has_scaled_bias(op, scales):
            best = finest.setdefault(op.inputs[WEIGHTS], op)
            if _input_scale(graph, op) < _input_scale(graph, best):
                finest[op.inputs[WEIGHTS]] = op
    return finest


def _new_bias(graph: Graph, op: Op, finest: Op, scale: np.ndarray) -> Tensor:
    """The bias of an operator in units of a new input scale.

    Every step stores the same bias, rounded to its own units; the finest one serves all that it agrees with, because
    each rounded again on its own would differ by one. Biases of channels without weights are so large that they also
    differ by what float32 scales are rounded by.
    """
    bias, weights = graph.tensors[op.inputs[BIAS]], graph.tensors[op.inputs[WEIGHTS]]
    own = bias.data * (_input_scale(graph, op) / float(scale[0]))
    best = graph.tensors[finest.inputs[BIAS]].data * (_input_scale(graph, finest) / float(scale[0]))
    unit = _input_scale(graph, op) / float(scale[0])
    real = best if np.all(np.abs(own - best) <= unit + _SCALE_ERROR * np.abs(own)) else own
    product = (np.float64(scale[0]) * weights.quantization.scale.astype(np.float64)).astype(np.float32)
    quantization = Quantization(_read_only(product), _read_only(np.zeros(product.shape, np.int64)))
    return replace(bias, data=_read_only(round_half_away(real).astype(np.int32)), quantization=quantization)


def _input_scale(graph: Graph, op: Op) -> float:
    return float(graph.tensors[op.inputs[0]].quantization.scale[0])


def _read_only(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values
