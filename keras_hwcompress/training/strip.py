"""strip(): the plain Keras model with the constrained kernels baked in, and the promises that its kernels make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.training.folding import folded_dense
from keras_hwcompress.training.models import Rebuilder, check_model, compressed_layers, copy_weights, leaf_layers
from keras_hwcompress.training.recurrent import unrolled
from keras_hwcompress.training.wrapper import CompressedLayer

Layer = keras.layers.Layer


@dataclass(frozen=True, slots=True)
class Promise:
    """What one kernel of the stripped model holds, to be found again in the int8 tensor that it becomes.

    Conversion rescales channels and may round small values to zero: an int8 row holds at most `levels` distinct values
    and the tensor at least `zeros` zeros, otherwise the promise is lost.

    Attributes:
        path: the layer, `nested_model/name` inside nested models.
        layer: the layer's own name.
        kernel: the kernel's name ("kernel", "depthwise_kernel", "recurrent_kernel"), with the part of it that becomes
            a tensor of its own if there are several.
        rows: output channels.
        row_length: weights per output channel.
        levels: most distinct values in any one output channel.
        zeros: weights that are exactly zero.
    """

    path: str
    layer: str
    kernel: str
    rows: int
    row_length: int
    levels: int
    zeros: int


def promises(model: keras.Model) -> tuple[Promise, ...]:
    """The promises of every wrapped kernel of a model, counted in its present forward kernels, in model order.

    Raises:
        UnsupportedModelError: as `wrap`.
    """
    check_model(model)
    return tuple(promise for _, promise, _ in promised_rows(model))


def promised_rows(model: keras.Model) -> Iterator[tuple[CompressedLayer, Promise, np.ndarray]]:
    """(layer, promise, float rows of shape (rows, row_length)) of every promise, in model order."""
    for path, layer in compressed_layers(model):
        forward = layer.forward_kernels()
        for state in layer.states:
            kernel = ops.convert_to_numpy(forward[state.spec.name])
            for name, rows in state.spec.stored_parts(layer.layer, kernel):
                yield layer, _promise(path, layer.name, name, rows), rows


def _promise(path: str, layer: str, kernel: str, rows: np.ndarray) -> Promise:
    levels = max(len(np.unique(row)) for row in rows)
    return Promise(path, layer, kernel, *rows.shape, levels, int(np.count_nonzero(rows == 0)))


def strip(
    model: keras.Model, *, allow_partial: bool = False, as_conv: tuple[str, ...] = (), dtype: str | None = None
) -> keras.Model:
    """A plain Keras model that computes what the wrapped one computes, ready for the TFLite converter.

    Names are kept. A wrapped Dense into whose columns the converter would fold a BatchNormalization (see `folding`)
    becomes Reshape - Conv2D 1x1 (with the name of the Dense) - Reshape; a Sequential model that needs this becomes a
    functional one. Recurrent layers, wrapped or not, are unrolled (see `recurrent`). A model without either is copied.

    Args:
        model: a wrapped model; it is left alone.
        allow_partial: bake the kernels of a strength below 1 as they are instead of refusing.
        as_conv: paths of further wrapped Dense layers to write as convolutions.
        dtype: dtype policy of all layers of the result, e.g. "float32" to convert a model trained in mixed precision;
            None keeps the policies.

    Raises:
        HwcmpError: a strength below 1, a scheduled rule without its callback,
            non-finite weights (naming the layer), or an unknown name in `as_conv`.
        UnsupportedModelError: as `wrap`, or a recurrent layer that cannot be unrolled (naming it).
    """
    check_model(model)
    if not allow_partial:
        _refuse_partial(model)
    _refuse_non_finite(model)
    convs = folded_dense(model) | _named_dense(model, as_conv)
    reshaped, paths = _DenseAsConv(), {id(layer): path for path, layer in leaf_layers(model)}

    def make(layer: Layer) -> Layer:
        inner = layer.layer if isinstance(layer, CompressedLayer) else layer
        plain = _plain(inner, paths.get(id(layer), inner.name), dtype)
        return reshaped.register(plain) if id(layer) in convs else plain

    rebuilder = Rebuilder(make, reshaped.call if convs else None)
    result = rebuilder.model(model)
    for old, new in rebuilder.pairs:
        _fill(old, new)
    return result


class _DenseAsConv:
    """Dense layers written as 1x1 convolutions between reshapes."""

    def __init__(self) -> None:
        self._convs: set[int] = set()
        self._reshapes: dict[str, Layer] = {}

    def register(self, dense: Layer) -> Layer:
        """The convolution that takes the place of a Dense."""
        config = dense.get_config()
        shared = {key: config[key] for key in ("name", "trainable", "dtype", "activation", "use_bias")}
        conv = keras.layers.Conv2D(dense.units, 1, **shared)
        self._convs.add(id(conv))
        return conv

    def call(self, layer: Layer, *args: Any, **kwargs: Any) -> Any:
        """Calls a layer; the convolutions of `register` get the shape they need and return that of the Dense."""
        if id(layer) not in self._convs:
            return layer(*args, **kwargs)
        if len(args[0].shape) == 4:
            return layer(args[0])
        lead, features = tuple(args[0].shape[1:-1]), args[0].shape[-1]
        image = (*lead, 1, features) if len(lead) == 1 else (-1 if None in lead else int(np.prod(lead)), 1, features)
        outputs = layer(self._reshape(layer, "image", image)(args[0]))
        return self._reshape(layer, "dense", (*lead, layer.filters))(outputs)

    def _reshape(self, layer: Layer, kind: str, shape: tuple[int | None, ...]) -> Layer:
        """One layer per target shape, so that a shared Dense does not make two layers of one name."""
        target = tuple(-1 if size is None else size for size in shape)
        name = "_".join([layer.name, "as", kind, *(str(size) for size in target)]).replace("-1", "n")
        return self._reshapes.setdefault(name, keras.layers.Reshape(target, name=name, dtype=layer.dtype_policy))


def _refuse_partial(model: keras.Model) -> None:
    for path, layer in compressed_layers(model):
        missing = {layer.rule.waits_for(state, float(ops.convert_to_numpy(layer.strength))) for state in layer.states}
        if any(missing):
            raise HwcmpError(
                f"layer {path!r} is wrapped with {layer.rule} and waits for a callback that fit() was not given: "
                f"model.fit(..., callbacks=[hwc.{max(missing)}(...)])"
            )
    partial = [path for path, layer in compressed_layers(model) if float(ops.convert_to_numpy(layer.strength)) < 1]
    if partial:
        raise HwcmpError(
            f"strength below 1 in {', '.join(partial)}: these kernels are not on their grids yet. "
            f"Call set_strength(model, 1), or pass allow_partial=True"
        )


def _refuse_non_finite(model: keras.Model) -> None:
    for path, layer in leaf_layers(model):
        for weight in layer.weights:
            if not np.all(np.isfinite(np.asarray(ops.convert_to_numpy(weight), dtype=np.float64))):
                raise HwcmpError(f"layer {path!r}: weight {weight.name!r} holds values that are not finite")


def _named_dense(model: keras.Model, paths: tuple[str, ...]) -> set[int]:
    dense = {path: id(layer) for path, layer in compressed_layers(model) if type(layer.layer) is keras.layers.Dense}
    unknown = [path for path in paths if path not in dense]
    if unknown:
        raise HwcmpError(f"as_conv names wrapped Dense layers, one of {sorted(dense)}. Received: {unknown[0]!r}")
    return {dense[path] for path in paths}


def _plain(layer: Layer, path: str, dtype: str | None) -> Layer:
    config = unrolled(layer, path, layer.get_config())
    return layer.__class__.from_config(config if dtype is None else _with_dtype(config, dtype))


def _with_dtype(config: Any, dtype: str) -> Any:
    """The configuration with every floating-point dtype policy replaced, in inner layers too."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and "float" in config["config"]["name"]:
            return {**config, "config": {"name": dtype}}
        return {key: _with_dtype(value, dtype) for key, value in config.items()}
    return [_with_dtype(value, dtype) for value in config] if isinstance(config, list) else config


def _fill(old: Layer, new: Layer) -> None:
    if not isinstance(old, CompressedLayer):
        copy_weights(old, new)
        return
    forward = old.forward_kernels()
    kernels = {id(state.kernel): forward[state.spec.name] for state in old.states}
    values = [ops.convert_to_numpy(kernels.get(id(weight), weight)) for weight in old.layer.weights]
    new.set_weights([value.reshape(weight.shape) for value, weight in zip(values, new.weights, strict=True)])
