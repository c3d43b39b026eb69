"""The static memory plan: every activation and every scratch buffer gets an offset in one arena.

Tensors that are the same bytes (reshape), a part of them (a view) or may be (an operator that works in place) form one buffer. A buffer
lives from the layer that writes it to the last layer that reads it; scratch lives during its layer only. Offsets
are chosen greedily in several orders and the smallest plan wins; the result is deterministic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Binary, Layer, Reshape

ALIGNMENT = 16
# Operators whose output may take the place of an input -> the positions of those inputs.
_IN_PLACE_INPUTS = {"lut": (0,), "softmax": (0,), "add": (0, 1), "sub": (0, 1), "mul": (0, 1), "conv2d_add": (1,)}


@dataclass(frozen=True, slots=True)
class Buffer:
    """A block of the arena. first, last: layer numbers during which it must keep its bytes (inclusive)."""

    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """tensors: activation tensor index -> buffer. scratch: layer number -> buffer. arena_bytes: their extent.

    within: tensors that are a part of a buffer (a view of another tensor) -> the byte of the buffer where they begin.
    """

    tensors: dict[int, Buffer]
    scratch: dict[int, Buffer]
    arena_bytes: int
    within: dict[int, int] = field(default_factory=dict)

    def offset(self, tensor: int) -> int:
        """Where a tensor begins in the arena."""
        return self.tensors[tensor].offset + self.within.get(tensor, 0)


@dataclass(slots=True)
class _Need:
    """A buffer before it has an offset."""

    bytes: int
    first: int
    last: int
    tensors: list[int]
    scratch_of: int | None = None
    offset: int = -1


def plan_memory(graph: Graph, layers: Sequence[Layer], scratch_bytes: Callable[[int], int]) -> Plan:
    """Plans the arena of a model.

    Args:
        graph: the model, for sizes, inputs and outputs.
        layers: its prepared layers in execution order.
        scratch_bytes: layer number -> bytes of scratch that the layer needs.
    """
    needs, within = _activations(graph, layers)
    for number in range(len(layers)):
        size = scratch_bytes(number)
        if size:
            needs.append(_Need(_aligned(size), number, number, [], number))
    _place(needs)
    buffers = [(need, Buffer(need.offset, need.bytes, need.first, need.last)) for need in needs]
    return Plan(
        tensors={tensor: buffer for need, buffer in buffers for tensor in need.tensors},
        scratch={need.scratch_of: buffer for need, buffer in buffers if need.scratch_of is not None},
        arena_bytes=max((need.offset + need.bytes for need in needs), default=0),
        within=within,
    )


def _activations(graph: Graph, layers: Sequence[Layer]) -> tuple[list[_Need], dict[int, int]]:
    """The buffers, and where in them the views begin."""
    by_tensor: dict[int, _Need] = {}
    within: dict[int, int] = {}
    end = len(layers)
    last_use = _last_uses(graph, layers)
    for tensor in graph.inputs:
        by_tensor[tensor] = _Need(_tensor_bytes(graph, tensor), -1, last_use.get(tensor, -1), [tensor])
    for number, layer in enumerate(layers):
        for tensor in layer.outputs:
            size, last = _tensor_bytes(graph, tensor), last_use.get(tensor, number)
            host = _shared_with(layer, by_tensor, within, number, size)
            if isinstance(layer, Reshape) and (start := within.get(layer.inputs[0], 0) + layer.offset):
                within[tensor] = start
            if host is None:
                by_tensor[tensor] = _Need(size, number, last, [tensor])
            else:
                host.last = max(host.last, last)
                host.tensors.append(tensor)
                by_tensor[tensor] = host
    for tensor in graph.outputs:
        if tensor in by_tensor:
            by_tensor[tensor].last = end
    return list({id(need): need for need in by_tensor.values()}.values()), within


def _last_uses(graph: Graph, layers: Sequence[Layer]) -> dict[int, int]:
    uses = {tensor: len(layers) for tensor in graph.outputs}
    for number, layer in enumerate(layers):
        for tensor in layer.inputs:
            uses[tensor] = max(uses.get(tensor, -1), number)
    return uses


def _shared_with(
    layer: Layer, by_tensor: dict[int, _Need], within: dict[int, int], number: int, size: int
) -> _Need | None:
    """The input buffer that the layer's output may take over, if any."""
    if layer.op == "reshape":
        return by_tensor.get(layer.inputs[0])
    for position in _IN_PLACE_INPUTS.get(layer.op, ()):
        need = by_tensor.get(layer.inputs[position])
        dies_here = need is not None and need.last <= number and layer.inputs[position] not in within
        if dies_here and need.bytes == size and not _is_broadcast(layer, position) and not _is_repeated(layer, by_tensor, need):
            return need
    return None


def _is_broadcast(layer: Layer, position: int) -> bool:
    if not isinstance(layer, Binary):
        return False
    strides = layer.a_stride if position == 0 else layer.b_stride
    return any(stride == 0 and extent > 1 for stride, extent in zip(strides, layer.shape, strict=True))


def _is_repeated(layer: Layer, by_tensor: dict[int, _Need], need: _Need) -> bool:
    """Whether two operands lie in this buffer: writing one would change the other before it is read."""
    return sum(by_tensor.get(tensor) is need for tensor in layer.inputs) > 1


def _tensor_bytes(graph: Graph, tensor: int) -> int:
    item = graph.tensors[tensor]
    return _aligned(max(1, item.size * item.dtype.itemsize))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


_ORDERS: tuple[Callable[[_Need], tuple[int, ...]], ...] = (
    lambda need: (-need.bytes, need.first),
    lambda need: (-need.bytes, -need.last),
    lambda need: (-(need.last - need.first), -need.bytes),
    lambda need: (-need.bytes * (need.last - need.first + 1), need.first),
    lambda need: (need.first, -need.bytes),
    lambda need: (-need.last, -need.bytes),
)


def _place(needs: list[_Need]) -> None:
    """Sets the offsets, taking the order whose plan is smallest; stops at the lower bound."""
    bound = _lower_bound(needs)
    best: tuple[int, list[int]] | None = None
    for order in _ORDERS:
        extent = _place_in_order(sorted(needs, key=order))
        if best is None or extent < best[0]:
            best = (extent, [need.offset for need in needs])
        if extent == bound:
            break
    if best is not None:
        for need, offset in zip(needs, best[1], strict=True):
            need.offset = offset


def _lower_bound(needs: Sequence[_Need]) -> int:
    """No plan can be smaller than the bytes alive at one time."""
    change: dict[int, int] = defaultdict(int)
    for need in needs:
        change[need.first] += need.bytes
        change[need.last + 1] -= need.bytes
    return max(accumulate(change[time] for time in sorted(change)), default=0)


def _place_in_order(needs: Sequence[_Need]) -> int:
    # Unrolled recurrent layers make hundreds of buffers, most of which never meet: numpy finds those that do.
    first, last = (np.array([getattr(need, name) for need in needs]) for name in ("first", "last"))
    for number, need in enumerate(needs):
        meets = np.flatnonzero((first[:number] <= need.last) & (last[:number] >= need.first))
        need.offset = _best_gap(sorted((needs[rival] for rival in meets), key=lambda rival: rival.offset), need.bytes)
    return max((need.offset + need.bytes for need in needs), default=0)


def _best_gap(rivals: Sequence[_Need], size: int) -> int:
    """The offset of the tightest hole between the rivals, or behind the last of them."""
    end, best = 0, None
    for rival in rivals:
        hole = rival.offset - end
        if hole >= size and (best is None or hole < best[0]):
            best = (hole, end)
        end = max(end, rival.offset + rival.bytes)
    return end if best is None else best[1]
