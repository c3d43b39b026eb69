"""One magnitude threshold for the whole network, so that every layer ends with a sparsity of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def global_threshold(kernels: Sequence[np.ndarray], sparsity: float) -> float:
    """The magnitude up to which the share `sparsity` of all weights together lies (more if magnitudes tie); 0 for none.

    Args:
        kernels: float arrays of any shape.
        sparsity: share in [0, 1].

    >>> float(global_threshold([np.array([0.25, -3.0]), np.array([0.2, 0.5])], 0.5))
    0.25
    """
    magnitudes = _magnitudes(kernels)
    zeros = round(sparsity * magnitudes.size)
    return _smallest(magnitudes, zeros) if zeros else 0.0


def global_masks(kernels: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Masks that zero the share `sparsity` of least magnitude among all kernels together.

    The count of zeros is exact, round(sparsity * weights): of equal magnitudes at the threshold the first ones, in the
    order of the kernels and of their memory, are zeroed, as a stable sort would do it.

    Args:
        kernels: float arrays of any shape.
        sparsity: share in [0, 1].

    Returns:
        float32 arrays of the same shapes: 1 keeps a weight, 0 zeroes it.

    >>> [mask.tolist() for mask in global_masks([np.array([0.1, -3.0]), np.array([0.2, 0.5])], 0.5)]
    [[0.0, 1.0], [0.0, 1.0]]
    """
    magnitudes = _magnitudes(kernels)
    zeros = round(sparsity * magnitudes.size)
    keep = np.ones(magnitudes.size, np.float32)
    if zeros:
        threshold = _smallest(magnitudes, zeros)
        below = magnitudes < threshold
        keep[below] = 0
        ties = np.flatnonzero(magnitudes == threshold)
        keep[ties[: zeros - np.count_nonzero(below)]] = 0
    parts = np.split(keep, np.cumsum([kernel.size for kernel in kernels])[:-1])
    return [part.reshape(kernel.shape) for part, kernel in zip(parts, kernels, strict=True)]


def _magnitudes(kernels: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.abs(kernel, dtype=np.float32).ravel() for kernel in kernels])


def _smallest(magnitudes: np.ndarray, count: int) -> np.float32:
    """The largest of the `count` smallest magnitudes."""
    return np.partition(magnitudes, count - 1)[count - 1]
