"""Element by element operators: ADD, SUB, MUL, the tables, QUANTIZE, DEQUANTIZE against TFLite, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from build import GraphBuilder
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import assert_equal_to, builtin_ref, random_inputs
from properties import activations, deterministic, scales, seeds, zero_points

from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.prepare import prepare

ALL_BYTES = np.arange(256, dtype=np.uint8).reshape(1, 256)


def _broadcastable(draw, shape):
    """A shape that broadcasts against `shape`: leading axes missing, others 1."""
    start = draw(st.integers(0, len(shape) - 1))
    return tuple(draw(st.sampled_from((1, size))) for size in shape[start:])


@st.composite
def operand_shapes(draw):
    """Shapes of a and b and which of them is a constant (0 none, 1 a, 2 b); either may be the broadcast one."""
    full = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    kind = draw(st.integers(0, 3))
    if kind == 0:
        shapes = (full, full)
    elif kind == 1:
        shapes = (full, _broadcastable(draw, full))
    elif kind == 2:
        shapes = (_broadcastable(draw, full), full)
    else:
        shapes = tuple(tuple(draw(st.sampled_from((1, size))) for size in full) for _ in range(2))
    return shapes, draw(st.integers(0, 2))


def _operands(builder, shapes, constant, quants, seed):
    rng = np.random.default_rng(seed)
    indices = []
    for position, (shape, (scale, zp)) in enumerate(zip(shapes, quants), start=1):
        if constant == position:
            values = rng.integers(-128, 128, shape).astype(np.int8)
            indices.append(builder.constant(values, scale, zp))
        else:
            indices.append(builder.input(shape, scale, zp))
    return indices


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
@deterministic
@given(
    seed=seeds,
    operands=operand_shapes(),
    quants=st.tuples(st.tuples(scales(), zero_points), st.tuples(scales(), zero_points)),
    output_scale=scales(),
    output_zp=zero_points,
    activation=activations,
)
def test_binary_operators_with_broadcasting_equal_tflite(
    kind, seed, operands, quants, output_scale, output_zp, activation
):  # fmt: skip
    shapes, constant = operands
    builder = GraphBuilder(seed)
    a, b = _operands(builder, shapes, constant, quants, seed)
    graph = builder.build([builder.add(a, b, output_scale, output_zp, activation, kind)])
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(seed)))


def test_adding_a_tensor_to_itself_equals_tflite():
    builder = GraphBuilder(0)
    x = builder.input((1, 256), 0.1, 7)
    graph = builder.build([builder.add(x, x, 0.15, -20)])
    assert_equal_to(builtin_ref, graph, [ALL_BYTES.view(np.int8)])


def test_five_axes_fit_when_one_of_them_is_1():
    builder = GraphBuilder(0)
    a, b = builder.input((2, 1, 3, 2, 2), 0.1, 3), builder.input((3, 1, 2), 0.2, -5)
    graph = builder.build([builder.add(a, b, 0.3, 4)])
    layer = prepare(graph)[0]
    assert (layer.shape, layer.a_stride, layer.b_stride) == ((2, 3, 2, 2), (12, 4, 2, 1), (0, 2, 0, 1))
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(0)))


TABLE_OPTIONS = {"LEAKY_RELU": "LeakyReluOptions", "HARD_SWISH": "HardSwishOptions", "QUANTIZE": "QuantizeOptions"}


@pytest.mark.parametrize(
    "kind", ["RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH", "QUANTIZE"]
)
@deterministic
@given(
    input_scale=scales(1e-4, 2.0),
    input_zp=zero_points,
    output_scale=scales(1e-3, 1.0),
    output_zp=zero_points,
    alpha=st.floats(-2, 2, width=32),
)
def test_tables_equal_tflite_for_all_256_inputs(kind, input_scale, input_zp, output_scale, output_zp, alpha):
    assume(kind != "HARD_SWISH" or 1 / 256 < input_scale / output_scale < 127)
    if kind == "LOGISTIC":
        output_scale = 1 / 256
    options = {"alpha": alpha} if kind == "LEAKY_RELU" else {}
    builder = GraphBuilder(0)
    x = builder.input((1, 256), input_scale, input_zp)
    y = builder.op(kind, (x,), (1, 256), output_scale, output_zp, TABLE_OPTIONS.get(kind, ""), options)
    assert_equal_to(builtin_ref, builder.build([y]), [ALL_BYTES.view(np.int8)])


# Quantizations (input scale and zero point, output scale and zero point, alpha) found by search where one of the 256
# outputs changes when a scale or a function is computed in double instead of float32, or in another order.
DECIDED_BY_THE_LAST_BIT = [
    ("RELU", 0.632, -128, 0.128, -128, 0),
    ("RELU", 0.966, -128, 0.476, -128, 0),
    ("RELU6", 0.463, -128, 0.294, -128, 0),
    ("QUANTIZE", 0.632, -128, 0.128, -128, 0),
    ("QUANTIZE", 0.966, -128, 0.476, -128, 0),
    ("LEAKY_RELU", 1.745, 127, 1.296, 127, 0.675),
    ("LEAKY_RELU", 0.855, 127, 0.738, 127, 0.84),
    ("LEAKY_RELU", 0.66, 127, 0.22, 127, 0.234),
    ("LOGISTIC", 0.06364617496728897, -79, 1 / 256, -128, 0),
    ("LOGISTIC", 0.16638228297233582, 94, 1 / 256, -128, 0),
    ("LOGISTIC", 0.005512736272066832, 107, 1 / 256, -128, 0),
]


@pytest.mark.parametrize(
    ("kind", "input_scale", "input_zp", "output_scale", "output_zp", "alpha"), DECIDED_BY_THE_LAST_BIT
)
def test_tables_that_the_last_bit_of_a_float32_step_decides_equal_tflite(
    kind, input_scale, input_zp, output_scale, output_zp, alpha
):  # fmt: skip
    builder = GraphBuilder(0)
    x = builder.input((1, 256), input_scale, input_zp)
    options = {"alpha": alpha} if kind == "LEAKY_RELU" else {}
    y = builder.op(kind, (x,), (1, 256), output_scale, output_zp, TABLE_OPTIONS.get(kind, ""), options)
    assert_equal_to(builtin_ref, builder.build([y]), [ALL_BYTES.view(np.int8)])


@pytest.mark.parametrize(
    ("kind", "a_scale", "b_scale", "output_scale"),
    [
        ("ADD", 0.007, 0.013, 0.0111),
        ("ADD", 0.021, 0.0007, 0.03),
        ("SUB", 0.1, 0.3, 0.17),
        ("SUB", 0.021, 0.0007, 0.03),
        # These two need the product and the quotient of the scales in float32.
        ("MUL", 0.176, 0.813, 51.75),
        ("MUL", 0.278, 0.816, 29.2),
    ],
)
def test_all_65536_pairs_equal_tflite(kind, a_scale, b_scale, output_scale):
    builder = GraphBuilder(0)
    a, b = builder.input((256, 1), a_scale, -128), builder.input((1, 256), b_scale, -128)
    graph = builder.build([builder.add(a, b, output_scale, -128, kind=kind)])
    bytes_ = ALL_BYTES.view(np.int8)
    assert_equal_to(builtin_ref, graph, [bytes_.reshape(256, 1), bytes_])


@pytest.mark.parametrize(("source", "target"), [("uint8", "int8"), ("int8", "uint8"), ("uint8", "uint8")])
@deterministic
@given(
    input_scale=scales(),
    ratio=st.one_of(st.just(1.0), scales(1e-3, 1e3)),
    input_zp=st.integers(0, 255),
    output_zp=st.integers(0, 255),
)
def test_quantize_between_8_bit_types_equals_tflite(source, target, input_scale, ratio, input_zp, output_zp):
    offset = {"uint8": 0, "int8": -128}
    builder = GraphBuilder(0)
    x = builder.input((1, 256), input_scale, input_zp + offset[source], dtype=source)
    y = builder.op(
        "QUANTIZE", (x,), (1, 256), input_scale / ratio, output_zp + offset[target], "QuantizeOptions", dtype=target
    )
    assert_equal_to(builtin_ref, builder.build([y]), [ALL_BYTES.view(source)])


@deterministic
@given(seed=seeds, scale=scales(1e-4, 10), zp=zero_points)
def test_quantizing_floats_equals_tflite_also_at_ties(seed, scale, zp):
    rng = np.random.default_rng(seed)
    steps = np.concatenate([rng.uniform(-300, 300, 150), rng.integers(-260, 260, 106) + 0.5])
    values = (steps * np.float32(scale)).astype(np.float32).reshape(1, 256)
    builder = GraphBuilder(0)
    x = builder.input((1, 256), None, dtype=np.float32)
    graph = builder.build([builder.op("QUANTIZE", (x,), (1, 256), scale, zp, "QuantizeOptions")])
    assert_equal_to(builtin_ref, graph, [values])


@deterministic
@given(scale=scales(1e-4, 10), zp=zero_points)
def test_dequantizing_equals_tflite(scale, zp):
    builder = GraphBuilder(0)
    x = builder.input((1, 256), scale, zp)
    y = builder.op("DEQUANTIZE", (x,), (1, 256), None, options_type="DequantizeOptions", dtype=np.float32)
    graph = builder.build([y])
    assert_equal_to(builtin_ref, graph, [ALL_BYTES.view(np.int8)])


def test_floats_that_int8_cannot_hold_saturate_with_their_sign():
    builder = GraphBuilder(0)
    x = builder.input((1, 4), None, dtype=np.float32)
    graph = builder.build([builder.op("QUANTIZE", (x,), (1, 4), 0.5, 3, "QuantizeOptions")])
    values = np.array([[1e30, -1e30, np.inf, -np.inf]], np.float32)
    assert reference.run(graph, [values])[0].tolist() == [[127, -128, 127, -128]]
