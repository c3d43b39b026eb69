"""Layers and small models that the training tests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

L = keras.layers


@dataclass(frozen=True)
class LayerCase:
    """One layer configuration that can be wrapped, with the shape of its input (without the batch)."""

    id: str
    make: Any
    shape: tuple[int, ...]

    def inputs(self, rng: np.random.Generator, batch: int = 4) -> np.ndarray:
        return rng.normal(size=(batch, *self.shape)).astype(np.float32)

    def built(self, **kwargs: Any) -> keras.layers.Layer:
        layer = self.make(name="inner", **kwargs)
        layer.build((None, *self.shape))
        return layer


LAYERS = [
    LayerCase("dense", lambda **k: L.Dense(6, activation="relu", **k), (11,)),
    LayerCase("dense_rank3", lambda **k: L.Dense(6, use_bias=False, **k), (5, 11)),
    LayerCase("conv1d_causal", lambda **k: L.Conv1D(6, 3, padding="causal", dilation_rate=2, **k), (9, 4)),
    LayerCase("conv2d", lambda **k: L.Conv2D(6, 3, strides=2, padding="same", activation="relu", **k), (6, 7, 3)),
    LayerCase("conv2d_groups", lambda **k: L.Conv2D(6, (1, 3), groups=2, **k), (6, 7, 4)),
    LayerCase("depthwise", lambda **k: L.DepthwiseConv2D(3, depth_multiplier=2, **k), (6, 7, 3)),
    LayerCase("separable", lambda **k: L.SeparableConv2D(6, 3, padding="same", **k), (6, 7, 3)),
]


def rows_of(name: str, kernel: np.ndarray, layer: keras.layers.Layer) -> np.ndarray:
    """One output channel per row, written out per case: the oracle of `KernelSpec.rows`."""
    if "depthwise" in name or isinstance(layer, L.DepthwiseConv2D):
        height, width, channels, multiplier = kernel.shape
        rows = [kernel[:, :, c, m].ravel() for c in range(channels) for m in range(multiplier)]
        return np.stack(rows).reshape(channels * multiplier, height * width)
    return np.stack([kernel[..., channel].ravel() for channel in range(kernel.shape[-1])])


def sequential() -> keras.Model:
    layers = [
        keras.Input((8, 8, 3)),
        L.Conv2D(6, 3, padding="same", use_bias=False, name="conv"),
        L.BatchNormalization(name="bn"),
        L.ReLU(name="relu"),
        L.DepthwiseConv2D(3, name="depthwise"),
        L.ReLU(name="relu2"),
        L.Flatten(name="flatten"),
        L.Dense(4, activation="softmax", name="head"),
    ]
    return keras.Sequential(layers, name="chain")


def functional() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="image")
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="stem")(inputs)))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="body")(x)))
    y = L.SeparableConv2D(6, 3, padding="same", name="separable")(y)
    x = L.ReLU()(L.Add()([x, y]))
    x = L.GlobalAveragePooling2D()(x * 0.5)
    return keras.Model(inputs, L.Dense(4, activation="softmax", name="head")(x), name="residual")


def nested() -> keras.Model:
    block_in = keras.Input((8, 8, 6))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="conv")(block_in)))
    block = keras.Model(block_in, L.Add()([block_in, y]), name="block")
    head = keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(4, activation="softmax", name="dense")], name="head")
    inputs = keras.Input((8, 8, 3))
    x = block(block(L.Conv2D(6, 3, padding="same", name="conv")(inputs)))
    return keras.Model(inputs, head(x), name="nest")


def shared() -> keras.Model:
    left, right = keras.Input((10, 3), name="left"), keras.Input((10, 3), name="right")
    tower = L.Conv1D(5, 3, activation="relu", name="tower")
    pooled = [L.GlobalAveragePooling1D()(tower(side)) for side in (left, right)]
    x = L.Dense(4, activation="softmax", name="head")(L.Concatenate()(pooled))
    return keras.Model([left, right], x, name="twin")


MODELS = {"sequential": sequential, "functional": functional, "nested": nested, "shared": shared}


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives every weight, BatchNormalization statistics included, a value that shows when it is lost."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        values = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0.0, 0.4, weight.shape)
        weight.assign(values.astype(weight.dtype))
    return model


def data_for(model: keras.Model, samples: int = 16, seed: int = 1) -> tuple[Any, np.ndarray]:
    """Random inputs for a model, a list if it has several, and labels 0..3."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(samples, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    return (inputs if len(inputs) > 1 else inputs[0]), rng.integers(0, 4, samples)
