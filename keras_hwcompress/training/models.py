"""Walking and rebuilding Keras models: nested models, shared layers, copies of weights."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_hwcompress.errors import HwcmpError, UnsupportedModelError
from keras_hwcompress.training.wrapper import CompressedLayer

Layer = keras.layers.Layer

_LEGACY = ("tf_keras", "tensorflow.python.keras")


def is_graph(layer: Any) -> bool:
    """Whether this is a Sequential or functional model, whose layers can be listed and replaced."""
    return isinstance(layer, keras.Sequential) or (isinstance(layer, keras.Model) and isinstance(layer, keras.Function))


def check_model(model: Any) -> None:
    """Refuses what cannot be rebuilt layer by layer.

    Raises:
        UnsupportedModelError: a tf_keras object, no Keras model, a subclassed model, or one that is not built.
    """
    modules = [kind.__module__ for kind in type(model).__mro__]
    if any(module.startswith(_LEGACY) for module in modules):
        raise UnsupportedModelError(
            f"{type(model).__name__} is a tf_keras (Keras 2) object, which shares no layer classes with Keras 3. "
            f"Expected a model made with `import keras`: rebuild it there, then new.set_weights(old.get_weights())"
        )
    if not isinstance(model, keras.Model):
        raise UnsupportedModelError(f"expected a Keras 3 model. Received: an object of type {type(model).__name__}")
    if not is_graph(model):
        raise UnsupportedModelError(
            f"model {model.name!r} is subclassed ({type(model).__name__}): its layers cannot be replaced from outside. "
            f"Expected a Sequential or functional model, or use CompressedLayer(layer, rule) inside the class"
        )
    unbuilt = [path for path, layer in leaf_layers(model) if not layer.built] if model.built else [model.name]
    if unbuilt:
        raise UnsupportedModelError(f"{unbuilt[0]!r} is not built. Expected a model with an Input, or called on data")


def leaf_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer once, nested models opened, as (path, layer); a path is `name` or `nested_model/name`."""
    seen: set[int] = set()
    for path, layer in _walk(model, prefix):
        if id(layer) not in seen and not isinstance(layer, keras.layers.InputLayer):
            seen.add(id(layer))
            yield path, layer


def _walk(model: keras.Model, prefix: str) -> Iterator[tuple[str, Layer]]:
    for layer in model.layers:
        path = prefix + layer.name
        if is_graph(layer):
            yield from _walk(layer, path + "/")
        else:
            yield path, layer


def compressed_layers(model: keras.Model) -> list[tuple[str, CompressedLayer]]:
    """The wrapped layers of a model with their paths, nested models opened, each once."""
    return [(path, layer) for path, layer in leaf_layers(model) if isinstance(layer, CompressedLayer)]


def set_strength(model: keras.Model, strength: float) -> None:
    """Sets how far every wrapped layer is constrained; safe in the middle of an epoch on every backend.

    Args:
        model: a wrapped model; inside a callback, the callback's model.
        strength: 0 (bare layers) to 1 (constrained).

    Raises:
        HwcmpError: strength is out of range or nothing is wrapped.
    """
    if not 0.0 <= strength <= 1.0:
        raise HwcmpError(f"strength must be in 0..1. Received: strength={strength!r}")
    layers = compressed_layers(model)
    if not layers:
        raise HwcmpError(f"model {model.name!r} holds no wrapped layer: call wrap() first")
    sync_state(model)
    for _, layer in layers:
        layer.strength.assign(strength)


def sync_state(model: keras.Model) -> None:
    """Lets a callback use weights inside an epoch: on JAX they live in the training loop until synchronised."""
    getattr(model, "jax_state_sync", lambda: None)()


class Rebuilder:
    """Builds a model anew with some layers replaced; nested models are rebuilt too, shared layers stay shared.

    Args:
        make: the new layer for an old one, with weights of its own.
        call: how a new layer is called, as `call(layer, *args, **kwargs)`; None calls it. Sequential models become
            functional ones when it is given.
    """

    def __init__(self, make: Callable[[Layer], Layer], call: Callable[..., Any] | None = None) -> None:
        self._make, self._call = make, call
        self._new: dict[int, Layer] = {}
        self.pairs: list[tuple[Layer, Layer]] = []

    def model(self, old: keras.Model) -> keras.Model:
        """The new model; `pairs` then lists (old, new) for every layer that is no model."""
        with _uncompiled(old):
            new = self._sequential(old) if isinstance(old, keras.Sequential) else self._functional(old)
        if type(new) is not type(old) and not isinstance(old, keras.Sequential):
            warnings.warn(f"the class {type(old).__name__} of model {old.name!r} is lost in its copy", stacklevel=4)
        return new

    def _layer(self, old: Layer) -> Layer:
        if id(old) not in self._new:
            nested = is_graph(old)
            self._new[id(old)] = self.model(old) if nested else self._make(old)
            if not nested and isinstance(old, Layer):
                self.pairs.append((old, self._new[id(old)]))
        return self._new[id(old)]

    def _functional(self, old: keras.Model) -> keras.Model:
        """clone_model with inputs of our own: its own take the names of tensors instead of those of the layers."""
        entries = {id(layer.output): layer for layer in old.layers if isinstance(layer, keras.layers.InputLayer)}

        def entry(tensor: Any) -> Any:
            layer = entries[id(tensor)]
            return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=layer.name, optional=layer.optional)

        inputs = keras.tree.map_structure(entry, old.input)
        return keras.models.clone_model(old, inputs, clone_function=self._layer, call_function=self._called)

    def _called(self, layer: Layer, *args: Any, **kwargs: Any) -> Any:
        """Keras remembers "mask=None" of a call, an argument that the new layer may not have."""
        if kwargs.get("mask", "") is None:
            del kwargs["mask"]
        return layer(*args, **kwargs) if self._call is None else self._call(layer, *args, **kwargs)

    def _sequential(self, old: keras.Sequential) -> keras.Model:
        first = old.inputs[0]
        entry = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first.name)
        layers = [self._layer(layer) for layer in old.layers]
        if self._call is None:
            return keras.Sequential([entry, *layers], name=old.name, trainable=old.trainable)
        outputs = entry
        for layer in layers:
            outputs = self._call(layer, outputs)
        return keras.Model(entry, outputs, name=old.name, trainable=old.trainable)


@contextlib.contextmanager
def _uncompiled(model: keras.Model) -> Iterator[None]:
    """Hides the compile state from clone_model, which would deserialise losses and metrics only for us to drop them."""
    compiled, model.compiled = model.compiled, False
    try:
        yield
    finally:
        model.compiled = compiled


def like(layer: Layer) -> Layer:
    """A new layer of the same configuration."""
    return layer.__class__.from_config(layer.get_config())


def copy_weights(old: Layer, new: Layer) -> None:
    """Copies all weights between layers of equal configuration."""
    new.set_weights(old.get_weights())
    if isinstance(new, keras.layers.Normalization):
        new.finalize_state()
