"""Which layers matter: the order in which a layer-wise search constrains them, after Grimaldi et al.; details ours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from rich.console import Console
from rich.table import Table

from keras_hwcompress import training
from keras_hwcompress.errors import HwcmpError, ToolError
from keras_hwcompress.search.score import as_score
from keras_hwcompress.training.batch_norm import without_noise
from keras_hwcompress.training.kernels import KernelSpec, has_weight_matrix, kernels_of, why_unsupported
from keras_hwcompress.training.models import check_model, leaf_layers, sync_state
from keras_hwcompress.training.pruning import global_masks
from keras_hwcompress.training.rules import check_share
from keras_hwcompress.training.wrapper import CompressedLayer

Layer = keras.layers.Layer
METHODS = ("sparsity", "taylor", "drop")
_MEANING = {
    "sparsity": "share of weights above the global threshold",
    "taylor": "mean |weight x gradient| summed over the layer",
    "drop": "accuracy lost when constrained alone, untrained",
}


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer: its path, layer type, number of weights in its kernels, and its sparsity under the global threshold.

    score is what the method measures: larger is more significant.
    """

    path: str
    type: str
    weights: int
    sparsity: float
    score: float


@dataclass(frozen=True, slots=True)
class Significance:
    """The layers of a model in model order, with the method that scored them and the sparsity of the threshold."""

    method: str
    sparsity: float
    rows: tuple[LayerRow, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """Paths, least significant first: the order in which to constrain; equal scores keep the model's order."""
        return tuple(row.path for row in sorted(self.rows, key=lambda row: row.score))

    def table(self) -> Table:
        """A rich table, least significant layer first."""
        table = Table("layer", "type", title=f"significance: {_MEANING[self.method]}; threshold for {self.sparsity:.0%} zeros")
        for heading in ("weights", "zeros", "score"):
            table.add_column(heading, justify="right")
        for row in sorted(self.rows, key=lambda row: row.score):
            table.add_row(row.path, row.type, f"{row.weights:,}", f"{row.sparsity:.1%}", f"{row.score:.4g}")
        return table

    def plot(self, path: str | Path | None = None) -> Any:
        """Bars, one per layer in model order, as a matplotlib figure; saved if a path is given.

        Raises:
            ToolError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ToolError("plots need matplotlib: pip install keras_hwcompress[bench]") from error
        figure = Figure(figsize=(6, 1 + 0.3 * len(self.rows)), layout="constrained")
        axes = figure.subplots()
        axes.barh([row.path for row in self.rows], [row.score for row in self.rows])
        axes.invert_yaxis()
        axes.set_xlabel(_MEANING[self.method])
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120)
        console.print(self.table())
        return console.file.getvalue()


def layer_significance(
    model: keras.Model,
    method: str = "sparsity",
    *,
    sparsity: float = 0.8,
    layers: Sequence[str] | None = None,
    data: Any = None,
    loss: Any = None,
    rule: training.Rule | None = None,
    batch_size: int = 32,
) -> Significance:
    """How much each convolution and dense layer matters.

    * "sparsity", the paper's: one magnitude threshold zeroes `sparsity` of all weights; a layer that keeps a large share
      of its weights is significant.
    * "taylor", ours after P. Molchanov et al. 2019: the loss that zeroing a weight costs, to first order |w dL/dw|, summed
      over the layer and averaged over batches, with BatchNormalization in inference mode and without dropout.
    * "drop", ours: the accuracy that is lost when this layer alone is put under `rule`, without training, after
      BatchNormalization has been re-estimated on the inputs of `data`.

    Args:
        model: a built Keras model, wrapped (its forward kernels count) or not; it is left alone.
        method: one of the three.
        sparsity: share of zeros in [0, 1) that sets the threshold.
        layers: paths to look at; None for all that `wrap` could wrap. The threshold is over these.
        data: (inputs, labels), arrays; needed by "taylor" and "drop".
        loss: a Keras loss, needed by "taylor" unless the model is compiled with one.
        rule: of "drop"; None for Nary(levels=3).
        batch_size: samples per gradient of "taylor".

    Raises:
        HwcmpError: an argument is missing or out of range, or nothing can be wrapped.
        UnsupportedModelError: as `wrap`.
    """
    check_share("sparsity", sparsity)
    if method not in METHODS:
        raise HwcmpError(f"method must be one of {METHODS}. Received: method={method!r}")
    if method != "sparsity" and (not isinstance(data, (tuple, list)) or len(data) != 2):
        raise HwcmpError(f"method {method!r} needs data=(inputs, labels). Received: {type(data).__name__}")
    check_model(model)
    found = constrainable(model, layers)
    kernels = [_forward(layer) for layer in found.values()]
    shares = _sparsities(kernels, sparsity)
    if method == "sparsity":
        scores = {path: 1.0 - share for path, share in zip(found, shares, strict=True)}
    elif method == "taylor":
        scores = _taylor(model, tuple(found), data, _loss_of(model, loss), batch_size)
    else:
        scores = _drops(model, tuple(found), data, training.Nary(levels=3) if rule is None else rule)
    rows = [
        LayerRow(path, type(getattr(layer, "layer", layer)).__name__, sum(k.size for k in parts), share, scores[path])
        for (path, layer), parts, share in zip(found.items(), kernels, shares, strict=True)
    ]
    return Significance(method, float(sparsity), tuple(rows))


def constrainable(model: keras.Model, paths: Sequence[str] | None = None) -> dict[str, Layer]:
    """The layers that are wrapped or could be, by path in model order; with `paths`, only these.

    Raises:
        HwcmpError: a path names no such layer, or there is none.
    """
    found = {path: layer for path, layer in leaf_layers(model) if _can_be_wrapped(layer)}
    for path in () if paths is None else paths:
        if path not in found:
            raise HwcmpError(f"layers must name layers that can be constrained, {list(found)}. Received: {path!r}")
    if not found:
        raise HwcmpError(f"model {model.name!r} holds no layer that can be constrained")
    return {path: layer for path, layer in found.items() if paths is None or path in paths}


def _can_be_wrapped(layer: Layer) -> bool:
    return isinstance(layer, CompressedLayer) or (has_weight_matrix(layer) and not why_unsupported(layer))


def _specs(layer: Layer) -> tuple[KernelSpec, ...]:
    return kernels_of(layer.layer if isinstance(layer, CompressedLayer) else layer)


def _forward(layer: Layer) -> list[np.ndarray]:
    """The kernels as the model uses them, in float32."""
    forward = layer.forward_kernels() if isinstance(layer, CompressedLayer) else {}
    kernels = [forward.get(spec.name, getattr(layer, spec.name, None)) for spec in _specs(layer)]
    return [np.asarray(ops.convert_to_numpy(kernel), np.float32) for kernel in kernels]


def _sparsities(kernels: list[list[np.ndarray]], sparsity: float) -> list[float]:
    masks = iter(global_masks([kernel for parts in kernels for kernel in parts], sparsity))
    counts = [(sum(np.count_nonzero(next(masks) == 0) for _ in parts), sum(k.size for k in parts)) for parts in kernels]
    return [zeros / size for zeros, size in counts]


def _loss_of(model: keras.Model, loss: Any) -> Any:
    found = (model.get_compile_config() or {}).get("loss") if loss is None and model.compiled else loss
    if found is None:
        raise HwcmpError("method 'taylor' needs a loss: compile the model with one or pass loss=")
    return keras.losses.get(found)


def _taylor(model: keras.Model, paths: tuple[str, ...], data: Any, loss: Any, batch_size: int) -> dict[str, float]:
    """A step of plain gradient descent at rate 1 moves a weight by its gradient: so any backend gives gradients."""
    plain = training.strip(model, allow_partial=True)
    for _, layer in leaf_layers(plain):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    plain.compile(keras.optimizers.SGD(1.0), loss)
    kernels = {path: [getattr(layer, s.name) for s in _specs(layer)] for path, layer in constrainable(plain, paths).items()}
    start, scores = plain.get_weights(), dict.fromkeys(paths, 0.0)
    count = len(data[1])
    with without_noise(plain):
        for first in range(0, count, batch_size):
            batch = [_rows(part, first, batch_size) for part in data]
            share = len(batch[1]) / count
            before = {path: [ops.convert_to_numpy(kernel).copy() for kernel in parts] for path, parts in kernels.items()}
            plain.train_on_batch(*batch)
            sync_state(plain)
            for path, parts in kernels.items():
                after = [ops.convert_to_numpy(kernel) for kernel in parts]
                products = (np.abs(old * (old - new)).sum() for old, new in zip(before[path], after, strict=True))
                scores[path] += share * float(sum(products))
            plain.set_weights(start)
    return scores


def _rows(part: Any, first: int, count: int) -> Any:
    return [array[first : first + count] for array in part] if isinstance(part, list) else part[first : first + count]


def _drops(model: keras.Model, paths: tuple[str, ...], data: Any, rule: training.Rule) -> dict[str, float]:
    plain = training.strip(model, allow_partial=True)
    score, layers = as_score(data), constrainable(plain, paths)
    before = score(plain)

    def drop(layer: Layer) -> float:
        alone = training.wrap(plain, [(lambda other: other is layer, rule)])
        training.set_strength(alone, 1.0)
        training.reestimate_batch_norm(alone, data[0])
        return before - score(alone)

    return {path: drop(layer) for path, layer in layers.items()}
