"""Which layers can be constrained, and where their kernels and output channels are. One row per layer type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter

import keras
import numpy as np

from keras_hwcompress.training.recurrent import has_more_inputs, why_not_unrolled

L = keras.layers


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """One kernel of a layer type: its name, and the axes inside one output channel (one row once stored).

    owner: the attribute of the layer ("cell") that has the kernel as its `attribute`, "" for the layer itself.
    attribute: "" for `name`.
    """

    name: str
    axes: tuple[int, ...]
    owner: str = ""
    attribute: str = ""

    def of(self, layer: keras.layers.Layer) -> keras.Variable:
        """The kernel of a built layer."""
        return getattr(self._owner(layer), self.attribute or self.name)

    def side(self, side: str) -> KernelSpec:
        """The same kernel of one direction ("forward", "backward") of a Bidirectional layer."""
        owner = ".".join(part for part in (f"{side}_layer", self.owner) if part)
        return replace(self, name=f"{side}_{self.name}", owner=owner, attribute=self.attribute or self.name)

    @property
    def prefix(self) -> str:
        """What the wrapper's weights of this kernel begin with: '' or 'depthwise_', 'pointwise_'."""
        return self.name.removesuffix("kernel")

    def rows(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel with one output channel per row, shape (rows, row_length)."""
        kept = tuple(axis for axis in range(kernel.ndim) if axis not in self.axes)
        count = int(np.prod([kernel.shape[axis] for axis in kept]))
        return kernel.transpose(*kept, *self.axes).reshape(count, -1)

    def stored_parts(self, layer: keras.layers.Layer, kernel: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """(name, rows) of each tensor that the kernel becomes in the converted model: one, usually.

        A GRU that resets before the matrix product multiplies the candidate's columns with something else than those of
        its two gates.
        """
        rows, owner = self.rows(kernel), self._owner(layer)
        recurrent = (self.attribute or self.name) == "recurrent_kernel"
        if recurrent and isinstance(owner, L.GRUCell) and not owner.reset_after:
            yield f"{self.name}, gates", rows[: 2 * owner.units]
            yield f"{self.name}, candidate", rows[2 * owner.units :]
        else:
            yield self.name, rows

    def _owner(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        return attrgetter(self.owner)(layer) if self.owner else layer


_RECURRENT = (KernelSpec("kernel", (0,), "cell"), KernelSpec("recurrent_kernel", (0,), "cell"))

KERNELS: dict[type, tuple[KernelSpec, ...]] = {
    L.Dense: (KernelSpec("kernel", (0,)),),
    L.Conv1D: (KernelSpec("kernel", (0, 1)),),
    L.Conv2D: (KernelSpec("kernel", (0, 1, 2)),),
    L.DepthwiseConv2D: (KernelSpec("kernel", (0, 1)),),
    L.SeparableConv2D: (KernelSpec("depthwise_kernel", (0, 1)), KernelSpec("pointwise_kernel", (0, 1, 2))),
    L.GRU: _RECURRENT,
    L.LSTM: _RECURRENT,
    L.SimpleRNN: _RECURRENT,
}


def kernels_of(layer: keras.layers.Layer) -> tuple[KernelSpec, ...]:
    """The kernels of a layer that can be constrained; empty for an unsupported type."""
    if isinstance(layer, L.Bidirectional):
        sides = {"forward": layer.forward_layer, "backward": layer.backward_layer}
        return tuple(spec.side(side) for side, inner in sides.items() for spec in kernels_of(inner))
    return next((specs for kind, specs in KERNELS.items() if isinstance(layer, kind)), ())


def why_unsupported(layer: keras.layers.Layer) -> str:
    """Why a layer cannot be constrained, '' when it can."""
    if not kernels_of(layer):
        supported = ", ".join([*(kind.__name__ for kind in KERNELS), "Bidirectional of these"])
        return f"the layer type {type(layer).__name__} is not supported (supported: {supported})"
    if layer.quantization_mode is not None:
        return f"the layer is already quantized by Keras (mode {layer.quantization_mode!r}) and no longer trains"
    if reason := why_not_unrolled(layer):
        return reason
    if has_more_inputs(layer):
        return "a mask or an initial state reaches it besides its inputs, which the wrapper does not pass on"
    if getattr(layer, "lora_enabled", False):
        return "LoRA is enabled: save and load the model to merge it first"
    return ""


def has_weight_matrix(layer: keras.layers.Layer) -> bool:
    """Whether the layer holds a weight of two or more dimensions, that is, something worth compressing."""
    return any(len(weight.shape) >= 2 for weight in layer.weights)
