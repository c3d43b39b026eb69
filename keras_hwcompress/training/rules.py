"""Rules: what a kernel must become. A rule is an immutable value; what changes in training is state of the wrapper.

A new rule subclasses `Rule`, is a frozen dataclass, is registered with Keras under the package "keras_hwcompress" and
defines `build` (its state) and `constrain` (the forward weights). Nothing else in the package needs to know it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.formats.table import table
from keras_hwcompress.training import quantizers
from keras_hwcompress.training.quantizers import Tensor

if TYPE_CHECKING:
    from keras_hwcompress.training.state import KernelState

_SCALES = ("closed-form", "learned")
_SPANS = ("channel", "layer")


@dataclass(frozen=True)
class Rule:
    """Base of the rules; a frozen dataclass whose fields are plain values, so that it saves with the model."""

    def build(self, state: KernelState) -> None:
        """Adds the rule's weights to the state of one kernel. The base adds the mask, all ones."""
        state.add("mask", state.shape, ops.ones_like)

    def constrain(self, weights: Tensor, state: KernelState) -> Tensor:
        """The constrained weights, float32; `weights` is a constant, gradients go to the rule's own parameters only."""
        raise NotImplementedError(f"{type(self).__name__} must define constrain()")

    def get_config(self) -> dict[str, Any]:
        """The fields by name; the rule is rebuilt from them."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Rule:
        """The rule with these fields."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_hwcompress")
@dataclass(frozen=True)
class Nary(Rule):
    """At most `levels` distinct values per output channel: scale * {-(n-1)/2, ..., (n-1)/2}.

    An odd number of levels holds zero, an even one does not (see `quantizers`). Three levels follow ternary weight
    networks: zero up to 0.7 mean|w|, the scale is the mean magnitude of the rest. Other grids take the nearest level
    with a least-squares scale.

    Args:
        levels: int in 2..16.
        scale: "closed-form", recomputed from the latent weights at each step, or "learned", a trainable positive factor
            on the closed form of the weights at wrapping time, with the gradient of LSQ.
        per: "channel" or "layer", what one scale spans.
        sparsity: only with levels=3: the share of zeros in [0, 1), by a mask of the least magnitudes of the kernel that
            is set when the model is wrapped; every weight that is kept becomes plus or minus the scale.

    Raises:
        HwcmpError: an argument is out of range.
    """

    levels: int = 3
    scale: str = "closed-form"
    per: str = "channel"
    sparsity: float | None = None

    def __post_init__(self) -> None:
        low, high = table().constants["MIN_LEVELS"], table().constants["MAX_LEVELS"]
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or not low <= self.levels <= high:
            raise HwcmpError(f"levels must be an integer in {low}..{high}. Received: levels={self.levels!r}")
        if self.scale not in _SCALES:
            raise HwcmpError(f"scale must be one of {_SCALES}. Received: scale={self.scale!r}")
        if self.per not in _SPANS:
            raise HwcmpError(f"per must be one of {_SPANS}. Received: per={self.per!r}")
        if self.sparsity is not None:
            self._check_sparsity(self.sparsity)

    def _check_sparsity(self, sparsity: float) -> None:
        if self.levels != 3:
            raise HwcmpError(f"sparsity needs levels=3, whose only zero it places. Received: levels={self.levels}")
        if not isinstance(sparsity, (int, float)) or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
            raise HwcmpError(f"sparsity must be a share in [0, 1). Received: sparsity={sparsity!r}")

    def build(self, state: KernelState) -> None:
        """Adds the mask, the codebook (the unit grid) and, for a learned scale, its start and trainable logarithm."""
        grid = quantizers.level_grid(self.levels)
        state.add("mask", state.shape, self._first_mask)
        state.add("codebook", grid.shape, lambda _: ops.convert_to_tensor(grid))
        if self.scale == "learned":
            shape = self._scale_shape(state)
            state.add("scale", shape, lambda weights: ops.maximum(self._closed_form(weights, state), 1e-6))
            state.add("scale_log", shape, lambda _: ops.zeros(shape), trainable=True)

    def constrain(self, weights: Tensor, state: KernelState) -> Tensor:
        """Scale times level, zero where the mask is zero."""
        scale = self._learned_scale(state) if self.scale == "learned" else self._closed_form(weights, state)
        return scale * self._level(weights, scale, state) * state["mask"]

    def _first_mask(self, weights: Tensor) -> Tensor:
        return ops.ones_like(weights) if self.sparsity is None else quantizers.magnitude_mask(weights, self.sparsity)

    def _axes(self, state: KernelState) -> tuple[int, ...]:
        return state.spec.axes if self.per == "channel" else tuple(range(len(state.shape)))

    def _scale_shape(self, state: KernelState) -> tuple[int, ...]:
        axes = self._axes(state)
        return tuple(1 if axis in axes else size for axis, size in enumerate(state.shape))

    def _level(self, weights: Tensor, scale: Tensor, state: KernelState) -> Tensor:
        """Ternary levels by threshold unless the scale is learned without a target share; otherwise the nearest."""
        learned = self.scale == "learned"
        if self.levels == 3 and not (learned and self.sparsity is None):
            return quantizers.ternary_level(weights, self._threshold(weights, state))
        nearest = quantizers.learned_level if learned else quantizers.nearest_level
        return nearest(weights, scale, state["codebook"])

    def _threshold(self, weights: Tensor, state: KernelState) -> Tensor:
        if self.sparsity is not None:
            return ops.zeros(())
        return quantizers.ternary_threshold(weights, state["mask"], self._axes(state))

    def _closed_form(self, weights: Tensor, state: KernelState) -> Tensor:
        mask, axes = state["mask"], self._axes(state)
        if self.levels != 3:
            return quantizers.fit_scale(weights, mask, state["codebook"], axes)
        level = quantizers.ternary_level(weights, self._threshold(weights, state)) * mask
        return quantizers.least_squares_scale(weights, level, axes)

    def _learned_scale(self, state: KernelState) -> Tensor:
        """start * exp(log), the gradient times 1/sqrt(weights per scale * outermost level), as LSQ balances it.

        A logarithm keeps the scale positive, and weight decay pulls it to its start instead of to zero.
        """
        spanned = math.prod(state.shape) / math.prod(self._scale_shape(state))
        factor = 1.0 / math.sqrt(spanned * (self.levels - 1) / 2)
        log = state["scale_log"]
        fixed = ops.stop_gradient(log)
        return state["scale"] * ops.exp(fixed + factor * (log - fixed))
