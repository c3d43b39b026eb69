"""wrap(): a copy of a Keras model whose layers follow compression rules."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_hwcompress.errors import HwcmpError, UnsupportedModelError
from keras_hwcompress.training.kernels import has_weight_matrix, why_unsupported
from keras_hwcompress.training.models import Rebuilder, check_model, compressed_layers, copy_weights, leaf_layers, like
from keras_hwcompress.training.rules import Rule
from keras_hwcompress.training.wrapper import CompressedLayer

Layer = keras.layers.Layer
Selector = str | type | Callable[[Layer], bool]
Rules = Rule | Mapping[Selector, Rule | None] | Iterable[tuple[Selector, Rule | None]]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What became of one layer: `wrapped` is False for a skipped one, and `reason` says why."""

    path: str
    type: str
    weights: int
    wrapped: bool
    rule: Rule | None
    reason: str


def wrap(model: keras.Model, rule: Rules, *, quantize_inputs: bool = False) -> keras.Model:
    """A copy of the model whose supported layers are trained under a rule, at full strength from the start.

    Weights, names, dtype policies, nested models and shared layers are kept. The compile state is not: call `compile`
    on the result, its optimizer starts afresh. The original model is left alone.

    Args:
        model: a built Sequential or functional Keras 3 model.
        rule: one rule for every supported layer; or pairs (selector, rule), as a list or a dict, of which the first
            match counts and a None rule leaves the layer alone. A selector is a layer name or path with wildcards
            ("conv*", "block1/conv"), a layer type, or a predicate on the layer.
        quantize_inputs: whether training also sees the inputs of every wrapped layer rounded to int8, per tensor, with
            ranges that follow the batches; `strip` leaves that to the converter's own calibration.

    Returns:
        The wrapped model. Layers with weight matrices that a rule matched but that cannot be constrained are skipped
        with a warning; `wrap_report` lists them.

    Raises:
        UnsupportedModelError: a tf_keras object, a subclassed, unbuilt or already wrapped model.
        HwcmpError: the rules are malformed or wrap nothing.
    """
    check_model(model)
    for path, _ in compressed_layers(model):
        raise UnsupportedModelError(f"layer {path!r} is wrapped already: strip() the model before wrapping it again")
    plan = _plan(model, _pairs(rule))

    def make(layer: Layer) -> Layer:
        clone = like(layer)
        return CompressedLayer(clone, plan[id(layer)], quantize_inputs) if id(layer) in plan else clone

    rebuilder = Rebuilder(make)
    result = rebuilder.model(model)
    for old, new in rebuilder.pairs:
        _fill(old, new)
    return result


def replace_rules(model: keras.Model, rules: Mapping[str, Rule]) -> keras.Model:
    """A copy of a wrapped model with other rules; weights, masks and whatever else old and new rule share are kept.

    Args:
        model: a wrapped model.
        rules: path of a wrapped layer -> its new rule; the other layers keep theirs.

    Returns:
        The copy. A layer with a new rule is at the first strength of that rule.

    Raises:
        HwcmpError: a path that names no wrapped layer.
    """
    owners = dict(compressed_layers(model))
    for path in set(rules) - set(owners):
        raise HwcmpError(f"rules are replaced by paths of wrapped layers, {sorted(owners)}. Received: {path!r}")
    changed = {id(owners[path]): rule for path, rule in rules.items()}

    def make(layer: Layer) -> Layer:
        if id(layer) not in changed:
            return like(layer)
        return CompressedLayer(like(layer.layer), changed[id(layer)], layer.quantize_inputs)

    rebuilder = Rebuilder(make)
    result = rebuilder.model(model)
    for old, new in rebuilder.pairs:
        if id(old) in changed:
            _carry_over(old, new)
        else:
            copy_weights(old, new)
    return result


def _carry_over(old: CompressedLayer, new: CompressedLayer) -> None:
    """Copies the weights of the same name; the others are derived from the kernel and the mask."""
    copy_weights(old.layer, new.layer)
    new.restart()
    for before, after in zip(old.states, new.states, strict=True):
        shared = [name for name in after.variables if name in before.variables]
        for name in shared:
            if after.variables[name].shape == before.variables[name].shape:
                after.variables[name].assign(before[name])
        derived = [name for name in after.variables if name not in shared]
        if derived:
            after.restart(*derived)


def wrap_report(model: keras.Model) -> tuple[LayerReport, ...]:
    """One row per layer of a model, wrapped or not, in model order; works on saved and loaded models too.

    Raises:
        UnsupportedModelError: as `wrap`.
    """
    check_model(model)
    return tuple(_row(path, layer) for path, layer in leaf_layers(model))


def _row(path: str, layer: Layer) -> LayerReport:
    wrapped = isinstance(layer, CompressedLayer)
    inner = layer.layer if wrapped else layer
    rule, reason = (layer.rule, "") if wrapped else (None, _why_skipped(layer))
    return LayerReport(path, type(inner).__name__, inner.count_params(), wrapped, rule, reason)


def _why_skipped(layer: Layer) -> str:
    if not has_weight_matrix(layer):
        return "it holds no weight matrix"
    return why_unsupported(layer) or "no rule matches it"


def _fill(old: Layer, new: Layer) -> None:
    if isinstance(new, CompressedLayer):
        copy_weights(old, new.layer)
        new.restart()
    else:
        copy_weights(old, new)


def _pairs(rule: Any) -> list[tuple[Selector, Rule | None]]:
    if isinstance(rule, Rule):
        return [("*", rule)]
    items = rule.items() if isinstance(rule, Mapping) else rule
    if isinstance(items, (str, type)) or not isinstance(items, Iterable):
        raise HwcmpError(f"expected a rule such as Nary(levels=3), or pairs (selector, rule). Received: {rule!r}")
    return [_pair(item) for item in items]


def _pair(item: Any) -> tuple[Selector, Rule | None]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise HwcmpError(f"expected a pair (selector, rule). Received: {item!r}")
    selector, rule = item
    if not isinstance(selector, (str, type)) and not callable(selector):
        raise HwcmpError(f"a selector is a layer name, a layer type or a predicate. Received: {selector!r}")
    if rule is not None and not isinstance(rule, Rule):
        raise HwcmpError(f"expected a rule such as Nary(levels=3), or None. Received: {rule!r} for {selector!r}")
    return selector, rule


def _matches(selector: Selector, path: str, layer: Layer) -> bool:
    if isinstance(selector, str):
        return any(fnmatch.fnmatchcase(name, selector) for name in (layer.name, path))
    return isinstance(layer, selector) if isinstance(selector, type) else bool(selector(layer))


def _plan(model: keras.Model, pairs: list[tuple[Selector, Rule | None]]) -> dict[int, Rule]:
    """The rule of every layer that will be wrapped, by id of the layer."""
    plan: dict[int, Rule] = {}
    useful: set[int] = set()
    for path, layer in leaf_layers(model):
        matching = [index for index, (selector, _) in enumerate(pairs) if _matches(selector, path, layer)]
        rule = pairs[matching[0]][1] if matching else None
        accepted = rule is not None and _accepts(path, layer)
        useful.update(index for index in matching if accepted or pairs[index][1] is None)
        if accepted:
            plan[id(layer)] = rule
    for index in sorted(set(range(len(pairs))) - useful):
        warnings.warn(f"the selector {pairs[index][0]!r} wraps no layer of model {model.name!r}", stacklevel=3)
    if not plan:
        raise HwcmpError(f"nothing to wrap in model {model.name!r}: no supported layer has a rule")
    return plan


def _accepts(path: str, layer: Layer) -> bool:
    if not has_weight_matrix(layer):
        return False
    reason = why_unsupported(layer)
    if reason:
        warnings.warn(f"layer {path!r} is skipped: {reason}", stacklevel=4)
    return not reason
