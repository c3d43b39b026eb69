"""How fast a constraint tightens: ramps over the course of one `fit`, plain values that save and load with Keras."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import keras

from keras_hwcompress.errors import HwcmpError

# Weights that change places with zeros while the grid is on recover most of what the constraint costs; the last fifth of
# the training settles.
_MASKS_UNTIL = 0.8

_SHAPES = {
    "linear": lambda share: share,
    "cosine": lambda share: (1.0 - math.cos(math.pi * share)) / 2.0,
    "cubic": lambda share: 1.0 - (1.0 - share) ** 3,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@keras.saving.register_keras_serializable(package="keras_hwcompress")
@dataclass(frozen=True)
class Ramp:
    """0 until `begin`, 1 from `end` on, rising in between.

    Args:
        begin: share of the training, 0..1, at which the ramp leaves 0.
        end: share of the training, begin..1, at which it reaches 1.
        shape: "linear", "cosine" (slow at both ends) or "cubic" (fast at first, 1 - (1 - t)^3, as M. Zhu and S. Gupta
            2017 prune).

    Raises:
        HwcmpError: an argument is out of range.

    Example:
    >>> Ramp(0.0, 0.5, "cubic")(0.25), Ramp(0.5, 1.0, "linear")(0.75)
    (0.875, 0.5)
    """

    begin: float
    end: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not (_is_number(self.begin) and _is_number(self.end)) or not 0 <= self.begin <= self.end <= 1:
            received = f"begin={self.begin!r}, end={self.end!r}"
            raise HwcmpError(f"a ramp needs 0 <= begin <= end <= 1, shares of the training. Received: {received}")
        if self.shape not in _SHAPES:
            raise HwcmpError(f"shape must be one of {tuple(_SHAPES)}. Received: shape={self.shape!r}")

    def __call__(self, progress: float) -> float:
        """The height at a share of the training; exactly 0 up to `begin` (unless it is the end) and 1 from `end` on."""
        if progress >= self.end:
            return 1.0
        if progress <= self.begin:
            return 0.0
        return _SHAPES[self.shape]((progress - self.begin) / (self.end - self.begin))

    def get_config(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Ramp:
        """The ramp with these fields."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_hwcompress")
@dataclass(frozen=True)
class Schedule:
    """First prune, then constrain, then train on the grid: the earlier it is on, the more of the training is for it.

    Args:
        sparsity: the ramp of the sparsity, up to the target.
        strength: the ramp of the constraint; it may not begin before the sparsity is reached.
        masks_until: share of the training, sparsity.end..1, up to which masks follow the latent weights, so that weights
            still change places with zeros while the grid is on; None for 0.8, or sparsity.end if that is later.

    Raises:
        HwcmpError: the ramps are no ramps or overlap, or masks_until is out of range.
    """

    sparsity: Ramp = Ramp(0.0, 0.15, "cubic")
    strength: Ramp = Ramp(0.15, 0.3, "cosine")
    masks_until: float | None = None

    def __post_init__(self) -> None:
        for name in ("sparsity", "strength"):
            if not isinstance(getattr(self, name), Ramp):
                raise HwcmpError(f"{name} must be a Ramp. Received: {name}={getattr(self, name)!r}")
        if self.strength.begin < self.sparsity.end:
            received = f"strength.begin={self.strength.begin}, sparsity.end={self.sparsity.end}"
            raise HwcmpError(
                f"the constraint begins when the sparsity is reached: strength.begin >= sparsity.end. Received: {received}"
            )
        until = self.masks_until
        if until is not None and not (_is_number(until) and self.sparsity.end <= until <= 1):
            raise HwcmpError(f"masks_until must be a share from sparsity.end to 1, or None. Received: masks_until={until!r}")

    @property
    def masks_end(self) -> float:
        """The share of the training after which masks stay."""
        return max(_MASKS_UNTIL, self.sparsity.end) if self.masks_until is None else self.masks_until

    def get_config(self) -> dict[str, Any]:
        """The ramps, serialized, and masks_until."""
        ramps = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in ("sparsity", "strength")}
        return {**ramps, "masks_until": self.masks_until}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schedule:
        """The schedule with these ramps."""
        ramps = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("sparsity", "strength")}
        return cls(**ramps, masks_until=config["masks_until"])
