"""The one wrapper: any supported layer, run with constrained kernels through its public `stateless_call`."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from keras_hwcompress.errors import HwcmpError, UnsupportedModelError
from keras_hwcompress.training.inputs import InputRange
from keras_hwcompress.training.kernels import kernels_of, why_unsupported
from keras_hwcompress.training.quantizers import Tensor, straight_through
from keras_hwcompress.training.rules import Rule
from keras_hwcompress.training.state import KernelState


@keras.saving.register_keras_serializable(package="keras_hwcompress")
class CompressedLayer(keras.layers.Wrapper):
    """A layer whose kernels follow a rule in the forward pass, while the optimizer moves the latent kernels underneath.

    The forward kernel is w + stop_gradient(strength * (q(w) - w)), with w times the mask where the rule has one. All
    state is weights of the wrapper, so it is saved with the model and seen by every backend: `strength` (scalar, 0 =
    the bare, if masked, layer, 1 = constrained) and, per kernel, what the rule adds (for `Nary`: mask, codebook and, if
    learned, the scale). The wrapper takes the name, the dtype
    policy, the trainable flag and the activity regularizer of the inner layer; kernel regularizers see the latent
    kernel.

    Args:
        layer: Dense, Conv1D, Conv2D, DepthwiseConv2D, SeparableConv2D, GRU, LSTM, SimpleRNN or a Bidirectional of
            these; recurrent layers without initial state and mask.
        rule: what its kernels must become.
        quantize_inputs: whether training also sees the layer's inputs rounded to int8, as the converted model does.

    Raises:
        UnsupportedModelError: the layer cannot be constrained.
    """

    def __init__(self, layer: keras.layers.Layer, rule: Rule, quantize_inputs: bool = False, **kwargs: Any) -> None:
        kwargs = {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable, **kwargs}
        super().__init__(layer, activity_regularizer=layer.activity_regularizer, **kwargs)
        reason = why_unsupported(layer)
        if reason:
            raise UnsupportedModelError(f"layer {layer.name!r}: {reason}")
        if not isinstance(rule, Rule):
            raise HwcmpError(f"layer {layer.name!r}: expected a rule such as Nary(levels=3). Received: {rule!r}")
        self.rule = rule
        self.quantize_inputs = bool(quantize_inputs)
        self.states: tuple[KernelState, ...] = ()
        self.input_range: InputRange | None = None
        self.supports_masking = layer.supports_masking
        arguments = inspect.signature(layer.call).parameters
        self._passes_training, self._takes_mask = "training" in arguments, "mask" in arguments

    def build(self, input_shape: Any = None) -> None:
        """Builds the inner layer, then the state."""
        super().build(input_shape)
        self.input_spec = self.layer.input_spec
        first = keras.initializers.Constant(self.rule.first_strength)
        self.strength = self.add_weight(
            name="strength", shape=(), dtype="float32", initializer=first, trainable=False, autocast=False
        )
        self.input_range = InputRange(self) if self.quantize_inputs else None
        states = tuple(KernelState(self, spec) for spec in kernels_of(self.layer))
        for state in states:
            self.rule.build(state)
        self.states = states
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """The inner layer's output with the forward kernels in place of its own."""
        if self.input_range is not None:
            inputs = self.input_range.quantize(inputs, bool(training))
        forward = {id(state.kernel): self._forward(state) for state in self.states}
        trainable = [forward.get(id(v), v.value) for v in self.layer.trainable_variables]
        fixed = [forward.get(id(v), v.value) for v in self.layer.non_trainable_variables]
        if self._takes_mask and getattr(inputs, "_keras_mask", None) is not None:
            raise UnsupportedModelError(
                f"layer {self.name!r}: a mask reaches it (Masking or mask_zero), and masked time steps cannot be "
                f"converted to int8; remove the mask, or leave the layer unwrapped (rule None)"
            )
        extra = {"training": training} if self._passes_training else {}
        outputs, updated = self.layer.stateless_call(trainable, fixed, inputs, **extra)
        self._advance_seeds(updated)
        return outputs

    def forward_kernels(self) -> dict[str, Tensor]:
        """The kernels that the forward pass uses now, float32, by attribute name of the inner layer."""
        return {state.spec.name: self._forward(state) for state in self.states}

    def restart(self, *names: str) -> None:
        """Derives masks and scales, or only the named weights, anew from the present latent kernels; strength stays."""
        for state in self.states:
            state.restart(*names)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The inner layer's output shape."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The configuration of the inner layer, the rule and the options."""
        rule = keras.saving.serialize_keras_object(self.rule)
        return {**super().get_config(), "rule": rule, "quantize_inputs": self.quantize_inputs}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> CompressedLayer:
        """The wrapper of `get_config`, with new weights."""
        rule = keras.saving.deserialize_keras_object(config["rule"], custom_objects=custom_objects)
        return super().from_config({**config, "rule": rule}, custom_objects=custom_objects)

    def _advance_seeds(self, updated: list[Tensor]) -> None:
        """Keeps the new states of random generators (dropout inside a recurrent layer), which are no weights."""
        weights = {id(weight) for weight in self.layer.weights}
        for variable, value in zip(self.layer.non_trainable_variables, updated, strict=True):
            if id(variable) not in weights:
                variable.assign(value)

    def _forward(self, state: KernelState) -> Tensor:
        latent = state.latent()
        constrained = self.rule.constrain(ops.stop_gradient(latent), state)
        relaxed = self.rule.relax(ops.stop_gradient(latent), state)
        return straight_through(latent, constrained, ops.convert_to_tensor(self.strength), relaxed)
