"""Random inputs of a model."""

from __future__ import annotations

import numpy as np

from keras_hwcompress.tflite.graph import Graph, Tensor


def random_inputs(graph: Graph, rng: np.random.Generator) -> list[np.ndarray]:
    """One array per model input: every integer value equally likely; floats in [-1, 1)."""
    return [_random(graph.tensors[index], rng) for index in graph.inputs]


def random_batch(graph: Graph, count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` random inputs: per model input an array (count, *shape)."""
    rng = np.random.default_rng(seed)
    rows = [random_inputs(graph, rng) for _ in range(count)]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _random(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    if tensor.dtype.kind == "f":
        return rng.uniform(-1, 1, tensor.shape).astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max, tensor.shape, dtype=tensor.dtype, endpoint=True)
