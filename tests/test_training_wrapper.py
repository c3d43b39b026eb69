"""CompressedLayer and the Nary rule, layer type by layer type: forward, gradient, state, saving, precision."""

import keras
import numpy as np
import pytest
from keras import ops
from training_cases import LAYERS, rows_of

from keras_hwcompress.errors import HwcmpError, UnsupportedModelError
from keras_hwcompress.training import CompressedLayer, Nary

RULES = [
    Nary(2),
    Nary(3),
    Nary(3, sparsity=0.6),
    Nary(4, scale="learned"),
    Nary(5, per="layer"),
    Nary(16, scale="learned", per="layer"),
]
each_layer = pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def wrapped(case, rule, **kwargs):
    layer = CompressedLayer(case.built(**kwargs), rule)
    layer.build((None, *case.shape))
    return layer


def model_of(case, layer, loss="mse", optimizer=None):
    model = keras.Sequential([keras.Input(case.shape), layer])
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss=loss, run_eagerly=True)
    return model


def kernels(layer):
    return {name: ops.convert_to_numpy(kernel) for name, kernel in layer.forward_kernels().items()}


def values(layer):
    return [ops.convert_to_numpy(weight).copy() for weight in layer.weights]


def call(layer, inputs):
    return ops.convert_to_numpy(layer(inputs))


def train_one_step(case, layer, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    inputs = case.inputs(rng)
    model = model_of(case, layer, **kwargs)
    model.fit(inputs, rng.normal(size=(4, *model.output_shape[1:])), batch_size=4, verbose=0)
    return model


@each_layer
def test_strength_zero_is_the_bare_layer_bit_for_bit(case):
    layer = wrapped(case, Nary(3))
    inputs = case.inputs(np.random.default_rng(0))
    assert not np.array_equal(call(layer, inputs), call(layer.layer, inputs))
    layer.strength.assign(0.0)
    assert np.array_equal(call(layer, inputs), call(layer.layer, inputs))


@each_layer
@each_rule
def test_every_output_channel_holds_at_most_n_levels_and_runs_with_them(case, rule):
    layer = wrapped(case, rule)
    inputs = case.inputs(np.random.default_rng(1))
    outputs, bare = call(layer, inputs), layer.layer
    for name, kernel in kernels(layer).items():
        rows = rows_of(name, kernel, bare)
        assert max(len(np.unique(row)) for row in rows) <= rule.levels, name
        assert np.all(np.isfinite(kernel)) and np.any(kernel != 0)
        if rule.sparsity is not None:
            assert np.count_nonzero(kernel == 0) == round(rule.sparsity * kernel.size), name
        getattr(bare, name).assign(kernel)
    assert np.array_equal(outputs, call(bare, inputs))


@each_layer
def test_a_row_is_one_output_channel(case):
    layer = wrapped(case, Nary(3))
    for state in layer.states:
        kernel = np.random.default_rng(0).normal(size=state.shape)
        assert np.array_equal(state.spec.rows(kernel), rows_of(state.spec.name, kernel, layer.layer))


@each_layer
def test_three_levels_per_channel_are_those_of_ternary_weight_networks(case):
    layer = wrapped(case, Nary(3))
    for name, kernel in kernels(layer).items():
        latent = rows_of(name, ops.convert_to_numpy(getattr(layer.layer, name)), layer.layer)
        magnitude = np.abs(latent)
        kept = magnitude > 0.7 * magnitude.mean(1, keepdims=True)
        scale = (magnitude * kept).sum(1, keepdims=True) / kept.sum(1, keepdims=True)
        assert np.allclose(rows_of(name, kernel, layer.layer), scale * np.sign(latent) * kept, atol=1e-6)


@each_layer
def test_the_latent_kernels_get_the_gradient_of_the_constrained_ones(case):
    layer = wrapped(case, Nary(3))
    twin = case.built()
    twin.set_weights(layer.layer.get_weights())
    for name, kernel in kernels(layer).items():
        getattr(twin, name).assign(kernel)
    before = {id(l): values(l) for l in (layer.layer, twin)}
    for trained in (layer, twin):
        train_one_step(case, trained)
    steps = [[after - start for after, start in zip(values(l), before[id(l)])] for l in (layer.layer, twin)]
    for through, direct in zip(*steps):
        assert np.any(direct != 0) and np.allclose(through, direct, atol=1e-6)


@each_layer
def test_training_moves_the_learned_scale_and_no_other_state(case):
    layer = wrapped(case, Nary(5, scale="learned"))
    before = {weight.path: ops.convert_to_numpy(weight).copy() for weight in layer.weights}
    train_one_step(case, layer)
    moved = {weight.name for weight in layer.weights if np.any(ops.convert_to_numpy(weight) != before[weight.path])}
    prefixes = [state.spec.prefix for state in layer.states]
    assert {prefix + "scale_log" for prefix in prefixes} <= moved
    assert not moved & ({prefix + name for prefix in prefixes for name in ("mask", "codebook", "scale")} | {"strength"})


@each_layer
def test_configuration_and_weights_survive_every_way_of_saving(case, tmp_path):
    rule = Nary(4, scale="learned")
    model = train_one_step(case, wrapped(case, rule))
    layer = model.layers[0]
    for state in layer.states:
        mask = np.random.default_rng(0).integers(0, 2, state.shape)
        state.variables["mask"].assign(mask.astype(np.float32))
        state.variables["codebook"].assign([-2.5, -1.5, 0.5, 1.5])
    layer.strength.assign(0.75)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    clone = keras.models.clone_model(model)
    assert clone.layers[0].get_config() == layer.get_config() and clone.layers[0].rule == rule
    clone.load_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = case.inputs(np.random.default_rng(2))
    for copy in (clone, loaded):
        assert [w.name for w in copy.weights] == [w.name for w in model.weights]
        assert all(np.array_equal(a, b) for a, b in zip(values(copy), values(model), strict=True))
        assert np.array_equal(call(copy, inputs), call(model, inputs))


@each_layer
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_float32_state_and_the_same_levels_inside_and_outside_a_call(case, policy):
    layer = wrapped(case, Nary(3), dtype=policy)
    inputs = case.inputs(np.random.default_rng(3))
    outputs = layer(inputs)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights} == {"float32"}
    for name, kernel in kernels(layer).items():
        assert max(len(np.unique(row)) for row in rows_of(name, kernel, layer.layer)) <= 3
        getattr(layer.layer, name).assign(kernel)
    bare = layer.layer(inputs)
    assert np.array_equal(*(ops.convert_to_numpy(ops.cast(tensor, "float32")) for tensor in (outputs, bare)))


def test_the_wrapper_takes_over_name_precision_trainability_and_regularizers():
    regularizers = {"kernel_regularizer": "l2", "activity_regularizer": keras.regularizers.L1(0.5)}
    inner = keras.layers.Dense(3, name="chosen", dtype="mixed_bfloat16", **regularizers)
    inner.trainable = False
    layer = CompressedLayer(inner, Nary(3))
    outputs = layer(np.ones((2, 4), np.float32))
    assert layer.name == "chosen" and layer.dtype_policy.name == "mixed_bfloat16" and not layer.trainable
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == len(layer.weights)
    activity = 0.5 * np.abs(ops.convert_to_numpy(ops.cast(outputs, "float32"))).sum() / 2
    assert len(layer.losses) == 1 and np.isclose(float(layer.losses[0]), activity, rtol=0.02)
    layer.trainable = True
    assert len(layer.losses) == 2 and layer.layer.kernel in layer.trainable_weights


def test_a_frozen_wrapper_does_not_drift():
    layer = wrapped(LAYERS[0], Nary(3, scale="learned"))
    layer.trainable = False
    before = values(layer)
    head = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input(LAYERS[0].shape), layer, head])
    model.compile("adam", "mse", run_eagerly=True)
    start = values(head)
    model.fit(LAYERS[0].inputs(np.random.default_rng(0)), np.ones((4, 2)), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(values(layer), before))
    assert any(np.any(a != b) for a, b in zip(values(head), start))


def test_a_mask_of_zeros_prunes_whatever_the_grid():
    for rule in (Nary(2), Nary(3), Nary(4, scale="learned"), Nary(7)):
        layer = wrapped(LAYERS[3], rule)
        (state,) = layer.states
        mask = np.random.default_rng(0).integers(0, 2, state.shape).astype(np.float32)
        state.variables["mask"].assign(mask)
        kernel = kernels(layer)["kernel"]
        assert np.all(kernel[mask == 0] == 0) and np.any(kernel[mask == 1] != 0)


def test_restart_follows_kernels_that_were_loaded_later():
    layer = wrapped(LAYERS[3], Nary(3, scale="learned", sparsity=0.5))
    (state,) = layer.states
    kernel = np.random.default_rng(9).normal(size=state.shape).astype(np.float32)
    state.kernel.assign(kernel)
    state.variables["scale_log"].assign(np.ones(state.variables["scale_log"].shape))
    layer.restart()
    median = np.median(np.abs(kernel))
    assert np.array_equal(ops.convert_to_numpy(state["mask"]), (np.abs(kernel) > median).astype(np.float32))
    kept = np.where(np.abs(kernel) > median, np.abs(kernel), np.nan)
    assert np.allclose(ops.convert_to_numpy(state["scale"]).ravel(), np.nanmean(kept, axis=(0, 1, 2)), atol=1e-6)
    assert np.all(ops.convert_to_numpy(state["scale_log"]) == 0)


def test_a_wrapper_that_is_built_inside_a_subclassed_model_starts_from_its_real_kernel():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = CompressedLayer(keras.layers.Dense(3), Nary(5, scale="learned"))

        def call(self, inputs):
            return self.dense(inputs)

    model = Subclassed()
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 6), np.float32), np.ones((4, 3)), verbose=0, batch_size=4)
    (state,) = model.dense.states
    latent, scale = (ops.convert_to_numpy(tensor) for tensor in (state.latent(), state["scale"]))
    assert np.all(scale > 0.1 * np.abs(latent).mean(0)) and np.all(scale < 2 * np.abs(latent).max(0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": 1}, "levels must be an integer in 2..16. Received: levels=1"),
        ({"levels": 17}, "levels must be an integer in 2..16. Received: levels=17"),
        ({"levels": 3.0}, "levels must be an integer in 2..16. Received: levels=3.0"),
        ({"levels": True}, "levels=True"),
        ({"scale": "ttq"}, "scale='ttq'"),
        ({"per": "row"}, "per='row'"),
        ({"levels": 4, "sparsity": 0.5}, "sparsity needs levels=3"),
        ({"sparsity": 1.0}, r"share in \[0, 1\)"),
    ],
)
def test_a_rule_refuses_arguments_out_of_range_in_one_line(arguments, words):
    with pytest.raises(HwcmpError, match=words) as caught:
        Nary(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_survives_serialisation(rule):
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule)) == rule


def test_layers_that_cannot_be_constrained_are_refused_with_the_reason():
    with pytest.raises(UnsupportedModelError, match="layer 'up': the layer type Conv1DTranspose is not supported"):
        CompressedLayer(keras.layers.Conv1DTranspose(3, 2, name="up"), Nary(3))
    with pytest.raises(UnsupportedModelError, match="layer 'lstm': it keeps its state between batches"):
        CompressedLayer(keras.layers.LSTM(3, stateful=True, name="lstm"), Nary(3))
    lora = keras.layers.Dense(3, name="adapted")
    lora.build((None, 4))
    lora.enable_lora(2)
    with pytest.raises(UnsupportedModelError, match="'adapted': LoRA is enabled"):
        CompressedLayer(lora, Nary(3))
    quantized = keras.layers.Dense(3, name="frozen")
    quantized.build((None, 4))
    quantized.quantize("int8")
    with pytest.raises(UnsupportedModelError, match="'frozen': .*already quantized by Keras"):
        CompressedLayer(quantized, Nary(3))
    with pytest.raises(HwcmpError, match="expected a rule such as"):
        CompressedLayer(keras.layers.Dense(3), "ternary")
