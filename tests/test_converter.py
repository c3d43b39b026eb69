"""Converter: from a wrapped Keras model to integers that every executor agrees on; and what it says when it cannot."""

import importlib
import json

import keras
import numpy as np
import pytest
from test_training_conversion import NETS
from training_cases import randomise

import keras_hwcompress as hwc
from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the converter needs TensorFlow")
L = keras.layers


def small_model(seed=0):
    keras.utils.set_random_seed(seed)
    return randomise(
        keras.Sequential(
            [
                keras.Input((6, 6, 2), name="image"),
                L.Conv2D(8, 3, padding="same", name="conv"),
                L.BatchNormalization(name="norm"),
                L.ReLU(name="relu"),
                L.Conv2D(12, 3, name="second"),
                L.Flatten(name="flatten"),
                L.Dense(5, name="head"),
            ]
        )
    )


def converter_of(model, samples=8):
    converter = hwc.Converter.from_keras_model(model)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    rng = np.random.default_rng(1)
    converter.representative_dataset = lambda: ([rng.normal(size=(1, *shape)) for shape in shapes] for _ in range(samples))
    return converter


@pytest.mark.parametrize(
    "name", ["conv, bn, relu", "separable", "conv1d", "pre-activation", "dense, relu, bn, dense", "average, bn, dense", "normalization, conv"]
)
def test_a_wrapped_model_keeps_its_grids_and_every_executor_gives_the_same_integers(name):
    model = hwc.wrap(randomise(NETS[name][0]()), hwc.Nary(levels=3))
    converter = converter_of(model)
    tflite = converter.convert()
    graph = read_model(tflite)
    inputs = random_batch(graph, 4)
    oracle = run_oracle(graph, inputs, "tflm")[0]
    assert np.array_equal(hwc.HostLibrary(tflite).run(inputs)[0].reshape(oracle.shape), oracle)
    assert np.array_equal(hwc.Interpreter(tflite).run(inputs)[0].reshape(oracle.shape), oracle)
    promised = [row for row in converter.report.layers if row.promised_levels is not None]
    assert len(promised) == len(hwc.training.promises(model))
    for row in promised:
        assert row.levels <= row.promised_levels <= 3 and row.zeros >= row.promised_zeros and not row.lost


def test_a_model_with_two_inputs_takes_two_calibration_arrays():
    a, b = keras.Input((4, 4, 2), name="a"), keras.Input((3,), name="b")
    x = L.Concatenate()([L.Flatten()(L.Conv2D(3, 3, name="conv")(a)), L.Dense(4, name="side")(b)])
    model = hwc.wrap(keras.Model([a, b], L.Dense(2, name="head")(x)), hwc.Nary(levels=5))
    tflite = converter_of(model).convert()
    graph = read_model(tflite)
    assert [graph.tensors[i].shape for i in graph.inputs] == [(1, 4, 4, 2), (1, 3)]
    inputs = random_batch(graph, 3)
    oracle = run_oracle(graph, inputs, "tflm")[0]
    assert np.array_equal(hwc.HostLibrary(tflite).run(inputs)[0], oracle)


def test_an_unwrapped_model_becomes_an_ordinary_int8_file():
    converter = converter_of(small_model())
    tflite = converter.convert()
    graph = read_model(tflite)
    assert not any(op.is_custom for op in graph.ops) and expand(graph) is graph
    assert {row.format for row in converter.report.layers} == {"dense8"}
    assert all(row.promised_levels is None and row.layer == "" for row in converter.report.layers)


def test_the_report_adds_up_and_reads_as_table_dict_and_json():
    converter = weights_converter_of(hwc.wrap(small_model(), [("conv", None), ("*", hwc.Nary(levels=3))]))
    tflite = converter.convert()
    report = converter.report
    assert report.weight_bytes == sum(row.weight_bytes for row in report.layers)
    assert report.model_bytes == report.weight_bytes + sum(row.const_bytes for row in report.layers)
    assert report.int8_weight_bytes == 8 * 18 + 12 * 72 + 5 * 192 and report.tflite_bytes == len(tflite)
    assert [(row.layer, row.format != "dense8") for row in report.layers] == [("", False), ("second", True), ("head", True)]
    assert json.loads(report.to_json())["layers"][1]["promised_levels"] == 3
    assert "second" in str(report) and "3 of 3" in str(report)


def test_regrid_states_the_largest_output_change():
    keras.utils.set_random_seed(0)
    model = hwc.wrap(small_model(), hwc.Nary(levels=15))
    converter = converter_of(model)
    converter.convert()
    assert 0 <= converter.report.regrid_change <= 4


def test_a_lost_promise_names_layer_cause_and_remedy(monkeypatch):
    """Dense-ReLU-BN-Dense survives because strip() rewrites the Dense; without that the converter destroys the grid."""
    module = importlib.import_module("keras_hwcompress.training.strip")
    monkeypatch.setattr(module, "folded_dense", lambda model: set())
    model = hwc.wrap(randomise(NETS["dense, relu, bn, dense"][0]()), hwc.Nary(levels=3))
    converter = converter_of(model)
    with pytest.raises(hwc.HwcmpError, match=r"layer 'head' \(kernel\): promised at most 3 values.*folded.*as_conv"):
        converter.convert()
    converter.on_lost = "warn"
    with pytest.warns(UserWarning, match="layer 'head'"):
        converter.convert()
    assert [row.lost != "" for row in converter.report.layers if row.layer == "head"] == [True]
    converter.on_lost, converter.as_conv = "error", ("head",)
    converter.convert()


def test_bounds_choose_formats_and_infeasible_ones_name_the_smallest_value():
    model = hwc.wrap(small_model(), hwc.Nary(levels=3))
    fastest = weights_converter_of(model)
    fastest.objective = "latency"
    fastest.convert()
    smallest = weights_converter_of(model)
    smallest.convert()
    assert smallest.report.model_bytes < fastest.report.model_bytes and fastest.report.insns < smallest.report.insns
    between = weights_converter_of(model)
    between.objective, between.flash = "latency", (smallest.report.model_bytes + fastest.report.model_bytes) // 2
    between.convert()
    assert between.report.model_bytes <= between.flash and fastest.report.insns < between.report.insns < smallest.report.insns
    between.flash = smallest.report.model_bytes - 1
    with pytest.raises(hwc.HwcmpError, match=f"flash={between.flash:,} bytes.*smallest possible is {smallest.report.model_bytes:,} bytes"):
        between.convert()
    quick = weights_converter_of(model)
    quick.latency = (fastest.report.insns + smallest.report.insns) // 2
    quick.convert()
    assert quick.report.insns <= quick.latency and smallest.report.model_bytes < quick.report.model_bytes < fastest.report.model_bytes
    quick.latency = 1
    with pytest.raises(hwc.HwcmpError, match="latency=1 instructions is too little: the smallest possible is [0-9,]+ instructions"):
        quick.convert()


def weights_converter_of(model):
    """One that leaves the code of decoders aside: it is larger than all weights of so small a model."""
    converter = converter_of(model)
    converter.scope = "weights"
    return converter


def test_decoders_that_are_larger_than_what_they_save_are_left_out_and_the_report_says_why():
    model = hwc.wrap(small_model(), hwc.Nary(levels=3))
    converter = converter_of(model)
    converter.convert()
    assert converter.report.code_bytes > 0 and any("B of code" in row.runner_up for row in converter.report.layers)
    without = weights_converter_of(model)
    without.convert()
    assert converter.report.weight_bytes > without.report.weight_bytes and without.report.code_bytes == 0


def test_a_ram_bound_that_is_too_small_names_what_is_needed():
    converter = converter_of(hwc.wrap(small_model(), hwc.Nary(levels=3)))
    converter.ram = 64
    with pytest.raises(hwc.HwcmpError, match=r"ram=64 bytes is too little: .* need at least [0-9,]+ bytes") as caught:
        converter.convert()
    converter.ram = int(str(caught.value).split("at least ")[1].split(" ")[0].replace(",", ""))
    converter.convert()
    assert converter.report.arena_bytes <= converter.ram


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (None, "representative_dataset is missing"),
        (lambda: [], "representative_dataset is empty"),
        (np.zeros((4, 6, 6, 3)), r"input 'image' expects shape \(batch, 6, 6, 2\). Received: \(4, 6, 6, 3\)"),
        (lambda: [[np.zeros((1, 6, 6, 2)), np.zeros(3)]], "must yield 1 arrays.*Received: 2"),
        (np.full((1, 6, 6, 2), np.nan), "holds values that are not finite"),
    ],
)
def test_calibration_data_that_do_not_fit_are_one_clear_line(dataset, words):
    converter = hwc.Converter.from_keras_model(small_model())
    converter.representative_dataset = dataset
    with pytest.raises(hwc.HwcmpError, match=words) as caught:
        converter.convert()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("target", "pentium", "target must be one of cortex-m4.*Received: 'pentium'"),
        ("objective", "speed", "objective must be one of"),
        ("scope", "everything", "scope must be one of"),
        ("latency", 0, "latency must be a positive number of instructions"),
        ("on_lost", "ignore", "on_lost must be"),
        ("flash", -1, "flash must be a positive number"),
        ("ram", 2.5, "ram must be a positive number"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(attribute, value, words):
    converter = converter_of(small_model())
    setattr(converter, attribute, value)
    with pytest.raises(hwc.HwcmpError, match=words):
        converter.convert()


def test_strength_below_one_is_not_exported():
    model = hwc.wrap(small_model(), hwc.Nary(levels=3))
    hwc.set_strength(model, 0.5)
    with pytest.raises(hwc.HwcmpError, match="strength below 1|strength"):
        converter_of(model).convert()


def test_weights_that_are_not_finite_name_their_layer():
    model = small_model()
    kernel, bias = model.get_layer("second").get_weights()
    kernel[0, 0, 0, 0] = np.inf
    model.get_layer("second").set_weights([kernel, bias])
    with pytest.raises(hwc.HwcmpError, match="layer 'second'.*not finite"):
        converter_of(model).convert()


def test_an_input_of_unknown_size_is_refused():
    inputs = keras.Input((None, None, 1), name="image")
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(inputs)))
    converter = hwc.Converter.from_keras_model(model)
    converter.representative_dataset = np.zeros((2, 8, 8, 1))
    with pytest.raises(hwc.HwcmpError, match="input 'image' must have a fixed shape"):
        converter.convert()
