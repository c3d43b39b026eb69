"""Graphs damaged at random: prepare refuses them with its own error or prepares them, and never fails otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from build import GraphBuilder
from hypothesis import given, settings
from properties import deterministic, seeds

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.graph import Graph, Quantization
from keras_hwcompress.tflite.prepare import prepare

SCALES = [0, 1e-45, 1e-30, 1e-6, 1, 1e6, 1e30, np.nan, np.inf]
DTYPES = ["int8", "uint8", "int16", "int32", "float32"]
NUMBERS = [-5, -1, 0, 1, 2, 3, 100_000]


def _every_kind() -> Graph:
    builder = GraphBuilder(1)
    image = builder.input((1, 6, 6, 3), None, dtype=np.float32)
    x = builder.op("QUANTIZE", (image,), (1, 6, 6, 3), 0.05, -4, "QuantizeOptions")
    both = builder.add(builder.conv2d(x, 6), builder.depthwise(x, 2))
    scaled = builder.add(both, builder.constant(np.ones(6, np.int8), 0.1), kind="MUL")
    small = builder.pool(builder.pool(scaled, padding="same"), "MAX_POOL_2D")
    quant = builder._scale_of(small)
    joined = builder.op("CONCATENATION", (small, small), (1, 1, 1, 12), *quant, "ConcatenationOptions", {"axis": 3})
    widths = builder.constant(np.array([[0, 0], [1, 1], [0, 2], [0, 0]], np.int32))
    wide = builder.op("PAD", (joined, widths), (1, 3, 3, 12), *quant, "PadOptions")
    axes = builder.constant(np.array([1, 2], np.int32))
    mean = builder.op("MEAN", (wide, axes), (1, 12), 0.07, 3, "ReducerOptions", {"keepDims": False})
    largest = builder.op("REDUCE_MAX", (wide, axes), (1, 12), *quant, "ReducerOptions", {"keepDims": False})
    dense = builder.fully_connected(builder.reshape(mean, (1, 12)), 5)
    outputs = [builder.op(kind, (dense,), (1, 5), 1 / 128, 0) for kind in ("TANH", "HARD_SWISH", "RELU6")]
    outputs.append(builder.op("LEAKY_RELU", (dense,), (1, 5), 0.1, 0, "LeakyReluOptions", {"alpha": 0.1}))
    softmax = builder.softmax(dense)
    outputs.append(builder.op("DEQUANTIZE", (softmax,), (1, 5), None, dtype=np.float32))
    return builder.build([*outputs, largest])


def _damaged_tensor(tensor, rng):
    kind = rng.integers(4)
    if kind == 0:
        return replace(tensor, shape=tuple(int(size) for size in rng.integers(0, 7, rng.integers(0, 6))))
    if kind == 1:
        return replace(tensor, dtype=np.dtype(str(rng.choice(DTYPES))))
    if kind == 2:
        scale = rng.choice(SCALES, rng.integers(0, 4)).astype(np.float32)
        return replace(tensor, quantization=Quantization(scale, rng.integers(-300, 300, rng.integers(0, 4))))
    data = rng.integers(-5, 9, tuple(rng.integers(0, 4, rng.integers(0, 4)))).astype(str(rng.choice(DTYPES)))
    return replace(tensor, data=data, shape=data.shape, dtype=data.dtype)


def _damaged_op(op, kinds, count, rng):
    kind = rng.integers(3)
    if kind == 0:
        return replace(op, inputs=tuple(int(index) for index in rng.integers(-1, count, rng.integers(0, 4))))
    if kind == 1:
        return replace(op, kind=str(rng.choice(kinds)))
    changed = {name: int(rng.choice(NUMBERS)) for name in op.options if rng.random() < 0.5}
    return replace(op, options={**op.options, **changed})


@settings(deterministic, max_examples=10 * deterministic.max_examples)
@given(seed=seeds)
def test_a_graph_damaged_at_random_is_prepared_or_refused(seed):
    graph, rng = _every_kind(), np.random.default_rng(seed)
    tensors, ops = list(graph.tensors), list(graph.ops)
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.5:
            position = rng.integers(len(tensors))
            tensors[position] = _damaged_tensor(tensors[position], rng)
        else:
            position = rng.integers(len(ops))
            ops[position] = _damaged_op(ops[position], [op.kind for op in graph.ops], len(tensors), rng)
    damaged = replace(graph, tensors=tuple(tensors), ops=tuple(ops))
    try:
        assert len(prepare(damaged)) == len(ops)
    except UnsupportedModelError as error:
        assert "'" in str(error)


def test_the_undamaged_graph_is_prepared():
    assert len(prepare(_every_kind())) == len(_every_kind().ops)
