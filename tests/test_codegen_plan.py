"""The memory plan never lets two living buffers overlap, and wastes nothing on easy graphs."""

import numpy as np
from build import GraphBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress.codegen.plan import ALIGNMENT, plan_memory
from keras_hwcompress.tflite.layers import VIEW_ALIGNMENT, Layer, Lut, Reshape


def _layer(op, inputs, output, count=0, offset=0):
    if op == "lut":
        return Lut("lut", "x", tuple(inputs), (output,), np.zeros(256, np.int8), count)
    if op == "reshape":
        return Reshape("reshape", "x", tuple(inputs), (output,), count, offset)
    return Layer(op, "x", tuple(inputs), (output,))


@st.composite
def chains_with_skips(draw):
    """A random graph: every layer reads one or two earlier tensors; a reshape may be a view of a part of one."""
    builder = GraphBuilder()
    tensors = [builder.input((1, draw(st.integers(1, 300))))]
    layers = []
    for _ in range(draw(st.integers(1, 12))):
        op = draw(st.sampled_from(["conv2d", "lut", "reshape", "concat"]))
        inputs = [draw(st.sampled_from(tensors[-4:])) for _ in range(2 if op == "concat" else 1)]
        same_size = op in ("lut", "reshape")
        size = builder.tensors[inputs[0]].size if same_size else draw(st.integers(1, 300))
        offset = VIEW_ALIGNMENT * draw(st.integers(0, (size - 1) // VIEW_ALIGNMENT)) if op == "reshape" else 0
        size = draw(st.integers(1, size - offset)) if op == "reshape" and draw(st.booleans()) else size - offset
        tensors.append(builder.activation((1, size), 0.1, 0))
        layers.append(_layer(op, inputs, tensors[-1], size, offset))
    outputs = draw(st.lists(st.sampled_from(tensors[1:]), min_size=1, max_size=2, unique=True))
    scratch = [draw(st.sampled_from([0, 0, 40, 200])) for _ in layers]
    return builder.build(outputs), layers, scratch


def _living(plan):
    return [*{id(b): b for b in plan.tensors.values()}.values(), *plan.scratch.values()]


@given(chains_with_skips())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_buffers_that_live_at_the_same_time_do_not_overlap(case):
    graph, layers, scratch = case
    plan = plan_memory(graph, layers, lambda number: scratch[number])
    buffers = _living(plan)
    for i, a in enumerate(buffers):
        assert a.offset % ALIGNMENT == 0 and a.offset + a.bytes <= plan.arena_bytes
        for b in buffers[:i]:
            in_time = a.first <= b.last and b.first <= a.last
            in_space = a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes
            assert not (in_time and in_space), (a, b)
    for number, layer in enumerate(layers):
        for tensor in (*layer.inputs, *layer.outputs):
            assert plan.tensors[tensor].first <= number <= plan.tensors[tensor].last
        assert plan.scratch[number].bytes >= scratch[number] if scratch[number] else number not in plan.scratch


@given(chains_with_skips())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_value_is_overwritten_before_its_last_reader(case):
    """Executes the plan symbolically: every byte remembers which tensor wrote it."""
    graph, layers, scratch = case
    plan = plan_memory(graph, layers, lambda number: scratch[number])
    alias = {}
    for layer in layers:
        if isinstance(layer, Reshape):
            alias[layer.outputs[0]] = alias.get(layer.inputs[0], layer.inputs[0])
    owner = np.full(plan.arena_bytes, -1)

    def span(tensor):
        return slice(plan.offset(tensor), plan.offset(tensor) + graph.tensors[tensor].size)

    for tensor in graph.inputs:
        owner[span(tensor)] = tensor
    for number, layer in enumerate(layers):
        for tensor in layer.inputs:
            assert (owner[span(tensor)] == alias.get(tensor, tensor)).all()
        if number in plan.scratch:
            owner[plan.scratch[number].offset : plan.scratch[number].offset + plan.scratch[number].bytes] = -2
        if not isinstance(layer, Reshape):
            owner[span(layer.outputs[0])] = layer.outputs[0]
    for tensor in graph.outputs:
        assert (owner[span(tensor)] == alias.get(tensor, tensor)).all()


def test_a_view_begins_inside_the_buffer_of_what_it_is_a_part_of():
    builder = GraphBuilder()
    x, whole = builder.input((1, 4)), builder.activation((1, 64), 0.1, 0)
    half, quarter, result = (builder.activation((1, size), 0.1, 0) for size in (32, 16, 16))
    layers = [
        _layer("conv2d", [x], whole),
        _layer("reshape", [whole], half, 32, offset=32),
        _layer("reshape", [half], quarter, 16, offset=16),
        _layer("conv2d", [quarter], result),
    ]
    plan = plan_memory(builder.build([result]), layers, lambda number: 0)
    assert plan.tensors[quarter] == plan.tensors[whole]
    assert [plan.offset(tensor) - plan.offset(whole) for tensor in (half, quarter)] == [32, 48]


def test_a_chain_needs_its_two_largest_neighbours_and_no_more():
    builder = GraphBuilder()
    tensors = [builder.input((1, 64))]
    layers = []
    for size in (160, 320, 16, 480):
        tensors.append(builder.activation((1, size), 0.1, 0))
        layers.append(_layer("conv2d", [tensors[-2]], tensors[-1]))
    plan = plan_memory(builder.build([tensors[-1]]), layers, lambda number: 0)
    assert plan.arena_bytes == 496


def test_an_operator_that_may_work_in_place_takes_over_its_input():
    builder = GraphBuilder()
    x = builder.input((1, 64))
    y, z = builder.activation((1, 64), 0.1, 0), builder.activation((1, 64), 0.1, 0)
    plan = plan_memory(builder.build([z]), [_layer("lut", [x], y, 64), _layer("reshape", [y], z, 64)], lambda number: 0)
    assert plan.arena_bytes == 64 and plan.tensors[x] == plan.tensors[y] == plan.tensors[z]
