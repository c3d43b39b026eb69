"""Callbacks: what they do to masks, strength, scales and BatchNormalization, what they log, and what they refuse."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from training_cases import data_for, nested, randomise

import keras_hwcompress as hwc
from keras_hwcompress import HwcmpError
from keras_hwcompress.training.callbacks import ConstrainedTraining, GlobalPruning, Ramp, Schedule
from keras_hwcompress.training import compressed_layers, promises, reestimate_batch_norm, replace_rules, set_strength, strip, wrap
from keras_hwcompress.training.pruning import global_masks
from keras_hwcompress.training.rules import present_mask

L = keras.layers


def tiny():
    layers = [keras.Input((6, 6, 2)), L.Conv2D(4, 3, use_bias=False, name="stem"), L.BatchNormalization(name="bn"), L.ReLU(),
              L.Conv2D(3, 3, name="body"), L.Flatten(), L.Dense(4, activation="softmax", name="head")]  # fmt: skip
    return keras.Sequential(layers, name="chain")


def numpy(tensor):
    return ops.convert_to_numpy(tensor).copy()


def fit(model, callbacks, epochs=4, rate=0.01, batch_size=4, eager=True, **kwargs):
    """Eager by default: so few steps do not pay for tracing."""
    inputs, labels = data_for(model)
    keras.utils.set_random_seed(0)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", run_eagerly=eager)
    return model.fit(inputs, labels, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=callbacks, **kwargs).history


def states(model):
    return [(path, layer, state) for path, layer in compressed_layers(model) for state in layer.states]


def oracle_masks(kernels, sparsity):
    """By a stable sort of all magnitudes."""
    flat = np.abs(np.concatenate([kernel.ravel() for kernel in kernels]))
    keep = np.ones(flat.size)
    keep[np.argsort(flat, kind="stable")[: round(sparsity * flat.size)]] = 0
    ends = np.cumsum([kernel.size for kernel in kernels])[:-1]
    return [part.reshape(kernel.shape) for part, kernel in zip(np.split(keep, ends), kernels)]


@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.37, 0.9, 0.999, 1.0])
def test_global_masks_are_those_of_a_stable_sort_also_with_ties(sparsity):
    rng = np.random.default_rng(0)
    kernels = [rng.integers(-4, 5, (3, 3, 2, 5)).astype(np.float32), rng.normal(size=(7, 4)).astype(np.float32), np.zeros(6, np.float32)]
    for got, expected in zip(global_masks(kernels, sparsity), oracle_masks(kernels, sparsity), strict=True):
        assert got.dtype == np.float32 and np.array_equal(got, expected)


def mask_of(state):
    return numpy(present_mask(state.latent(), state))


class Recorder(keras.callbacks.Callback):
    """Before every batch: the progress, the latent weights, masks and strengths."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        found = states(self.model)
        self.rows.append({
            "progress": (self.epoch + batch / self.params["steps"]) / self.params["epochs"],
            "latent": [numpy(state.kernel) for *_, state in found],
            "masks": [mask_of(state) for *_, state in found],
            "strength": [float(numpy(layer.strength)) for _, layer, _ in found],
        })  # fmt: skip


@pytest.mark.parametrize("make", [tiny, nested])
def test_masks_follow_the_global_threshold_and_the_cubic_ramp_exactly_and_then_stay(make):
    ramp, recorder = Ramp(0.25, 0.75, "cubic"), Recorder()
    callback = GlobalPruning(0.8, ramp, every=1)
    model = wrap(randomise(make()), callback.rule)
    fit(model, [callback, recorder])
    assert len(recorder.rows) == 16
    for row in recorder.rows:
        if row["progress"] <= 0.75:
            share = 0.8 * (0 if row["progress"] <= 0.25 else 1 - (1 - (row["progress"] - 0.25) / 0.5) ** 3)
            expected = oracle_masks(row["latent"], share)
        assert all(np.array_equal(a, b) for a, b in zip(row["masks"], expected, strict=True)), row["progress"]
        assert set(row["strength"]) == {1.0}
    assert sum(promise.zeros for promise in promises(model)) == round(0.8 * sum(np.prod(state.shape) for *_, state in states(model)))
    for (_, layer, state), mask in zip(states(model), recorder.rows[-1]["masks"], strict=True):
        assert np.array_equal(numpy(layer.forward_kernels()[state.spec.name]), numpy(state.kernel) * mask)


@pytest.mark.parametrize("options", [{}, {"per": "channel", "scale": "closed-form"}, {"levels": 5}, {"levels": 4, "sparsity": 0.0}], ids=str)
def test_the_strength_reaches_one_and_every_weight_lies_exactly_on_the_grid(options):
    options = {"sparsity": 0.6, "schedule": Schedule(Ramp(0, 0.4, "cubic"), Ramp(0.4, 0.7, "cosine")), **options}
    callback, recorder = ConstrainedTraining(**options, every=1), Recorder()
    model = wrap(randomise(tiny()), callback.rule)
    assert all(float(numpy(layer.strength)) == 0 for _, layer in compressed_layers(model))
    history = fit(model, [callback, recorder], epochs=5, eager="levels" not in options)
    strengths = [row["strength"][0] for row in recorder.rows]
    assert strengths == sorted(strengths) and strengths[:8] == [0] * 8 and 0 < strengths[10] < 1 and strengths[15:] == [1] * 5
    zeros = 0
    for _, layer, state in states(model):
        forward, mask = numpy(layer.forward_kernels()[state.spec.name]), numpy(state["mask"])
        scale = numpy(layer.rule.present_scale(state.latent(), state))
        assert scale.shape == tuple(forward.shape[i] if layer.rule.per == "channel" and i not in state.spec.axes else 1 for i in range(forward.ndim))
        unit = forward / scale
        grid = np.arange(layer.rule.levels) - (layer.rule.levels - 1) / 2
        nearest = np.abs(unit[..., None] - grid).argmin(-1)
        assert np.array_equal(forward, (grid[nearest].astype(np.float32) * scale * mask).astype(np.float32))
        assert len(np.unique(forward)) <= layer.rule.levels * (scale.size if layer.rule.per == "channel" else 1)
        if layer.rule.levels == 3:
            assert np.array_equal(forward != 0, mask != 0)
        zeros += np.count_nonzero(mask == 0)
    assert zeros == round(options["sparsity"] * sum(np.prod(state.shape) for *_, state in states(model)))
    assert history["hwc/strength"][-1] == 1 and all(history[f"hwc/{path}/distance"][-1] == 0 for path in ("stem", "body", "head"))
    strip(model)


def test_masks_may_follow_the_weights_while_the_grid_is_on_with_the_same_number_of_zeros():
    callback, recorder = ConstrainedTraining(sparsity=0.5, schedule=Schedule(Ramp(0, 0), Ramp(0, 0.25), masks_until=0.75), every=1), Recorder()
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [callback, recorder], rate=0.05)
    for row in recorder.rows[:13]:
        assert all(np.array_equal(a, b) for a, b in zip(row["masks"], oracle_masks(row["latent"], 0.5), strict=True))
    assert any(np.any(a != b) for a, b in zip(recorder.rows[5]["masks"], recorder.rows[12]["masks"], strict=True))
    assert all(np.array_equal(a, b) for row in recorder.rows[13:] for a, b in zip(row["masks"], recorder.rows[12]["masks"], strict=True))
    before = [numpy(state["mask"]) for *_, state in states(model)]
    again = ConstrainedTraining(sparsity=None, schedule=Schedule(Ramp(0, 0), Ramp(0, 0.5), masks_until=1.0), layers=("body",), every=1)
    fit(model, [again], rate=0.05)
    after = [numpy(state["mask"]) for *_, state in states(model)]
    assert any(not np.array_equal(a, b) for a, b in zip(before, after))
    assert [mask.sum() for mask in before] == [mask.sum() for mask in after]
    for mask, first, (*_, state) in zip(after, before, states(model)):
        assert np.array_equal(mask, oracle_masks([numpy(state.kernel)], float(np.mean(first == 0)))[0])


def test_masked_weights_decay_by_the_learning_rate_per_batch_and_kept_ones_stay():
    """Wrapped layers are frozen for the optimizer, so that nothing but the decay moves their kernels."""
    schedule = Schedule(Ramp(0, 0), Ramp(0, 0.5), masks_until=1.0)
    callback = ConstrainedTraining(sparsity=0.5, schedule=schedule, every=3, masked_decay=50.0)
    model = wrap(randomise(tiny()), callback.rule)
    first = [numpy(state.kernel) for *_, state in states(model)]
    masks = oracle_masks(first, 0.5)
    for _, layer in compressed_layers(model):
        layer.trainable = False
    recorder = Recorder()
    fit(model, [callback, recorder], epochs=1, rate=0.01)
    for before, mask, (*_, state) in zip(first, masks, states(model), strict=True):
        assert np.allclose(numpy(state.kernel), before * np.where(mask, 1, 0.5 ** len(recorder.rows)), rtol=1e-5)


@pytest.mark.parametrize("decay", [-1, float("inf"), float("nan"), True, "1"])
def test_a_masked_decay_that_is_no_number_is_named(decay):
    with pytest.raises(HwcmpError, match="masked_decay must be a number of at least 0. Received: masked_decay="):
        GlobalPruning(0.5, masked_decay=decay)


def test_every_batch_sees_the_mask_of_its_own_weights_though_the_threshold_moves_once_an_epoch():
    callback, recorder = GlobalPruning(0.5, Ramp(0, 1), every=1000), Recorder()
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [callback, recorder], rate=0.05)
    second_epoch = recorder.rows[4:8]
    kept = [np.abs(np.concatenate([w.ravel() for w in row["latent"]]))[np.concatenate([m.ravel() for m in row["masks"]]) > 0].min() for row in second_epoch]
    zeroed = [np.abs(np.concatenate([w.ravel() for w in row["latent"]]))[np.concatenate([m.ravel() for m in row["masks"]]) == 0].max() for row in second_epoch]
    assert max(zeroed) < min(kept)
    assert any(np.any(a != b) for a, b in zip(second_epoch[0]["masks"], second_epoch[3]["masks"], strict=True))


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_training_that_stops_early_leaves_masks_that_stay(stop_after):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch + 1 == stop_after

    callback = GlobalPruning(0.6, Ramp(0, 1, "linear"), every=1)
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [callback, Stop()])
    before = [numpy(state["mask"]) for *_, state in states(model)]
    assert sum(np.count_nonzero(mask == 0) for mask in before) == round(0.6 * stop_after / 4 * sum(mask.size for mask in before))
    fit(model, [], rate=0.1)
    assert all(np.array_equal(mask_of(state), mask) for (*_, state), mask in zip(states(model), before, strict=True))


def test_a_learned_scale_starts_at_the_mean_of_the_kept_magnitudes_and_then_moves():
    class AtTheStart(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            layer = self.model.get_layer("stem")
            if not hasattr(self, "start") and float(numpy(layer.strength)) > 0:
                (state,) = layer.states
                mask, latent = mask_of(state), numpy(state.kernel)
                self.start = np.sum(np.abs(latent) * mask) / mask.sum()
                self.scale = numpy(layer.rule.present_scale(state.latent(), state)).item()

    watch = AtTheStart()
    callback = ConstrainedTraining(sparsity=0.7, every=1)
    model = wrap(randomise(tiny()), callback.rule)
    history = fit(model, [callback, watch], epochs=5)
    assert watch.scale == pytest.approx(watch.start, rel=1e-5)
    assert history["hwc/stem/scale"][-1] != pytest.approx(watch.scale, rel=1e-4)


def test_history_and_tensorboard_get_sparsity_scale_and_distance_of_every_layer(tmp_path):
    callback = ConstrainedTraining(sparsity=0.5, schedule=Schedule(Ramp(0, 0.25), Ramp(0.25, 1.0)))
    model = wrap(randomise(tiny()), [("body", None), ("*", callback.rule)])
    history = fit(model, [callback, keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    names = {f"hwc/{path}/{what}" for path in ("stem", "head") for what in ("sparsity", "scale", "distance")}
    assert {"hwc/strength", "hwc/sparsity"} | names == {name for name in history if name.startswith("hwc")}
    assert history["hwc/strength"] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-6)
    for path, layer, state in states(model):
        forward = numpy(layer.forward_kernels()[state.spec.name])
        assert history[f"hwc/{path}/sparsity"][-1] == np.mean(forward == 0)
        assert history[f"hwc/{path}/scale"][-1] == pytest.approx(np.abs(forward).max(), rel=1e-6)
        distances = history[f"hwc/{path}/distance"]
        assert distances[0] > distances[1] > distances[2] > distances[3] == 0
    assert history["hwc/sparsity"][-1] == pytest.approx(0.5, abs=1e-3)
    header = (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    assert names <= set(header)


def test_tensorboard_finds_the_figures_in_the_logs(tmp_path):
    pytest.importorskip("tensorboard")
    callback = GlobalPruning(0.5)
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [callback, keras.callbacks.TensorBoard(tmp_path, write_graph=False)], epochs=1)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
    assert b"epoch_hwc/conv/sparsity" in written and b"epoch_hwc/sparsity" in written


def test_validation_sees_the_model_that_the_epoch_ends_with():
    callback = ConstrainedTraining(sparsity=0.5, every=1000)
    model = wrap(randomise(tiny()), callback.rule)
    inputs, labels = data_for(model)
    history = fit(model, [callback], validation_data=(inputs, labels))
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(inputs, labels, verbose=0), rel=1e-5)


def test_an_input_of_unknown_length_moves_strength_at_the_ends_of_epochs():
    callback = ConstrainedTraining(sparsity=0.5, schedule=Schedule(Ramp(0, 0.25), Ramp(0.25, 0.75)))
    model = wrap(randomise(tiny()), callback.rule)
    callback.set_model(model)
    callback.set_params({"epochs": 4, "steps": None})
    callback.on_train_begin()
    strengths = []
    for epoch in range(4):
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_end(0)
        strengths.append(float(numpy(model.get_layer("stem").strength)))
        callback.on_epoch_end(epoch, {})
    callback.on_train_end()
    assert strengths == pytest.approx([0, 0, 0.5, 1])


def test_a_layer_that_the_pattern_misses_keeps_its_strength_and_masks_can_be_kept():
    callback = GlobalPruning(0.5)
    rule = ConstrainedTraining(sparsity=0.5).rule
    model = wrap(randomise(tiny()), rule)
    fit(model, [ConstrainedTraining(sparsity=0.5, layers=())], epochs=2)
    masks = [numpy(state["mask"]) for *_, state in states(model)]
    assert sum(np.count_nonzero(mask == 0) for mask in masks) > 0
    kept = Schedule(Ramp(0, 0), Ramp(0, 0.5), masks_until=0.0)
    fit(model, [ConstrainedTraining(sparsity=None, schedule=kept, layers=("ste*",))], epochs=2)
    assert all(np.array_equal(numpy(state["mask"]), mask) for (*_, state), mask in zip(states(model), masks, strict=True))
    assert {path: float(numpy(layer.strength)) for path, layer in compressed_layers(model)} == {"stem": 1, "body": 0, "head": 0}
    for _, layer, state in states(model)[1:]:
        assert np.array_equal(numpy(layer.forward_kernels()[state.spec.name]), numpy(state.kernel) * numpy(state["mask"]))
    with pytest.raises(HwcmpError, match="no layer is under the rule of this callback, Sparse.*: pass callback.rule to hwc.wrap"):
        fit(model, [callback])


def test_training_resumed_after_the_pruning_keeps_the_masks():
    callback = GlobalPruning(0.5, Ramp(0.0, 0.5))
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [callback], epochs=4)
    before = [numpy(state["mask"]) for *_, state in states(model)]
    fit(model, [GlobalPruning(0.5, Ramp(0.0, 0.5))], epochs=8, initial_epoch=6, rate=1.0)
    assert all(np.array_equal(numpy(state["mask"]), mask) for (*_, state), mask in zip(states(model), before, strict=True))


def test_replaced_rules_keep_weights_masks_and_function():
    callback = ConstrainedTraining(sparsity=0.5)
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [ConstrainedTraining(sparsity=0.5, layers=("stem",))])
    result = replace_rules(model, {path: hwc.Sparse(0.5) for path in ("body", "head")})
    inputs, _ = data_for(model)
    assert np.array_equal(numpy(result(inputs)), numpy(model(inputs)))
    assert {float(numpy(layer.strength)) for _, layer in compressed_layers(result)} == {1.0}
    assert np.allclose(numpy(strip(result)(inputs)), numpy(model(inputs)), atol=1e-6)
    with pytest.raises(HwcmpError, match=r"rules are replaced by paths of wrapped layers, \['body'.*Received: 'x'"):
        replace_rules(model, {"x": hwc.Sparse(0.5)})


def with_noise():
    layers = [keras.Input((8, 8, 3)), L.GaussianNoise(0.5), L.Conv2D(6, 3, name="conv"), L.BatchNormalization(name="bn"), L.ReLU(),
              L.Dropout(0.5), L.DepthwiseConv2D(3, name="depthwise"), L.BatchNormalization(name="second"), L.Flatten(), L.Dense(4, activation="softmax")]  # fmt: skip
    return keras.Sequential(layers)


@pytest.mark.parametrize("batch_size", [5, 100])
def test_batch_normalization_is_measured_without_noise_and_nothing_else_changes(batch_size):
    model = wrap(randomise(with_noise()), hwc.Nary(3), quantize_inputs=True)
    inputs, _ = data_for(model, samples=13)
    model(inputs, training=True)
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    before = [numpy(variable) for variable in variables]
    reestimate_batch_norm(model, inputs, batch_size)
    changed = {v.path.split("/", 1)[1] for v, old in zip(variables, before, strict=True) if not np.array_equal(numpy(v), old)}
    assert changed == {"bn/moving_mean", "bn/moving_variance", "second/moving_mean", "second/moving_variance"}
    conv = numpy(model.get_layer("conv")(inputs))
    assert np.allclose(numpy(model.get_layer("bn").moving_mean), conv.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    if batch_size == 100:
        assert np.allclose(numpy(model.get_layer("bn").moving_variance), conv.var((0, 1, 2)), rtol=1e-3)
    assert model.get_layer("bn").momentum == 0.99 and [layer.rate for layer in model.layers if isinstance(layer, L.Dropout)] == [0.5]


def test_the_callback_measures_batch_normalization_for_the_final_weights():
    inputs, _ = data_for(tiny())
    callback = ConstrainedTraining(sparsity=0.5, batch_norm_data=inputs)
    model = wrap(randomise(tiny()), callback.rule)
    fit(model, [callback])
    before = model.get_weights()
    reestimate_batch_norm(model, inputs)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_inputs_are_rounded_to_256_values_of_the_range_seen_and_strip_leaves_them_alone(tmp_path):
    model = wrap(randomise(keras.Sequential([keras.Input((20,)), L.Dense(4, activation="softmax", name="head")])), hwc.Nary(16), quantize_inputs=True)
    inputs, labels = data_for(model)
    plain = strip(model)
    assert np.allclose(numpy(model(inputs)), numpy(plain(inputs)), atol=1e-6), "no range yet: unchanged"
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.fit(inputs, labels, batch_size=16, epochs=3, verbose=0)
    low, high = float(inputs.min()), float(inputs.max())
    step = (high - low) / 255
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(inputs / step) + zero, 0, 255) - zero) * step
    assert not np.allclose(numpy(model(inputs)), numpy(plain(inputs)), atol=1e-6)
    assert np.allclose(numpy(model(inputs)), numpy(plain(rounded.astype(np.float32))), atol=1e-5)
    model.save(tmp_path / "m.keras")
    assert np.array_equal(numpy(keras.models.load_model(tmp_path / "m.keras")(inputs)), numpy(model(inputs)))


def test_masks_follow_until_most_of_the_training_is_over_unless_told_otherwise():
    assert Schedule().masks_end == 0.8 and Schedule(Ramp(0, 0.9), Ramp(1, 1)).masks_end == 0.9
    assert Schedule(masks_until=0.5).masks_end == 0.5


def test_schedules_survive_serialization_and_hold_their_ends():
    schedule = Schedule(Ramp(0.1, 0.3, "cubic"), Ramp(0.3, 0.9, "linear"), masks_until=0.5)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(schedule))))
    assert copy == schedule
    for shape, middle in (("linear", 0.5), ("cosine", 0.5), ("cubic", 0.875)):
        ramp = Ramp(0.2, 0.6, shape)
        heights = [ramp(x) for x in np.linspace(0, 1, 51)]
        assert ramp(0.2) == 0 and ramp(0.6) == 1 and ramp(0.4) == pytest.approx(middle) and heights == sorted(heights)
    assert Ramp(0.5, 0.5)(0.5) == 1 and Ramp(0.5, 0.5)(0.49) == 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Ramp(0.5, 0.4), r"a ramp needs 0 <= begin <= end <= 1.*Received: begin=0.5, end=0.4"),
    (lambda: Ramp(0, 1, "steep"), r"shape must be one of \('linear', 'cosine', 'cubic'\). Received: shape='steep'"),
    (lambda: Schedule(Ramp(0, 0.5), Ramp(0.4, 1)), r"strength.begin >= sparsity.end. Received: strength.begin=0.4, sparsity.end=0.5"),
    (lambda: Schedule(masks_until=0.1), "masks_until must be a share from sparsity.end to 1, or None. Received: masks_until=0.1"),
    (lambda: Schedule(0.5), "sparsity must be a Ramp. Received: sparsity=0.5"),
    (lambda: GlobalPruning(1.0), r"sparsity must be a share in \[0, 1\). Received: sparsity=1.0"),
    (lambda: GlobalPruning(0.5, "cubic"), "schedule must be a Ramp. Received: schedule='cubic'"),
    (lambda: GlobalPruning(0.5, every=0), "every must be a positive number of batches. Received: every=0"),
    (lambda: ConstrainedTraining(17), r"levels must be an integer in 2..16. Received: levels=17"),
    (lambda: ConstrainedTraining(4, 0.5), "an even number of levels holds no zero. Received: levels=4, sparsity=0.5"),
    (lambda: ConstrainedTraining(schedule=Ramp(0, 1)), "schedule must be a Schedule. Received: schedule=Ramp"),
    (lambda: ConstrainedTraining(scale="fixed"), r"scale must be one of .*Received: scale='fixed'"),
    (lambda: ConstrainedTraining(per="row"), r"per must be one of .*Received: per='row'"),
    (lambda: hwc.Sparse(True), r"sparsity must be a share in \[0, 1\). Received: sparsity=True"),
    (lambda: reestimate_batch_norm(tiny(), np.zeros((0, 8, 8, 3))), "needs at least one sample"),
    (lambda: reestimate_batch_norm(tiny(), np.zeros((1, 8, 8, 3)), 0), "batch_size must be a positive integer. Received: batch_size=0"),
])  # fmt: skip
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(HwcmpError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_missing_wrapper_a_wrong_rule_and_a_missing_callback_are_named():
    callback = ConstrainedTraining(sparsity=0.5)
    with pytest.raises(HwcmpError, match=r"model 'chain' holds no wrapped layer: train the model that hwc.wrap\(model, callback.rule\) returns"):
        fit(tiny(), [callback])
    with pytest.raises(HwcmpError, match="no layer is under the rule of this callback, Nary.*Received: layer 'stem' under Nary"):
        fit(wrap(tiny(), hwc.Nary(3)), [callback])
    with pytest.raises(HwcmpError, match=r"layers must name governed layers, \['stem', 'body', 'head'\]. Received: layers=\('x',\)"):
        fit(wrap(tiny(), callback.rule), [ConstrainedTraining(layers=["x"])])
    forgotten = wrap(tiny(), callback.rule)
    fit(forgotten, [], epochs=1)
    with pytest.raises(HwcmpError, match=r"layer 'stem' is wrapped with Nary.* waits for a callback.*callbacks=\[hwc.callbacks.ConstrainedTraining\(...\)\]"):
        strip(forgotten)
    with pytest.raises(HwcmpError, match=r"layer 'stem' is wrapped with Sparse.*hwc.callbacks.GlobalPruning"):
        strip(wrap(tiny(), GlobalPruning(0.5).rule))
    set_strength(forgotten, 1.0)
    strip(forgotten)


def test_a_run_that_ends_early_and_a_layer_that_loses_all_weights_are_told():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 0

    callback = ConstrainedTraining(sparsity=0.5)
    with pytest.warns(UserWarning, match="training stopped before the constraint was complete, strength is below 1 in stem, body, head"):
        fit(wrap(randomise(tiny()), callback.rule), [callback, Stop()])
    model = tiny()
    model.get_layer("body").kernel.assign(np.full((3, 3, 4, 3), 1e-6))
    with pytest.warns(UserWarning, match="the global threshold leaves no weight in 'body' at sparsity 0.700: lower the sparsity"):
        fit(wrap(model, GlobalPruning(0.7).rule), [GlobalPruning(0.7, Ramp(0, 0))], epochs=1, rate=1e-9)


JAX_SCRIPT = """
    import sys
    import keras, numpy as np
    from keras import ops
    from keras_hwcompress.training.callbacks import ConstrainedTraining, Ramp, Schedule
    from keras_hwcompress.training import promises, wrap

    assert keras.backend.backend() == "jax"
    L = keras.layers
    inputs = np.random.default_rng(0).normal(size=(12, 10)).astype(np.float32)
    schedule = Schedule(Ramp(0, 0.4, "cubic"), Ramp(0.4, 0.7, "cosine"))
    callback = ConstrainedTraining(sparsity=0.5, schedule=schedule, every=1, batch_norm_data=inputs)
    layers = [keras.Input((10,)), L.Dense(8, name="first"), L.BatchNormalization(), L.Dropout(0.5), L.Dense(3, name="head")]
    model = wrap(keras.Sequential(layers), callback.rule, quantize_inputs=True)
    model.compile("adam", "mse")
    history = model.fit(inputs, inputs[:, :3], batch_size=4, epochs=3, verbose=0, callbacks=[callback]).history
    assert history["hwc/strength"] == [0.0, history["hwc/strength"][1], 1.0] and 0 < history["hwc/strength"][1] < 1
    assert history["hwc/first/distance"][1] > 0 == history["hwc/first/distance"][2] == history["hwc/head/distance"][2]
    assert sum(promise.zeros for promise in promises(model)) == 52
    assert all(len(np.unique(np.abs(k))) == 2 for k in [ops.convert_to_numpy(model.layers[0].forward_kernels()["kernel"])])
    decay = ConstrainedTraining(sparsity=0.5, schedule=Schedule(Ramp(0, 0), Ramp(0, 0.5), masks_until=1.0), every=1, masked_decay=500.0)
    for layer in model.layers:
        layer.trainable = layer.name not in ("first", "head")
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    state = model.layers[0].states[0]
    before, mask = (ops.convert_to_numpy(v).copy() for v in (state.kernel, state["mask"]))
    model.fit(inputs, inputs[:, :3], batch_size=4, epochs=1, verbose=0, callbacks=[decay])
    assert np.allclose(ops.convert_to_numpy(state.kernel), before * np.where(mask, 1, 0.5**3), rtol=1e-5)
    sys.stdout.write("JAX-TEST-OK")
"""


def test_constrained_training_works_on_jax():
    pytest.importorskip("jax")
    tests = Path(__file__).resolve().parent
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(tests.parent)}
    command = [sys.executable, "-c", textwrap.dedent(JAX_SCRIPT), str(tests)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("JAX-TEST-OK"), done.stderr[-3000:]
