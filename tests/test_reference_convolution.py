"""Weighted layers: the numpy reference against TFLite's reference kernels and TFLite Micro, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import assert_equal_to, builtin_ref, micro, random_inputs
from properties import activations, deterministic, paddings, pairs, scales, seeds, zero_points

from keras_hwcompress.tflite.prepare import prepare

# log2 of input scale * weight scale / output scale: most layers live around -8, positive ones shift to the left.
real_exponents = st.floats(-14, 4)
WINDOW = {
    "seed": seeds,
    "size": pairs(1, 9),
    "channels": st.integers(1, 7),
    "kernel": pairs(1, 4),
    "stride": pairs(1, 3),
    "dilation": pairs(1, 3),
    "padding": paddings,
    "activation": activations,
    "per_channel": st.booleans(),
    "input_scale": scales(),
    "input_zp": zero_points,
    "output_zp": zero_points,
    "exponent": real_exponents,
}


def _fits(size, kernel, dilation, padding) -> bool:
    return padding == "same" or all(n > (k - 1) * d for n, k, d in zip(size, kernel, dilation))


def _with_multiplier(builder: GraphBuilder, output: int, exponent: float, input_scale: float) -> None:
    """Sets the output's scale so that the real multiplier of an average channel is 2**exponent."""
    weights = builder.tensors[builder.ops[-1].inputs[1]].quantization.scale
    scale = np.array([input_scale * float(weights.mean()) / 2.0**exponent], np.float32)
    tensor = builder.tensors[output]
    builder.tensors[output] = replace(tensor, quantization=replace(tensor.quantization, scale=scale))


def _window_graph(method, out_or_multiplier, seed, size, channels, kernel, stride, dilation, padding, activation,
                  per_channel, input_scale, input_zp, output_zp, exponent):  # fmt: skip
    assume(_fits(size, kernel, dilation, padding))
    builder = GraphBuilder(seed)
    x = builder.input((1, *size, channels), input_scale, input_zp)
    y = getattr(builder, method)(
        x, out_or_multiplier, kernel, stride, padding, dilation, activation, per_channel, zp=output_zp
    )
    _with_multiplier(builder, y, exponent, input_scale)
    return builder.build([y])


@deterministic
@given(out_channels=st.integers(1, 9), **WINDOW)
def test_conv2d_equals_tflite(out_channels, seed, **window):
    graph = _window_graph("conv2d", out_channels, seed, **window)
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(seed)))


@deterministic
@given(multiplier=st.integers(1, 3), **WINDOW)
def test_depthwise_conv2d_equals_tflite(multiplier, seed, **window):
    graph = _window_graph("depthwise", multiplier, seed, **window)
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(seed)))


@deterministic
@given(
    seed=seeds,
    leading=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    length=st.integers(1, 70),
    out_channels=st.integers(1, 9),
    activation=activations,
    per_channel=st.booleans(),
    bias=st.booleans(),
    keep=st.booleans(),
    input_scale=scales(),
    input_zp=zero_points,
    output_zp=zero_points,
    exponent=real_exponents,
)
def test_fully_connected_equals_tflite_micro(
    seed, leading, length, out_channels, activation, per_channel, bias, keep, input_scale, input_zp, output_zp, exponent
):  # fmt: skip
    builder = GraphBuilder(seed)
    x = builder.input((*leading, length), input_scale, input_zp)
    y = builder.fully_connected(x, out_channels, activation, per_channel, bias=bias, zp=output_zp, length=length)
    _with_multiplier(builder, y, exponent, input_scale)
    if keep:
        builder.tensors[y] = replace(builder.tensors[y], shape=(*leading, out_channels))
        builder.ops[-1] = replace(builder.ops[-1], options={**builder.ops[-1].options, "keepNumDims": True})
    graph = builder.build([y])
    assert_equal_to(micro, graph, random_inputs(graph, np.random.default_rng(seed)))


def test_a_fully_connected_layer_with_one_scale_multiplies_the_scales_in_double():
    # Each channel's bias is the integer just below or above a boundary k + 1/2 of bias * multiplier: the product of the
    # scales in float32 would move most boundaries by several integers.
    builder = GraphBuilder(0)
    x = builder.input((1, 1), 0.1, 0)
    scale = np.float32(1.1e-6)
    boundaries = (np.arange(-118, 118) + 0.5) / (float(np.float32(0.1)) * float(scale))
    numbers = (np.floor(boundaries)[:, None] + [0, 1]).ravel().astype(np.int32)
    weights = builder.constant(np.ones((numbers.size, 1), np.int8), scale)
    bias = builder.constant(numbers, np.float32(0.1) * scale)
    options = {"fusedActivationFunction": 0}
    y = builder.op("FULLY_CONNECTED", (x, weights, bias), (1, numbers.size), 1.0, 0, "FullyConnectedOptions", options)
    assert_equal_to(micro, builder.build([y]), [np.int8([[0]])])


@pytest.mark.parametrize("length", [1032, 1041, 1042, 5001])
def test_sums_beyond_the_integers_of_float32_equal_tflite_micro(length):
    # 127 * 127 * 1041 is odd and above 2**24, where float32 holds even integers only. The bias takes the sum back to a
    # few units, so a lost unit shows.
    builder = GraphBuilder(1)
    x = builder.input((1, length), 0.01, 0)
    weights = np.full((5, length), 127)
    weights[1:, 0] = (126, 125, 124, -128)
    y = builder.fully_connected(x, 5, weights=weights, scale=1.0)
    bias = builder.ops[-1].inputs[2]
    sums = -127 * weights.sum(axis=1) + np.array([1, 3, -5, 7, 9])
    builder.tensors[bias] = replace(builder.tensors[bias], data=sums.astype(np.int32))
    _with_multiplier(builder, y, 0, 0.01)
    graph = builder.build([y])
    assert_equal_to(micro, graph, [np.full((1, length), 127, np.int8)])


@pytest.mark.parametrize("method", ["conv2d", "depthwise"])
def test_weights_at_the_end_of_their_range_and_saturated_inputs_equal_tflite(method):
    builder = GraphBuilder(3)
    x = builder.input((1, 4, 4, 5), 0.02, 127)
    channels = 5
    shape = (channels, 3, 3, 5) if method == "conv2d" else (1, 3, 3, channels)
    signs = np.where(np.arange(np.prod(shape)) % 3 == 0, 127, -128).reshape(shape)
    count = channels if method == "conv2d" else 1
    y = getattr(builder, method)(x, count, weights=signs, scale=0.5, zp=-128)
    graph = builder.build([y])
    for value in (-128, 127):
        assert_equal_to(builtin_ref, graph, [np.full((1, 4, 4, 5), value, np.int8)])


def test_depthwise_weights_become_one_row_of_height_times_width_per_channel():
    builder = GraphBuilder(0)
    x = builder.input((1, 4, 4, 2))
    weights = np.arange(1 * 2 * 3 * 4, dtype=np.int8).reshape(1, 2, 3, 4)
    layer = prepare(builder.build([builder.depthwise(x, 2, kernel=(2, 3), weights=weights)]))[0]
    assert layer.weights.values.shape == (4, 6)
    assert layer.weights.values[3].tolist() == [3, 7, 11, 15, 19, 23]
