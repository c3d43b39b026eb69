"""Layer-wise constrained training under an accuracy bound, after Grimaldi et al.; details ours.

Published ("Layer-Wise Compressive Training for CNNs", Future Internet 11(1):7, 2019): prune a trained network under one
global threshold, sort the layers by the sparsity that each ends with, constrain them one after the other to {-s, 0, +s},
least significant (most sparse) first, while the loss of accuracy stays below a bound; significant layers keep their form.

Ours: every attempt trains all weights for a few epochs with the ramps of `callbacks.ConstrainedTraining`; the accuracy is
compared with that of the float model on data that the caller holds out; a layer that fails is put back, with all other
weights, to the state before the attempt, and the search goes on ("skip") or ends ("stop"); layers that stay
unconstrained keep their masks and are stored in whichever format is smallest (dense8, or one that uses zeros); every
step is saved, so that a killed search goes on where it was and ends with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from rich.console import Console

from keras_hwcompress import training
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.search.checkpoint import Checkpoint, settings_of
from keras_hwcompress.search.result import LayerwiseResult, LayerwiseStep
from keras_hwcompress.search.score import Score, as_score
from keras_hwcompress.search.significance import constrainable
from keras_hwcompress.search.sizes import stored
from keras_hwcompress.training.callbacks import ConstrainedTraining, Ramp, Schedule

Train = Callable[[keras.Model, int, list[keras.callbacks.Callback]], Any]
_ON_FAIL = ("skip", "stop")
_PRUNING = Schedule(Ramp(0.0, 0.6, "cubic"), Ramp(1.0, 1.0))


def compress_layerwise(
    model: keras.Model,
    train: Train,
    *,
    validation_data: Any,
    sparsity: float = 0.8,
    max_accuracy_drop: float = 0.01,
    levels: int = 3,
    scale: str = "learned",
    per: str = "layer",
    order: str | Sequence[str] = "sparsity",
    group: int = 1,
    on_fail: str = "skip",
    layers: Sequence[str] | None = None,
    prune_epochs: int = 5,
    epochs: int = 5,
    finetune_epochs: int = 0,
    ramp: Ramp | None = None,
    batch_norm_data: Any = None,
    folder: str | Path | None = None,
    seed: int = 0,
    verbose: int = 1,
) -> LayerwiseResult:
    """Prunes a trained model and constrains its layers greedily, as long as little accuracy is lost.

        def train(model, epochs, callbacks):
            model.compile("adam", loss)                      # anew for every step: no state is carried over
            model.fit(x, y, epochs=epochs, callbacks=callbacks)

        result = hwc.compress_layerwise(model, train, validation_data=(x_val, y_val), sparsity=0.9, folder="search")
        converter = hwc.Converter.from_keras_model(result.model)

    Args:
        model: a built and trained Keras model; it is left alone.
        train: compiles the given model and fits it for so many epochs with these callbacks (more may be added).
        validation_data: (inputs, labels), or a function from a model to a score; neither training nor test data.
        sparsity: share of zeros in [0, 1) over all layers, by one threshold; see `ConstrainedTraining` for `levels`.
        max_accuracy_drop: most that the score may be below that of `model`.
        levels: grid of the constrained layers.
        scale: "learned" or "closed-form".
        per: "layer" or "channel": what one s spans.
        order: "sparsity" (most sparse first), or paths in the order wanted, e.g. of `layer_significance(...).order`;
            layers that are not named are pruned but not constrained.
        group: how many neighbours in the order are tried together, and fail together: fewer attempts for many layers.
        on_fail: "skip" the layer and try the next one, or "stop".
        layers: paths of the layers to prune and try; None for all that can be; the others stay as they are.
        prune_epochs: epochs of the pruning.
        epochs: epochs of every attempt.
        finetune_epochs: epochs after the last attempt, with every layer as it is then.
        ramp: of the strength within an attempt, by default cosine over its first quarter; zeros may change
            places within every layer until 80 % of the attempt, their number stays.
        batch_norm_data: samples for re-estimating BatchNormalization after every `fit`; None leaves it to the training.
        folder: where every step is saved; the same call continues from there. None saves nothing.
        seed: `keras.utils.set_random_seed(seed + step)` precedes every step, so that a step depends on its start only.
        verbose: 1 prints what every step gained in bytes and cost in accuracy, 0 nothing.

    Raises:
        HwcmpError: an argument is out of range, or the folder holds a search with other settings.
        UnsupportedModelError: as `wrap`.
    """
    settings = settings_of(locals(), exclude=("model", "train", "validation_data", "batch_norm_data", "folder", "verbose"))
    _check(max_accuracy_drop, on_fail, {"prune_epochs": prune_epochs, "epochs": epochs, "group": group,
                                       "finetune_epochs": finetune_epochs, "verbose": verbose, "seed": seed})  # fmt: skip
    common = {"levels": levels, "scale": scale, "per": per, "batch_norm_data": batch_norm_data}
    search = _Search(
        train=train,
        score=as_score(validation_data),
        prune=ConstrainedTraining(**common, sparsity=sparsity, schedule=_PRUNING, layers=()),
        attempt=lambda paths, ramp: ConstrainedTraining(**common, sparsity=None, schedule=_attempt_schedule(ramp), layers=paths),
        ramp=Ramp(0.0, 0.25, "cosine") if ramp is None else ramp,
        epochs=(prune_epochs, epochs, finetune_epochs),
        bound=max_accuracy_drop,
        seed=seed,
        say=Console().print if verbose else lambda text: None,
    )
    rules = [(_is_one_of(constrainable(model, layers)), search.prune.rule)]
    wrapped = training.wrap(model, rules)
    checkpoint = Checkpoint(folder, settings, model)
    start = _prune(search, model, wrapped, order, layers, checkpoint)
    groups = [tuple(start["order"][first : first + group]) for first in range(0, len(start["order"]), group)]
    for paths in groups[len(start["steps"]) :]:
        if start["steps"] and not start["steps"][-1]["accepted"] and on_fail == "stop":
            break
        step = _attempt(search, wrapped, paths, start["baseline"], number=len(start["steps"]) + 1)
        start["steps"].append({name: getattr(step, name) for name in LayerwiseStep.__slots__})
        checkpoint.save(wrapped, start)
    steps = tuple(LayerwiseStep(**{**step, "paths": tuple(step["paths"])}) for step in start["steps"])
    if finetune_epochs and "finetuned" not in start:
        _finetune(search, wrapped, steps)
        checkpoint.save(wrapped, {**start, "finetuned": True})
    return _result(search, wrapped, start, steps)


@dataclass(frozen=True, slots=True)
class _Search:
    train: Train
    score: Score
    prune: ConstrainedTraining
    attempt: Callable[[tuple[str, ...], Ramp], ConstrainedTraining]
    ramp: Ramp
    epochs: tuple[int, int, int]
    bound: float
    seed: int
    say: Callable[[str], Any]


def _check(bound: Any, on_fail: Any, counts: dict[str, Any]) -> None:
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 <= bound <= 1:
        raise HwcmpError(f"max_accuracy_drop must be in 0..1. Received: max_accuracy_drop={bound!r}")
    if on_fail not in _ON_FAIL:
        raise HwcmpError(f"on_fail must be one of {_ON_FAIL}. Received: on_fail={on_fail!r}")
    for name, value in counts.items():
        least = 0 if name in ("verbose", "seed", "finetune_epochs") else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise HwcmpError(f"{name} must be an integer of at least {least}. Received: {name}={value!r}")


def _attempt_schedule(strength: Ramp) -> Schedule:
    return Schedule(Ramp(0.0, 0.0), strength)


def _is_one_of(layers: dict[str, Any]) -> Callable[[Any], bool]:
    ids = {id(layer) for layer in layers.values()}
    return lambda layer: id(layer) in ids


def _prune(
    search: _Search, model: keras.Model, wrapped: keras.Model, order: Any, layers: Any, checkpoint: Checkpoint
) -> dict[str, Any]:
    """The state after pruning or, from the folder, after later steps; the weights are then in `wrapped`."""
    state = checkpoint.load(wrapped)
    if state is not None:
        tried = sum(len(step["paths"]) for step in state["steps"])
        search.say(f"continuing after {tried} of {len(state['order'])} layers, from {checkpoint.folder}")
        return state
    names = _checked_order(order, [path for path, _ in training.compressed_layers(wrapped)])
    baseline = search.score(model)
    _fit(search, wrapped, search.epochs[0], search.prune, 0)
    if order == "sparsity":
        names = _by_sparsity(wrapped)
    pruned = search.score(wrapped)
    search.say(f"pruned to {search.prune.sparsity:.1%} zeros: score {pruned:.4f}, float {baseline:.4f}")
    state = {"baseline": baseline, "pruned": pruned, "order": list(names), "steps": []}
    checkpoint.save(wrapped, state)
    return state


def _checked_order(order: Any, paths: list[str]) -> Sequence[str]:
    if order == "sparsity":
        return paths
    if isinstance(order, str) or len(set(order)) != len(order) or not set(order) <= set(paths):
        raise HwcmpError(f"order must be 'sparsity' or paths out of {paths}, each once. Received: order={order!r}")
    return tuple(order)


def _by_sparsity(wrapped: keras.Model) -> list[str]:
    """Most sparse first: the masks are the global threshold's; equal shares keep the model's order."""
    def share(layer: Any) -> float:
        masks = [ops.convert_to_numpy(state["mask"]) for state in layer.states]
        return sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks)

    return [path for path, layer in sorted(training.compressed_layers(wrapped), key=lambda pair: share(pair[1]))]


def _fit(search: _Search, model: keras.Model, epochs: int, callback: ConstrainedTraining, step: int) -> None:
    keras.utils.set_random_seed(search.seed + step)
    search.train(model, epochs, [callback])


def _attempt(search: _Search, wrapped: keras.Model, paths: tuple[str, ...], baseline: float, number: int) -> LayerwiseStep:
    """Constrains the layers of a group; puts everything back if that costs too much."""
    owners = dict(training.compressed_layers(wrapped))
    layers = [owners[path] for path in paths]
    snapshot, before = wrapped.get_weights(), _stored(layers)
    _fit(search, wrapped, search.epochs[1], search.attempt(paths, search.ramp), number)
    if min(float(ops.convert_to_numpy(layer.strength)) for layer in layers) < 1:
        named = " + ".join(paths)
        raise HwcmpError(
            f"train() must fit the model for all epochs with the callbacks that it is given: {named!r} is not constrained"
        )
    score, after = search.score(wrapped), _stored(layers)
    accepted = baseline - score <= search.bound
    if not accepted:
        wrapped.set_weights(snapshot)
    formats = {"format_before": before[0], "format_after": after[0]}
    step = LayerwiseStep(paths, accepted, score, baseline - score, before[1], after[1], **formats)
    search.say(str(step))
    return step


def _finetune(search: _Search, wrapped: keras.Model, steps: tuple[LayerwiseStep, ...]) -> None:
    """Constrained layers stay on their grid: where the strength is 1 already, an attempt leaves it there."""
    paths = tuple(path for step in steps if step.accepted for path in step.paths)
    _fit(search, wrapped, search.epochs[2], search.attempt(paths, Ramp(0.0, 0.0)), len(steps) + 1)


def _stored(layers: Sequence[training.CompressedLayer]) -> tuple[str, int]:
    """Formats, in the order of the kernels, and bytes of all of them together."""
    parts = []
    for layer in layers:
        forward = layer.forward_kernels()
        parts += [stored(state.spec.rows(ops.convert_to_numpy(forward[state.spec.name]))) for state in layer.states]
    return " + ".join(name for name, _ in parts), sum(size for _, size in parts)


def _result(search: _Search, wrapped: keras.Model, state: dict[str, Any], steps: tuple[LayerwiseStep, ...]) -> LayerwiseResult:
    """The layers that were not constrained are under `Sparse` from here on, with the masks that they have."""
    on_grid = {path for step in steps if step.accepted for path in step.paths}
    free = {path: layer for path, layer in training.compressed_layers(wrapped) if path not in on_grid}
    rules = {path: training.Sparse(_zeros(layer)) for path, layer in free.items()}
    final = training.replace_rules(wrapped, rules)
    return LayerwiseResult(final, state["baseline"], state["pruned"], search.score(final), tuple(state["order"]), steps)


def _zeros(layer: training.CompressedLayer) -> float:
    masks = [ops.convert_to_numpy(state["mask"]) for state in layer.states]
    return float(np.mean(np.concatenate([mask.ravel() for mask in masks]) == 0))
