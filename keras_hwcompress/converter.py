"""`Converter`: a Keras model becomes an int8 .tflite whose compressed layers are custom operators.

strip -> stock TFLiteConverter (batch fixed to 1) -> promise check -> align_steps -> regrid -> choice of formats -> pack
-> report. Lowering, folding of BatchNormalization and calibration are the stock converter's; everything after it is
lossless but for `align_steps` (recurrent layers) and `regrid`, whose effect the report states.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_hwcompress import training
from keras_hwcompress.compress import board_of, report_of
from keras_hwcompress.errors import HwcmpError, ToolError
from keras_hwcompress.report.conversion import ConversionReport, Promised
from keras_hwcompress.select import OBJECTIVES, SCOPES, Bounds, select_formats
from keras_hwcompress.targets import Board
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.match import group_rows, match_kernels
from keras_hwcompress.tflite.merge_weights import merge_weights
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.regrid import regrid
from keras_hwcompress.tflite.simplify import simplify
from keras_hwcompress.tflite.step_order import in_step_order
from keras_hwcompress.tflite.steps import align_steps
from keras_hwcompress.tflite.weights import WeightGroup
from keras_hwcompress.tflite.writer import write_model

_REGRID_SAMPLES = 16


class Converter:
    """Converts a Keras model, wrapped or not; reads like `tf.lite.TFLiteConverter`.

    Attributes:
        representative_dataset: calibration data: an array of samples, or a function that yields lists of input arrays
            with a leading batch axis, as in TensorFlow. Required.
        target: a core ("cortex-m4") or a board of `targets.BOARDS`.
        flash: most bytes of flash, counted as `scope` says, or None.
        latency: most instructions of an inference, as predicted for the target, or None.
        ram: most bytes for activations and scratch on the target, or None.
        objective: "flash" (smallest) or "latency" (fewest instructions) within the bounds.
        scope: what counts as flash: "image": model_bytes and the code of the kernels and decoders that the choice needs,
            once each; or "weights": model_bytes alone, as if the decoders were there already.
        on_lost: "error" or "warn", when the int8 weights do not hold what a wrapper promised.
        as_conv: paths of wrapped Dense layers to lower as 1x1 convolutions (see `training.strip`).
        report: after `convert`, the per-layer `ConversionReport`; print it.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.representative_dataset: Callable[[], Iterable[Any]] | np.ndarray | None = None
        self.target = "cortex-m4"
        self.flash: int | None = None
        self.latency: int | None = None
        self.ram: int | None = None
        self.objective = "flash"
        self.scope = "image"
        self.on_lost = "error"
        self.as_conv: tuple[str, ...] = ()
        self.report: ConversionReport | None = None

    @classmethod
    def from_keras_model(cls, model: keras.Model) -> Converter:
        """A converter of a built Keras 3 model."""
        return cls(model)

    def convert(self) -> bytes:
        """The .tflite file; `report` is set.

        Raises:
            HwcmpError: the model, the data or the bounds do not fit; one sentence says what to do.
            ToolError: TensorFlow is not installed.
        """
        board, bounds = self._settings()
        kernels = _promised_kernels(self._model)
        plain = training.strip(self._model, as_conv=tuple(self.as_conv), dtype="float32")
        samples = _samples(self.representative_dataset, plain)
        stock = _in_keras_order(read_model(_stock_convert(plain, samples)), plain)
        untouched = in_step_order(merge_weights(simplify(stock)))
        check_compilable(untouched)
        matches = match_kernels(untouched, [kernel.rows for kernel in kernels])
        losses = [_lost(untouched, kernel, group) for kernel, group in zip(kernels, matches, strict=True)]
        self._tell(losses)
        graph = regrid(align_steps(untouched), _ops(group for group, kernel in zip(matches, kernels, strict=True) if group and kernel.on_grid))
        selection = select_formats(graph, board, bounds, self.objective, self.scope)
        data = write_model(selection.packed)
        promised = {group.tensors[0]: _promised(kernel, lost) for kernel, group, lost in zip(kernels, matches, losses, strict=True) if group}
        change = 0 if graph is untouched else _output_change(untouched, graph, samples)
        self.report = report_of(selection, self.target, self.objective, len(data), promised, change)
        return data

    def _settings(self) -> tuple[Board, Bounds]:
        if self.on_lost not in ("error", "warn"):
            raise HwcmpError(f"on_lost must be 'error' or 'warn'. Received: {self.on_lost!r}")
        if self.objective not in OBJECTIVES:
            raise HwcmpError(f"objective must be one of {OBJECTIVES}. Received: {self.objective!r}")
        if self.scope not in SCOPES:
            raise HwcmpError(f"scope must be one of {SCOPES}. Received: {self.scope!r}")
        return board_of(self.target), Bounds(self.flash, self.latency, self.ram)

    def _tell(self, losses: list[str]) -> None:
        lost = [text for text in losses if text]
        if lost and self.on_lost == "error":
            raise HwcmpError("; ".join(lost))
        for text in lost:
            warnings.warn(text, stacklevel=3)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """A constrained kernel of the Keras model. rows: float, (rows, row_length). on_grid: its rule is a level grid."""

    promise: training.Promise
    rows: np.ndarray
    on_grid: bool


def _promised_kernels(model: keras.Model) -> list[_Kernel]:
    return [_Kernel(promise, rows, isinstance(layer.rule, training.Nary)) for layer, promise, rows in training.promised_rows(model)]


def _promised(kernel: _Kernel, lost: str) -> Promised:
    return Promised(kernel.promise.path, kernel.promise.levels, kernel.promise.zeros, lost)


def _samples(source: Any, model: keras.Model) -> list[list[np.ndarray]]:
    """Calibration samples: per sample one float32 array (1, *shape) for each model input."""
    if source is None:
        raise HwcmpError("representative_dataset is missing: set it to an array of typical inputs or a function that yields them")
    if callable(source):
        batches = source()
    else:
        batches = ([np.asarray(source)] if len(model.inputs) == 1 else [np.asarray(part) for part in source],)
    samples = [row for batch in batches for row in _rows(batch, model)]
    if not samples:
        raise HwcmpError("representative_dataset is empty: expected at least one sample, a hundred or more are usual")
    return samples


def _rows(batch: Any, model: keras.Model) -> Iterator[list[np.ndarray]]:
    parts = list(batch) if isinstance(batch, list | tuple) else [batch]
    if len(parts) != len(model.inputs):
        raise HwcmpError(f"representative_dataset must yield {len(model.inputs)} arrays, one for each input. Received: {len(parts)}")
    arrays = [np.asarray(part, np.float32) for part in parts]
    for array, tensor in zip(arrays, model.inputs, strict=True):
        expected = tuple(tensor.shape[1:])
        fits = len(array.shape) == len(expected) + 1 and all(b in (None, a) for a, b in zip(array.shape[1:], expected, strict=True))
        if not fits or len(array) != len(arrays[0]):
            raise HwcmpError(f"representative_dataset: input {tensor.name!r} expects shape (batch, {', '.join(map(str, expected))}). Received: {array.shape}")
        if not np.isfinite(array).all():
            raise HwcmpError(f"representative_dataset: input {tensor.name!r} holds values that are not finite")
    return ([array[i : i + 1] for array in arrays] for i in range(len(arrays[0])))


def _stock_convert(model: keras.Model, samples: list[list[np.ndarray]]) -> bytes:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ToolError("conversion needs TensorFlow: pip install keras_hwcompress[tf-cpu]") from error
    single = _with_batch_of_one(model)
    _refuse_loops(single, tf)
    converter = tf.lite.TFLiteConverter.from_keras_model(single)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    names = [_input_name(tensor) for tensor in model.inputs]
    converter.representative_dataset = lambda: (dict(zip(names, sample, strict=True)) for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it prints what it saves on the way
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        return converter.convert()


def _refuse_loops(model: keras.Model, tf: Any) -> None:
    """The stock converter ends the process on a loop. `strip` unrolls Keras' own layers, other code may hide one."""
    suspects = [layer for _, layer in training.leaf_layers(model) if not type(layer).__module__.startswith("keras.")]
    if not suspects:
        return
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    graph = tf.function(lambda *inputs: model(inputs if len(inputs) > 1 else inputs[0])).get_concrete_function(*specs).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    if any(node.op in ("While", "StatelessWhile") for node in nodes):
        names = ", ".join(repr(layer.name) for layer in suspects)
        raise HwcmpError(f"a loop over time steps cannot be converted to int8: expected it unrolled (unroll=True) in one of {names}")


def _with_batch_of_one(model: keras.Model) -> keras.Model:
    """The same model for a batch of one: otherwise the converter computes shapes at run time."""
    inputs = []
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise HwcmpError(f"input {tensor.name!r} must have a fixed shape. Received: {tuple(tensor.shape)}")
        inputs.append(keras.Input(tensor.shape[1:], batch_size=1, dtype=tensor.dtype, name=_input_name(tensor)))
    return keras.Model(inputs, model(inputs if len(inputs) > 1 else inputs[0]))


def _input_name(tensor: Any) -> str:
    return tensor.name.split(":")[0]


def _in_keras_order(graph: Graph, model: keras.Model) -> Graph:
    """The converter may permute inputs and outputs; its signature knows which is which."""
    if len(graph.signatures) != 1:
        return graph
    inputs, outputs = dict(graph.signatures[0].inputs), dict(graph.signatures[0].outputs)
    wanted = [_input_name(tensor) for tensor in model.inputs], [f"output_{i}" for i in range(len(model.outputs))]
    if set(wanted[0]) != set(inputs) or set(wanted[1]) != set(outputs):
        return graph
    return replace(graph, inputs=tuple(inputs[name] for name in wanted[0]), outputs=tuple(outputs[name] for name in wanted[1]))


def _lost(graph: Graph, kernel: _Kernel, group: WeightGroup | None) -> str:
    """Why the int8 weights do not hold what the wrapper promised; "" if they do."""
    promise = kernel.promise
    where = f"layer {promise.path!r} ({promise.kernel})"
    if group is None:
        return (
            f"{where}: no operator of the converted model has {promise.rows} x {promise.row_length} int8 weights, the converter "
            f"rewrote the layer; leave it unwrapped (rule None)"
        )
    values = group_rows(graph, group)
    levels = max(len(np.unique(row)) for row in values)
    zeros = int(np.count_nonzero(values == 0))
    if levels <= promise.levels and zeros >= promise.zeros:
        return ""
    return (
        f"{where}: promised at most {promise.levels} values per row and {promise.zeros} zeros, the int8 weights have {levels} and {zeros}; "
        f"the converter folded something before the layer into the columns of its weights; put {promise.path!r} into Converter.as_conv, "
        f"put an activation between the two layers, or leave the layer unwrapped (rule None)"
    )


def _ops(groups: Iterable[WeightGroup]) -> list[int]:
    return [number for group in groups for number in group.ops]


def _output_change(before: Graph, after: Graph, samples: list[list[np.ndarray]]) -> int:
    """Largest difference of any output in int8 steps, over a few calibration samples."""
    change, pair = 0, [(graph, prepare(graph)) for graph in (before, after)]
    for sample in samples[:_REGRID_SAMPLES]:
        inputs = [_quantize(array, before, index) for array, index in zip(sample, before.inputs, strict=True)]
        results = [reference.run(graph, inputs, layers) for graph, layers in pair]
        for index, a, b in zip(before.outputs, *results, strict=True):
            real = _real(b, after, index) - _real(a, before, index)
            change = max(change, int(np.round(np.abs(real).max() / before.tensors[index].quantization.scale[0])))
    return change


def _real(values: np.ndarray, graph: Graph, index: int) -> np.ndarray:
    quantization = graph.tensors[index].quantization
    return (values.astype(np.float64) - quantization.zero_point[0]) * quantization.scale[0]


def _quantize(array: np.ndarray, graph: Graph, index: int) -> np.ndarray:
    quantization = graph.tensors[index].quantization
    steps = np.round(array / quantization.scale[0]) + quantization.zero_point[0]
    return np.clip(steps, -128, 127).astype(np.int8).reshape(graph.tensors[index].shape)
