"""BatchNormalization statistics measured anew: once the weights are on a grid, the averages of the way there are stale."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.training.models import check_model, leaf_layers, sync_state
from keras_hwcompress.training.wrapper import CompressedLayer

L = keras.layers

# Layers that add noise in training, and the attribute that switches it off.
_NOISE = {
    L.Dropout: "rate", L.SpatialDropout1D: "rate", L.SpatialDropout2D: "rate", L.SpatialDropout3D: "rate",
    L.AlphaDropout: "rate", L.GaussianDropout: "rate", L.GaussianNoise: "stddev",
}  # fmt: skip


def reestimate_batch_norm(model: keras.Model, inputs: Any, batch_size: int = 256) -> None:
    """Sets moving mean and variance of every BatchNormalization to their averages over `inputs`.

    Runs the model in training mode, without dropout and noise, and weights every batch by its size. Nothing but the
    statistics changes: other non-trainable weights (random seeds, input ranges) are put back. Layers that are frozen
    (trainable=False) keep their statistics, as Keras runs them in inference mode.

    Args:
        model: a Sequential or functional model, wrapped or not.
        inputs: array of samples, or a list of arrays for several inputs: training data, a thousand samples are plenty.
        batch_size: samples per batch; within a batch the variance is exact, so larger is better.

    Raises:
        HwcmpError: no samples, or a batch size below 1.
        UnsupportedModelError: as `wrap`.
    """
    check_model(model)
    parts = [np.asarray(part) for part in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise HwcmpError(f"batch_size must be a positive integer. Received: batch_size={batch_size!r}")
    if any(part.ndim == 0 or len(part) == 0 for part in parts) or len({len(part) for part in parts}) != 1:
        raise HwcmpError("re-estimating BatchNormalization needs at least one sample, the same number for every input")
    norms = [layer for _, layer in leaf_layers(model) if isinstance(layer, L.BatchNormalization)]
    sync_state(model)
    if norms:
        with _only_statistics_change(model, norms), without_noise(model):
            _average(model, norms, parts, batch_size)


def _average(model: keras.Model, norms: list[L.BatchNormalization], parts: list[np.ndarray], batch_size: int) -> None:
    """A moving average whose momentum is the share of samples seen so far is their mean."""
    with _attributes([(layer, "momentum", layer.momentum) for layer in norms]):
        for start in range(0, len(parts[0]), batch_size):
            batch = [ops.convert_to_tensor(part[start : start + batch_size]) for part in parts]
            for layer in norms:
                layer.momentum = start / (start + len(batch[0]))
            model(batch if len(batch) > 1 else batch[0], training=True)


@contextlib.contextmanager
def _only_statistics_change(model: keras.Model, norms: list[L.BatchNormalization]) -> Iterator[None]:
    statistics = {id(variable) for layer in norms for variable in (layer.moving_mean, layer.moving_variance)}
    others = [variable for variable in model.non_trainable_variables if id(variable) not in statistics]
    values = [ops.convert_to_numpy(variable).copy() for variable in others]
    try:
        yield
    finally:
        for variable, value in zip(others, values, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def without_noise(model: keras.Model) -> Iterator[None]:
    """Switches dropout and noise off for code that runs a model in training mode, eagerly or traced anew.

    Input ranges stand still, too: at momentum 1 nothing new comes in.
    """
    layers = [layer for _, layer in leaf_layers(model)]
    noisy = [(layer, name, 0.0) for layer in layers for kind, name in _NOISE.items() if type(layer) is kind]
    ranges = [layer.input_range for layer in layers if isinstance(layer, CompressedLayer) and layer.input_range]
    with _attributes([*noisy, *((item, "momentum", 1.0) for item in ranges)]):
        yield


@contextlib.contextmanager
def _attributes(settings: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Sets (object, attribute, value) for a while."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
