"""Layer significance against oracles, and the layer-wise search: greedy, restoring, resumable after a kill."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from training_cases import nested, randomise

import keras_hwcompress as hwc
from keras_hwcompress import HwcmpError, formats
from keras_hwcompress.search import compress_layerwise, layer_significance
from keras_hwcompress.search.sizes import stored, to_int8
from keras_hwcompress.training import Nary, Sparse, compressed_layers, wrap

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 12)).astype(np.float32)
Y = (X @ RNG.normal(size=(12, 4))).argmax(1)


def mlp():
    """A trained network that any attempt may change."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((12,)), L.Dense(16, name="first"), L.BatchNormalization(name="bn"), L.ReLU(), L.Dense(12, activation="relu", name="second"),
              L.Dense(4, name="head")]  # fmt: skip
    model = keras.Sequential(layers, name="mlp")
    train(model, 20, [])
    return model


def train(model, epochs, callbacks):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=True)  # too few steps for tracing to pay
    model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=callbacks)


@pytest.fixture(scope="module")
def base():
    return mlp()


def numpy(tensor):
    return ops.convert_to_numpy(tensor).copy()


def test_significance_by_sparsity_counts_weights_above_one_threshold():
    model = randomise(nested())
    found = layer_significance(model, sparsity=0.7)
    kernels = {"conv": model.get_layer("conv").kernel, "block/conv": model.get_layer("block").get_layer("conv").kernel,
               "head/dense": model.get_layer("head").get_layer("dense").kernel}  # fmt: skip
    everything = np.sort(np.concatenate([np.abs(numpy(kernel)).ravel() for kernel in kernels.values()]))
    threshold = everything[round(0.7 * everything.size) - 1]
    for row in found.rows:
        share = np.mean(np.abs(numpy(kernels[row.path])) <= threshold)
        assert row.sparsity == pytest.approx(share) and row.score == pytest.approx(1 - share)
        assert row.weights == np.prod(kernels[row.path].shape)
    assert list(found.order) == sorted(kernels, key=lambda path: -np.mean(np.abs(numpy(kernels[path])) <= threshold))
    wrapped = wrap(model, Sparse(0.0))
    assert [row.sparsity for row in layer_significance(wrapped, sparsity=0.7).rows] == [row.sparsity for row in found.rows]


def test_significance_by_taylor_is_the_gradient_times_the_weight():
    """Softmax regression, whose gradient is known: x^T (p - onehot) / n."""
    model = keras.Sequential([keras.Input((12,)), L.Dropout(0.5), L.Dense(4, name="head")])
    model.get_layer("head").kernel.assign(RNG.normal(size=(12, 4)))
    before = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = layer_significance(model, "taylor", data=(X[:50], Y[:50]), loss=loss, batch_size=20)
    kernel, bias = (np.float64(w) for w in before)
    expected = 0.0
    for start, count in ((0, 20), (20, 20), (40, 10)):
        x, y = X[start : start + count].astype(np.float64), Y[start : start + count]
        logits = x @ kernel + bias
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradient = x.T @ (p - np.eye(4)[y]) / count
        expected += count / 50 * np.abs(gradient * kernel).sum()
    assert found.rows[0].score == pytest.approx(expected, rel=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert model.get_layer(index=0).rate == 0.5


def test_significance_by_drop_is_the_accuracy_lost_by_constraining_one_layer(base, tmp_path):
    def right(model):
        return np.mean(model.predict(X, verbose=0).argmax(1) == Y)

    found = layer_significance(base, "drop", data=(X, Y), rule=Nary(2), layers=("first", "head"))
    assert [row.path for row in found.rows] == ["first", "head"]
    alone = wrap(base, [("head", Nary(2)), ("*", None)])
    hwc.training.reestimate_batch_norm(alone, X)
    assert found.rows[1].score == pytest.approx(right(base) - right(alone))
    text = str(found)
    assert "accuracy lost" in text and "head" in text
    pytest.importorskip("matplotlib")
    figure = found.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["first", "head"]


def test_stored_bytes_are_those_of_the_blob_of_the_rounded_rows():
    rows = RNG.normal(size=(5, 40)) * (RNG.random((5, 40)) < 0.2)
    rows[2] = 0
    rounded = np.stack([np.round(row / np.abs(row).max() * 127) if row.any() else row for row in rows]).astype(np.int8)
    assert np.array_equal(to_int8(rows), rounded)
    name, blob = formats.smallest(rounded)
    assert stored(rows) == (name, len(blob))


class Scores:
    """A score that follows a script, so that acceptance can be decided by the test."""

    def __init__(self, *scores):
        self.scores = list(scores)

    def __call__(self, model):
        return self.scores.pop(0)


def search(base, score, **options):
    options = {"sparsity": 0.5, "prune_epochs": 2, "epochs": 2, "verbose": 0, **options}
    return compress_layerwise(base, train, validation_data=score, **options)


def test_the_least_significant_layer_comes_first_and_a_layer_that_costs_too_much_is_put_back(base, capsys):
    start = base.get_weights()
    # float, pruned, three attempts, end
    result = search(base, Scores(0.90, 0.90, 0.893, 0.885, 0.8901, 0.89), verbose=1)
    masks = {path: numpy(layer.states[0]["mask"]) for path, layer in compressed_layers(result.model)}
    zeros = {path: np.mean(mask == 0) for path, mask in masks.items()}
    assert list(result.order) == sorted(zeros, key=lambda path: -zeros[path])
    assert [step.accepted for step in result.steps] == [True, False, True]
    assert [round(step.drop, 4) for step in result.steps] == [0.007, 0.015, 0.0099]
    assert result.constrained == (result.order[0], result.order[2]) and result.baseline == 0.9 and result.score == 0.89
    for path, layer in compressed_layers(result.model):
        (kernel,) = (numpy(value) for value in layer.forward_kernels().values())
        assert np.array_equal(kernel != 0, masks[path] != 0)
        assert (len(np.unique(np.abs(kernel))) <= 2) == (path in result.constrained)
        assert isinstance(layer.rule, Nary if path in result.constrained else Sparse)
    assert sum(np.count_nonzero(mask == 0) for mask in masks.values()) == round(0.5 * sum(mask.size for mask in masks.values()))
    assert all(np.array_equal(a, b) for a, b in zip(base.get_weights(), start, strict=True)), "the model is left alone"
    hwc.strip(result.model)
    printed = " ".join(capsys.readouterr().out.split())
    first = result.steps[0]
    assert f"{first.name}: {first.bytes_before:,} -> {first.bytes_after:,} bytes" in printed and "+0.0150 lost against float: left as it was" in printed
    assert first.bytes_after < first.bytes_before and "lost" in str(result)


def test_the_search_stops_at_the_first_failure_on_request_and_takes_an_order(base):
    result = search(base, Scores(0.9, 0.9, 0.895, 0.8, 0.9), on_fail="stop", order=["head", "first"])
    assert [(step.paths, step.accepted) for step in result.steps] == [(("head",), True), (("first",), False)]
    assert {path: type(layer.rule) for path, layer in compressed_layers(result.model)} == {"first": Sparse, "second": Sparse, "head": Nary}


def test_a_group_is_constrained_and_put_back_together(base):
    result = search(base, Scores(0.9, 0.9, 0.0, 0.9, 0.9), order=["head", "first", "second"], group=2)
    assert [(step.paths, step.accepted) for step in result.steps] == [(("head", "first"), False), (("second",), True)]
    assert {path: type(layer.rule) for path, layer in compressed_layers(result.model)} == {"first": Sparse, "second": Nary, "head": Sparse}
    both = search(base, Scores(0.9, 0.9, 0.9, 0.9), order=["head", "first"], group=2)
    (step,) = both.steps
    alone = [stored(np.stack(list(numpy(layer.forward_kernels()["kernel"]).T))) for path, layer in compressed_layers(both.model) if path != "second"]
    assert both.constrained == ("head", "first") and step.bytes_after == sum(size for _, size in alone)


def test_fine_tuning_keeps_constrained_layers_on_their_grid_and_the_zeros_of_all(base):
    result = search(base, Scores(0.9, 0.9, 0.0, 0.9, 0.95), order=["head", "first"], finetune_epochs=3)
    untuned = search(base, Scores(0.9, 0.9, 0.0, 0.9, 0.9), order=["head", "first"])
    assert result.constrained == untuned.constrained == ("first",) and result.score == 0.95
    for (path, layer), (_, before) in zip(compressed_layers(result.model), compressed_layers(untuned.model), strict=True):
        tuned, plain = (numpy(model.forward_kernels()["kernel"]) for model in (layer, before))
        assert np.count_nonzero(tuned) == np.count_nonzero(plain) and not np.array_equal(tuned, plain)
        assert (len(np.unique(np.abs(tuned))) <= 2) == (path == "first")


def test_a_failed_attempt_leaves_no_trace(base):
    refused = search(base, Scores(0.9, 0.9, 0.0, 0.0, 0.9), order=["head", "first"])
    untried = search(base, Scores(0.9, 0.9, 0.9), order=[])
    for a, b in zip(refused.model.get_weights(), untried.model.get_weights(), strict=True):
        assert np.array_equal(a, b)


KILLED = """
    import os, sys
    import keras, numpy as np
    sys.path[:0] = [sys.argv[1], sys.argv[2]]
    import test_search
    calls = []

    def train(model, epochs, callbacks):
        calls.append(epochs)
        if len(calls) == 3:
            class Kill(keras.callbacks.Callback):
                def on_epoch_end(self, epoch, logs=None):
                    os._exit(9)
            callbacks = [*callbacks, Kill()]
        test_search.train(model, epochs, callbacks)

    test_search.compress_layerwise(keras.models.load_model(sys.argv[3]), train, validation_data=(test_search.X, test_search.Y),
        folder=sys.argv[4], **test_search.RESUMED)
"""
RESUMED = {"sparsity": 0.5, "prune_epochs": 2, "epochs": 2, "finetune_epochs": 1, "max_accuracy_drop": 0.2, "seed": 5, "batch_norm_data": X, "verbose": 0}


def test_a_search_killed_in_the_middle_of_a_step_and_started_again_ends_with_the_same_result(base, tmp_path):
    base.save(tmp_path / "base.keras")
    model = keras.models.load_model(tmp_path / "base.keras")
    tests = Path(__file__).resolve().parent
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tests), str(tests.parent), str(tmp_path / "base.keras"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 9, done.stderr[-2000:]
    saved = json.loads((tmp_path / "run" / "state.json").read_text())
    assert len(saved["state"]["steps"]) == 1, "the kill came in the second attempt"
    calls = []

    def counted(model, epochs, callbacks):
        calls.append(epochs)
        train(model, epochs, callbacks)

    again = compress_layerwise(model, counted, validation_data=(X, Y), folder=tmp_path / "run", **RESUMED)
    assert calls == [2, 2, 1], "only what was missing is trained"
    straight = compress_layerwise(model, train, validation_data=(X, Y), **RESUMED)
    assert (again.steps, again.order, again.baseline, again.pruned, again.score) == (
        straight.steps, straight.order, straight.baseline, straight.pruned, straight.score)  # fmt: skip
    for a, b in zip(again.model.get_weights(), straight.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    finished = compress_layerwise(model, None, validation_data=(X, Y), folder=tmp_path / "run", **RESUMED)
    assert finished.steps == straight.steps
    with pytest.raises(HwcmpError, match="holds a search with other settings.*Received: sparsity=0.6, there sparsity=0.5"):
        compress_layerwise(model, train, validation_data=(X, Y), folder=tmp_path / "run", **{**RESUMED, "sparsity": 0.6})
    model.get_layer("head").bias.assign(np.ones(4))
    with pytest.raises(HwcmpError, match="holds a search with other settings.*Received: another model"):
        compress_layerwise(model, train, validation_data=(X, Y), folder=tmp_path / "run", **RESUMED)
    (tmp_path / "run" / saved["weights"].replace("1", "3")).write_bytes(b"damaged")
    model.get_layer("head").bias.assign(base.get_layer("head").bias)
    with pytest.raises(HwcmpError, match="cannot be continued from: .*; delete it"):
        compress_layerwise(model, train, validation_data=(X, Y), folder=tmp_path / "run", **RESUMED)


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: layer_significance(m, "size"), r"method must be one of \('sparsity', 'taylor', 'drop'\). Received: method='size'"),
    (lambda m: layer_significance(m, "taylor"), r"method 'taylor' needs data=\(inputs, labels\). Received: NoneType"),
    (lambda m: layer_significance(keras.Sequential([keras.Input((12,)), L.Dense(4)]), "taylor", data=(X, Y)), "method 'taylor' needs a loss: compile the model"),
    (lambda m: layer_significance(m, sparsity=1), r"sparsity must be a share in \[0, 1\). Received: sparsity=1"),
    (lambda m: layer_significance(m, layers=["x"]), r"layers must name layers that can be constrained, \['first', 'second', 'head'\]. Received: 'x'"),
    (lambda m: layer_significance(keras.Sequential([keras.Input((3,)), L.ReLU()])), "holds no layer that can be constrained"),
    (lambda m: search(m, (X,)), r"validation_data must be \(inputs, labels\) or a function from a model to a score. Received: tuple"),
    (lambda m: search(m, (X[:9], Y)), "accuracy needs one row of two or more class scores for each label.*9, 4.*96 labels"),
    (lambda m: search(m, (X, Y), max_accuracy_drop=2), "max_accuracy_drop must be in 0..1. Received: max_accuracy_drop=2"),
    (lambda m: search(m, (X, Y), on_fail="retry"), r"on_fail must be one of \('skip', 'stop'\). Received: on_fail='retry'"),
    (lambda m: search(m, (X, Y), epochs=0), "epochs must be an integer of at least 1. Received: epochs=0"),
    (lambda m: search(m, (X, Y), order="size"), "order must be 'sparsity' or paths out of .*Received: order='size'"),
    (lambda m: search(m, (X, Y), order=["head", "head"]), "each once. Received: order="),
    (lambda m: search(m, (X, Y), levels=1), "levels must be an integer in 2..16. Received: levels=1"),
    (lambda m: search(m, (X, Y), layers=["bn"]), "layers must name layers that can be constrained.*Received: 'bn'"),
    (lambda m: compress_layerwise(m, lambda *_: None, validation_data=(X, Y), verbose=0),
     r"train\(\) must fit the model for all epochs with the callbacks that it is given: '.*' is not constrained"),
])  # fmt: skip
def test_wrong_arguments_are_named(base, call, message):
    with pytest.raises(HwcmpError, match=message) as caught:
        call(base)
    assert "\n" not in str(caught.value)
