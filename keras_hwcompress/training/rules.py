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

SCHEDULED = "scheduled"
_SCALES = ("closed-form", "learned")
_SPANS = ("channel", "layer")


@dataclass(frozen=True)
class Rule:
    """Base of the rules; a frozen dataclass whose fields are plain values, so that it saves with the model."""

    @property
    def first_strength(self) -> float:
        """The strength of a freshly wrapped layer."""
        return 1.0

    def build(self, state: KernelState) -> None:
        """Adds the rule's weights to the state of one kernel. The base adds the mask, all ones."""
        state.add("mask", state.shape, ops.ones_like)

    def relax(self, weights: Tensor, state: KernelState) -> Tensor:
        """The weights at strength 0: the mask holds there already, so that pruning can precede the constraint."""
        return weights * present_mask(weights, state) if "mask" in state.variables else weights

    def waits_for(self, state: KernelState, strength: float) -> str:
        """The callback that has not moved this kernel's state yet though the rule needs it, '' if none is missing."""
        return ""

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
        sparsity: None; or, only with levels=3, the share of zeros in [0, 1), by a mask of the least magnitudes of the
            kernel that is set when the model is wrapped: every weight that is kept becomes plus or minus the scale; or
            "scheduled": `callbacks.ConstrainedTraining` moves mask and strength, which begins at 0, and with levels=3
            every weight that it keeps becomes plus or minus the scale.

    Raises:
        HwcmpError: an argument is out of range.
    """

    levels: int = 3
    scale: str = "closed-form"
    per: str = "channel"
    sparsity: float | str | None = None

    def __post_init__(self) -> None:
        check_levels(self.levels)
        if self.scale not in _SCALES:
            raise HwcmpError(f"scale must be one of {_SCALES}. Received: scale={self.scale!r}")
        check_span(self.per)
        if self.sparsity is not None and self.sparsity != SCHEDULED:
            if self.levels != 3:
                raise HwcmpError(f"sparsity needs levels=3, whose only zero it places. Received: levels={self.levels}")
            check_share("sparsity", self.sparsity)

    @property
    def first_strength(self) -> float:
        """0 for a scheduled sparsity, otherwise 1."""
        return 0.0 if self.sparsity == SCHEDULED else 1.0

    def waits_for(self, state: KernelState, strength: float) -> str:
        """`ConstrainedTraining` while a scheduled kernel is at strength 0."""
        return "callbacks.ConstrainedTraining" if self.sparsity == SCHEDULED and strength == 0 else ""

    def build(self, state: KernelState) -> None:
        """Adds the mask, the codebook (the unit grid) and, for a learned scale, its start and trainable logarithm."""
        grid = quantizers.level_grid(self.levels)
        add_mask(state, self.sparsity)
        state.add("codebook", grid.shape, lambda _: ops.convert_to_tensor(grid))
        if self.scale == "learned":
            shape = span_shape(state, self.per)
            state.add("scale", shape, lambda weights: ops.maximum(self._closed_form(weights, state), 1e-6))
            state.add("scale_log", shape, lambda _: ops.zeros(shape), trainable=True)

    def constrain(self, weights: Tensor, state: KernelState) -> Tensor:
        """Scale times level, zero where the mask is zero."""
        scale = self.present_scale(weights, state)
        return scale * self._level(weights, scale, state) * present_mask(weights, state)

    def present_scale(self, weights: Tensor, state: KernelState) -> Tensor:
        """The distance s of neighbouring levels, float32, one per channel or layer; the spanned axes have size 1."""
        return self._learned_scale(state) if self.scale == "learned" else self._closed_form(weights, state)

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
        return quantizers.ternary_threshold(weights, present_mask(weights, state), span_axes(state, self.per))

    def _closed_form(self, weights: Tensor, state: KernelState) -> Tensor:
        mask, axes = present_mask(weights, state), span_axes(state, self.per)
        if self.levels != 3:
            return quantizers.fit_scale(weights, mask, state["codebook"], axes)
        level = quantizers.ternary_level(weights, self._threshold(weights, state)) * mask
        return quantizers.least_squares_scale(weights, level, axes)

    def _learned_scale(self, state: KernelState) -> Tensor:
        """start * exp(log), the gradient times 1/sqrt(weights per scale * outermost level), as LSQ balances it.

        A logarithm keeps the scale positive, and weight decay pulls it to its start instead of to zero.
        """
        spanned = math.prod(state.shape) / math.prod(span_shape(state, self.per))
        factor = 1.0 / math.sqrt(spanned * (self.levels - 1) / 2)
        log = state["scale_log"]
        fixed = ops.stop_gradient(log)
        return state["scale"] * ops.exp(fixed + factor * (log - fixed))


@keras.saving.register_keras_serializable(package="keras_hwcompress")
@dataclass(frozen=True)
class Sparse(Rule):
    """Magnitude pruning: the weights of least magnitude are zero, the others are free.

    Args:
        sparsity: share of zeros in [0, 1) of each kernel, set when the model is wrapped; or "scheduled":
            `callbacks.GlobalPruning` moves the mask.

    Raises:
        HwcmpError: an argument is out of range.
    """

    sparsity: float | str = SCHEDULED

    def __post_init__(self) -> None:
        if self.sparsity != SCHEDULED:
            check_share("sparsity", self.sparsity)

    def build(self, state: KernelState) -> None:
        """Adds the mask."""
        add_mask(state, self.sparsity)

    def constrain(self, weights: Tensor, state: KernelState) -> Tensor:
        """The weights where the mask is one, zero elsewhere."""
        return self.relax(weights, state)

    def waits_for(self, state: KernelState, strength: float) -> str:
        """`GlobalPruning` while a scheduled mask is all ones."""
        waiting = self.sparsity == SCHEDULED and bool(ops.convert_to_numpy(present_mask(state.latent(), state)).all())
        return "callbacks.GlobalPruning" if waiting else ""


def add_mask(state: KernelState, sparsity: float | str | None) -> None:
    """Adds the mask, all ones unless the sparsity is a number; for a scheduled sparsity the threshold, 0, too."""
    share = 0.0 if sparsity in (None, SCHEDULED) else sparsity
    state.add("mask", state.shape, lambda weights: quantizers.magnitude_mask(weights, share) if share else ops.ones_like(weights))
    if sparsity == SCHEDULED:
        state.add("threshold", (), lambda _: ops.zeros(()))


def present_mask(weights: Tensor, state: KernelState) -> Tensor:
    """1 where a weight counts: where the stored mask is 1 and the magnitude is above the threshold, if there is one.

    While a callback lets masks follow the weights it moves the threshold only, so that every batch sees the mask of its
    own weights. Masks that were stored every few batches instead would hold back weights that have grown and turn
    shrinking ones from plus to minus the scale, which costs points of accuracy.
    """
    if "threshold" not in state.variables:
        return state["mask"]
    return state["mask"] * ops.cast(ops.abs(weights) > state["threshold"], "float32")


def span_axes(state: KernelState, per: str) -> tuple[int, ...]:
    """The axes of a kernel that one scale or codebook spans, per "channel" or "layer"."""
    return state.spec.axes if per == "channel" else tuple(range(len(state.shape)))


def span_shape(state: KernelState, per: str) -> tuple[int, ...]:
    """The shape of one value for each span: the kernel's, with size 1 along the spanned axes."""
    axes = span_axes(state, per)
    return tuple(1 if axis in axes else size for axis, size in enumerate(state.shape))


def check_levels(levels: Any) -> None:
    """Refuses a number of levels that no weight format holds.

    Raises:
        HwcmpError: naming the range.
    """
    low, high = table().constants["MIN_LEVELS"], table().constants["MAX_LEVELS"]
    if isinstance(levels, bool) or not isinstance(levels, int) or not low <= levels <= high:
        raise HwcmpError(f"levels must be an integer in {low}..{high}. Received: levels={levels!r}")


def check_span(per: Any) -> None:
    """Refuses what names no span.

    Raises:
        HwcmpError: naming the spans.
    """
    if per not in _SPANS:
        raise HwcmpError(f"per must be one of {_SPANS}. Received: per={per!r}")


def check_share(name: str, value: Any) -> None:
    """Refuses what is no number in [0, 1).

    Raises:
        HwcmpError: naming the argument.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise HwcmpError(f"{name} must be a share in [0, 1). Received: {name}={value!r}")
