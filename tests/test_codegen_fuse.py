"""Fused residual additions: smaller arenas, the same integers."""

import numpy as np
import pytest
from build import GraphBuilder
from graphs import ternary_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress.codegen.model import compile_model
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.layers import ConvAdd
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.samples import random_batch


def residual_block(seed=0, size=(12, 10), channels=6, kernel=(3, 3), padding="same", swap=False, ternary=False, stride=(1, 1)):
    """x -> conv -> conv, added to x or to a 1x1 convolution of x."""
    builder = GraphBuilder(seed)
    x = builder.conv2d(builder.input((1, *size, 3)), channels, activation="relu")
    y = builder.conv2d(x, channels, kernel, stride, padding, activation="relu")
    weights = ternary_weights((channels, 3, 3, channels), seed) if ternary else None
    y = builder.conv2d(y, channels, weights=weights)
    if stride != (1, 1) or padding == "valid":
        x = builder.conv2d(x, channels, kernel if padding == "valid" else (1, 1), stride, padding)
    y = builder.add(*((x, y) if swap else (y, x)), activation="relu")
    return builder.build([builder.softmax(builder.pool(y))])


def expected(graph, inputs):
    return np.stack([reference.run(graph, [row])[0] for row in inputs[0]])


@given(
    st.integers(0, 1000), st.tuples(st.integers(4, 13), st.integers(4, 13)), st.integers(1, 9),
    st.sampled_from([((3, 3), (1, 1), "same"), ((3, 3), (1, 1), "valid"), ((1, 3), (2, 1), "same"), ((3, 2), (2, 2), "same")]),
    st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=15, deadline=None, derandomize=True)
def test_fused_blocks_give_the_same_integers(seed, size, channels, shape, swap, ternary):
    kernel, stride, padding = shape
    graph = pack(residual_block(seed, size, channels, kernel, padding, swap, ternary, stride))
    inputs = random_batch(graph, 2, seed)
    assert np.array_equal(HostLibrary(graph).run(inputs)[0], expected(graph, inputs))


@pytest.mark.parametrize("ternary", [False, True])
def test_fusion_saves_an_activation_and_runs_on_cortex_m4(ternary):
    graph = pack(residual_block(size=(16, 16), channels=8, ternary=ternary))
    model = compile_model(graph, "model", ["ref", "dsp"])
    fused = [layer for layer in model.layers if isinstance(layer, ConvAdd)]
    plane = 16 * 16 * 8
    assert len(fused) == 1 and 2 * plane <= model.plan.arena_bytes < 3 * plane
    inputs = random_batch(graph, 2)
    result = run_qemu(graph, inputs)
    assert np.array_equal(result.outputs[0], expected(graph, inputs))
    assert ("conv2d_add" in [op for _, op, _ in result.layer_insns]) and result.arena_bytes == model.plan.arena_bytes


def test_an_addition_of_a_convolution_that_others_read_is_not_fused():
    builder = GraphBuilder()
    x = builder.conv2d(builder.input((1, 8, 8, 3)), 4)
    y = builder.conv2d(x, 4)
    total = builder.add(y, x)
    model = compile_model(builder.build([total, y]), "model", ["ref"])
    assert not any(isinstance(layer, ConvAdd) and layer.conv.outputs[0] == y for layer in model.layers)


def test_a_convolution_is_not_added_to_itself():
    builder = GraphBuilder()
    x = builder.conv2d(builder.input((1, 8, 8, 3)), 4)
    graph = builder.build([builder.add(x, x)])
    assert not any(isinstance(layer, ConvAdd) for layer in compile_model(graph, "model", ["ref"]).layers)
    inputs = random_batch(graph, 2)
    assert np.array_equal(HostLibrary(graph).run(inputs)[0], expected(graph, inputs))
