"""Which layers can be constrained, and where their kernels and output channels are. One row per layer type."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

L = keras.layers


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """One kernel of a layer type: its attribute, and the axes inside one output channel (one row once stored)."""

    name: str
    axes: tuple[int, ...]

    @property
    def prefix(self) -> str:
        """What the wrapper's weights of this kernel begin with: '' or 'depthwise_', 'pointwise_'."""
        return self.name.removesuffix("kernel")

    def rows(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel with one output channel per row, shape (rows, row_length)."""
        kept = tuple(axis for axis in range(kernel.ndim) if axis not in self.axes)
        count = int(np.prod([kernel.shape[axis] for axis in kept]))
        return kernel.transpose(*kept, *self.axes).reshape(count, -1)


KERNELS: dict[type, tuple[KernelSpec, ...]] = {
    L.Dense: (KernelSpec("kernel", (0,)),),
    L.Conv1D: (KernelSpec("kernel", (0, 1)),),
    L.Conv2D: (KernelSpec("kernel", (0, 1, 2)),),
    L.DepthwiseConv2D: (KernelSpec("kernel", (0, 1)),),
    L.SeparableConv2D: (KernelSpec("depthwise_kernel", (0, 1)), KernelSpec("pointwise_kernel", (0, 1, 2))),
}


def kernels_of(layer: keras.layers.Layer) -> tuple[KernelSpec, ...]:
    """The kernels of a layer that can be constrained; empty for an unsupported type."""
    return next((specs for kind, specs in KERNELS.items() if isinstance(layer, kind)), ())


def why_unsupported(layer: keras.layers.Layer) -> str:
    """Why a layer cannot be constrained, '' when it can."""
    if not kernels_of(layer):
        supported = ", ".join(kind.__name__ for kind in KERNELS)
        return f"the layer type {type(layer).__name__} is not supported (supported: {supported})"
    if layer.quantization_mode is not None:
        return f"the layer is already quantized by Keras (mode {layer.quantization_mode!r}) and no longer trains"
    if getattr(layer, "lora_enabled", False):
        return "LoRA is enabled: save and load the model to merge it first"
    return ""


def has_weight_matrix(layer: keras.layers.Layer) -> bool:
    """Whether the layer holds a weight of two or more dimensions, that is, something worth compressing."""
    return any(len(weight.shape) >= 2 for weight in layer.weights)
