"""Weights on a uniform grid become exact multiples of it, so that one level table serves the whole layer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from keras_hwcompress.tflite.arithmetic import INT8_MAX, round_half_away
from keras_hwcompress.tflite.compare import same_quantization
from keras_hwcompress.tflite.graph import Graph, Quantization, Tensor
from keras_hwcompress.tflite.grid import DEFAULT_TOLERANCE, GridFit, fit_grid
from keras_hwcompress.tflite.packed_op import has_bias, bias_of
from keras_hwcompress.tflite.sharing import memory_key
from keras_hwcompress.tflite.weights import BIAS, WeightGroup, channel_axis, from_rows, to_rows, uses
from keras_hwcompress.tflite.weights import weight_groups

# As the converter: half of what int32 holds, so that the accumulator keeps room beside the bias.
_MAX_BIAS = 2**30


def regrid(graph: Graph, ops: Collection[int] | None = None, tolerance: float = DEFAULT_TOLERANCE) -> Graph:
    """Writes the weights of layers that lie on a uniform grid as exact multiples of it.

    Where every row is round(k * step) with whole numbers k and a step of its own, weights become m * k with
    m = floor(127 / k_max), k_max over the layer; the row's scale becomes scale * step / m, and its bias is requantized
    to the new scale. Real weights change by at most the rounding that the converter made; the result is an ordinary
    model. m stays large because the bias is stored in units of the weights' scale.

    Left alone are layers that fit no grid, rows whose bias would leave its range (they keep their own multiples),
    weights shared by different kinds of operators, and biases that something else reads too.

    Args:
        graph: a plain graph. ops: operators to consider, all by default; operators that share weights are changed if
            all of them are named. tolerance: largest distance of a weight from a multiple, in int8 steps.

    Returns:
        A new graph; the same one if no layer fits.
    """
    changed: dict[int, Tensor] = {}
    for group in weight_groups(graph):
        if ops is None or set(group.ops) <= set(ops):
            changed |= _regridded(graph, group, tolerance)
    if not changed:
        return graph
    return replace(graph, tensors=tuple(changed.get(index, tensor) for index, tensor in enumerate(graph.tensors)))


def _regridded(graph: Graph, group: WeightGroup, tolerance: float) -> dict[int, Tensor]:
    """The new weight and bias tensors of a group; empty where it is left alone."""
    old = _weights(graph, group)
    biases = None if old is None else _biases(graph, group, len(old[0]))
    if old is None or biases is None:
        return {}
    rows, scale = old
    fit = fit_grid(rows if scale.size > 1 else rows.reshape(1, -1), tolerance)
    if fit is None or fit.largest == 0:
        return {}
    new_scale = _new_scale(fit, scale)
    keep = ~(np.isfinite(new_scale) & (new_scale > 0)) | (fit.steps == 0)
    for index in biases:
        keep = keep | _leaves_range(_requantized(graph.tensors[index], scale, new_scale), scale.size)
    new_scale = np.where(keep, scale, new_scale)
    exact = (fit.levels * np.int8(INT8_MAX // fit.largest)).reshape(rows.shape)
    values = np.where(keep[:, None], rows, exact)
    if np.array_equal(values, rows) and np.array_equal(new_scale, scale):
        return {}
    return _new_weights(graph, group, values, new_scale) | _new_biases(graph, biases, scale, new_scale)


def _weights(graph: Graph, group: WeightGroup) -> tuple[np.ndarray, np.ndarray] | None:
    """Canonical rows and float32 scales, (rows,) or (1,); None where regrid does not know what they mean."""
    tensor = graph.tensors[group.tensors[0]]
    quantization = tensor.quantization
    same = all(same_quantization(graph.tensors[index].quantization, quantization) for index in group.tensors)
    if quantization is None or not same or tensor.dtype != np.int8 or len(tensor.shape) < 2 or tensor.size == 0:
        return None
    rows = to_rows(group.kind, tensor.data)
    scale = quantization.scale
    per_channel = scale.size == len(rows) and quantization.axis % len(tensor.shape) == channel_axis(group.kind)
    if quantization.zero_point.any() or not (scale.size == 1 or per_channel):
        return None
    return rows, scale


def _biases(graph: Graph, group: WeightGroup, channels: int) -> dict[int, np.float32] | None:
    """Bias tensor -> scale of the input; None if a bias cannot be changed for these operators alone."""
    readers, found = uses(graph), {}
    for number in group.ops:
        op = graph.ops[number]
        source, bias = graph.tensors[op.inputs[0]], bias_of(op)
        if source.quantization is None or source.quantization.scale.size != 1:
            return None
        if not has_bias(bias):
            continue
        tensor, scale = graph.tensors[bias], source.quantization.scale[0]
        if tensor.data is None or tensor.dtype != np.int32 or tensor.size != channels or bias in graph.outputs:
            return None
        alone = all(reader in group.ops and position == BIAS for reader, position in readers[memory_key(tensor.data)])
        if not alone or found.setdefault(bias, scale) != scale:
            return None
    return found


def _new_scale(fit: GridFit, scale: np.ndarray) -> np.ndarray:
    multiple = INT8_MAX // fit.largest
    return (scale.astype(np.float64) * fit.steps / multiple).astype(np.float32)


def _requantized(bias: Tensor, scale: np.ndarray, new_scale: np.ndarray) -> np.ndarray:
    """The bias in units of the new scale, float64 of whole numbers."""
    ratio = scale.astype(np.float64) / np.where(new_scale > 0, new_scale, scale).astype(np.float64)
    return round_half_away(bias.data.reshape(-1) * ratio)


def _leaves_range(bias: np.ndarray, scales: int) -> np.ndarray:
    """bool (scales,): where the bias is too large; one channel decides for all if they share a scale."""
    wide = np.abs(bias) > _MAX_BIAS
    return wide if scales > 1 else np.array([wide.any()])


def _new_weights(graph: Graph, group: WeightGroup, values: np.ndarray, scale: np.ndarray) -> dict[int, Tensor]:
    tensor = graph.tensors[group.tensors[0]]
    data = from_rows(group.kind, values, tensor.shape)
    quantization = Quantization(_read_only(scale), tensor.quantization.zero_point, tensor.quantization.axis)
    return {index: replace(graph.tensors[index], data=data, quantization=quantization) for index in group.tensors}


def _new_biases(
    graph: Graph, biases: dict[int, np.float32], scale: np.ndarray, new_scale: np.ndarray
) -> dict[int, Tensor]:
    changed = {}
    for index, input_scale in biases.items():
        tensor = graph.tensors[index]
        data = _requantized(tensor, scale, new_scale).astype(np.int32).reshape(tensor.shape)
        quantization = tensor.quantization
        if quantization is not None and quantization.scale.size == new_scale.size:
            product = (np.float64(input_scale) * new_scale.astype(np.float64)).astype(np.float32)
            quantization = replace(quantization, scale=_read_only(product))
        changed[index] = replace(tensor, data=_read_only(data), quantization=quantization)
    return changed


def _read_only(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values
