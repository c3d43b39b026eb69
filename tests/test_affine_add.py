"""The affine form of ADD: the same as the definition for every pair of int8 values, or not offered at all."""

from __future__ import annotations

import numpy as np
import pytest
from arm_image import in_qemu

from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import run_qemu_many
from keras_hwcompress.tflite.affine_add import AffineAdd, Operand, Output, add_table, find_affine
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.synthetic import GraphBuilder

INT32 = 2**31
# Every pair of int8 values.
A = np.repeat(np.arange(-128, 128), 256).astype(np.int8).reshape(1, 1, 256, 256)
B = np.tile(np.arange(-128, 128), 256).astype(np.int8).reshape(1, 1, 256, 256)


def graph_of(rng: np.random.Generator, activation: str = "none") -> Graph:
    """An ADD of two inputs with random scales whose output rarely saturates; with a ReLU all zero points are -128."""
    scale_a, scale_b = np.exp(rng.uniform(-5, -2, 2))
    points = [-128] * 3 if activation != "none" else rng.integers(-128, 128, 3).tolist()
    builder = GraphBuilder(seed=1)
    a, b = builder.input(A.shape, scale_a, points[0]), builder.input(B.shape, scale_b, points[1])
    output = builder.add(a, b, float((scale_a + scale_b) * rng.uniform(0.4, 1)), points[2], activation)
    return builder.build([output])


def applied(form: AffineAdd, output: Output) -> np.ndarray:
    """What a kernel computes for every pair, in Python's integers; the sums must fit int32."""
    sums = A.astype(object) * form.affine_a + B.astype(object) * form.affine_b + form.affine_c
    assert -INT32 <= sums.min() and sums.max() < INT32
    return np.clip((sums >> form.affine_shift).astype(np.int64), output.activation_min, output.activation_max)


@pytest.mark.parametrize("seed", range(6))
def test_the_affine_form_gives_what_the_interpreter_gives_for_every_pair(seed: int) -> None:
    graph = graph_of(np.random.default_rng(seed), ("none", "relu", "relu6")[seed % 3])
    layer = prepare(graph)[0]
    form = AffineAdd(layer.affine_a, layer.affine_b, layer.affine_c, layer.affine_shift)
    output = Output(0, 0, 0, layer.activation_min, layer.activation_max)
    assert form.affine_shift > 0
    expected = run_oracle(graph, [A[None], B[None]], "litert")[0]
    assert np.array_equal(applied(form, output), expected.reshape(A.shape))


def test_nearly_every_addition_has_an_affine_form() -> None:
    rng = np.random.default_rng(7)
    shifts = [prepare(graph_of(rng))[0].affine_shift for _ in range(40)]
    assert sum(shift == 22 for shift in shifts) >= 37 and sum(shift > 0 for shift in shifts) >= 39


def test_no_form_is_offered_where_none_is_exact() -> None:
    # round(a / 4) + round(b / 4): 1 for (2, 0) and (0, 2), so an affine map would give at least 1 for (1, 1).
    quarter, output = Operand(0, 1 << 30, -21), Output(0, 1 << 30, 1, -128, 127)
    table = add_table(quarter, quarter, output, 20)
    assert [table[128 + a, 128 + b] for a, b in ((2, 0), (0, 2), (1, 1))] == [1, 1, 0]
    assert find_affine(quarter, quarter, output, 20) == AffineAdd()


def test_no_form_is_offered_whose_sums_leave_int32() -> None:
    # 1,024 output steps for a step of the operands: 2 * 128 * 1024 << 20 is far beyond int32.
    whole = Operand(0, 1 << 30, 0)
    assert find_affine(whole, whole, Output(0, 1 << 30, -8, -128, 127), 20) == AffineAdd()


def test_ties_away_from_zero_are_affine_with_a_slope_a_little_steeper() -> None:
    whole, output = Operand(0, 1 << 30, 0), Output(0, 1 << 30, -19, -128, 127)
    table = add_table(whole, whole, output, 20)
    assert (table[127, 128], table[129, 128]) == (-1, 1)  # -0.5 and 0.5
    form = find_affine(whole, whole, output, 20)
    assert np.array_equal(applied(form, output).reshape(256, 256), table)


@in_qemu
def test_the_kernel_with_the_affine_form_agrees_on_every_pair() -> None:
    rng = np.random.default_rng(11)
    graphs = [graph_of(rng, activation) for activation in ("none", "relu", "none")]
    results = run_qemu_many([(graph, [A[None], B[None]]) for graph in graphs])
    for graph, result in zip(graphs, results, strict=True):
        assert prepare(graph)[0].affine_shift > 0
        expected = run_oracle(graph, [A[None], B[None]], "litert")
        assert np.array_equal(result.outputs[0], expected[0])
        assert result.layer_insns[0][2] <= 8 * A.size
