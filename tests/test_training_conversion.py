"""The promises of strip(), against the int8 tensors that TensorFlow's own converter makes of the stripped model."""

import contextlib
import os
import re
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from training_cases import randomise

from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.training import Nary, promises, strip, wrap
from keras_hwcompress.training.folding import folded_dense
from keras_hwcompress.training.models import leaf_layers

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the converter needs TensorFlow")
L = keras.layers
BN = L.BatchNormalization
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@contextlib.contextmanager
def quiet():
    """The converter writes to the file descriptors themselves."""
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)


def convert(model):
    """Full int8 conversion, batch 1, as a Graph."""
    import tensorflow as tf

    rng = np.random.default_rng(7)
    entry = keras.Input(model.inputs[0].shape[1:], batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(entry, model(entry)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    samples = [[rng.normal(size=entry.shape).astype(np.float32)] for _ in range(4)]
    converter.representative_dataset = lambda: iter(samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected", UserWarning)
        return read_model(bytes(converter.convert()))


def int8_rows(graph):
    """Of every weighted operator: the names that it goes by, and its int8 weights with one output channel per row."""
    found = []
    for op in graph.ops:
        if op.kind in WEIGHTED:
            weights, output = graph.tensors[op.inputs[1]], graph.tensors[op.outputs[0]]
            assert weights.data is not None and weights.dtype == np.int8
            by_channel = np.moveaxis(weights.data, -1, 0) if op.kind == "DEPTHWISE_CONV_2D" else weights.data
            found.append((weights.name + ";" + output.name, by_channel.reshape(len(by_channel), -1)))
    return found


def rows_for(promise, tensors):
    """The rows that the kernel of a promise became. The layer names below are chosen so that none begins another."""
    pattern = re.compile(rf"/{promise.layer}(_\d+)*/")
    shaped = [(names, rows) for names, rows in tensors if rows.shape == (promise.rows, promise.row_length)]
    named = [rows for names, rows in shaped if pattern.search(names)]
    return named or ([rows for _, rows in shaped] if len(shaped) == 1 else [])


def chain(*layers):
    return keras.Sequential(list(layers))


def functional(shape, build):
    inputs = keras.Input(shape)
    return keras.Model(inputs, build(inputs))


def preactivation(x):
    def normalised(x):
        return L.ReLU()(BN()(x))

    def block(x, filters, strides, names):
        y = normalised(x)
        skip = x if strides == 1 else L.Conv2D(filters, 1, strides=strides, name=names[2])(y)
        y = normalised(L.Conv2D(filters, 3, strides=strides, padding="same", name=names[0])(y))
        return L.Add()([skip, L.Conv2D(filters, 3, padding="same", name=names[1])(y)])

    x = L.Conv2D(6, 3, padding="same", name="stem")(x)
    x = block(x, 6, 1, ("upper", "lower", ""))
    x = block(x, 10, 2, ("left", "right", "skip"))
    return L.Dense(4, name="head")(L.GlobalAveragePooling2D()(normalised(x)))


def normalization(shape, seed=0):
    rng = np.random.default_rng(seed)
    layer = L.Normalization()
    layer.adapt(rng.normal(size=(64, *shape)) * rng.uniform(0.3, 3.0, shape[-1]) + rng.normal(size=shape[-1]))
    return layer


def vectors(size, seed=0):
    rng = np.random.default_rng(seed)
    return L.Rescaling(list(rng.uniform(0.3, 2.0, size)), list(rng.normal(size=size)))


IMAGE, SIGNAL, VECTOR = keras.Input((6, 6, 3)), keras.Input((12, 5)), keras.Input((20,))


def first_conv():
    return L.Conv2D(6, 3, padding="same", activation="relu", name="first")


def first_dense():
    return L.Dense(24, activation="relu", name="first")


def head(**kwargs):
    return L.Dense(5, name="head", **kwargs)


# name -> model, Dense layers that strip must write as convolutions
NETS = {
    "conv, bn, relu": (
        lambda: chain(IMAGE, L.Conv2D(6, 3, name="first"), BN(), L.ReLU(), L.Flatten(), head()), []),
    "conv, relu, bn, conv": (
        lambda: chain(IMAGE, first_conv(), BN(), L.Conv2D(6, 3, name="second"), BN(), L.ReLU()), []),
    "conv, relu, bn, conv 1x1": (
        lambda: chain(IMAGE, first_conv(), BN(), L.Conv2D(9, 1, name="second"), BN(), L.ReLU()), []),
    "conv, bn, depthwise, bn, conv 1x1": (
        lambda: chain(IMAGE, first_conv(), BN(), L.DepthwiseConv2D(3, name="depth"), BN(), L.ReLU(),
                      L.Conv2D(7, 1, name="point")), []),
    "separable": (
        lambda: chain(IMAGE, L.SeparableConv2D(7, 3, name="first"), BN(), L.ReLU(),
                      L.SeparableConv2D(5, 3, name="second"), BN(), L.ReLU()), []),
    "conv1d": (
        lambda: chain(SIGNAL, L.Conv1D(6, 3, padding="same", name="first"), BN(), L.ReLU(),
                      L.Conv1D(7, 3, strides=2, activation="relu", name="second"), BN(),
                      L.Conv1D(8, 3, padding="causal", dilation_rate=2, name="third"), L.GlobalAveragePooling1D(),
                      head()), []),
    "pre-activation": (lambda: functional((8, 8, 3), preactivation), []),
    "grouped conv": (lambda: chain(keras.Input((6, 6, 4)), L.Conv2D(6, 3, groups=2, name="first"), BN(), L.ReLU()), []),
    "dense, bn, relu, dense": (lambda: chain(VECTOR, L.Dense(24, name="first"), BN(), L.ReLU(), head()), []),
    "dense, relu, bn, dense": (lambda: chain(VECTOR, first_dense(), BN(), head()), ["head"]),
    "dense, bn, dense": (lambda: chain(VECTOR, L.Dense(24, name="first"), BN(), head()), ["head"]),
    "dense, relu, bn, dropout, dense, bn, dense": (
        lambda: chain(VECTOR, first_dense(), BN(), L.Dropout(0.5), L.Activation("linear"),
                      L.Dense(9, name="second"), BN(), head(activation="softmax")), ["second", "head"]),
    "average, bn, dense": (
        lambda: chain(IMAGE, first_conv(), L.GlobalAveragePooling2D(), BN(), head()), ["head"]),
    "bn, average, dense": (lambda: chain(IMAGE, first_conv(), BN(), L.GlobalAveragePooling2D(), head()), []),
    "conv, bn, flatten, dense": (lambda: chain(IMAGE, first_conv(), BN(), L.Flatten(), head()), ["head"]),
    "conv, flatten, bn, dense": (lambda: chain(IMAGE, first_conv(), L.Flatten(), BN(), head()), ["head"]),
    "dense over time, bn, dense": (lambda: chain(SIGNAL, first_dense(), BN(), head()), ["head"]),
    "dense over images, bn, dense": (lambda: chain(IMAGE, first_dense(), BN(), head()), ["head"]),
    "two branches behind one bn": (
        lambda: functional((20,), lambda x: (lambda y: L.Concatenate()([head()(y), L.Dense(4, name="other")(y)]))(
            BN()(first_dense()(x)))), ["head", "other"]),
    "times a constant, dense": (
        lambda: functional((20,), lambda x: head()(first_dense()(x) * np.linspace(0.5, 2, 24, dtype=np.float32))),
        ["head"]),
    "normalization, conv": (lambda: chain(IMAGE, normalization((6, 6, 3)), L.Conv2D(6, 3, name="first")), []),
    "normalization, dense": (lambda: chain(VECTOR, normalization((20,)), head()), ["head"]),
    "rescaling, conv": (lambda: chain(IMAGE, L.Rescaling(1 / 4, -0.5), L.Conv2D(6, 3, name="first")), []),
    "rescaling, dense": (lambda: chain(VECTOR, L.Rescaling(1 / 4, -0.5), head()), []),
    "rescaling by vectors, conv": (lambda: chain(IMAGE, vectors(3), L.Conv2D(6, 3, name="first")), []),
    "rescaling by vectors, dense": (lambda: chain(VECTOR, vectors(20), head()), ["head"]),
}  # fmt: skip
LEVELS = (3, 4, 15)


@pytest.mark.parametrize("name", NETS)
def test_every_promise_holds_in_the_int8_tensors(name):
    make, expected = NETS[name]
    model = wrap(randomise(make()), Nary(LEVELS[list(NETS).index(name) % 3]))
    assert [layer.name for layer in model.layers if id(layer) in folded_dense(model)] == expected
    plain = strip(model)
    assert all(type(plain.get_layer(name)) is L.Conv2D for name in expected)
    inputs = np.random.default_rng(0).normal(size=(3, *model.inputs[0].shape[1:])).astype(np.float32)
    assert np.allclose(*(ops.convert_to_numpy(m(inputs)) for m in (model, plain)), rtol=1e-4, atol=1e-5)
    tensors = int8_rows(convert(plain))
    assert len(tensors) == len(promises(model))
    for promise in promises(model):
        (rows,) = rows_for(promise, tensors)
        distinct = max(len(np.unique(row)) for row in rows)
        assert distinct <= promise.levels, f"{promise}: {distinct} levels in int8"
        assert np.count_nonzero(rows == 0) >= promise.zeros, promise


@pytest.mark.parametrize("name", ["dense, relu, bn, dense", "average, bn, dense", "rescaling by vectors, dense"])
def test_the_converter_would_destroy_the_grid_of_the_plain_dense(name):
    """Why strip writes a convolution; when TensorFlow stops folding, this test says so."""
    model = wrap(randomise(NETS[name][0]()), Nary(3))
    (promise,) = [promise for promise in promises(model) if promise.layer == "head"]
    plain = keras.models.clone_model(model, clone_function=lambda layer: plain_layer(layer))
    for old, new in zip(model.layers, plain.layers, strict=True):
        if hasattr(old, "forward_kernels"):
            kernel = ops.convert_to_numpy(old.forward_kernels()["kernel"])
            new.set_weights([kernel, *old.layer.get_weights()[1:]])
        else:
            new.set_weights(old.get_weights())
    lost = [rows for _, rows in int8_rows(convert(plain)) if rows.shape == (promise.rows, promise.row_length)]
    assert max(len(np.unique(row)) for row in lost[0]) > 3


def plain_layer(layer):
    inner = getattr(layer, "layer", layer)
    return inner.__class__.from_config(inner.get_config())


def test_a_dense_can_be_written_as_a_convolution_on_request():
    model = wrap(randomise(chain(VECTOR, first_dense(), head())), Nary(3))
    plain = strip(model, as_conv=("head",))
    assert [type(layer).__name__ for layer in plain.layers[1:]] == ["Dense", "Reshape", "Conv2D", "Reshape"]
    inputs = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    assert np.allclose(*(ops.convert_to_numpy(m(inputs)) for m in (model, plain)), atol=1e-5)
    with pytest.raises(HwcmpError, match="as_conv names wrapped Dense layers, one of .'first', 'head'.. Received: 'x'"):
        strip(model, as_conv=("x",))


def test_a_dense_behind_a_batch_normalization_of_the_outer_model_is_found_inside_a_nested_one():
    inner_in = keras.Input((24,))
    inner = keras.Model(inner_in, L.Dense(5, name="head")(L.Flatten()(inner_in)), name="inner")
    tail = keras.Sequential([L.Dropout(0.1), L.Dense(4, name="tail")], name="tail_model")
    hidden = L.Dense(24, activation="relu", name="first")
    x = inputs = keras.Input((24,))
    clean = inner(hidden(x))
    folded = tail(BN()(L.ReLU()(inner(BN()(hidden(x))))))
    model = wrap(randomise(keras.Model(inputs, [clean, folded])), Nary(3))
    found = folded_dense(model)
    assert {path for path, layer in leaf_layers(model) if id(layer) in found} == {"inner/head", "tail_model/tail"}
    plain = strip(model)
    data = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)
    for old, new in zip(model(data), plain(data), strict=True):
        assert np.allclose(ops.convert_to_numpy(old), ops.convert_to_numpy(new), atol=1e-5)


def test_a_model_trained_in_mixed_precision_converts_as_float32():
    policy = "mixed_float16"
    layers = [IMAGE, L.Conv2D(6, 3, dtype=policy, name="first"), BN(dtype=policy), L.ReLU(dtype=policy)]
    model = wrap(randomise(chain(*layers)), Nary(5))
    (promise,) = promises(model)
    (rows,) = rows_for(promise, int8_rows(convert(strip(model, dtype="float32"))))
    assert max(len(np.unique(row)) for row in rows) <= promise.levels == 5
