"""What a wrapper remembers about one kernel: the weights that a rule adds, and how they follow from the kernel."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import ops

from keras_hwcompress.training.kernels import KernelSpec
from keras_hwcompress.training.quantizers import Tensor


class KernelState:
    """One kernel of a wrapped layer with the wrapper's weights that belong to it.

    Args:
        wrapper: the layer that owns the weights.
        spec: where the kernel is.
    """

    def __init__(self, wrapper: keras.layers.Wrapper, spec: KernelSpec) -> None:
        self.spec = spec
        self.kernel = spec.of(wrapper.layer)
        self.shape: tuple[int, ...] = tuple(self.kernel.shape)
        self.variables: dict[str, keras.Variable] = {}
        self._wrapper = wrapper
        self._starts: dict[str, Callable[[Tensor], Tensor]] = {}

    def __getitem__(self, name: str) -> Tensor:
        """The present value of a weight by its name without prefix, float32."""
        return ops.convert_to_tensor(self.variables[name])

    def add(
        self, name: str, shape: tuple[int, ...], start: Callable[[Tensor], Tensor], trainable: bool = False
    ) -> None:
        """Adds a float32 weight to the wrapper.

        Args:
            name: unique among the kernel's weights.
            shape: its shape.
            start: its first value as a function of the kernel, evaluated when the variable is created (which Keras may
                defer, so it cannot be assigned here) and again by `restart`.
            trainable: whether the optimizer moves it.
        """
        self._starts[name] = start
        self.variables[name] = self._wrapper.add_weight(
            name=self.spec.prefix + name,
            shape=shape,
            dtype="float32",
            initializer=lambda shape, dtype=None: start(self.latent()),
            trainable=trainable,
            autocast=False,
        )

    def latent(self) -> Tensor:
        """The trained weights in float32, rounded to the compute dtype first.

        In mixed precision the value of a kernel depends on where it is read (Keras casts it inside a call). Rounding
        makes the forward pass, `restart` and `strip` see the same numbers, hence choose the same levels.
        """
        rounded = ops.cast(ops.convert_to_tensor(self.kernel), self._wrapper.compute_dtype)
        return ops.cast(rounded, "float32")

    def restart(self, *names: str) -> None:
        """Sets weights of the state to their first value for the present kernel, in the order of their creation.

        Args:
            *names: which of them; all if none is named, those that the rule does not have are passed over.
        """
        for name, start in self._starts.items():
            if not names or name in names:
                self.variables[name].assign(start(self.latent()))
