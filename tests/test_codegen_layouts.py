"""Weights in an arm's own layout: chosen where they cost no flash, the same integers in less instructions."""

import subprocess

import numpy as np
import pytest
from build import GraphBuilder

from keras_hwcompress import formats
from keras_hwcompress.codegen.model import compile_model
from keras_hwcompress.codegen.project import generate_project
from keras_hwcompress.runners.qemu import build_project, run_qemu
from keras_hwcompress.select import predicted
from keras_hwcompress.targets import get_board
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.layers import weighted
from keras_hwcompress.tflite.pack import BUILTIN, pack
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.writer import write_model

DSP = ["dsp", "ref"]


def grid(shape, levels, seed=0):
    """Evenly spaced weights around 0."""
    return (np.random.default_rng(seed).integers(-(levels // 2), (levels + 1) // 2, shape) * (127 // (levels // 2))).astype(np.int8)


def residual_net(levels=16):
    """conv - conv - conv + residual - conv - fully connected, everything on a grid but the first convolution."""
    builder = GraphBuilder(3)
    x = builder.conv2d(builder.input((1, 13, 9, 12)), 24, activation="relu")
    y = builder.conv2d(x, 24, weights=grid((24, 3, 3, 24), levels))
    y = builder.conv2d(y, 24, weights=grid((24, 3, 3, 24), levels, 3))
    y = builder.add(y, x, activation="relu")
    y = builder.conv2d(y, 30, (1, 1), (2, 2), weights=grid((30, 1, 1, 24), levels, 1))
    y = builder.reshape(y, (1, 7 * 5 * 30))
    return builder.build([builder.fully_connected(y, 22, weights=grid((22, 1050), levels, 2))])


def dense_net(*shapes, form, levels):
    """Fully connected layers one after the other, stored in `form`."""
    builder = GraphBuilder(1)
    x = builder.input((1, shapes[0][1]))
    for number, (rows, length) in enumerate(shapes):
        x = builder.fully_connected(x, rows, weights=grid((rows, length), levels, number))
    return pack(builder.build([x]), dict.fromkeys(range(len(shapes)), form))


def expected(graph, inputs):
    return np.stack([reference.run(graph, [row])[0] for row in inputs[0]])


def stored(graph, layouts="same", arms=DSP):
    return [blob.stored.name for blob in compile_model(graph, "model", arms, layouts=layouts).blobs.values()]


MIXED = {0: BUILTIN, 1: "nary", 2: "nary", 4: "nary", 6: "nary"}


def test_layouts_change_instructions_and_nothing_else():
    graph = pack(residual_net(), MIXED)
    inputs = random_batch(graph, 2)
    runs = {which: run_qemu(graph, inputs, layouts=which) for which in ("canonical", "fast")}
    assert {blob.stored.name for blob in runs["fast"].model.blobs.values()} == {"dense8_nested", "nary_nested"}
    assert "conv2d_add" in [op for _, op, _ in runs["fast"].layer_insns]
    for run in runs.values():
        assert run.exact and np.array_equal(run.outputs[0], expected(graph, inputs))
    assert runs["fast"].insns < 0.75 * runs["canonical"].insns
    assert runs["fast"].arena_bytes <= runs["canonical"].arena_bytes


@pytest.mark.parametrize("preset", ["host", "mps2-an386"])
def test_a_project_with_layouts_replays_its_vectors_on_its_board_and_on_the_host(tmp_path, preset):
    data = write_model(pack(residual_net(), MIXED))
    generate_project(data, tmp_path / "firmware", board="mps2-an386", vectors=2, layouts="fast")
    build_project(tmp_path / "firmware", preset)
    command = ["cmake", "--build", "--preset", preset, "--target", "run"]
    done = subprocess.run(command, cwd=tmp_path / "firmware", capture_output=True, text=True, timeout=120)
    assert "0 mismatches of 44 outputs" in done.stdout + done.stderr
    sources = {path.name for path in (tmp_path / "firmware" / "runtime" / "src").rglob("*.c")}
    assert {"conv2d_nary_nested.c", "fully_connected_nary_nested.c", "unpack_nary_nested.c", "unpack_dense8_nested.c"} <= sources


def test_predictions_are_those_of_the_layouts():
    graph = pack(residual_net(), MIXED)
    run = run_qemu(graph, random_batch(graph, 1), layouts="fast")
    found = [insns for layer, insns in predicted(run.model, get_board("mps2-an386")) if layer.op != "reshape"]
    for guess, (name, op, insns) in zip(found, run.layer_insns, strict=True):
        assert abs(guess - insns) < 0.15 * insns, (name, op, guess, insns)


def test_weight_bytes_are_those_of_the_layout():
    model = compile_model(pack(residual_net(), MIXED), "model", DSP, layouts="fast")
    assert model.weight_bytes == sum(len(blob.data) for blob in model.blobs.values())
    for layer in weighted(model.layers):
        blob = model.blobs[layer.weights.tensor]
        assert blob.data[6] == 1 and np.array_equal(formats.decode(blob.data), layer.weights.values)


@pytest.mark.parametrize(("form", "levels"), [("dense8", 254), ("nary", 16), ("nary", 9), ("nary", 4)])
def test_weights_that_take_the_same_flash_are_laid_out_by_default(form, levels):
    graph = dense_net((64, 320), form=form, levels=levels)
    assert stored(graph) == [f"{form}_nested"]
    assert stored(graph, "canonical") == stored(graph, arms=["ref", "swar"]) == stored(graph, arms=["ref"]) == [form]


@pytest.mark.parametrize("levels", [2, 3, 5, 6])
def test_codes_that_would_take_more_bits_stay_as_they_are(levels):
    graph = dense_net((64, 640), form="nary", levels=levels)
    assert stored(graph) == ["nary"] and stored(graph, "fast") == ["nary_nested"]
    small = dense_net(*[(32, 32)] * 10, form="nary", levels=levels)  # a few bytes each
    assert stored(small) == ["nary"] * 10


@pytest.mark.parametrize("form", ["entropy", "bitmap", "runs"])
def test_other_formats_and_uneven_levels_have_no_layout(form):
    assert stored(dense_net((64, 320), form=form, levels=3), "fast") == [form]
    uneven = np.random.default_rng(0).choice([-100, -1, 0, 90], (64, 320)).astype(np.int8)
    builder = GraphBuilder()
    graph = pack(builder.build([builder.fully_connected(builder.input((1, 320)), 64, weights=uneven)]), {0: "nary"})
    assert stored(graph, "fast") == ["nary"]


def test_a_second_kernel_is_carried_only_for_many_weights():
    tiny, few, many = (8, 32), (32, 64), (128, 128)
    assert stored(dense_net(tiny, form="dense8", levels=254)) == ["dense8"]
    assert stored(dense_net(few, form="dense8", levels=254)) == ["dense8_nested"]
    for shape, form in ((few, "dense8"), (many, "dense8_nested")):
        builder = GraphBuilder()
        x = builder.fully_connected(builder.input((1, shape[1])), shape[0])
        graph = builder.build([builder.fully_connected(x, 16, weights=grid((16, shape[0]), 3))])
        assert stored(pack(graph, {0: BUILTIN, 1: "entropy"})) == [form, "entropy"]


def test_few_weights_follow_where_convolutions_have_brought_the_code():
    builder = GraphBuilder()
    x = builder.conv2d(builder.input((1, 5, 5, 16)), 24)
    graph = builder.build([builder.fully_connected(builder.pool(x, filter=(5, 5), stride=(5, 5)), 10)])
    assert stored(graph) == ["dense8_nested"] * 2
    assert stored(pack(graph, {0: BUILTIN, 2: "entropy"})) == ["dense8_nested", "entropy"]
    sizes = [run_qemu(graph, random_batch(graph, 1), layouts=which).flash_bytes for which in ("canonical", "same")]
    assert sizes[1] < sizes[0] + 1500


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="canonical"):
        compile_model(dense_net((8, 32), form="nary", levels=4), "model", DSP, layouts="best")
