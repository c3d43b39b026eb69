"""Which operator of a converted graph holds which kernel of the Keras model.

Conversion renames layers, folds constants into rows (channels) and sometimes into columns, but never permutes weights.
So a kernel is found by its shape and by the angle between its rows and the int8 rows, which row scaling of either
sign does not change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.weights import WeightGroup, to_rows, weight_groups


def match_kernels(graph: Graph, kernels: Sequence[np.ndarray]) -> list[WeightGroup | None]:
    """Finds the weights of each kernel.

    Args:
        graph: a converted, plain graph.
        kernels: float arrays, shape (rows, row_length), canonical order: one row per output channel.

    Returns:
        For each kernel its weights, each used at most once; None where no operator has weights of that shape.
    """
    groups = weight_groups(graph)
    rows = [group_rows(graph, group) for group in groups]
    found: list[WeightGroup | None] = [None] * len(kernels)
    for shape in {kernel.shape for kernel in kernels}:
        wanted = [i for i, kernel in enumerate(kernels) if kernel.shape == shape]
        offered = [i for i, values in enumerate(rows) if values.shape == shape]
        similarity = np.array([[row_similarity(kernels[i], rows[j]) for j in offered] for i in wanted])
        if offered:
            for i, j in zip(*linear_sum_assignment(similarity, maximize=True), strict=True):
                found[wanted[i]] = groups[offered[j]]
    return found


def group_rows(graph: Graph, group: WeightGroup) -> np.ndarray:
    """The int8 weights of a group in canonical order."""
    return to_rows(group.kind, graph.tensors[group.tensors[0]].data)


def row_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the rows of |cosine|, 1 for two rows of zeros; both (rows, row_length)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.abs((a * b).sum(axis=1)) / np.where(norms > 0, norms, 1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    return float(np.where(both_zero, 1.0, cosine).mean())
