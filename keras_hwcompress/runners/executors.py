"""What `Interpreter` runs a model in: a stock interpreter with or without the delegate, or a stand-in for one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from keras_hwcompress.errors import ModelFormatError, ToolError
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.graph import Graph, Tensor
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.writer import write_model

_DEPRECATION = r"\s*Warning: tf\.lite\.Interpreter is deprecated"
_MICRO_ARENA_BYTES = 1 << 20


class Executor(Protocol):
    """A loaded model. Tensors are addressed by their index in the file."""

    name: str

    def allocate_tensors(self) -> None:
        """Makes it ready to run; a model that cannot be run is a ModelFormatError."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Name, index, shape, dtype and quantization per model input."""

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same per model output."""

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        """Sets a model input."""

    def invoke(self) -> None:
        """Runs the model once."""

    def get_tensor(self, index: int) -> np.ndarray:
        """A copy of a tensor."""


class StockExecutor:
    """ai-edge-litert or tf.lite with reference kernels, and with the delegate where `library` is given."""

    def __init__(self, runtime: str, model: bytes, library: str | None) -> None:
        module = load_runtime(runtime)
        self.name = runtime if library is None else f"{runtime}+delegate"
        delegates = [] if library is None else [module.load_delegate(library)]
        try:
            self._interpreter = module.Interpreter(
                model_content=model,
                experimental_delegates=delegates,
                experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
                num_threads=1,
            )
        except (RuntimeError, ValueError) as error:
            raise self._refusal(error) from error
        self.get_input_details = self._interpreter.get_input_details
        self.get_output_details = self._interpreter.get_output_details
        self.set_tensor = self._interpreter.set_tensor
        self.get_tensor = self._interpreter.get_tensor
        self.invoke = self._interpreter.invoke

    def allocate_tensors(self) -> None:
        """Makes the tensors; the delegate checks its operators here."""
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> ModelFormatError:
        return ModelFormatError(f"{self.name} refuses the model: {' '.join(str(error).split())}")


class PlainExecutor:
    """Runs a plain graph row by row through a function; stands in for an interpreter."""

    def __init__(self, name: str, graph: Graph, infer: Callable[[list[np.ndarray]], list[np.ndarray]]) -> None:
        self.name = name
        self._graph = graph
        self._infer = infer
        self._values: dict[int, np.ndarray] = {}

    def allocate_tensors(self) -> None:
        """Sets every input to zeros."""
        tensors = ((index, self._graph.tensors[index]) for index in self._graph.inputs)
        self._values = {index: np.zeros(tensor.shape, tensor.dtype) for index, tensor in tensors}

    def get_input_details(self) -> list[dict[str, Any]]:
        """Name, index, shape, dtype and quantization per model input."""
        return [_details(index, self._graph.tensors[index]) for index in self._graph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same per model output."""
        return [_details(index, self._graph.tensors[index]) for index in self._graph.outputs]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        """Sets a model input; ValueError for another tensor, shape or dtype."""
        value = np.asarray(value)
        if index not in self._graph.inputs:
            raise ValueError(f"only model inputs {list(self._graph.inputs)} can be set. Received: {index}")
        tensor = self._graph.tensors[index]
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise ValueError(
                f"input {tensor.name!r}: expected {tensor.dtype} {tensor.shape}. Received: {value.dtype} {value.shape}"
            )
        self._values[index] = value.copy()

    def invoke(self) -> None:
        """Runs the model once."""
        if any(index not in self._values for index in self._graph.inputs):
            raise RuntimeError("call allocate_tensors() before invoke()")
        results = self._infer([self._values[index] for index in self._graph.inputs])
        self._values.update(zip(self._graph.outputs, results, strict=True))

    def get_tensor(self, index: int) -> np.ndarray:
        """A copy of a model input or output; ValueError for any other tensor."""
        if index not in self._values:
            raise ValueError(f"{self.name} keeps only inputs and, after invoke(), outputs. Received: {index}")
        return self._values[index].copy()


def load_runtime(runtime: str) -> Any:
    """The module with Interpreter, OpResolverType and load_delegate of "litert" or "tf".

    Raises:
        ToolError: it is not installed.
    """
    try:
        if runtime == "litert":
            from ai_edge_litert import interpreter as module
        else:
            from tensorflow.lite.python import interpreter as module

            # For good, not in a context: other threads may be changing the filters at the same time.
            warnings.filterwarnings("ignore", message=_DEPRECATION, category=UserWarning)
    except ImportError as error:
        package = "ai-edge-litert" if runtime == "litert" else "tensorflow"
        raise ToolError(f"the runtime {runtime!r} needs the package {package}") from error
    return module


def micro_executor(graph: Graph) -> PlainExecutor:
    """The tflite-micro wheel: double rounding in every operator.

    Raises:
        ToolError: it is not installed. ModelFormatError: it refuses the model.
    """
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ToolError("the package tflite-micro is not installed: pip install keras_hwcompress[tflm]") from error
    try:
        interpreter = runtime.Interpreter.from_bytes(write_model(graph), arena_size=_micro_arena_bytes(graph))
    except (RuntimeError, ValueError) as error:
        raise ModelFormatError(f"tflite-micro refuses the model: {error}") from error

    def infer(row: Sequence[np.ndarray]) -> list[np.ndarray]:
        for position, value in enumerate(row):
            interpreter.set_input(value, position)
        interpreter.invoke()
        return [interpreter.get_output(position) for position in range(len(graph.outputs))]

    return PlainExecutor("tflm", graph, infer)


def reference_executor(graph: Graph) -> PlainExecutor:
    """This package's numpy implementation; UnsupportedModelError for what it does not know."""
    layers = prepare(graph)
    return PlainExecutor("reference", graph, lambda row: reference.run(graph, row, layers))


def _micro_arena_bytes(graph: Graph) -> int:
    """Every activation at once and room for the wheel's own structures, which grow with tensors and constants."""
    sizes = sum(tensor.size * tensor.dtype.itemsize for tensor in graph.tensors)
    return 2 * sizes + _MICRO_ARENA_BYTES + 1024 * (len(graph.tensors) + len(graph.ops))


def _details(index: int, tensor: Tensor) -> dict[str, Any]:
    quantization = tensor.quantization
    scales = np.zeros(0, np.float32) if quantization is None else quantization.scale
    points = np.zeros(0, np.int32) if quantization is None else quantization.zero_point.astype(np.int32)
    return {
        "name": tensor.name,
        "index": index,
        "shape": np.array(tensor.shape, np.int32),
        "shape_signature": np.array(tensor.shape_signature or tensor.shape, np.int32),
        "dtype": tensor.dtype.type,
        "quantization": (float(scales[0]), int(points[0])) if len(scales) == 1 else (0.0, 0),
        "quantization_parameters": {
            "scales": scales,
            "zero_points": points,
            "quantized_dimension": 0 if quantization is None else quantization.axis,
        },
        "sparsity_parameters": {},
    }
