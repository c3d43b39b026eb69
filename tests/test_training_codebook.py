"""The rule Codebook: free levels that start at k-means, take the nearest weight's gradient, and survive conversion."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from training_cases import LAYERS, randomise, rows_of

import keras_hwcompress as hwc
from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.training import Codebook, CompressedLayer, promises
from keras_hwcompress.training.codebook import first_codebook

L = keras.layers
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the converter needs TensorFlow")


def small_model():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((7, 6, 3)), L.Conv2D(8, 3, name="conv"), L.BatchNormalization(name="bn"), L.ReLU(name="relu"), L.Flatten(name="flatten"), L.Dense(4, name="head")]
    return randomise(keras.Sequential(layers))


def squared_error(rows, codebooks):
    return sum(np.min((row[:, None] - levels) ** 2, axis=1).sum() for row, levels in zip(rows, codebooks, strict=True))


def test_weights_with_few_values_are_their_own_codebook():
    rng = np.random.default_rng(0)
    levels = np.array([[-0.9, -0.2, 0.1, 0.7], [-0.5, -0.4, 0.3, 0.8]], np.float32)
    weights = np.stack([rng.permutation(np.repeat(row, 30)) for row in levels], axis=1)  # (120, 2): one channel a column
    found = keras.ops.convert_to_numpy(first_codebook(keras.ops.convert_to_tensor(weights), 4, (0,)))
    assert found.shape == (4, 1, 2) and np.allclose(found[:, 0].T, levels, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_the_first_codebook_beats_even_levels_and_quantiles(count):
    rows = np.random.default_rng(count).normal(size=(6, 400)).astype(np.float32) ** 3
    found = keras.ops.convert_to_numpy(first_codebook(keras.ops.convert_to_tensor(rows), count, (1,)))[:, :, 0].T
    even = [np.linspace(row.min(), row.max(), count) for row in rows]
    quantiles = [np.quantile(row, (np.arange(count) + 0.5) / count) for row in rows]
    assert squared_error(rows, found) < min(squared_error(rows, even), squared_error(rows, quantiles))


@pytest.mark.parametrize("per", ["channel", "layer"])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_every_weight_takes_the_nearest_level_of_its_channel(case, per):
    layer = CompressedLayer(case.make(name="inner"), Codebook(5, per))
    layer.build((None, *case.shape))
    for state, (name, forward) in zip(layer.states, layer.forward_kernels().items(), strict=True):
        latent, codebook = keras.ops.convert_to_numpy(state.latent()), keras.ops.convert_to_numpy(state["codebook"])
        levels = np.broadcast_to(codebook, (5, *latent.shape))
        expected = np.take_along_axis(levels, np.abs(levels - latent).argmin(axis=0)[None], axis=0)[0]
        assert np.array_equal(keras.ops.convert_to_numpy(forward), expected)
        if case.id != "separable":
            assert all(len(np.unique(row)) <= 5 for row in rows_of(name, expected, layer.layer))
            assert per == "channel" or len(np.unique(expected)) <= 5


@needs_tensorflow
def test_a_level_moves_by_the_gradient_of_its_weights_and_weights_pass_theirs_through():
    import tensorflow as tf

    layer = CompressedLayer(L.Dense(3, use_bias=False, name="inner"), Codebook(2))
    layer.build((None, 50))
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) * np.array([1.0, 2.0, -1.0], np.float32))
    (state,) = layer.states
    to_kernel, to_codebook = tape.gradient(loss, [layer.layer.kernel.value, state.variables["codebook"].value])
    expected = x.sum(axis=0)[:, None] * np.array([1.0, 2.0, -1.0])
    assert np.allclose(to_kernel, expected, atol=1e-5)
    latent, codebook = layer.layer.kernel.numpy(), state.variables["codebook"].numpy()
    nearest = np.abs(codebook - latent).argmin(axis=0)
    sums = np.stack([(expected * (nearest == level)).sum(axis=0) for level in (0, 1)])
    assert np.allclose(to_codebook[:, 0], sums / np.sqrt(25), atol=1e-4)  # 50 weights share two levels


@needs_tensorflow
@pytest.mark.parametrize("count", [2, 4, 11])
def test_trained_codebooks_survive_saving_and_conversion(count, tmp_path):
    model = hwc.wrap(small_model(), Codebook(count))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 7, 6, 3)).astype(np.float32), rng.integers(0, 4, 64)
    before = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights if w.path.endswith("codebook")]
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=2, verbose=0)
    after = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights if w.path.endswith("codebook")]
    assert len(after) == 2 and all(np.any(a != b) for a, b in zip(after, before, strict=True))
    model.save(tmp_path / "m.keras")
    assert np.array_equal(keras.models.load_model(tmp_path / "m.keras").predict(x, verbose=0), model.predict(x, verbose=0))
    assert [promise.levels for promise in promises(model)] == [count, count]

    converter = hwc.Converter.from_keras_model(model)
    converter.representative_dataset, converter.scope = x, "weights"
    tflite = converter.convert()
    assert all(row.levels <= count and not row.lost and row.format != "dense8" for row in converter.report.layers)
    inputs = random_batch(read_model(tflite), 4)
    oracle = run_oracle(read_model(tflite), inputs, "tflm")[0]
    assert np.array_equal(hwc.HostLibrary(tflite).run(inputs)[0].reshape(oracle.shape), oracle)


@pytest.mark.parametrize("arguments", [{"levels": 1}, {"levels": 17}, {"levels": 3.0}, {"levels": True}, {"per": "filter"}])
def test_bad_arguments_are_named(arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(hwc.HwcmpError, match=f"{name}.*Received: {name}={value!r}"):
        Codebook(**arguments)


JAX = """
import keras, numpy as np
from keras_hwcompress.training import Codebook, wrap
model = wrap(keras.Sequential([keras.Input((9,)), keras.layers.Dense(5, name="d")]), Codebook(3))
before = np.array(model.get_layer("d").states[0].variables["codebook"])
model.compile("sgd", "mse")
model.fit(np.ones((8, 9), "float32"), np.ones((8, 5), "float32"), verbose=0)
layer = model.get_layer("d")
assert keras.backend.backend() == "jax" and np.any(np.array(layer.states[0].variables["codebook"]) != before)
forward = np.array(layer.forward_kernels()["kernel"])
assert all(len(np.unique(column)) <= 3 for column in forward.T)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_codebooks_train_on_jax():
    done = subprocess.run([sys.executable, "-c", JAX], env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
