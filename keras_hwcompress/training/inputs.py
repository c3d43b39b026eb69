"""Inputs of a layer rounded to int8 in training: per tensor, asymmetric, as the TFLite converter quantizes activations."""

from __future__ import annotations

import keras
from keras import ops

from keras_hwcompress.training.quantizers import Tensor

_STEPS = 255.0
_TINY = 1e-9


class InputRange:
    """Least and largest input of one layer, as moving averages over training batches, and the rounding between them.

    The averages are corrected for their start at zero, as Adam does it; before the first training batch inputs pass
    unchanged. The range always holds zero, and zero is exactly one of the 256 values.

    Args:
        wrapper: the layer that owns the three scalars; they are not trainable and saved with the model.
        momentum: share of the past in every update.
    """

    def __init__(self, wrapper: keras.layers.Layer, momentum: float = 0.99) -> None:
        self.momentum = momentum
        self._low, self._high, self._seen = (
            wrapper.add_weight(
                name=f"input_{name}", shape=(), dtype="float32", initializer="zeros", trainable=False, autocast=False
            )
            for name in ("low", "high", "seen")
        )

    def quantize(self, inputs: Tensor, training: bool) -> Tensor:
        """The inputs on the nearest of 256 values; in training the range follows them first.

        The gradient is one inside the range and zero outside.
        """
        values = ops.cast(inputs, "float32")
        if training:
            self._follow(ops.stop_gradient(values))
        seen = ops.convert_to_tensor(self._seen)
        low = ops.convert_to_tensor(self._low) / ops.maximum(seen, _TINY)
        high = ops.convert_to_tensor(self._high) / ops.maximum(seen, _TINY)
        return ops.cast(ops.where(seen > 0, _fake_quantize(values, low, high), values), inputs.dtype)

    def _follow(self, values: Tensor) -> None:
        news = (ops.minimum(ops.min(values), 0.0), ops.maximum(ops.max(values), 0.0), ops.ones(()))
        for variable, new in zip((self._low, self._high, self._seen), news, strict=True):
            variable.assign(self.momentum * ops.convert_to_tensor(variable) + (1.0 - self.momentum) * new)


def _fake_quantize(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    step = ops.maximum((high - low) / _STEPS, _TINY)
    zero_point = ops.round(-low / step)
    lowest, highest = -zero_point * step, (_STEPS - zero_point) * step
    clipped = ops.clip(values, lowest, highest)
    rounded = (ops.clip(ops.round(values / step) + zero_point, 0.0, _STEPS) - zero_point) * step
    return clipped + ops.stop_gradient(rounded - clipped)
