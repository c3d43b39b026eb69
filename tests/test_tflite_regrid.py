"""regrid: weights that the converter rounded off a uniform grid go back onto it, and the model stays the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder, quantized
from graphs import small_cnn
from oracles import builtin_ref, random_inputs

from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.compare import difference
from keras_hwcompress.tflite.compress import inspect
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.grid import fit_grid
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.regrid import regrid
from keras_hwcompress.tflite.weights import from_rows, to_rows
from keras_hwcompress.tflite.writer import write_model

INPUT_SCALE = np.float32(0.05)
AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def grid_of(levels: int) -> np.ndarray:
    """Odd: -2 -1 0 1 2; even: -3 -1 1 3."""
    return np.arange(levels) - levels // 2 if levels % 2 else 2 * np.arange(levels) - (levels - 1)


def converted(real: np.ndarray, weakness: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """int8 rows and float32 scales as the converter makes them: largest weight -> 127, round half away from zero.

    weakness > 1 enlarges a row's scale, as the converter does where the bias would overflow.
    """
    largest = np.abs(real).max(axis=1)
    scale = (np.where(largest > 0, largest, 1.0) / 127 * weakness).astype(np.float32)
    ratio = real / scale.astype(np.float64)[:, None]
    return (np.sign(ratio) * np.floor(np.abs(ratio) + 0.5)).astype(np.int8), scale


def model_of(kind: str, rows: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> Graph:
    """One operator with the given canonical rows; 3 x 3 windows, or a fully connected layer."""
    builder = GraphBuilder(3)
    channels, length = rows.shape
    if kind == "CONV_2D":
        x = builder.input((1, 6, 5, length // 9), INPUT_SCALE, -3)
        y = builder.conv2d(x, channels, weights=from_rows(kind, rows, (channels, 3, 3, length // 9)))
    elif kind == "DEPTHWISE_CONV_2D":
        x = builder.input((1, 6, 5, channels), INPUT_SCALE, -3)
        y = builder.depthwise(x, weights=from_rows(kind, rows, (1, 3, 3, channels)))
    else:
        x = builder.input((4, length), INPUT_SCALE, -3)
        y = builder.fully_connected(x, channels, weights=rows)
    _, weights, offset = builder.ops[-1].inputs
    per_tensor = scale.size == 1
    product = (INPUT_SCALE * scale.astype(np.float64)).astype(np.float32)
    builder.tensors[weights] = replace(
        builder.tensors[weights], quantization=quantized(scale, 0, 0 if per_tensor else AXES[kind])
    )
    data = bias.astype(np.int32)
    builder.tensors[offset] = replace(builder.tensors[offset], data=data, quantization=quantized(product))
    # A scale under which the outputs fill the range: three standard deviations of the accumulator.
    spread = float(product.max()) * 74 * np.sqrt(np.square(rows.astype(float)).sum(axis=1).max()) * 3 / 127
    builder.tensors[y] = replace(builder.tensors[y], quantization=quantized(spread, -4))
    return builder.build([y])


def parts(graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical rows, scales and bias of the first operator."""
    op = graph.ops[0]
    weights, bias = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[2]]
    return to_rows(op.kind, weights.data), weights.quantization.scale, bias.data


def random_levels(rng: np.random.Generator, levels: int, shape: tuple[int, int]) -> np.ndarray:
    """Levels k; row 0 reaches the ends of the grid, the others only as far as chance lets them."""
    grid = grid_of(levels)
    k = rng.choice(grid, shape)
    k[0, :2] = grid[0], grid[-1]
    return k


@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("levels", range(2, 17))
def test_levels_become_exact_multiples_and_the_real_weights_stay(kind, levels):
    rng = np.random.default_rng(levels)
    k = random_levels(rng, levels, (12, 9 if kind == "DEPTHWISE_CONV_2D" else 36))
    step = rng.uniform(0.001, 0.1, (12, 1))
    rows, scale = converted(k * step)
    bias = rng.integers(-5000, 5000, 12)
    graph = model_of(kind, rows, scale, bias)
    before = write_model(graph)
    new_rows, new_scale, new_bias = parts(regrid(graph))
    assert write_model(graph) == before, "the argument was changed"

    multiple = 127 // int(np.abs(k).max())
    fit = fit_grid(rows)
    assert np.array_equal(new_rows, fit.levels.astype(int) * multiple)
    assert len(np.unique(new_rows)) <= levels
    # A row that uses few levels may be given others in the same proportion; the real weights tell no difference.
    real = new_rows * new_scale.astype(np.float64)[:, None]
    assert np.allclose(real, k * step, rtol=3e-7, atol=0)
    error = new_bias * new_scale.astype(np.float64) - bias * scale.astype(np.float64)
    assert np.all(np.abs(error) <= 0.5 * new_scale * (1 + 1e-6))
    bias_scale = regrid(graph).tensors[graph.ops[0].inputs[2]].quantization.scale
    assert np.allclose(bias_scale, INPUT_SCALE * new_scale, rtol=1e-7)


def test_fifteen_levels_get_one_table_for_the_tensor_where_the_converter_made_one_per_row():
    rng = np.random.default_rng(8)
    k = rng.choice(grid_of(15), (16, 36))
    k[3] = np.clip(k[3], -5, 5)
    rows, scale = converted(k * rng.uniform(0.01, 0.1, (16, 1)))
    graph = model_of("CONV_2D", rows, scale, np.zeros(16))
    (before,), (after,) = inspect(graph), inspect(regrid(graph))
    assert (before.row_values, before.tensor_values) > (15, 15)
    assert (after.row_values, after.tensor_values) == (15, 15)
    assert after.best_bytes < before.best_bytes
    new_rows, new_scale, _ = parts(regrid(graph))
    # k_max = 7, m = floor(127 / 7) = 18; row 3 ends at 5: scale * 127 / (5 * 18), the others scale * 127 / (7 * 18).
    assert sorted(np.unique(new_rows)) == [18 * level for level in range(-7, 8)]
    expected = scale.astype(np.float64) * 127 / (np.where(np.arange(16) == 3, 5, 7) * 18)
    assert np.allclose(new_scale, expected, rtol=1e-7)


def test_ternary_weights_at_full_scale_are_left_as_they_are():
    graph = small_cnn(ternary=True)
    assert regrid(graph) is graph


def test_a_weak_ternary_channel_moves_to_127_with_the_same_real_weights():
    rows = np.array([[127, 0, -127] * 3, [40, 0, -40] * 3, [0] * 9, [0, 0, 1] * 3], np.int8)
    scale = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
    graph = model_of("CONV_2D", rows, scale, np.array([100, 1000, -77, 12]))
    new_rows, new_scale, new_bias = parts(regrid(graph))
    assert new_rows.tolist() == [[127, 0, -127] * 3, [127, 0, -127] * 3, [0] * 9, [0, 0, 127] * 3]
    assert np.allclose(new_scale, [0.01, 0.02 * 40 / 127, 0.03, 0.04 / 127], rtol=1e-7)
    # 1000 * 127 / 40 = 3175, 12 * 127 = 1524; rows at full scale and rows of zeros keep everything.
    assert new_bias.tolist() == [100, 3175, -77, 1524]


def test_weak_rows_of_more_levels_find_their_step_between_the_rounded_weights():
    rng = np.random.default_rng(5)
    k = random_levels(rng, 7, (40, 36))
    k[:, :2] = -3, 3
    step = rng.uniform(0.01, 0.1, (40, 1))
    rows, scale = converted(k * step, rng.uniform(1.0, 4.0, 40))
    assert np.count_nonzero(np.abs(rows).max(axis=1) < 127) > 30
    new_rows, new_scale, _ = parts(regrid(model_of("CONV_2D", rows, scale, np.zeros(40))))
    assert np.array_equal(new_rows, 42 * k)
    # The largest weight is 3 steps and known to half a unit: the step to a sixth of a unit.
    found, unit = new_scale.astype(np.float64) * 42, scale.astype(np.float64)
    assert np.all(np.abs(found - step[:, 0]) <= unit / 6 + 1e-9)


def test_a_row_whose_bias_would_leave_its_range_keeps_its_own_multiples():
    rows = np.array([[127, 0, -127] * 3, [3, 0, -3] * 3, [50, -50, 0] * 3], np.int8)
    scale = np.array([0.01, 0.01, 0.01], np.float32)
    bias = np.array([5, 2**29, 40])
    graph = model_of("CONV_2D", rows, scale, bias)
    new_rows, new_scale, new_bias = parts(regrid(graph))
    assert new_rows.tolist() == [[127, 0, -127] * 3, [3, 0, -3] * 3, [127, -127, 0] * 3]
    assert new_bias.tolist() == [5, 2**29, round(40 * 127 / 50)]
    assert new_scale[1] == scale[1] and new_scale[2] < scale[2]


def test_one_scale_for_the_tensor_is_one_grid_for_all_rows():
    k = np.array([[2, 1, 0], [1, 0, -1], [-1, -1, 0]])
    rows, scale = converted((k * 0.3).reshape(1, 9))
    graph = model_of("FULLY_CONNECTED", rows.reshape(3, 3), scale, np.array([10, -20, 30]))
    assert parts(graph)[0].tolist() == [[127, 64, 0], [64, 0, -64], [-64, -64, 0]]
    new_rows, new_scale, _ = parts(regrid(graph))
    assert np.array_equal(new_rows, 63 * k) and new_scale.shape == (1,)
    assert np.isclose(new_scale[0] * 63, 0.3, rtol=1e-6)


def test_a_row_of_few_levels_is_widened_so_that_its_bias_stays_fine():
    """On the grid -7..7 a row of -1 0 1 takes the ends, one of 0 2 3 is doubled to 0 4 6."""
    k = np.array([np.arange(-7, 8), [-1, 0, 1] * 5, [0, 2, 3] * 5])
    rows, scale = converted(k * np.array([[0.1], [0.7], [0.3]]))
    new_rows, new_scale, _ = parts(regrid(model_of("FULLY_CONNECTED", rows, scale, np.zeros(3))))
    assert np.array_equal(new_rows, 18 * k * np.array([[1], [7], [2]]))
    assert np.allclose(new_scale * 18, [0.1, 0.1, 0.15], rtol=1e-6)


def test_twos_complement_grids_are_found():
    k = np.array([[-2, -1, 0, 1], [-2, 1, 1, 0], [0, -1, 1, 0]])
    rows, scale = converted(k * np.array([[0.1], [0.7], [0.3]]))
    assert rows[0].tolist() == [-127, -64, 0, 64]
    new_rows, _, _ = parts(regrid(model_of("FULLY_CONNECTED", rows, scale, np.zeros(3))))
    assert np.array_equal(new_rows, 63 * k)


@pytest.mark.parametrize("offset", [2, -2])
def test_one_weight_off_the_grid_leaves_the_layer_alone(offset):
    rng = np.random.default_rng(1)
    rows, scale = converted(random_levels(rng, 5, (8, 36)) * 0.1)
    # Rows of many values: a single one cannot be explained by a finer grid of at most 16 levels.
    rows[5] = np.resize(np.array([127, -127, 64, -64, 0], np.int8), 36)
    rows[5, 7] = 64 + offset
    graph = model_of("CONV_2D", rows, scale, np.zeros(8))
    assert regrid(graph) is graph
    assert regrid(graph, tolerance=3.0) is not graph


def test_weights_without_a_grid_are_left_alone():
    graph = small_cnn()
    assert regrid(graph) is graph
    codebook = np.resize(np.array([-127, -90, -20, 0, 5, 31, 127], np.int8), (8, 36))
    graph = model_of("CONV_2D", codebook, np.full(8, 0.01, np.float32), np.zeros(8))
    assert regrid(graph) is graph


def test_regridding_twice_changes_nothing_more():
    rng = np.random.default_rng(11)
    for levels in (4, 5, 7, 15, 16):
        rows, scale = converted(random_levels(rng, levels, (20, 36)) * rng.uniform(0.01, 0.1, (20, 1)))
        once = regrid(model_of("CONV_2D", rows, scale, rng.integers(-5000, 5000, 20)))
        assert difference(regrid(once), once) is None, (levels, difference(regrid(once), once))


@pytest.mark.parametrize("levels", [5, 15, 16])
def test_outputs_move_by_at_most_one_step(levels):
    rng = np.random.default_rng(levels)
    rows, scale = converted(random_levels(rng, levels, (12, 36)) * rng.uniform(0.01, 0.1, (12, 1)))
    graph = model_of("CONV_2D", rows, scale, rng.integers(-5000, 5000, 12))
    new = regrid(graph)
    inputs = random_inputs(graph, rng)
    (old_output,), (new_output,) = reference.run(graph, inputs), reference.run(new, inputs)
    assert np.ptp(old_output.astype(int)) > 100, "the outputs must use the range, or they cannot differ"
    assert np.abs(old_output.astype(int) - new_output).max() <= 1
    assert np.array_equal(builtin_ref(new, inputs)[0], new_output)


def test_a_regridded_model_packs_without_loss():
    rng = np.random.default_rng(2)
    rows, scale = converted(random_levels(rng, 15, (12, 36)) * rng.uniform(0.01, 0.1, (12, 1)))
    new = regrid(model_of("CONV_2D", rows, scale, rng.integers(-5000, 5000, 12)))
    packed = read_model(write_model(pack(new)))
    assert packed.ops[0].is_custom and difference(expand(packed), new) is None


def two_readers(same_scale: bool, same_bias: bool) -> Graph:
    """Two convolutions with the same five-level weights."""
    rng = np.random.default_rng(9)
    rows, scale = converted(random_levels(rng, 5, (6, 36)) * 0.1)
    graph = model_of("CONV_2D", rows, scale, np.arange(6) * 100)
    second_scale = INPUT_SCALE if same_scale else np.float32(0.07)
    tensors, first = list(graph.tensors), graph.ops[0]
    tensors.append(replace(tensors[0], name="second input", quantization=quantized(second_scale, 4)))
    tensors.append(replace(tensors[first.inputs[2]], name="second bias", data=np.arange(6, dtype=np.int32) * -70))
    tensors.append(replace(tensors[first.outputs[0]], name="second output"))
    count = len(graph.tensors)
    bias = first.inputs[2] if same_bias else count + 1
    second = replace(first, inputs=(count, first.inputs[1], bias), outputs=(count + 2,))
    return replace(
        graph, tensors=tuple(tensors), ops=(first, second), inputs=(0, count), outputs=(*graph.outputs, count + 2)
    )


@pytest.mark.parametrize("same_scale", [True, False])
@pytest.mark.parametrize("same_bias", [True, False])
def test_weights_of_two_operators_change_together_with_both_biases(same_scale, same_bias):
    graph = two_readers(same_scale, same_bias)
    new = regrid(graph)
    if same_bias and not same_scale:
        # One bias tensor cannot have two scales.
        assert new is graph
        return
    ratio = (parts(graph)[1] / parts(new)[1].astype(np.float64)).astype(np.float64)
    assert np.all(ratio < 1)
    for op in new.ops:
        old_bias, new_bias = graph.tensors[op.inputs[2]], new.tensors[op.inputs[2]]
        assert np.abs(new_bias.data - old_bias.data * ratio).max() <= 0.5 + 1e-6
        product = new.tensors[op.inputs[0]].quantization.scale * parts(new)[1]
        assert np.allclose(new_bias.quantization.scale, product, rtol=1e-6)
    assert regrid(graph, ops=[0]) is graph and regrid(graph, ops=[1]) is graph
    assert difference(regrid(graph, ops=[0, 1]), new) is None


def test_a_bias_that_something_else_reads_is_not_changed():
    graph = two_readers(True, False)
    bias = graph.ops[0].inputs[2]
    assert regrid(replace(graph, outputs=(*graph.outputs, bias))) == replace(graph, outputs=(*graph.outputs, bias))
    other = replace(graph.ops[1], inputs=(graph.ops[1].inputs[0], graph.ops[1].inputs[1], bias))
    alone = replace(graph.tensors[graph.ops[1].inputs[1]], data=graph.tensors[graph.ops[1].inputs[1]].data.copy())
    other = replace(other, inputs=(other.inputs[0], len(graph.tensors), bias))
    graph = replace(graph, tensors=(*graph.tensors, alone), ops=(graph.ops[0], other))
    assert regrid(graph) is graph


def test_only_the_named_operators_are_changed():
    rng = np.random.default_rng(4)
    builder = GraphBuilder(1)
    x = builder.input((1, 6, 6, 4))
    weights = [converted(random_levels(rng, 5, (4, 36)))[0].reshape(4, 3, 3, 4) for _ in range(2)]
    graph = builder.build([builder.conv2d(builder.conv2d(x, 4, weights=weights[0]), 4, weights=weights[1])])
    new = regrid(graph, ops=[1])
    changed = [index for index, pair in enumerate(zip(graph.tensors, new.tensors)) if pair[0] is not pair[1]]
    assert changed == list(graph.ops[1].inputs[1:])
