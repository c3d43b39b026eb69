"""Pools, reductions, softmax and the operators that move bytes against TFLite's reference kernels, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from build import GraphBuilder
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import assert_equal_to, builtin_ref, random_inputs
from properties import activations, deterministic, paddings, pairs, scales, seeds, zero_points

from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.prepare import prepare

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def _check(builder: GraphBuilder, output: int, seed: int) -> None:
    graph = builder.build([output])
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@deterministic
@given(
    seed=seeds,
    size=pairs(1, 9),
    channels=st.integers(1, 7),
    window=pairs(1, 5),
    stride=pairs(1, 4),
    padding=paddings,
    activation=activations,
    scale=scales(),
    zp=zero_points,
)
def test_pools_equal_tflite(kind, seed, size, channels, window, stride, padding, activation, scale, zp):
    assume(padding == "same" or all(n >= k for n, k in zip(size, window)))
    builder = GraphBuilder(seed)
    x = builder.input((1, *size, channels), scale, zp)
    _check(builder, builder.pool(x, kind, window, stride, padding, activation), seed)


@st.composite
def reductions(draw):
    """(shape, axes as stored: in any order, negative ones and repetitions among them)."""
    shape = draw(shapes)
    rank = len(shape)
    axes = draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank))
    return shape, axes


def _reduced(kind, reduction, keep, input_quant, output_quant):
    shape, axes = reduction
    builder = GraphBuilder(0)
    x = builder.input(shape, *input_quant)
    stored = builder.constant(axes, dtype=np.int32)
    gone = {axis % len(shape) for axis in axes}
    result = [1 if i in gone else n for i, n in enumerate(shape) if keep or i not in gone]
    return builder, builder.op(kind, (x, stored), result, *output_quant, "ReducerOptions", {"keepDims": keep})


@deterministic
@given(
    seed=seeds,
    reduction=reductions(),
    keep=st.booleans(),
    input_quant=st.tuples(scales(), zero_points),
    ratio=st.one_of(st.just(1.0), scales(1e-2, 1e2)),
    output_zp=zero_points,
)
def test_mean_over_any_axes_equals_tflite(seed, reduction, keep, input_quant, ratio, output_zp):
    output_quant = (float(np.float32(input_quant[0] / ratio)), output_zp)
    _check(*_reduced("MEAN", reduction, keep, input_quant, output_quant), seed)


@deterministic
@given(seed=seeds, size=pairs(1, 17), channels=st.integers(1, 5), keep=st.booleans(), scale=scales(), zp=zero_points)
def test_global_average_with_equal_quantization_equals_tflite(seed, size, channels, keep, scale, zp):
    quant = (scale, zp)
    _check(*_reduced("MEAN", ((1, *size, channels), [1, 2]), keep, quant, quant), seed)


@deterministic
@given(seed=seeds, reduction=reductions(), keep=st.booleans(), quant=st.tuples(scales(), zero_points))
def test_reduce_max_over_any_axes_equals_tflite(seed, reduction, keep, quant):
    _check(*_reduced("REDUCE_MAX", reduction, keep, quant, quant), seed)


@deterministic
@given(
    seed=seeds,
    leading=st.lists(st.integers(1, 4), max_size=3),
    depth=st.one_of(st.integers(1, 40), st.integers(500, 1100)),
    scale=st.one_of(scales(1e-4, 10), st.just(1e-7), st.just(16.0), st.just(100.0)),
    beta=st.sampled_from([1.0, 0.5, 2.5]),
    spread=st.sampled_from([1, 20, 256]),
)
def test_softmax_equals_tflite(seed, leading, depth, scale, beta, spread):
    builder = GraphBuilder(seed)
    x = builder.input((*leading, depth), scale, 3)
    graph = builder.build([builder.softmax(x, beta)])
    rng = np.random.default_rng(seed)
    top = int(rng.integers(-129 + spread, 128))
    values = rng.integers(top - spread + 1, top + 1, (*leading, depth)).astype(np.int8)
    # TFLite aborts the process when a row's sum of exponentials reaches 512.
    wide = values.astype(np.float64)
    sums = np.exp(beta * scale * (wide - wide.max(axis=-1, keepdims=True))).sum(axis=-1)
    assume(sums.max() < 511)
    assert_equal_to(builtin_ref, graph, [values])


@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.0625, 0.1, 1.0, 15.99999, 16.0])
def test_softmax_of_two_classes_equals_tflite_for_every_difference(scale):
    builder = GraphBuilder(0)
    x = builder.input((256, 2), scale, 0)
    values = np.stack([np.full(256, 127), np.arange(-128, 128)], axis=1).astype(np.int8)
    assert_equal_to(builtin_ref, builder.build([builder.softmax(x)]), [values])


def test_softmax_of_the_largest_depth_equals_tflite_and_its_sum_does_not_overflow():
    builder = GraphBuilder(0)
    x = builder.input((1, 4095), 0.1, 0)
    graph = builder.build([builder.softmax(x)])
    values = np.full((1, 4095), -100, np.int8)
    values[0, 77] = 127
    assert_equal_to(builtin_ref, graph, [values])
    flat = reference.run(graph, [np.full((1, 4095), 5, np.int8)])[0]
    assert np.all(flat == -128)


@st.composite
def concatenations(draw):
    """(shapes, axis, indices of constant inputs)."""
    base = draw(shapes)
    axis = draw(st.integers(-len(base), len(base) - 1))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    position = axis % len(base)
    joined = [(*base[:position], size, *base[position + 1 :]) for size in sizes]
    constants = draw(st.sets(st.integers(1, 3)))
    return joined, axis, constants


@deterministic
@given(seed=seeds, concatenation=concatenations(), scale=scales(), zp=zero_points)
def test_concatenation_along_any_axis_with_constants_equals_tflite(seed, concatenation, scale, zp):
    parts, axis, constants = concatenation
    builder = GraphBuilder(seed)
    rng = np.random.default_rng(seed)
    inputs = [
        builder.constant(rng.integers(-128, 128, shape).astype(np.int8), scale, zp)
        if position in constants
        else builder.input(shape, scale, zp)
        for position, shape in enumerate(parts)
    ]
    result = list(parts[0])
    result[axis] = sum(shape[axis] for shape in parts)
    options = {"axis": axis, "fusedActivationFunction": 0}
    _check(builder, builder.op("CONCATENATION", inputs, result, scale, zp, "ConcatenationOptions", options), seed)


@pytest.mark.parametrize("kind", ["PAD", "PADV2"])
@deterministic
@given(
    seed=seeds,
    shape=shapes,
    widths=st.lists(pairs(0, 3), min_size=4, max_size=4),
    value=st.integers(-128, 127),
    dtype=st.sampled_from([np.int32, np.int64]),
    scale=scales(),
    zp=zero_points,
)
def test_padding_equals_tflite(kind, seed, shape, widths, value, dtype, scale, zp):
    builder = GraphBuilder(seed)
    widths = np.array(widths[: len(shape)], dtype)
    inputs = [builder.input(shape, scale, zp), builder.constant(widths)]
    if kind == "PADV2":
        inputs.append(builder.constant(np.array(value, np.int8), scale, zp))
    result = [n + int(before) + int(after) for n, (before, after) in zip(shape, widths)]
    options_type = "PadOptions" if kind == "PAD" else "PadV2Options"
    _check(builder, builder.op(kind, inputs, result, scale, zp, options_type), seed)


def test_reshape_squeeze_and_expand_dims_keep_the_bytes_as_tflite_does():
    builder = GraphBuilder(0)
    x = builder.input((1, 2, 1, 6), 0.1, 3)
    reshaped = builder.reshape(x, (1, 12))
    squeezed = builder.op("SQUEEZE", (x,), (2, 6), 0.1, 3, "SqueezeOptions", {"squeezeDims": (0, 2)})
    axis = builder.constant(np.array(-1, np.int32))
    expanded = builder.op("EXPAND_DIMS", (squeezed, axis), (2, 6, 1), 0.1, 3, "ExpandDimsOptions")
    graph = builder.build([reshaped, squeezed, expanded])
    assert [layer.op for layer in prepare(graph)] == ["reshape"] * 3
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(0)))


def test_a_graph_with_branches_and_float_borders_equals_tflite_in_every_tensor():
    builder = GraphBuilder(5)
    image = builder.input((1, 9, 7, 3), None, dtype=np.float32)
    x = builder.op("QUANTIZE", (image,), (1, 9, 7, 3), 0.05, -4, "QuantizeOptions")
    left = builder.conv2d(x, 6, activation="relu6", scale=0.04, zp=-128)
    right = builder.depthwise(x, 2, activation="relu", scale=0.06, zp=-128)
    both = builder.pool(builder.add(left, right, 0.08, -100), "AVERAGE_POOL_2D", padding="same")
    flat = builder.reshape(both, (1, 120))
    outputs = [builder.op("DEQUANTIZE", (flat,), (1, 120), None, options_type="DequantizeOptions", dtype=np.float32)]
    graph = builder.build([*outputs, left, both])
    values = np.random.default_rng(1).normal(0, 3, (1, 9, 7, 3)).astype(np.float32)
    assert_equal_to(builtin_ref, graph, [values])
    tensors = reference.run_all(graph, [values])
    assert all(tensors[i].shape == graph.tensors[i].shape for op in graph.ops for i in op.outputs)
    assert all(tensors[i].dtype == graph.tensors[i].dtype for op in graph.ops for i in op.outputs)
