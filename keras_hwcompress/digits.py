"""The digits task of the demo and of its benchmark: data, network, training and conversion.

Data: the 1,797 handwritten digits that ship with scikit-learn, 8 x 8 pixels (UCI "Optical Recognition of Handwritten
Digits"). Protocol: both arms start from one base network and train the same further epochs on the same data; the
first convolution and the classifier of the ternary arm stay int8, as is usual for low-bit networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_hwcompress import training
from keras_hwcompress.converter import Converter
from keras_hwcompress.errors import ToolError
from keras_hwcompress.report.conversion import ConversionReport

BASE_EPOCHS, ARM_EPOCHS = 15, 25
FOLDS = 5
TERNARY_RULES = (("first", None), ("classifier", None), ("*", training.Nary(levels=3)))
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Split:
    """float32 images (count, 8, 8, 1) in 0..1 and integer labels."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_fold(fold: int, folds: int = FOLDS) -> Split:
    """Fold `fold` of a shuffled cross-validation over all samples; the shuffle is the same for every fold."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ToolError("the digits data come with scikit-learn: pip install keras_hwcompress[bench]") from error
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, labels = (data.images[order, :, :, None] / 16).astype(np.float32), data.target[order]
    is_test = np.arange(len(labels)) % folds == fold
    return Split(images[~is_test], labels[~is_test], images[is_test], labels[is_test])


def build_network(channels: int = 16) -> keras.Model:
    """Three 3 x 3 convolutions with batch normalization, global average pooling and a classifier; logits out."""
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1), name="image")
    for name, width, stride in (("first", channels, 1), ("second", 2 * channels, 2), ("third", 2 * channels, 1)):
        x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="classifier")(x), name="digits")


def train(model: keras.Model, data: Split, epochs: int, rate: float, callbacks: Sequence[keras.callbacks.Callback] = ()) -> keras.Model:
    """Adam with a cosine schedule; compiles and fits in place."""
    steps = epochs * -(-len(data.x_train) // _BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(data.x_train, data.y_train, batch_size=_BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def train_base(data: Split, seed: int, callbacks: Sequence[keras.callbacks.Callback] = ()) -> keras.Model:
    """The network that both arms start from."""
    keras.utils.set_random_seed(seed)
    return train(build_network(), data, BASE_EPOCHS, 3e-3, callbacks)


def train_float(base: keras.Model, data: Split, seed: int, callbacks: Sequence[keras.callbacks.Callback] = ()) -> keras.Model:
    """The float arm."""
    keras.utils.set_random_seed(seed + 1)
    model = keras.models.clone_model(base)
    model.set_weights(base.get_weights())
    return train(model, data, ARM_EPOCHS, 2e-3, callbacks)


def train_ternary(base: keras.Model, data: Split, seed: int, callbacks: Sequence[keras.callbacks.Callback] = ()) -> keras.Model:
    """The ternary arm, wrapped."""
    keras.utils.set_random_seed(seed + 1)
    return train(training.wrap(base, list(TERNARY_RULES)), data, ARM_EPOCHS, 2e-3, callbacks)


def accuracy(model: keras.Model, data: Split) -> float:
    """Share of right answers of a Keras model on the test images."""
    return float(np.mean(model.predict(data.x_test, verbose=0).argmax(axis=1) == data.y_test))


def convert(model: keras.Model, data: Split, objective: str = "flash") -> tuple[bytes, ConversionReport]:
    """The .tflite file and its report; calibrated on 200 training images."""
    converter = Converter.from_keras_model(model)
    converter.representative_dataset = data.x_train[:200]
    converter.objective = objective
    return converter.convert(), converter.report


def quantize_images(images: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """int8 images as the converted model takes them."""
    return np.clip(np.round(images / scale) + zero_point, -128, 127).astype(np.int8)
