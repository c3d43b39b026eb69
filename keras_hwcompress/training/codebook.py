"""The rule for free levels: every channel (or layer) learns its own n values instead of a uniform grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
from keras import ops

from keras_hwcompress.training.quantizers import Tensor
from keras_hwcompress.training.rules import Rule, check_levels, check_span, span_axes, span_shape

if TYPE_CHECKING:
    from keras_hwcompress.training.state import KernelState

# Rounds of k-means that a new codebook gets; more move it by less than training does.
_ROUNDS = 10


@keras.saving.register_keras_serializable(package="keras_hwcompress")
@dataclass(frozen=True)
class Codebook(Rule):
    """At most `levels` distinct values per output channel, free to lie anywhere, and trained.

    Every weight takes the nearest level in the forward pass; a level moves by the summed gradient of its weights (trained
    centroids of "Deep Compression", S. Han et al., 2016), here divided by the root of their average number, so that the
    rate of the other parameters suits it. It begins with k-means from the quantiles of the kernel (ours).

    Args:
        levels: int in 2..16.
        per: "channel" or "layer", what one codebook spans.

    Raises:
        HwcmpError: an argument is out of range.
    """

    levels: int = 4
    per: str = "channel"

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_span(self.per)

    def build(self, state: KernelState) -> None:
        """Adds the codebook, shape (levels, *kernel shape with size 1 along the spanned axes)."""
        axes, shape = span_axes(state, self.per), (self.levels, *span_shape(state, self.per))
        state.add("codebook", shape, lambda weights: first_codebook(weights, self.levels, axes), trainable=True)

    def constrain(self, weights: Tensor, state: KernelState) -> Tensor:
        """The nearest level of each weight."""
        codebook = state["codebook"]
        weights_of_level = math.prod(state.shape) / math.prod(codebook.shape)
        factor = 1.0 / math.sqrt(max(weights_of_level, 1.0))
        fixed = ops.stop_gradient(codebook)
        return ops.sum(_choice(weights, fixed) * (fixed + factor * (codebook - fixed)), axis=0)


def first_codebook(weights: Tensor, levels: int, axes: tuple[int, ...]) -> Tensor:
    """Levels of least squared error by k-means, begun at the quantiles (i + 1/2) / levels.

    Args:
        weights: float tensor.
        levels: how many.
        axes: of the weights, the ones that one codebook spans.

    Returns:
        float32 tensor, shape (levels, *weights.shape with size 1 along `axes`), ascending along its first axis.
    """
    shares = (ops.arange(levels, dtype="float32") + 0.5) / levels
    codebook = ops.quantile(weights, shares, axis=axes, keepdims=True)
    spanned = tuple(axis + 1 for axis in axes)
    for _ in range(_ROUNDS):
        choice = _choice(weights, codebook)
        count = ops.sum(choice, axis=spanned, keepdims=True)
        mean = ops.sum(choice * weights, axis=spanned, keepdims=True) / ops.maximum(count, 1.0)
        codebook = ops.where(count > 0, mean, codebook)
    return codebook


def _choice(weights: Tensor, codebook: Tensor) -> Tensor:
    """1 where a level is the nearest one of a weight (the first of several), 0 elsewhere: shape (levels, *weights.shape)."""
    nearest = ops.argmin(ops.abs(weights[None] - codebook), axis=0)
    indices = ops.reshape(ops.arange(codebook.shape[0]), (-1,) + (1,) * len(weights.shape))
    return ops.cast(ops.equal(ops.cast(indices, nearest.dtype), nearest[None]), weights.dtype)
