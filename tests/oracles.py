"""Interpreters that other people wrote: what a result is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.writer import write_model


def builtin_ref(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """TFLite's reference kernels: the oracle of every operator but FULLY_CONNECTED (they round that one once)."""
    interpreter = Interpreter(
        model_content=write_model(graph), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    for details, values in zip(interpreter.get_input_details(), inputs):
        interpreter.set_tensor(details["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


def micro(graph: Graph, inputs: Sequence[np.ndarray], model: bytes | None = None) -> list[np.ndarray]:
    """TFLite Micro: the oracle of FULLY_CONNECTED and of whole models."""
    interpreter = runtime.Interpreter.from_bytes(model or write_model(graph))
    for position, values in enumerate(inputs):
        interpreter.set_input(values, position)
    interpreter.invoke()
    return [interpreter.get_output(position) for position in range(len(graph.outputs))]


def random_inputs(graph: Graph, rng: np.random.Generator) -> list[np.ndarray]:
    """One array per input over the whole range of its 8-bit type; a fifth of the values sit at the two ends."""
    arrays = []
    for index in graph.inputs:
        tensor = graph.tensors[index]
        limits = np.iinfo(tensor.dtype)
        values = rng.integers(limits.min, limits.max + 1, tensor.shape)
        ends = rng.choice([limits.min, limits.max], tensor.shape)
        arrays.append(np.where(rng.random(tensor.shape) < 0.2, ends, values).astype(tensor.dtype))
    return arrays


def assert_equal_to(oracle, graph: Graph, inputs: Sequence[np.ndarray]) -> None:
    """Runs the reference and an oracle and compares every output, exactly."""
    for got, expected in zip(reference.run(graph, inputs), oracle(graph, inputs), strict=True):
        assert got.dtype == expected.dtype and got.shape == expected.shape, (got.dtype, got.shape, expected.shape)
        wrong = np.flatnonzero(got.ravel() != expected.ravel())
        first = wrong[:5]
        assert wrong.size == 0, (
            f"{wrong.size} of {got.size} differ; at {first.tolist()}: got {got.ravel()[first].tolist()}, "
            f"expected {expected.ravel()[first].tolist()}"
        )
