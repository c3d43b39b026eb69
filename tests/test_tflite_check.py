"""check_compilable: what kind of model can be compiled, said in one sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder, quantized
from graphs import every_op_graph, small_cnn

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.pack import pack


def with_tensor(graph, index, **fields):
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **fields)
    return replace(graph, tensors=tuple(tensors))


def float_model():
    builder = GraphBuilder()
    x = builder.input((1, 4), None, dtype=np.float32)
    return builder.build([builder.op("TANH", (x,), (1, 4), None, dtype=np.float32)])


def test_int8_models_plain_or_packed_are_accepted():
    check_compilable(small_cnn())
    check_compilable(every_op_graph())
    check_compilable(pack(small_cnn(ternary=True)))


def test_a_declared_unknown_batch_stored_as_one_is_accepted():
    """The converter writes (-1, h, w, c) for every Keras model, the MLPerf Tiny ones included."""
    check_compilable(with_tensor(small_cnn(), 0, shape_signature=(-1, 9, 7, 3)))


def test_float_borders_are_accepted_only_at_quantize_and_dequantize():
    builder = GraphBuilder()
    x = builder.input((1, 4), None, dtype=np.float32)
    x = builder.op("QUANTIZE", (x,), (1, 4), 0.1, 3, "QuantizeOptions")
    x = builder.fully_connected(x, 3)
    x = builder.op("DEQUANTIZE", (x,), (1, 3), None, 0, "DequantizeOptions", dtype=np.float32)
    check_compilable(builder.build([x]))
    check_compilable(replace(builder.build([x]), outputs=(2,)))
    with pytest.raises(UnsupportedModelError, match="float32.*full int8"):
        check_compilable(builder.build([builder.op("TANH", (x,), (1, 3), None, dtype=np.float32)]))


REFUSED = {
    "2 activations are float32, first 'input0': convert with full int8 quantization": float_model,
    "int16.*16x8": lambda: with_tensor(small_cnn(), 0, dtype=np.dtype(np.int16)),
    "uint8.*TensorFlow 2": lambda: with_tensor(small_cnn(), 0, dtype=np.dtype(np.uint8)),
    "batch 2, expected 1": lambda: with_tensor(small_cnn(), 0, shape=(2, 9, 7, 3)),
    r"unknown dimensions, first 'input0' \(1, -1, 7, 3\)": lambda: with_tensor(
        small_cnn(), 0, shape_signature=(1, -1, 7, 3)
    ),
    "'input0' needs one scale": lambda: with_tensor(small_cnn(), 0, quantization=None),
    "'input0' needs one scale and": lambda: with_tensor(small_cnn(), 0, quantization=quantized([0.1, 0.2, 0.3], 0, 3)),
    "zero point 128": lambda: with_tensor(small_cnn(), 0, quantization=quantized(0.1, 128)),
    "no operators": lambda: replace(small_cnn(), ops=()),
    "no inputs": lambda: replace(small_cnn(), inputs=()),
    "no outputs": lambda: replace(small_cnn(), outputs=()),
}


@pytest.mark.parametrize("words", REFUSED)
def test_other_models_are_refused_with_the_reason(words):
    with pytest.raises(UnsupportedModelError, match=words):
        check_compilable(REFUSED[words]())


def test_all_reasons_are_in_one_sentence():
    graph = with_tensor(float_model(), 0, shape=(3, 4), shape_signature=(3, -1))
    with pytest.raises(UnsupportedModelError, match="batch 3.*unknown dimensions.*float32") as caught:
        check_compilable(graph)
    assert "\n" not in str(caught.value)
