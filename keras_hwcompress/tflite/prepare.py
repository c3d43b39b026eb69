"""From operators to layers: every constant that TFLite's kernels compute, computed once, exactly, as integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite import (
    prepare_elementwise,
    prepare_packed,
    prepare_shapes,
    prepare_slices,
    prepare_weighted,
    prepare_windows,
)
from keras_hwcompress.tflite.graph import Graph, Op
from keras_hwcompress.tflite.layers import Layer
from keras_hwcompress.tflite.opview import OpView

_Handler = Callable[[OpView], "Layer | tuple[Layer, ...]"]

BUILTIN_HANDLERS: Mapping[str, _Handler] = MappingProxyType(
    {
        **prepare_weighted.HANDLERS,
        **prepare_elementwise.HANDLERS,
        **prepare_shapes.HANDLERS,
        **prepare_slices.HANDLERS,
        **prepare_windows.HANDLERS,
    }
)

CUSTOM_HANDLERS: Mapping[str, _Handler] = MappingProxyType(dict(prepare_packed.HANDLERS))


def prepare(graph: Graph) -> tuple[Layer, ...]:
    """Prepares every operator of a graph, in the graph's order.

    Args:
        graph: with batch 1 and int8 activations; float32 and uint8 only at QUANTIZE and DEQUANTIZE.

    Returns:
        One layer per operator; one per output that is read for operators with several outputs (SPLIT, UNPACK).

    Raises:
        UnsupportedModelError: listing every operator that cannot be compiled, not just the first.

    Overflow: for each row of weights, |bias| + 128 * sum|w| bounds every partial sum, bias being folded
    (bias - input_zero_point * sum(w)) and inputs in -128..127. This bound, shifted left by max(shift, 0), must stay
    below 2**31 - 256, so neither the accumulator nor the requantization nor the addition of the output zero point
    leaves int32. `prepare` refuses a layer where it does not.
    """
    layers: list[Layer] = []
    problems: list[str] = []
    for op in graph.ops:
        handler = _handler(op)
        if handler is None:
            continue
        try:
            # An overflow of a float32 step gives a multiplier that is not finite, which is refused.
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                made = handler(OpView(graph, op))
                layers.extend(made if isinstance(made, tuple) else (made,))
        except UnsupportedModelError as error:
            problems.append(f"{op.kind} {_first_output(graph, op)!r}: {error}")
    unknown = _unknown_kinds(graph)
    if unknown or problems:
        raise UnsupportedModelError(_message(unknown, problems))
    return tuple(layers)


def supported_kinds() -> tuple[str, ...]:
    """Names of the operators that `prepare` knows: the builtin ones sorted, then the packed ones."""
    return (*sorted(BUILTIN_HANDLERS), *CUSTOM_HANDLERS)


def _handler(op: Op) -> _Handler | None:
    return (CUSTOM_HANDLERS if op.is_custom else BUILTIN_HANDLERS).get(op.kind)


def _first_output(graph: Graph, op: Op) -> str:
    return graph.tensors[op.outputs[0]].name if op.outputs else ""


def _unknown_kinds(graph: Graph) -> list[str]:
    found: dict[str, list[str]] = {}
    for op in graph.ops:
        if _handler(op) is None:
            found.setdefault(op.kind, []).append(_first_output(graph, op))
    return [f"{kind} x{len(names)} (first {names[0]!r})" for kind, names in found.items()]


def _message(unknown: list[str], problems: list[str]) -> str:
    if not unknown:
        return "; ".join(problems)
    supported = f"supported operators: {', '.join(supported_kinds())}"
    return "; ".join([f"unsupported operators: {', '.join(unknown)}", *problems, supported])
