"""Recurrent layers as conversion needs them: unrolled, with a known number of time steps, without state.

The TFLite converter of TensorFlow 2.21 ends the Python process (segmentation fault) on a loop over time steps in full
int8; unrolled layers become fully connected and element-wise operators that share one weight tensor per kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_hwcompress.errors import UnsupportedModelError

L = keras.layers
_CONVOLUTIONAL = (L.ConvLSTM1D, L.ConvLSTM2D, L.ConvLSTM3D)


def recurrent_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The recurrent layers that a layer is or wraps (Bidirectional, TimeDistributed)."""
    if isinstance(layer, L.RNN):
        yield layer
    elif isinstance(layer, L.Bidirectional):
        yield layer.forward_layer
        yield layer.backward_layer
    elif isinstance(layer, L.Wrapper):
        yield from recurrent_layers(layer.layer)


def unrolled(layer: keras.layers.Layer, path: str, config: Any) -> Any:
    """The configuration of a layer with every recurrent layer in it unrolled.

    Args:
        layer: any built layer. path: its name in messages. config: from its `get_config`.

    Returns:
        `config` itself for a layer without recurrence.

    Raises:
        UnsupportedModelError: naming the layer: the number of time steps is not known, the layer keeps its state
            between batches, or it is a convolutional recurrent layer, which Keras cannot unroll.
    """
    found = list(recurrent_layers(layer))
    for inner in found:
        _check(inner, path)
    return _with_unroll(config) if found else config


def why_not_unrolled(layer: keras.layers.Layer) -> str:
    """Why a recurrent layer cannot be converted whatever its input, '' when it can."""
    for inner in recurrent_layers(layer):
        if isinstance(inner, _CONVOLUTIONAL):
            return f"{type(inner).__name__} cannot be unrolled by Keras, and the TFLite converter fails on its loop"
        if inner.stateful:
            return "it keeps its state between batches (stateful=True), which an int8 graph without variables cannot"
    return ""


def has_more_inputs(layer: keras.layers.Layer) -> bool:
    """Whether a recurrent layer of a model is called with a mask or an initial state."""
    try:
        inputs = layer.input if any(recurrent_layers(layer)) else None
    except (AttributeError, ValueError):  # not part of a model yet
        return False
    return isinstance(inputs, list | tuple) and len(inputs) > 1


def _check(layer: keras.layers.Layer, path: str) -> None:
    reason = why_not_unrolled(layer)
    if reason:
        raise UnsupportedModelError(f"layer {path!r}: {reason}")
    shape = _built_shape(layer)
    if shape is None or len(shape) < 2 or shape[1] is None:
        raise UnsupportedModelError(
            f"layer {path!r}: the number of time steps must be known to unroll it. Expected an input shape such as "
            f"(time steps, features) in the model's Input. Received: {shape}"
        )


def _built_shape(layer: keras.layers.Layer) -> tuple[int | None, ...] | None:
    """The shape (batch, time steps, features) of the sequences that the layer was built for."""
    config = layer.get_build_config() or {}
    return config.get("input_shape") or config.get("shapes_dict", {}).get("sequences_shape")


def _with_unroll(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: True if key == "unroll" else _with_unroll(value) for key, value in config.items()}
    return [_with_unroll(value) for value in config] if isinstance(config, list) else config
