"""Whole networks for the benchmarks: MLPerf Tiny's shapes with random weights, and rounding of a given model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.regrid import regrid
from keras_hwcompress.tflite.weights import WeightGroup, from_rows, to_rows, weight_groups

_SAMPLES = 8
SEED = 0


def ternary(graph: Graph, density: float, keep: int = 1) -> Graph:
    """The graph with its weights rounded to {-127, 0, 127}, a scale per channel: without training, for sizes and instructions.

    As a converted model has them: weights of {-k, 0, k}, k per channel, which `regrid` puts on one grid.

    Args:
        graph: a plain int8 graph.
        density: share of the weights of each layer that stay, the largest by absolute real value.
        keep: layers at either end that stay as they are.
    """
    groups = weight_groups(graph)
    rounded = groups[keep : len(groups) - keep]
    tensors = list(graph.tensors)
    for group in rounded:
        for index in group.tensors:
            tensor = tensors[index]
            tensors[index] = replace(tensor, data=_ternary_rows(graph, group, index, density))
    return regrid(replace(graph, tensors=tuple(tensors)), [number for group in rounded for number in group.ops])


def _ternary_rows(graph: Graph, group: WeightGroup, index: int, density: float) -> np.ndarray:
    tensor = graph.tensors[index]
    rows = to_rows(group.kind, tensor.data).astype(int)
    real = np.abs(rows * np.broadcast_to(tensor.quantization.scale, len(rows))[:, None])
    rank = np.empty(real.size, int)
    rank[np.argsort(-real, axis=None, kind="stable")] = np.arange(real.size)
    kept = rank.reshape(real.shape) < round(density * real.size)
    level = np.ma.masked_array(np.abs(rows), ~kept).mean(axis=1).filled(1).round().clip(1, 127)
    values = np.where(kept, np.where(rows < 0, -1, 1) * level[:, None], 0).astype(np.int8)
    return from_rows(group.kind, values, tensor.shape)


def mobilenet():
    """MobileNet, alpha 0.25, 96 x 96 x 3, two classes: MLPerf Tiny's visual wake words."""
    import keras

    keras.utils.set_random_seed(SEED)
    return keras.applications.MobileNet(input_shape=(96, 96, 3), alpha=0.25, weights=None, classes=2, dropout=0.0)


def ds_cnn():
    """Depthwise separable CNN, 49 x 10 input, 64 channels, four blocks: MLPerf Tiny's keyword spotting."""
    import keras

    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    x = inputs = keras.Input((49, 10, 1))
    x = _normalised(layers.Conv2D(64, (10, 4), strides=2, padding="same", use_bias=False)(x))
    for _ in range(4):
        x = _normalised(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = _normalised(layers.Conv2D(64, 1, use_bias=False)(x))
    x = layers.Flatten()(layers.AveragePooling2D((25, 5))(x))
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


def autoencoder():
    """640-128-128-8-128-640 with BatchNormalization."""
    return _dense_network((128, 128, 8, 128))


def anomaly_detection():
    """640-128-128-128-128-8-128-128-128-128-640 with BatchNormalization: MLPerf Tiny's anomaly detection."""
    return _dense_network((128, 128, 128, 128, 8, 128, 128, 128, 128))


def _dense_network(widths: tuple[int, ...]):
    import keras

    keras.utils.set_random_seed(SEED)
    x = inputs = keras.Input((640,))
    for width in widths:
        x = _normalised(keras.layers.Dense(width)(x))
    return keras.Model(inputs, keras.layers.Dense(640)(x))


def _normalised(x):
    import keras

    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))


def _settle(model, samples: np.ndarray) -> None:
    """Sets the statistics of BatchNormalization to those of the samples: random weights would let activations vanish."""
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(samples, training=True)


NETWORKS = {"MobileNet": mobilenet, "DS-CNN": ds_cnn, "autoencoder": autoencoder, "anomaly detection": anomaly_detection}


def int8_model(name: str) -> bytes:
    """A network of NETWORKS as an int8 .tflite without custom operators, from the stock converter."""
    import keras_hwcompress as hwc

    model = NETWORKS[name]()
    samples = np.random.default_rng(SEED).normal(size=(_SAMPLES, *model.inputs[0].shape[1:])).astype(np.float32)
    _settle(model, samples)
    converter = hwc.Converter.from_keras_model(model)
    converter.representative_dataset = samples
    return hwc.expand_tflite(converter.convert())
