"""Operators that pick elements against TFLite's reference kernels, and the rewriting of float detours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import assert_equal_to, builtin_ref, random_inputs
from properties import deterministic, scales, seeds, zero_points

from keras_hwcompress.codegen.model import compile_model
from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.layers import Reshape, Slice
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.simplify import simplify

QUANT = (0.05, -3)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def _check(builder: GraphBuilder, outputs, seed: int) -> None:
    graph = builder.build(outputs)
    assert_equal_to(builtin_ref, graph, random_inputs(graph, np.random.default_rng(seed)))


def _integers(builder: GraphBuilder, values) -> int:
    return builder.constant(np.array(values, np.int32))


@st.composite
def split_axes(draw):
    """(shape, axis as stored, axis, sizes of the parts)."""
    shape = list(draw(shapes))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    shape[axis] = sum(sizes)
    return tuple(shape), axis, axis % len(shape), sizes


@deterministic
@given(seed=seeds, case=split_axes(), count=st.integers(1, 4), scale=scales(), zp=zero_points, data=st.data())
def test_split_into_equal_parts_equals_tflite(seed, case, count, scale, zp, data):
    shape, stored, axis, sizes = case
    builder = GraphBuilder(seed)
    x = builder.input((*shape[:axis], sizes[0] * count, *shape[axis + 1 :]), scale, zp)
    part = (*shape[:axis], sizes[0], *shape[axis + 1 :])
    inputs = (_integers(builder, stored), x)
    outputs = builder.parts("SPLIT", inputs, [part] * count, (scale, zp), "SplitOptions", {"numSplits": count})
    _check(builder, data.draw(st.lists(st.sampled_from(outputs), min_size=1, unique=True)), seed)


@deterministic
@given(seed=seeds, case=split_axes(), rest=st.booleans())
def test_split_into_parts_of_given_sizes_equals_tflite(seed, case, rest):
    shape, stored, axis, sizes = case
    builder = GraphBuilder(seed)
    x = builder.input(shape, *QUANT)
    given_sizes = [-1, *sizes[1:]] if rest else sizes
    inputs = (x, _integers(builder, given_sizes), _integers(builder, stored))
    parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    _check(builder, builder.parts("SPLIT_V", inputs, parts, QUANT, "SplitVOptions", {"numSplits": len(sizes)}), seed)


@deterministic
@given(seed=seeds, shape=shapes, data=st.data())
def test_unpack_and_pack_along_any_axis_equal_tflite(seed, shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    builder = GraphBuilder(seed)
    x = builder.input(shape, *QUANT)
    position = axis % len(shape)
    row = (*shape[:position], *shape[position + 1 :])
    options = {"num": shape[axis], "axis": axis}
    parts = builder.parts("UNPACK", (x,), [row] * shape[axis], QUANT, "UnpackOptions", options)
    options = {"valuesCount": shape[axis], "axis": axis}
    packed = builder.op("PACK", parts[::-1], shape, *QUANT, "PackOptions", options)
    _check(builder, [packed, parts[-1]], seed)


@st.composite
def strided_bounds(draw):
    """(shape, begin, end, strides, masks, shape of the result), never empty."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple))
    used = draw(st.integers(1, len(shape)))
    begin, end, step, index = [], [], [], []
    masks = dict.fromkeys(("beginMask", "endMask", "shrinkAxisMask"), 0)
    for axis in range(used):
        size = shape[axis]
        begin.append(draw(st.integers(-size - 1, size)))
        end.append(draw(st.integers(-size - 2, size + 1)))
        step.append(draw(st.sampled_from([1, 1, 2, 3, -1, -2])))
        free = [draw(st.booleans()) for _ in range(2)]
        if draw(st.integers(0, 3)) == 0:
            begin[axis], step[axis], free = draw(st.integers(-size, size - 1)), 1, [False, False]
            end[axis] = begin[axis] + 1
            masks["shrinkAxisMask"] |= 1 << axis
            index.append(begin[axis])
            continue
        masks["beginMask"] |= free[0] << axis
        masks["endMask"] |= free[1] << axis
        index.append(slice(None if free[0] else begin[axis], None if free[1] else end[axis], step[axis]))
    result = np.empty(shape, np.int8)[tuple(index)].shape
    assume(0 not in result)
    return shape, begin, end, step, masks, result


@deterministic
@given(seed=seeds, case=strided_bounds())
def test_strided_slices_with_every_mask_equal_tflite(seed, case):
    shape, begin, end, step, masks, result = case
    builder = GraphBuilder(seed)
    inputs = (builder.input(shape, *QUANT), *(_integers(builder, values) for values in (begin, end, step)))
    _check(builder, [builder.op("STRIDED_SLICE", inputs, result, *QUANT, "StridedSliceOptions", masks)], seed)


@deterministic
@given(seed=seeds, shape=shapes, data=st.data())
def test_slice_transpose_and_reverse_equal_tflite(seed, shape, data):
    builder = GraphBuilder(seed)
    x = builder.input(shape, *QUANT)
    order = data.draw(st.permutations(range(len(shape))))
    outputs = [builder.op("TRANSPOSE", (x, _integers(builder, order)), [shape[i] for i in order], *QUANT, "TransposeOptions")]
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(shape) - 1)] * 2)))
    axes = list(range(first, last + 1))  # TFLite reverses neighbouring axes only
    # The converter gives the two sides different scales now and then; the bytes are copied all the same.
    outputs.append(builder.op("REVERSE_V2", (x, _integers(builder, axes)), shape, 0.06, 1, "ReverseV2Options"))
    begin = [data.draw(st.integers(0, size - 1)) for size in shape]
    size = [data.draw(st.integers(1, full - first)) for first, full in zip(begin, shape)]
    bounds = (_integers(builder, begin), _integers(builder, size))
    outputs.append(builder.op("SLICE", (x, *bounds), size, *QUANT, "SliceOptions"))
    _check(builder, outputs, seed)


def _gates(units: int, exposed: bool = False):
    builder = GraphBuilder(0)
    x = builder.input((1, 8), *QUANT)
    dense = builder.fully_connected(x, 3 * units)
    quant = builder._scale_of(dense)
    inputs = (_integers(builder, -1), dense)
    parts = builder.parts("SPLIT", inputs, [(1, units)] * 3, quant, "SplitOptions", {"numSplits": 3})
    outputs = parts if exposed else [builder.op("TANH", (part,), (1, units), 1 / 128, 0) for part in (parts[0], parts[2])]
    return builder.build(outputs)


def test_aligned_neighbours_are_views_that_cost_no_copy_and_unread_parts_cost_nothing():
    assert [type(layer) for layer in prepare(_gates(16))[1:3]] == [Reshape, Reshape]
    assert [layer.offset for layer in prepare(_gates(16))[1:3]] == [0, 32]
    assert [type(layer) for layer in prepare(_gates(10))[1:3]] == [Reshape, Slice]
    assert [type(layer) for layer in prepare(_gates(16, exposed=True))[1:]] == [Slice] * 3
    plan = compile_model(_gates(16), "model", ["ref"]).plan
    assert plan.arena_bytes <= 16 + 48 + 32


def test_what_does_not_fit_the_shape_is_refused_in_one_sentence():
    builder = GraphBuilder(0)
    x = builder.input((1, 6), *QUANT)
    empty = [_integers(builder, values) for values in ([0, 4], [1, 2], [1, 1])]
    builder.op("STRIDED_SLICE", (x, *empty), (1, 1), *QUANT, "StridedSliceOptions", {}, name="none")
    builder.op("TRANSPOSE", (x, _integers(builder, [0, 2])), (6, 1), *QUANT, "TransposeOptions", name="turned")
    builder.parts("SPLIT", (_integers(builder, 1), x), [(1, 2)] * 4, QUANT, "SplitOptions", {"numSplits": 4})
    run_time = builder.op("SLICE", (x, x, x), (1, 1), *QUANT, "SliceOptions", name="late")
    with pytest.raises(UnsupportedModelError) as caught:
        prepare(builder.build([run_time]))
    message = str(caught.value)
    for words in ("'none': nothing is left", "'turned': it does not fit the shape (1, 6)", "4 equal parts", "'late': the begin must be a constant"):
        assert words in message


def _float_detour(back=QUANT, exposed: bool = False):
    """The first step of an unrolled GRU as the converter writes it."""
    builder = GraphBuilder(0)
    x = builder.input((1, 12), *QUANT)
    floats = builder.op("DEQUANTIZE", (x,), (1, 12), None, options_type="DequantizeOptions", dtype=np.float32)
    inputs = (_integers(builder, 1), floats)
    parts = builder.parts("SPLIT", inputs, [(1, 4)] * 3, (None, 0), "SplitOptions", {"numSplits": 3}, dtype=np.float32)
    first, third = (builder.op("QUANTIZE", (parts[i],), (1, 4), *back, "QuantizeOptions") for i in (0, 2))
    total = builder.add(first, third)
    return builder.build([total, parts[1]] if exposed else [total])


def test_a_float_detour_becomes_int8_and_computes_the_same():
    graph = _float_detour()
    with pytest.raises(UnsupportedModelError, match="activations are float32"):
        check_compilable(graph)
    simple = simplify(graph)
    check_compilable(simple)
    assert [op.kind for op in simple.ops] == ["SPLIT", "ADD"]
    for seed in range(5):
        inputs = random_inputs(graph, np.random.default_rng(seed))
        np.testing.assert_array_equal(builtin_ref(graph, inputs)[0], reference.run(simple, inputs)[0])
        assert_equal_to(builtin_ref, simple, inputs)


def test_a_float_result_that_is_used_as_float_or_requantized_stays():
    assert [op.kind for op in simplify(_float_detour(exposed=True)).ops] == ["DEQUANTIZE", "SPLIT", "SPLIT", "ADD"]
    other = _float_detour(back=(0.07, 1))
    assert simplify(other) is other
    plain = _gates(16)
    assert simplify(plain) is plain
    assert simplify(replace(plain, outputs=plain.outputs[:1])).ops == plain.ops
