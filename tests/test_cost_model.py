"""The counts of the cost model add up, whatever the layer's shape, and predictions are near what QEMU counts."""

import numpy as np
import pytest
from graphs import small_cnn

from keras_hwcompress import formats
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.select.candidates import compiled_with, predicted
from keras_hwcompress.targets import BOARDS
from keras_hwcompress.targets.features import Stored, layer_features
from keras_hwcompress.targets.features_direct import LANES, lists_of
from keras_hwcompress.targets.features_unpack import unpack_counts
from keras_hwcompress.targets.features_windows import Windows, in_blocks, lane_blocks
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.synthetic import GraphBuilder
from keras_hwcompress.tflite.weights import weight_groups

ARMS = ("dsp", "swar", "mve")


def conv(rng, **options):
    """A prepared convolution of a random shape."""
    kernel = tuple(int(size) for size in rng.integers(1, 5, 2))
    window = {"kernel": kernel, "stride": (int(rng.integers(1, 4)),) * 2, "dilation": (int(rng.integers(1, 3)),) * 2}
    size = [int(rng.integers((k - 1) * 2 + 1, 22)) for k in kernel]
    builder = GraphBuilder(int(rng.integers(1000)))
    x = builder.input((1, *size, int(rng.integers(1, 20))))
    padding = str(rng.choice(("same", "valid")))
    return prepare(builder.build([builder.conv2d(x, int(rng.integers(1, 9)), padding=padding, **window, **options)]))[0]


@pytest.mark.parametrize("seed", range(12))
def test_windows_are_copied_byte_for_byte_once(seed):
    layer = conv(np.random.default_rng(seed))
    pixels = layer.output[0] * layer.output[1]
    windows = Windows(layer, in_blocks(pixels, 1))
    total = pixels * layer.weights.values.shape[1]
    runs, taps, pieces = windows.runs(1), windows.taps_one_by_one(1), windows.pieces(1)
    assert runs["run units of 1"] + taps["tap units of 1"] + taps["bytes outside"] == total
    assert runs["run units of 1"] + pieces["piece units of 1"] + pieces["fill units of 1"] == total
    inside = sum(
        0 <= y * layer.stride[0] - layer.pad[0] + i * layer.dilation[0] < layer.input[0]
        and 0 <= x * layer.stride[1] - layer.pad[1] + j * layer.dilation[1] < layer.input[1]
        for y in range(layer.output[0])
        for x in range(layer.output[1])
        for i in range(layer.kernel[0])
        for j in range(layer.kernel[1])
    )
    assert runs["run units of 1"] + pieces["piece units of 1"] == inside * layer.input[2]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("lanes", sorted(set(LANES.values())))
def test_blocks_of_lanes_hold_every_pixel_and_keep_rows_that_they_share(seed, lanes):
    layer = conv(np.random.default_rng(seed))
    blocks, width = list(lane_blocks(layer, lanes)), layer.output[1]
    pixels = layer.output[0] * width
    assert {first + lane for first, _ in blocks for lane in range(min(lanes, pixels))} == set(range(pixels))
    for (before, _), (first, kept) in zip(blocks[:-1], blocks[1:], strict=True):
        if kept:  # the same columns, and input rows that both windows have at taps that many apart
            assert (first - before) % width == 0
            assert (first - before) // width * layer.stride[0] == (layer.kernel[0] - kept) * layer.dilation[0]


def test_lists_are_read_from_the_blob():
    values = np.random.default_rng(0).choice([-2, -1, 0, 1, 2], (7, 90), p=[0.1, 0.2, 0.4, 0.2, 0.1]).astype(np.int8)
    lists = lists_of(formats.encode("runs", values))
    assert lists.rows == 7 and lists.groups == 14 and lists.lists == 28 and np.count_nonzero(values) <= lists.entries
    empty = lists_of(formats.encode("runs", np.zeros((3, 20), np.int8)))
    assert (empty.rows, empty.lists, empty.entries) == (3, 0, 0)


@pytest.mark.parametrize("name", ["runs", "bitmap", "entropy"])
def test_unpacking_in_more_calls_counts_more(name):
    values = np.random.default_rng(0).choice([-9, 0, 9], (32, 40), p=[0.1, 0.8, 0.1]).astype(np.int8)
    blob = formats.encode(name, values)
    few, many = (unpack_counts(name, blob, values, at_once)[1] for at_once in (32, 3))
    assert many["calls"] == 11 and all(many[key] >= few[key] for key in few) and sum(many.values()) > sum(few.values())


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("seed", range(6))
def test_every_count_is_a_number_of_things(seed, arm):
    rng = np.random.default_rng(seed)
    layer = conv(rng)
    for name, blob in formats.admissible(layer.weights.values).items():
        kernel = "conv2d_runs" if name == "runs" else "conv2d"
        counts = layer_features(layer, arm, Stored(name, blob, kernel, int(rng.integers(1, 9))))
        assert all(count > 0 and np.isfinite(count) for count in counts.values())
        assert len({path.rpartition("/")[0] for path in counts}) <= 3


@pytest.mark.parametrize("board", ["mps2-an386", "mps2-an385-m0", "mps3-an547"])
@pytest.mark.parametrize("name", ["dense8", "runs", "entropy"])
def test_layers_that_no_benchmark_knows_take_about_as_long_as_predicted(board, name):
    graph = small_cnn(ternary=True)
    model = compiled_with(graph, {group: name for group in weight_groups(graph)}, BOARDS[board])
    counted = run_qemu(model.graph, random_batch(graph, 1, seed=0), board=board).layer_insns
    expected = [(layer.name, insns) for layer, insns in predicted(model, BOARDS[board]) if insns]
    assert [item[0] for item in expected] == [item[0] for item in counted]
    for (layer, insns), (_, _, real) in zip(expected, counted, strict=True):
        assert insns == pytest.approx(real, rel=0.2), layer
