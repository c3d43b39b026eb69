"""What prepare refuses, with which words, and what it proves about overflow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder
from oracles import assert_equal_to, builtin_ref

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.prepare import prepare


def test_all_unsupported_operators_are_listed_in_one_message():
    builder = GraphBuilder(0)
    x = builder.input((1, 4), 0.1, 0)
    first = builder.op("GATHER", (x,), (1, 4), name="gathered")
    builder.op("GATHER", (first,), (1, 4), name="again")
    other = builder.op("LSTM", (first,), (1, 4), name="memory")
    graph = builder.build([builder.op("TANH", (other,), (1, 4), 1 / 128, 0, name="fine")])
    with pytest.raises(UnsupportedModelError) as caught:
        prepare(graph)
    message = str(caught.value)
    assert message.startswith("unsupported operators: GATHER x2 (first 'gathered'), LSTM x1 (first 'memory'); ")
    for kind in ("CONV_2D", "PADV2", "HwcmpConv2D"):
        assert kind in message
    assert "\n" not in message


def test_a_custom_operator_with_the_name_of_a_builtin_one_is_not_that_one():
    builder = GraphBuilder(0)
    builder.conv2d(builder.input((1, 4, 4, 2)), 3)
    builder.ops[0] = replace(builder.ops[0], is_custom=True, options={"custom": b""})
    with pytest.raises(UnsupportedModelError, match="unsupported operators: CONV_2D x1"):
        prepare(builder.build([3]))


def test_operators_with_unsupported_details_are_all_named_with_the_reason():
    builder = GraphBuilder(0)
    x = builder.input((1, 4, 4, 4), 0.1, 0)
    grouped = builder.conv2d(x, 2)
    weights = builder.ops[-1].inputs[1]
    data = np.ones((2, 3, 3, 2), np.int8)
    builder.tensors[weights] = replace(builder.tensors[weights], shape=data.shape, data=data)
    flat = builder.reshape(grouped, (1, 32))
    shape = builder.ops[-1].inputs[1]
    builder.tensors[shape] = replace(builder.tensors[shape], data=None)
    joined = builder.op(
        "CONCATENATION", (flat, flat), (1, 64), *builder._scale_of(flat), "ConcatenationOptions",
        {"axis": 1, "fusedActivationFunction": 1},
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError) as caught:
        prepare(builder.build([joined]))
    message = str(caught.value)
    assert f"CONV_2D {builder.tensors[grouped].name!r}: grouped convolutions" in message
    assert f"RESHAPE {builder.tensors[flat].name!r}: the shape must be a constant" in message
    assert f"CONCATENATION {builder.tensors[joined].name!r}: TFLite defines no fused activation" in message


def _conv_graph(change):
    builder = GraphBuilder(0)
    builder.conv2d(builder.input((1, 4, 4, 2)), 3)
    change(builder)
    return builder.build([builder.ops[-1].outputs[0]])


def _retype(position, **fields):
    def change(builder):
        op = builder.ops[-1]
        index = (*op.inputs, *op.outputs)[position]
        builder.tensors[index] = replace(builder.tensors[index], **fields)

    return change


def _restore(position, data):
    return _retype(position, data=data, shape=data.shape, dtype=data.dtype)


def _requantize(position, **fields):
    def change(builder):
        op = builder.ops[-1]
        index = (*op.inputs, *op.outputs)[position]
        quant = replace(builder.tensors[index].quantization, **fields)
        builder.tensors[index] = replace(builder.tensors[index], quantization=quant)

    return change


def _option(**options):
    def change(builder):
        builder.ops[-1] = replace(builder.ops[-1], options={**builder.ops[-1].options, **options})

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_retype(1, data=None), "the weights must be a constant"),
        (_restore(1, np.zeros((3, 3, 3, 2), np.float32)), "expected int8 weights"),
        (_retype(0, dtype=np.dtype(np.float32), quantization=None), "expected int8"),
        (_retype(0, dtype=np.dtype(np.int16)), "expected int8"),
        (_retype(0, shape=(2, 4, 4, 2)), "expected the shape (1, h, w, c)"),
        (_retype(0, shape=(1, 0, 4, 2)), "dimensions must be in 1..32767"),
        (_retype(0, quantization=None), "expected one scale and one zero point"),
        (_requantize(0, zero_point=np.array([200])), "the zero point must be in -128..127"),
        (_requantize(3, scale=np.array([0.0], np.float32)), "scales must be at least 2**-126"),
        (_requantize(1, zero_point=np.array([0, 1, 0])), "weights must have zero point 0"),
        (_requantize(1, axis=3), "one per output channel (axis 0)"),
        (_requantize(1, scale=np.array([0.1, np.nan, 0.1], np.float32)), "weight scales must be positive and finite"),
        (_restore(2, np.zeros(3, np.int64)), "expected an int32 bias of 3"),
        (_restore(2, np.zeros(4, np.int32)), "expected an int32 bias of 3"),
        (_retype(2, data=np.zeros(4, np.int32)), "the bias must have the tensor's shape and type"),
        (_retype(3, shape=(1, 3, 4, 3)), "expected the output shape (1, 4, 4, 3)"),
        (_option(strideH=0), "kernel, stride and dilation must be in 1..32767"),
        (_option(padding=7), "expected padding SAME"),
        (_option(fusedActivationFunction=4), "a fused activation must be"),
        (_requantize(3, scale=np.array([1e-30], np.float32)), "multiplier"),
        (_requantize(3, scale=np.array([1e-40], np.float32)), "scales must be at least 2**-126"),
    ],
)
def test_a_convolution_that_cannot_be_compiled_is_refused_with_the_reason(change, reason):
    with pytest.raises(UnsupportedModelError, match="CONV_2D 't3': ") as caught:
        prepare(_conv_graph(change))
    assert reason in str(caught.value)


def _bounded_graph(excess: int, shift: int = 0):
    """A 1x1 convolution whose accumulator bound, shifted, is 2**31 - 257 + excess at most (rounded to the shift)."""
    builder = GraphBuilder(0)
    x = builder.input((1, 1, 2, 2), 1.0, 0)
    weights = np.array([[127, -128], [3, 0]], np.int8).reshape(2, 1, 1, 2)
    y = builder.conv2d(x, 2, (1, 1), weights=weights, scale=1.0, zp=0)
    quant = builder.tensors[builder.ops[-1].inputs[1]].quantization
    scale = np.full(2, 2.0 ** (shift - 1) * 1.9, np.float32)
    builder.tensors[builder.ops[-1].inputs[1]] = replace(
        builder.tensors[builder.ops[-1].inputs[1]], quantization=replace(quant, scale=scale)
    )
    bound = ((2**31 - 257) >> shift) + excess
    bias = np.array([-(bound - 128 * 255), bound - 128 * 3], np.int32)
    builder.tensors[builder.ops[-1].inputs[2]] = replace(builder.tensors[builder.ops[-1].inputs[2]], data=bias)
    return builder.build([y])


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_accumulators_at_the_proven_bound_equal_tflite(shift):
    graph = _bounded_graph(0, shift)
    assert int(prepare(graph)[0].channels.shift[0]) == shift
    values = np.array([[-128, 127], [127, -128]], np.int8).reshape(1, 1, 2, 2)
    assert_equal_to(builtin_ref, graph, [values])


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_accumulators_above_the_bound_are_refused_by_name(shift):
    with pytest.raises(UnsupportedModelError, match="CONV_2D 't3': output channel 0 can overflow"):
        prepare(_bounded_graph(1, shift))


def test_an_input_zero_point_can_push_the_folded_bias_out_of_range():
    builder = GraphBuilder(0)
    x = builder.input((1, 1, 1, 2), 1.0, -128)
    y = builder.conv2d(x, 1, (1, 1), weights=[[[[127, 127]]]], scale=100.0)
    bias = builder.ops[-1].inputs[2]
    at = 2**31 - 257 - 2 * 128 * 254
    for excess in (0, 1):
        builder.tensors[bias] = replace(builder.tensors[bias], data=np.array([at + excess], np.int32))
        if excess:
            with pytest.raises(UnsupportedModelError, match="can overflow"):
                prepare(builder.build([y]))
        else:
            assert prepare(builder.build([y]))[0].channels.bias.tolist() == [at + 128 * 254]


@pytest.mark.parametrize("activation", ["relu6", "relu_n1_to_1"])
def test_an_output_scale_too_small_for_its_activation_is_refused(activation):
    builder = GraphBuilder(0)
    x = builder.input((1, 4, 4, 2), 2.0**-126, 0)
    graph = builder.build([builder.pool(x, activation=activation)])
    with pytest.raises(UnsupportedModelError, match="leaves int32"):
        prepare(graph)


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_sums_and_products_whose_multiplier_is_too_large_are_refused(kind):
    builder = GraphBuilder(0)
    a, b = builder.input((1, 4), 1.0, 0), builder.input((1, 4), 1.0, 0)
    graph = builder.build([builder.add(a, b, 1e-6, 0, kind=kind)])
    with pytest.raises(UnsupportedModelError, match="must be below"):
        prepare(graph)


def test_run_names_an_input_of_another_shape_or_type():
    builder = GraphBuilder(0)
    x = builder.input((1, 4), 0.1, 0, name="sensor")
    graph = builder.build([builder.fully_connected(x, 2)])
    with pytest.raises(ValueError, match="expected 1 inputs"):
        reference.run(graph, [])
    for wrong in (np.zeros((4,), np.int8), np.zeros((1, 4), np.uint8)):
        with pytest.raises(ValueError, match="input 'sensor'"):
            reference.run(graph, [wrong])
