"""The packed operators: the same layers as the builtin ones, and what happens to damaged files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder
from oracles import random_inputs

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.prepare import prepare


def _weighted_graph():
    builder = GraphBuilder(7)
    x = builder.input((1, 8, 9, 3), 0.05, 11)
    x = builder.conv2d(x, 8, stride=(2, 1), activation="relu", weights=builder.rng.choice([-127, 0, 127], (8, 3, 3, 3)))
    x = builder.depthwise(x, 2, dilation=(1, 2), weights=builder.rng.choice([-127, 0, 127], (1, 3, 3, 16)))
    y = builder.fully_connected(x, 5, per_channel=False)
    return builder.build([y])


def _packed_graph():
    return pack(_weighted_graph(), {0: "nary", 1: "nary", 2: "dense8"})


def test_packed_operators_give_every_tensor_of_the_builtin_ones():
    plain, packed = _weighted_graph(), _packed_graph()
    assert [op.kind for op in packed.ops] == ["HwcmpConv2D", "HwcmpDepthwiseConv2D", "HwcmpFullyConnected"]
    inputs = random_inputs(plain, np.random.default_rng(0))
    expected, got = reference.run_all(plain, inputs), reference.run_all(packed, inputs)
    for op in plain.ops:
        np.testing.assert_array_equal(got[op.outputs[0]], expected[op.outputs[0]])
    for before, after in zip(prepare(plain), prepare(packed), strict=True):
        assert before.weights.blob is None
        assert after.weights.blob == packed.tensors[after.weights.tensor].data.tobytes()
        assert type(before) is type(after) and after.op == before.op


def _damage(position, change):
    def damaged(graph):
        tensors = list(graph.tensors)
        index = graph.ops[0].inputs[position]
        data = np.array(change(tensors[index].data.copy()))
        tensors[index] = replace(tensors[index], data=data, shape=data.shape, dtype=data.dtype)
        return replace(graph, tensors=tuple(tensors))

    return damaged


def _set(position, index, value):
    def change(data):
        data[index] = value
        return data

    return _damage(position, change)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_set(1, 0, 99), "format"),
        (_damage(1, lambda blob: blob[:-4]), "blob"),
        (_damage(1, lambda blob: blob.view(np.int8)), "weight blob as uint8"),
        (_damage(2, lambda bias: bias[:-1]), "expected 8 biases"),
        (_set(2, 3, 2**31 - 1), "output channel 3 can overflow"),
        (_set(3, 0, -5), "multipliers must not be negative"),
        (_damage(3, lambda multiplier: multiplier[:2]), "expected 8 biases"),
        (_set(4, 0, 31), "shifts in -31..30"),
        (_set(4, 2, 25), "output channel 2 can overflow"),
        (_damage(4, lambda shift: shift.astype(np.int32)), "expected the shift as int8"),
    ],
)
def test_damaged_constants_of_a_packed_operator_are_refused(damage, reason):
    with pytest.raises(UnsupportedModelError, match="HwcmpConv2D 't3': ") as caught:
        prepare(damage(_packed_graph()))
    assert reason in str(caught.value)


@pytest.mark.parametrize("offset", range(30))
def test_a_changed_option_byte_of_a_packed_operator_is_refused_or_prepared_but_never_crashes(offset):
    graph = _packed_graph()
    options = bytearray(graph.ops[0].options["custom"])
    for value in (0, 1, 255):
        options[offset] = value
        ops = (replace(graph.ops[0], options={"custom": bytes(options)}), *graph.ops[1:])
        try:
            prepare(replace(graph, ops=ops))
        except UnsupportedModelError as error:
            assert "HwcmpConv2D" in str(error)
