"""`Interpreter`: any model of this package, packed or plain, run on the desktop with the device's integers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_hwcompress.errors import ModelFormatError, ToolError
from keras_hwcompress.runners.delegate import delegate_library
from keras_hwcompress.runners.executors import (
    Executor,
    StockExecutor,
    load_runtime,
    micro_executor,
    reference_executor,
)
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.options import BUILTIN_KINDS
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.writer import write_model

RUNTIMES = ("auto", "litert", "tf")
_FULLY_CONNECTED = "FULLY_CONNECTED"
# The wheel of tflite-micro does not requantize a RELU6 of its own.
_WRONG_IN_MICRO = "RELU6"


class Interpreter:
    """Runs a .tflite model like `tf.lite.Interpreter`, with double rounding in every operator.

    The stock interpreter runs its reference kernels; packed operators and every int8 FULLY_CONNECTED (which the
    stock kernels round once) run in this package's kernels, through a delegate that is compiled on first use. Where
    that is not possible the model is expanded and runs in something that gives the same integers; `executor` says in
    what, `fallback_reason` why.

    Different interpreters may run in different threads; one interpreter may not.
    """

    def __init__(
        self, model: bytes | str | os.PathLike[str], *, runtime: str = "auto", allow_fallback: bool = True
    ) -> None:
        """Loads a model.

        Args:
            model: the bytes of a .tflite file, or its path.
            runtime: "litert" (ai-edge-litert), "tf" (tf.lite), or "auto" for the first of them that is installed.
            allow_fallback: whether the model may run without the delegate.

        Raises:
            ModelFormatError: the file is damaged. UnsupportedModelError: the fallback does not know an operator.
            ToolError: the named runtime is not installed; no runtime or C compiler at all and no fallback allowed.
            ValueError: an unknown runtime.
        """
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}. Received: {runtime!r}")
        data = bytes(model) if isinstance(model, (bytes, bytearray, memoryview)) else Path(model).read_bytes()
        self._graph = read_model(data)
        self._reason: str | None = None
        self._executor = self._choose(data, runtime, allow_fallback)
        self._allocated = False

    @property
    def executor(self) -> str:
        """What runs the model: "litert+delegate", "tf+delegate", "litert", "tf", "tflm" or "reference"."""
        return self._executor.name

    @property
    def fallback_reason(self) -> str | None:
        """What is missing, where the model runs in a stand-in; None where nothing is."""
        return self._reason

    def allocate_tensors(self) -> None:
        """Makes the model ready to run; ModelFormatError if an operator contradicts itself."""
        self._executor.allocate_tensors()
        self._allocated = True

    def get_input_details(self) -> list[dict[str, Any]]:
        """Name, index, shape, dtype and quantization of every input, as `tf.lite.Interpreter` gives them."""
        return self._executor.get_input_details()

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same of every output."""
        return self._executor.get_output_details()

    def set_tensor(self, tensor_index: int, value: np.ndarray) -> None:
        """Sets an input; `value` has the tensor's shape and dtype."""
        self._executor.set_tensor(tensor_index, value)

    def invoke(self) -> None:
        """Runs the model once."""
        self._executor.invoke()

    def get_tensor(self, tensor_index: int) -> np.ndarray:
        """A copy of an input or output."""
        return self._executor.get_tensor(tensor_index)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs a number of inferences.

        Args:
            inputs: per model input an array (count, *shape) in the input's dtype, with or without the batch axis 1.

        Returns:
            Per model output an array (count, *shape).

        Raises:
            ValueError: number of arrays, shape, dtype or count is wrong.
        """
        if not self._allocated:
            self.allocate_tensors()
        columns = self._columns(inputs)
        indices = [details["index"] for details in self.get_output_details()]
        rows = [[] for _ in indices]
        for row in zip(*columns, strict=True):
            for index, value in zip(self._graph.inputs, row, strict=True):
                self.set_tensor(index, value)
            self.invoke()
            for results, index in zip(rows, indices, strict=True):
                results.append(self.get_tensor(index))
        return [self._stacked(results, index) for results, index in zip(rows, indices, strict=True)]

    def _columns(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [self._graph.tensors[index] for index in self._graph.inputs]
        arrays = [np.asarray(array) for array in inputs]
        if len(arrays) != len(tensors):
            raise ValueError(f"expected {len(tensors)} input arrays. Received: {len(arrays)}")
        for array, tensor in zip(arrays, tensors, strict=True):
            shape = array.shape[1:]
            fits = array.ndim > 0 and (shape == tensor.shape or (1, *shape) == tensor.shape)
            if not fits or array.dtype != tensor.dtype or len(array) != len(arrays[0]):
                raise ValueError(
                    f"input {tensor.name!r} expects {tensor.dtype} (count, *{tensor.shape}), one count for all inputs. "
                    f"Received: {array.dtype} {array.shape}"
                )
        return [array.reshape(len(array), *tensor.shape) for array, tensor in zip(arrays, tensors, strict=True)]

    def _stacked(self, results: list[np.ndarray], index: int) -> np.ndarray:
        tensor = self._graph.tensors[index]
        return np.stack(results) if results else np.zeros((0, *tensor.shape), tensor.dtype)

    def _choose(self, data: bytes, runtime: str, allow_fallback: bool) -> Executor:
        if runtime != "auto":
            load_runtime(runtime)
        try:
            return _stock(runtime, data, str(delegate_library()) if _needs_delegate(self._graph) else None)
        except ToolError as error:
            if not allow_fallback:
                raise
            self._reason = str(error)
        return _without_delegate(expand(self._graph), runtime)


def _stock(runtime: str, model: bytes, library: str | None) -> Executor:
    if runtime != "auto":
        return StockExecutor(runtime, model, library)
    try:
        return StockExecutor("litert", model, library)
    except ToolError:
        return StockExecutor("tf", model, library)


def _without_delegate(graph: Graph, runtime: str) -> Executor:
    """An executor that rounds twice everywhere: not the stock one for a FULLY_CONNECTED."""
    if not _needs_delegate(graph):
        with contextlib.suppress(ToolError):
            return _stock(runtime, write_model(graph), None)
    if all(op.kind != _WRONG_IN_MICRO for op in graph.ops):
        with contextlib.suppress(ToolError, ModelFormatError):
            return micro_executor(graph)
    return reference_executor(graph)


def _needs_delegate(graph: Graph) -> bool:
    return any(op.kind in BUILTIN_KINDS or _is_int8_fully_connected(graph, op.inputs, op.kind) for op in graph.ops)


def _is_int8_fully_connected(graph: Graph, inputs: Sequence[int], kind: str) -> bool:
    return kind == _FULLY_CONNECTED and bool(inputs) and graph.tensors[inputs[0]].dtype == np.int8
