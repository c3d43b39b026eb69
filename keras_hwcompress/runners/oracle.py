"""The stock interpreters, as oracles: they run the ordinary (expanded) model in reference kernels.

"tflm" is the tflite-micro wheel: double rounding everywhere, but wrong for a standalone RELU6 whose input and output
scales differ. "litert" is ai-edge-litert with BUILTIN_REF: it rounds FULLY_CONNECTED once. "reference" is this
package's numpy implementation, which the tests hold against both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_hwcompress.errors import ToolError
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.writer import write_model

ORACLES = ("tflm", "litert", "reference")


def run_oracle(
    model: bytes | Graph, inputs: Sequence[np.ndarray], oracle: str, progress: Callable[[int], None] | None = None
) -> list[np.ndarray]:
    """Outputs of a stock interpreter.

    Args:
        model: an int8 model; custom ops are expanded first.
        inputs: per model input an array (count, *shape).
        oracle: one of ORACLES.
        progress: called with the number of finished inferences.

    Returns:
        Per model output an array (count, *shape).

    Raises:
        ToolError: the interpreter is not installed.
    """
    graph = expand(model if isinstance(model, Graph) else read_model(model))
    infer = _MAKERS[oracle](graph)
    rows = []
    for number in range(len(inputs[0])):
        rows.append(infer([column[number] for column in inputs]))
        if progress is not None:
            progress(number + 1)
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _reference(graph: Graph) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    return lambda row: reference.run(graph, row)


def _litert(graph: Graph) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ToolError("the litert oracle needs the package ai-edge-litert: pip install keras_hwcompress[litert]") from error
    interpreter = Interpreter(
        model_content=write_model(graph), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()

    def infer(row: list[np.ndarray]) -> list[np.ndarray]:
        for index, value in zip(graph.inputs, row, strict=True):
            interpreter.set_tensor(index, value.reshape(graph.tensors[index].shape))
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in graph.outputs]

    return infer


def _tflm(graph: Graph) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ToolError("the tflm oracle needs the package tflite-micro: pip install keras_hwcompress[tflm]") from error
    interpreter = runtime.Interpreter.from_bytes(write_model(graph))

    def infer(row: list[np.ndarray]) -> list[np.ndarray]:
        for position, (index, value) in enumerate(zip(graph.inputs, row, strict=True)):
            interpreter.set_input(value.reshape(graph.tensors[index].shape), position)
        interpreter.invoke()
        return [interpreter.get_output(position) for position in range(len(graph.outputs))]

    return infer


_MAKERS = {"tflm": _tflm, "litert": _litert, "reference": _reference}
