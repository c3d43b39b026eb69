"""PAD folded into convolutions: no padded copy, the same integers."""

from __future__ import annotations

import numpy as np
import pytest
from arm_image import in_qemu
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress.codegen.model import compile_model
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Pad
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.synthetic import GraphBuilder

Edges = tuple[tuple[int, int], ...]


def pad(builder: GraphBuilder, x: int, edges: Edges, value: int | None = None) -> int:
    """PAD, or PADV2 with a constant."""
    shape = [size + sum(edge) for size, edge in zip(builder.tensors[x].shape, edges, strict=True)]
    quantization = builder.tensors[x].quantization
    scale, zero_point = float(quantization.scale[0]), int(quantization.zero_point[0])
    inputs = [x, builder.constant(edges, dtype=np.int32)]
    if value is None:
        return builder.op("PAD", inputs, shape, scale, zero_point, "PadOptions")
    inputs.append(builder.constant([value], scale, zero_point, dtype=np.int8))
    return builder.op("PADV2", inputs, shape, scale, zero_point, "PadV2Options")


def padded_convolution(
    edges: Edges, method: str = "conv2d", kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (2, 2),
    value: int | None = None, seed: int = 0,
) -> Graph:  # fmt: skip
    builder = GraphBuilder(seed)
    x = pad(builder, builder.input((1, 9, 8, 5), zp=-7), edges, value)
    layer, size = (builder.conv2d, 6) if method == "conv2d" else (builder.depthwise, 2)
    return builder.build([layer(x, size, kernel, stride, "valid")])


def pads_of(graph: Graph) -> int:
    return sum(isinstance(layer, Pad) for layer in compile_model(graph, "model", ["ref", "dsp"]).layers)


def check(graph: Graph, seed: int = 0) -> None:
    """The compiled model on the host against the reference, which pads for real."""
    inputs = random_batch(graph, 2, seed)
    expected = [reference.run(graph, [row]) for row in inputs[0]]
    for received, *rows in zip(HostLibrary(graph).run(inputs), *expected, strict=True):
        assert np.array_equal(received, np.stack(rows))


@given(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 3), st.integers(0, 1)),
    st.sampled_from(["conv2d", "depthwise"]),
    st.sampled_from([((3, 3), (2, 2)), ((3, 3), (1, 1)), ((2, 5), (1, 2)), ((5, 2), (3, 1)), ((4, 4), (2, 2))]),
    st.integers(0, 99),
)
@settings(max_examples=6, deadline=None, derandomize=True)
def test_padded_convolutions_give_the_same_integers_without_the_copy(edges, method, window, seed):
    height, width = edges[:2], edges[2:]
    graph = padded_convolution(((0, 0), height, width, (0, 0)), method, *window, seed=seed)
    assert any(isinstance(layer, Pad) for layer in prepare(graph)) and pads_of(graph) == 0
    check(graph, seed)


@in_qemu
@pytest.mark.parametrize("method", ["conv2d", "depthwise"])
def test_padding_is_folded_on_cortex_m4_too(method: str) -> None:
    graph = padded_convolution(((0, 0), (0, 1), (2, 1), (0, 0)), method)
    inputs = random_batch(graph, 2)
    result = run_qemu(graph, inputs)
    assert [op for _, op, _ in result.layer_insns] == ["conv2d" if method == "conv2d" else "depthwise_conv2d"]
    assert np.array_equal(result.outputs[0], np.stack([reference.run(graph, [row])[0] for row in inputs[0]]))


@pytest.mark.parametrize(
    "graph",
    [
        padded_convolution(((0, 0), (1, 1), (1, 1), (0, 0)), value=3),
        padded_convolution(((0, 0), (1, 1), (1, 1), (1, 0))),
        padded_convolution(((0, 0), (0, 9), (0, 0), (0, 0)), kernel=(1, 1)),
    ],
    ids=["another value", "channels grow", "a window wholly behind the input"],
)
def test_padding_that_a_convolution_cannot_do_stays(graph: Graph) -> None:
    assert pads_of(graph) == 1
    check(graph)


def test_padding_that_something_else_reads_stays_for_it_alone() -> None:
    builder = GraphBuilder(3)
    x = pad(builder, builder.input((1, 6, 6, 4)), ((0, 0), (1, 1), (1, 1), (0, 0)))
    graph = builder.build([builder.conv2d(x, 4, padding="valid"), builder.pool(x, "MAX_POOL_2D")])
    assert pads_of(graph) == 1
    check(graph)


def test_padding_of_padding_folds_as_a_whole() -> None:
    builder = GraphBuilder(4)
    x = pad(builder, builder.input((1, 6, 6, 4)), ((0, 0), (1, 0), (0, 1), (0, 0)))
    x = pad(builder, x, ((0, 0), (0, 1), (1, 0), (0, 0)))
    graph = builder.build([builder.conv2d(x, 4, padding="valid")])
    assert pads_of(graph) == 0
    check(graph)
