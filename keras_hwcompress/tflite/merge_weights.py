"""Kernels that are the same in every step of an unrolled recurrent layer become one tensor again.

The scale of an output channel without a weight is arbitrary, and the converter makes it so small that the bias just fits
int32 in units of (input scale * weight scale). With another input scale in every step, a sparse kernel so gets another
scale, hence another tensor, in every step. Here such channels take the coarsest of these scales, in which every bias
fits; the bias, some 2**30 units, is rounded to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from keras_hwcompress.tflite.arithmetic import round_half_away
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Quantization, Tensor
from keras_hwcompress.tflite.simplify import without_unused
from keras_hwcompress.tflite.weights import BIAS, WEIGHTS


def merge_weights(graph: Graph) -> Graph:
    """The graph with one weight tensor where fully connected operators have equal weights but for such scales.

    Args:
        graph: a plain graph.

    Returns:
        A graph of as many operators in the same order; the graph itself if no two tensors are alike.
    """
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for index in dict.fromkeys(op.inputs[WEIGHTS] for op in graph.ops if op.kind == "FULLY_CONNECTED"):
        alike[_key(graph.tensors[index], index)].append(index)
    tensors = list(graph.tensors)
    first: dict[int, int] = {}
    for members in (members for members in alike.values() if len(members) > 1):
        tensors[members[0]] = _merged([graph.tensors[index] for index in members])
        first |= dict.fromkeys(members, members[0])
    if not first:
        return graph
    ops = tuple(_with_weights(op, graph, tensors, first) for op in graph.ops)
    return without_unused(replace(graph, tensors=tuple(tensors), ops=ops))


def _key(tensor: Tensor, index: int) -> Hashable:
    if tensor.data is None or tensor.quantization is None:
        return index
    quantization = tensor.quantization
    scale = quantization.scale
    if scale.size == len(tensor.data):
        scale = np.where(_is_empty(tensor), np.float32(0), scale)
    return tensor.dtype.name, tensor.shape, tensor.data.tobytes(), scale.tobytes(), quantization.zero_point.tobytes()


def _is_empty(tensor: Tensor) -> np.ndarray:
    """Which output channels hold no weight but zero."""
    return ~tensor.data.reshape(len(tensor.data), -1).any(axis=1)


def _merged(tensors: Sequence[Tensor]) -> Tensor:
    scale = np.max([tensor.quantization.scale for tensor in tensors], axis=0)
    return replace(tensors[0], quantization=_quantization(scale, tensors[0].quantization))


def _quantization(scale: np.ndarray, like: Quantization) -> Quantization:
    scale.setflags(write=False)
    return replace(like, scale=scale)


def _with_weights(op: Op, graph: Graph, tensors: list[Tensor], first: dict[int, int]) -> Op:
    """The operator with the merged weights; a bias whose units change is appended to the tensors."""
    if op.kind != "FULLY_CONNECTED" or op.inputs[WEIGHTS] not in first:
        return op
    inputs = list(op.inputs)
    inputs[WEIGHTS] = first[op.inputs[WEIGHTS]]
    before, after = (tensor.quantization.scale for tensor in (graph.tensors[op.inputs[WEIGHTS]], tensors[inputs[WEIGHTS]]))
    if len(inputs) > BIAS and inputs[BIAS] != NO_TENSOR and not np.array_equal(before, after):
        bias = tensors[inputs[BIAS]]
        data = round_half_away(bias.data * (before.astype(np.float64) / after)).astype(np.int32)
        data.setflags(write=False)
        scale = (bias.quantization.scale * (after.astype(np.float64) / before)).astype(np.float32)
        inputs[BIAS] = len(tensors)
        tensors.append(replace(bias, data=data, quantization=_quantization(scale, bias.quantization)))
    return replace(op, inputs=tuple(inputs))
