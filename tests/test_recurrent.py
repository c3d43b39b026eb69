"""GRU and LSTM through the whole chain: unrolled, wrapped or not, equal to the oracle on the host and in QEMU."""

from __future__ import annotations

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from oracles import micro

import keras_hwcompress as hwc
from keras_hwcompress import converter as converter_module
from keras_hwcompress import training
from keras_hwcompress.codegen.emit import emit_source
from keras_hwcompress.codegen.model import compile_model
from keras_hwcompress.errors import HwcmpError, UnsupportedModelError
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.tflite import reference, step_order
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.simplify import simplify
from keras_hwcompress.tflite.step_order import in_step_order
from keras_hwcompress.tflite.steps import align_steps
from keras_hwcompress.tflite.weights import weight_groups

pytest.importorskip("tensorflow")
L = keras.layers
STEPS, FEATURES = 5, 3
LAYERS = {
    "gru": lambda: L.GRU(16, name="memory"),
    "gru that resets first": lambda: L.GRU(5, reset_after=False, name="memory"),
    "lstm": lambda: L.LSTM(16, name="memory"),
    "lstm sequences": lambda: L.LSTM(4, return_sequences=True, go_backwards=True, name="memory"),
    "both directions": lambda: L.Bidirectional(L.GRU(4, return_sequences=True), name="memory"),
}


def _model(make, wrapped: bool, steps: int = STEPS) -> keras.Model:
    model = keras.Sequential([keras.Input((steps, FEATURES)), make(), L.Flatten(), L.Dense(4, name="head")])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    return hwc.wrap(model, hwc.Nary(3)) if wrapped else model


def _convert(model: keras.Model):
    converter = hwc.Converter.from_keras_model(model)
    converter.scope = "weights"
    steps = model.inputs[0].shape[1]
    converter.representative_dataset = np.random.default_rng(1).normal(size=(40, steps, FEATURES)).astype(np.float32)
    return read_model(converter.convert()), converter.report


def _inputs(graph, count: int = 6) -> np.ndarray:
    return np.random.default_rng(2).integers(-128, 128, (count, *graph.tensors[graph.inputs[0]].shape)).astype(np.int8)


def _assert_same_everywhere(graph, board: str = "mps2-an386") -> None:
    inputs = _inputs(graph)
    plain = expand(graph)
    expected = np.stack([micro(plain, [row])[0] for row in inputs])
    np.testing.assert_array_equal(HostLibrary(graph).run([inputs])[0], expected)
    np.testing.assert_array_equal(run_qemu(graph, [inputs], board=board).outputs[0], expected)
    layers = prepare(plain)
    np.testing.assert_array_equal(np.stack([reference.run(plain, [row], layers)[0] for row in inputs]), expected)


QUICK = ("gru", "lstm")
CASES = [
    pytest.param(name, wrapped, id=f"{name}-{'wrapped' if wrapped else 'bare'}", marks=() if name in QUICK else pytest.mark.slow)
    for name in LAYERS
    for wrapped in (False, True)
]


@pytest.mark.parametrize(("name", "wrapped"), CASES)
def test_a_recurrent_model_gives_the_same_integers_as_the_oracle_on_host_and_cortex_m(name, wrapped):
    graph, report = _convert(_model(LAYERS[name], wrapped))
    _assert_same_everywhere(graph)
    if wrapped:
        kernels = [row for row in report.layers if row.layer == "memory"]
        assert len(kernels) == {"gru that resets first": 3, "both directions": 4}.get(name, 2)
        assert all(row.levels <= 3 and not row.lost for row in kernels)
        assert report.weight_bytes < 0.6 * report.int8_weight_bytes + 16 * len(report.layers)


def test_the_steps_share_weights_and_constants_in_the_generated_c():
    """Twice the steps, the same constants: only the code of the steps and the input's offsets are added."""
    models = {steps: compile_model(_convert(_model(LAYERS["lstm"], False, steps))[0], "model", ["ref"]) for steps in (4, 8)}
    texts = {steps: emit_source(model) for steps, model in models.items()}
    assert models[4].const_bytes == models[8].const_bytes
    assert models[4].weight_bytes == models[8].weight_bytes
    for pattern in (r"uint8_t weights_", r"int8_t table_", r"int32_t (bias|multiplier)_", r"hwcmp_channels "):
        counts = [len(re.findall(pattern + r"\w*(\[\d*\])? = ", texts[steps])) for steps in (4, 8)]
        assert counts[0] == counts[1] > 0, pattern
    bodies = [re.findall(r"static hwcmp_status layer_\d+\([^)]*\)\s*{(.*?)\n}", texts[steps], re.S) for steps in (4, 8)]
    assert [len(found) for found in bodies] == [len(set(found)) for found in bodies]
    listed = [len(re.findall(r"^        layer_\d+,$", texts[steps], re.M)) for steps in (4, 8)]
    assert listed == [sum(layer.op != "reshape" for layer in models[steps].layers) for steps in (4, 8)]
    assert listed[1] - listed[0] > 1.5 * (len(bodies[1]) - len(bodies[0]))
    names = re.findall(r"static .*const \w+ (\w+)[\[ ]", texts[8])
    assert len(names) == len(set(names))
    used = set(re.findall(r"&?\b((?:params|channels|bias|multiplier|shift|table)_\d+)\b", texts[8]))
    assert used <= set(names)


def test_inputs_of_steps_are_not_prepared_before_their_turn():
    """Products with the input kernel that all come first are put before the steps that read them; outputs stay."""
    model = training.strip(_model(LAYERS["gru"], False))
    samples = [[row[None]] for row in np.random.default_rng(1).normal(size=(8, STEPS, FEATURES)).astype(np.float32)]
    stock = in_step_order(simplify(read_model(converter_module._stock_convert(model, samples))))
    moved = [op for number, op in enumerate(stock.ops) if number in step_order._preparing(stock)]
    rest = [op for op in stock.ops if op not in moved]
    first = stock.ops.index(moved[0])
    eager = replace(stock, ops=(*rest[:first], *moved, *rest[first:]))
    ordered = in_step_order(eager)
    kernels = [[op.inputs[1] for op in graph.ops if op.kind == "FULLY_CONNECTED"] for graph in (eager, ordered)]
    assert kernels[0][:STEPS] == [kernels[0][0]] * STEPS
    assert all(a != b for a, b in zip(kernels[1], kernels[1][1:], strict=False))
    for sample in samples[:3]:
        steps = (np.clip(np.round(sample[0] * 30), -128, 127)).astype(np.int8)
        np.testing.assert_array_equal(*(reference.run(graph, [steps])[0] for graph in (eager, ordered)))


def test_kernels_with_channels_without_weights_are_stored_once():
    """The converter scales an empty channel by its bias and the step's input, so it makes one tensor per step."""
    model = _model(LAYERS["gru"], False)
    cell = model.get_layer("memory").cell
    for kernel in (cell.kernel, cell.recurrent_kernel):
        kernel.assign(np.where(np.arange(48) % 5 == 0, 0, kernel.numpy()).astype(np.float32))
    graph, report = _convert(model)
    plain = expand(graph)
    layers = [op for op in plain.ops if op.kind == "FULLY_CONNECTED"]
    assert len(layers) == 2 * STEPS  # the state of the first step is zero
    assert len({op.inputs[1] for op in layers}) == len({plain.tensors[op.inputs[2]].data.tobytes() for op in layers}) == 3
    assert len(report.layers) == 3
    _assert_same_everywhere(graph)


def test_aligned_steps_have_one_scale_and_compute_nearly_the_same():
    """The stock converter calibrates every step on its own; the alignment may cost rounding, no more."""
    model = training.strip(_model(LAYERS["gru"], False))
    samples = [[row[None]] for row in np.random.default_rng(1).normal(size=(40, STEPS, FEATURES)).astype(np.float32)]
    stock = simplify(read_model(converter_module._stock_convert(model, samples)))
    aligned = align_steps(stock)
    groups = [group for group in weight_groups(aligned) if len(group.ops) > 1]
    assert len(groups) == 2

    def input_scales(graph, group):
        return {float(graph.tensors[graph.ops[number].inputs[0]].quantization.scale[0]) for number in group.ops}

    assert [len(input_scales(stock, group)) for group in groups] != [1, 1]
    assert [len(input_scales(aligned, group)) for group in groups] == [1, 1]
    for sample in samples[:10]:
        exact = model(sample[0], training=False).numpy()
        errors = [np.abs(_real(graph, sample) - exact).max() for graph in (stock, aligned)]
        assert errors[1] < errors[0] + 0.05 * np.abs(exact).max()


def _real(graph, sample):
    source, target = (graph.tensors[side[0]].quantization for side in (graph.inputs, graph.outputs))
    steps = np.clip(np.round(sample[0] / source.scale[0]) + source.zero_point[0], -128, 127).astype(np.int8)
    return (reference.run(graph, [steps])[0].astype(np.float64) - target.zero_point[0]) * target.scale[0]


def test_a_graph_without_recurrence_is_neither_aligned_nor_reordered():
    from graphs import every_op_graph

    graph = every_op_graph()
    assert align_steps(graph) is graph and in_step_order(graph) is graph


def test_strip_unrolls_every_recurrent_layer_and_keeps_the_function():
    inputs = np.random.default_rng(3).normal(size=(2, STEPS, FEATURES)).astype(np.float32)
    for name, make in LAYERS.items():
        for wrapped in (False, True):
            model = _model(make, wrapped)
            plain = training.strip(model)
            inner = plain.get_layer("memory")
            assert all(layer.unroll for layer in (getattr(inner, "forward_layer", inner), getattr(inner, "backward_layer", inner)))
            np.testing.assert_allclose(plain(inputs), model(inputs), atol=1e-5, err_msg=name)


def test_a_functional_model_is_wrapped_and_stripped_like_a_sequential_one():
    """Keras records mask=None for the recurrent layer's call; the wrapper has no such argument."""
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, L.Dense(2, name="head")(L.GRU(4, name="memory")(inputs)))
    samples = np.random.default_rng(3).normal(size=(2, STEPS, FEATURES)).astype(np.float32)
    wrapped = hwc.wrap(model, hwc.Nary(3))
    again = training.replace_rules(wrapped, {"memory": hwc.Nary(3), "head": hwc.Nary(3)})
    for copy in (again, training.strip(wrapped), training.strip(again)):
        np.testing.assert_allclose(copy(samples), wrapped(samples), atol=1e-5)


def test_a_wrapped_layer_trains_and_its_dropout_draws_new_masks():
    layer = L.LSTM(4, dropout=0.5, name="memory")
    model = hwc.wrap(keras.Sequential([keras.Input((STEPS, FEATURES)), layer]), hwc.Nary(3))
    inputs = np.ones((2, STEPS, FEATURES), np.float32)
    wrapper = model.get_layer("memory")
    before = [np.array(kernel) for kernel in (wrapper.layer.cell.kernel, wrapper.layer.cell.recurrent_kernel)]
    first, second = (np.array(model(inputs, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    model.compile("sgd", "mse")
    model.fit(inputs, np.ones((2, 4)), verbose=0)
    after = (wrapper.layer.cell.kernel, wrapper.layer.cell.recurrent_kernel)
    assert all(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    levels = {promise.kernel: promise.levels for promise in training.promises(model)}
    assert set(levels) == {"kernel", "recurrent_kernel"} and max(levels.values()) <= 3


# ---- what cannot be converted is refused before the stock converter is reached -------------------------------


def _refused(model: keras.Model, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    def reached(*_):
        raise AssertionError("the stock converter was reached, where a loop ends the process")

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_keras_model", reached)
    converter = hwc.Converter.from_keras_model(model)
    shape = (2, *(size or 4 for size in model.inputs[0].shape[1:]))
    converter.representative_dataset = np.zeros(shape, np.float32)
    with pytest.raises(HwcmpError, match=words) as caught:
        converter.convert()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [L.GRU, L.LSTM, lambda units, name: L.Bidirectional(L.LSTM(units), name=name)])
def test_an_unknown_number_of_time_steps_names_the_layer(make, monkeypatch):
    model = keras.Sequential([keras.Input((None, FEATURES)), make(4, name="memory")])
    _refused(model, r"layer 'memory': the number of time steps must be known.*Received: \(None, None, 3\)", monkeypatch)


def test_a_layer_that_keeps_its_state_or_convolves_is_refused(monkeypatch):
    stateful = keras.Sequential([keras.Input(batch_shape=(1, 4, 3)), L.GRU(4, stateful=True, name="memory")])
    _refused(stateful, "layer 'memory': it keeps its state between batches", monkeypatch)
    images = keras.Sequential([keras.Input((3, 6, 6, 2)), L.ConvLSTM2D(2, 3, name="film")])
    _refused(images, "layer 'film': ConvLSTM2D cannot be unrolled", monkeypatch)


@keras.saving.register_keras_serializable(package="tests")
class Hidden(keras.layers.Layer):
    """A layer of somebody else with a loop inside."""

    def __init__(self, unroll=False, **kwargs):
        super().__init__(**kwargs)
        self.memory = L.LSTM(2, unroll=unroll)
        self.unroll_memory = unroll

    def build(self, input_shape):
        self.memory.build(input_shape)

    def call(self, inputs):
        return self.memory(inputs)

    def get_config(self):
        return {**super().get_config(), "unroll": self.unroll_memory}


def test_a_loop_hidden_in_a_foreign_layer_is_found_in_the_graph(monkeypatch):
    model = keras.Sequential([keras.Input((4, 3)), Hidden(name="foreign")])
    _refused(model, "a loop over time steps cannot be converted.*'foreign'", monkeypatch)


def test_a_mask_or_an_initial_state_leaves_the_layer_unwrapped_with_a_warning():
    inputs, state = keras.Input((4, 3)), keras.Input((2,))
    seeded = keras.Model([inputs, state], L.Dense(2)(L.GRU(2, name="memory")(inputs, initial_state=state)))
    masked = keras.Sequential([keras.Input((4, 3)), L.Masking(), L.GRU(2, name="memory"), L.Dense(2)])
    for model in (seeded, masked):
        with pytest.warns(UserWarning, match="layer 'memory' is skipped: a mask or an initial state"):
            wrapped = hwc.wrap(model, hwc.Nary(3))
        assert [row.wrapped for row in training.wrap_report(wrapped) if row.path == "memory"] == [False]
    with pytest.raises(UnsupportedModelError, match="layer 'lstm': it keeps its state"):
        training.CompressedLayer(L.LSTM(2, stateful=True, name="lstm"), hwc.Nary(3))
