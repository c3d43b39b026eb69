"""Grids of n levels and the closed forms that fit them to weights: pure functions on tensors of any backend.

A level grid is symmetric around zero with unit spacing: {-(n-1)/2, ..., (n-1)/2}. For odd n these are integers and
zero is a level; for even n they are half-integers ({-1/2, 1/2} for n = 2, {-3/2, -1/2, 1/2, 3/2} for n = 4) and zero is
no level, so that a binary layer is {-s, +s} and no level is spent on one side only. A weight becomes scale * level,
with one scale per output channel or per layer. Conversion to int8 rescales whole channels, hence keeps at most n
distinct values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

Tensor = Any

TWN_THRESHOLD = 0.7
_TINY = 1e-30
# Steps tried by `fit_scale`: shares of the one that puts the largest weight on the outermost level (right for short
# tails), and multiples of the typical one (right for long tails).
_WIDEST_SHARES = (1.0, 0.94, 0.85, 0.72, 0.61, 0.52)
_TYPICAL_SHARES = (1.2, 1.45, 1.75)


def level_grid(levels: int) -> np.ndarray:
    """The unit grid of `levels` values.

    Args:
        levels: int >= 2.

    Returns:
        float32 array, shape (levels,), ascending, symmetric, spacing 1.

    >>> level_grid(3).tolist(), level_grid(4).tolist()
    ([-1.0, 0.0, 1.0], [-1.5, -0.5, 0.5, 1.5])
    """
    return (np.arange(levels) - (levels - 1) / 2).astype(np.float32)


def nearest_level(weights: Tensor, scale: Tensor, grid: Tensor) -> Tensor:
    """The level k whose scale * k is nearest to each weight.

    Args:
        weights: float tensor.
        scale: float tensor >= 0 that broadcasts to the weights; a zero scale is harmless.
        grid: float tensor, shape (levels,), ascending, spacing 1.

    Returns:
        float tensor of the weights' shape whose values are exactly those of the grid.
    """
    position = weights / ops.maximum(scale, _TINY)
    return ops.clip(ops.round(position - grid[0]) + grid[0], grid[0], grid[-1])


def ternary_level(weights: Tensor, threshold: Tensor) -> Tensor:
    """Levels -1, 0, 1: zero up to the magnitude `threshold` >= 0, the sign of the weight beyond it."""
    return ops.sign(weights) * ops.cast(ops.abs(weights) > threshold, weights.dtype)


def mean_magnitude(weights: Tensor, mask: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Mean of |w| over the kept weights (mask 1) along `axes`, dimensions kept; 0 where nothing is kept."""
    kept = ops.sum(mask, axis=axes, keepdims=True)
    return ops.sum(ops.abs(weights) * mask, axis=axes, keepdims=True) / ops.maximum(kept, 1.0)


def ternary_threshold(weights: Tensor, mask: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The threshold of ternary weight networks, 0.7 mean|w| (F. Li et al., 2016, arXiv 1605.04711)."""
    return TWN_THRESHOLD * mean_magnitude(weights, mask, axes)


def least_squares_scale(weights: Tensor, level: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The scale s that minimises sum((w - s * level)^2) along `axes`, dimensions kept; 0 where every level is zero.

    For ternary levels this is the mean magnitude of the weights that are not zero, as in ternary weight networks.
    """
    square = ops.sum(level * level, axis=axes, keepdims=True)
    return ops.sum(weights * level, axis=axes, keepdims=True) / ops.maximum(square, _TINY)


def fit_scale(weights: Tensor, mask: Tensor, grid: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Least-squares scale of a grid: the best of a few steps, each improved by its own closed form.

    The steps are shares of the one that covers the largest weight, and 2 (2/n)^(3/4) mean|w|, which is exact for two
    levels and close to the optimum of a Gaussian otherwise. Alternating level and scale alone would stop at the step
    where it begins: for a fine grid every step is nearly stationary.

    Args:
        weights: float tensor.
        mask: float tensor of the same shape, 1 where the weight counts.
        grid: float tensor, shape (levels,), ascending, spacing 1.
        axes: the axes that one scale spans.

    Returns:
        float tensor >= 0; the spanned axes have size 1.
    """
    levels = grid.shape[0]
    widest = ops.max(ops.abs(weights) * mask, axis=axes, keepdims=True) / ((levels - 1) / 2)
    typical = 2.0 * math.pow(2.0 / levels, 0.75) * mean_magnitude(weights, mask, axes)
    steps = [share * widest for share in _WIDEST_SHARES] + [share * typical for share in _TYPICAL_SHARES]
    best, best_gain = _refine(weights, typical, mask, grid, axes)
    for step in steps if levels > 2 else []:
        scale, gain = _refine(weights, step, mask, grid, axes)
        best = ops.where(gain > best_gain, scale, best)
        best_gain = ops.maximum(gain, best_gain)
    return _refine(weights, best, mask, grid, axes)[0]


def _refine(
    weights: Tensor, step: Tensor, mask: Tensor, grid: Tensor, axes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The least-squares scale for the levels nearest at `step`, and how much squared error it removes."""
    level = nearest_level(weights, step, grid) * mask
    scale = least_squares_scale(weights, level, axes)
    return scale, scale * ops.sum(weights * level, axis=axes, keepdims=True)


def learned_level(weights: Tensor, scale: Tensor, grid: Tensor) -> Tensor:
    """Nearest level whose product with `scale` has the step-size gradient of LSQ (S. Esser et al., 2020).

    d(scale * result)/d(scale) is level - w/scale inside the grid and the outermost level beyond it. The value is an
    exact level.

    Args:
        weights: float tensor, taken as constant.
        scale: float tensor > 0 that broadcasts to the weights.
        grid: float tensor, shape (levels,), ascending, spacing 1.
    """
    position = ops.clip(weights / scale, grid[0], grid[-1])
    level = nearest_level(weights, scale, grid)
    return ops.stop_gradient(level) + (position - ops.stop_gradient(position))


def magnitude_mask(weights: Tensor, zeros: float) -> Tensor:
    """1 for the weights that stay, 0 for the share `zeros` of least magnitude, counted exactly over the whole tensor.

    Args:
        weights: float tensor.
        zeros: share in [0, 1); round(zeros * size) weights are masked, whatever ties there are.
    """
    magnitude = ops.reshape(ops.abs(weights), (-1,))
    rank = ops.argsort(ops.argsort(magnitude))
    count = round(zeros * math.prod(weights.shape))
    return ops.reshape(ops.cast(rank >= count, "float32"), weights.shape)


def straight_through(latent: Tensor, constrained: Tensor, strength: Tensor, relaxed: Tensor | None = None) -> Tensor:
    """Forward (1 - strength) * relaxed + strength * constrained; backward the identity to the latent weights.

    `relaxed` is the latent weights unless given; a mask that holds at every strength is applied there.

    Written so that strength 0 and 1 give the relaxed and the constrained weights bit for bit, which
    latent + stop_gradient(strength * (constrained - latent)) does not: it rounds, and a channel would hold more than n
    distinct values. A gradient to parameters inside `constrained` (a learned scale) passes, times `strength`.
    """
    start = latent if relaxed is None else relaxed
    value = ops.stop_gradient((1.0 - strength) * start + strength * constrained)
    through = latent - ops.stop_gradient(latent)
    return value + through + strength * (constrained - ops.stop_gradient(constrained))
