"""Fuses the addition of a residual into the convolution that feeds it, where that makes the arena smaller.

Unfused, an addition needs the convolution's input, its result and the residual at once. Fused, the result exists for a
few rows only and the sum replaces the residual (the memory plan sees to it that nobody else needs it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Binary, Conv, ConvAdd, Layer


def fuse_residual_adds(graph: Graph, layers: Sequence[Layer], arena_bytes: Callable[[Sequence[Layer]], int]) -> tuple[Layer, ...]:
    """Fuses additions one after the other, each with the convolution that saves most.

    Args:
        graph: the model. layers: prepared layers in execution order. arena_bytes: plans a list of layers.

    Returns:
        The layers, some of them replaced by `ConvAdd`.
    """
    best, size = tuple(layers), arena_bytes(layers)
    for add in [layer for layer in layers if layer.op == "add"]:
        for fused in list(_fusions(graph, best, add)):
            smaller = arena_bytes(fused)
            if smaller < size:
                best, size = fused, smaller
    return best


def _fusions(graph: Graph, layers: tuple[Layer, ...], add: Binary) -> Iterator[tuple[Layer, ...]]:
    """The layers with an addition fused into the convolution of either operand, where that is legal."""
    producers = {tensor: layer for layer in layers for tensor in layer.outputs}
    for position, tensor in enumerate(add.inputs):
        conv, residual = producers.get(tensor), add.inputs[1 - position]
        if not isinstance(conv, Conv) or conv.op != "conv2d" or not _is_plain(graph, add):
            continue
        if _readers(layers, tensor) == 1 and tensor not in graph.outputs:
            inputs = (conv.inputs[0], residual)
            fused = ConvAdd("conv2d_add", add.name, inputs, add.outputs, conv, add, conv_is_b=position == 1)
            yield tuple(fused if layer is add else layer for layer in layers if layer is not conv)


def _is_plain(graph: Graph, add: Binary) -> bool:
    """Two operands of the output's shape, both computed."""
    size = graph.tensors[add.outputs[0]].size
    return all(graph.tensors[index].size == size and not graph.tensors[index].is_constant for index in add.inputs)


def _readers(layers: tuple[Layer, ...], tensor: int) -> int:
    return sum(layer.inputs.count(tensor) for layer in layers)
