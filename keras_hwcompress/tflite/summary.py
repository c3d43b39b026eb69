"""What each operator of a model holds, and what it would take packed: the rows behind `hwcmp inspect`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats.blob import unpack_header
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph, Tensor
from keras_hwcompress.tflite.options import BUILTIN_KINDS, PACKED_KINDS
from keras_hwcompress.tflite.weights import WEIGHTS, to_rows

INT8 = "int8"


@dataclass(frozen=True, slots=True)
class OpSummary:
    """One operator. Operators without int8 weights have zeros and empty strings from `macs` on.

    index: in the graph. kind: as stored. name: of the output tensor. shapes: of the first input and output.
    macs: multiply-accumulates, padding taps counted. row_values, tensor_values: distinct weights, the most of any
    output channel and of the whole tensor. zero_share: of the weights, 0..1. int8_bytes: one byte per weight.
    stored, stored_bytes: format ("int8" if it is not packed) and size in this model. best, best_bytes: the smallest
    format and its size; "int8" where no blob is smaller. Bytes of weights that several operators share are
    counted for each of them: `shared` is the number of operators that have these weights.
    """

    index: int
    kind: str
    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int = 0
    row_values: int = 0
    tensor_values: int = 0
    zero_share: float = 0.0
    int8_bytes: int = 0
    stored: str = ""
    stored_bytes: int = 0
    best: str = ""
    best_bytes: int = 0
    shared: int = 0


def inspect(graph: Graph) -> tuple[OpSummary, ...]:
    """Summaries of all operators, in order; packed models are shown with what their blobs hold.

    Args:
        graph: any graph, plain or packed, int8 or not.

    Raises:
        ModelFormatError, BlobError: a packed graph that cannot be expanded.
    """
    plain = expand(graph)
    return tuple(_summary(graph, plain, number) for number in range(len(graph.ops)))


def _summary(graph: Graph, plain: Graph, number: int) -> OpSummary:
    op, builtin = graph.ops[number], plain.ops[number]
    shapes = [graph.tensors[side[0]].shape if side and side[0] >= 0 else () for side in (op.inputs, op.outputs)]
    name = graph.tensors[op.outputs[0]].name if op.outputs else ""
    summary = OpSummary(number, op.kind, name, *shapes)
    if builtin.kind not in PACKED_KINDS or len(builtin.inputs) <= WEIGHTS:
        return summary
    weights = plain.tensors[builtin.inputs[WEIGHTS]]
    if weights.data is None or weights.dtype != np.int8 or len(weights.shape) < 2 or weights.size == 0:
        return summary
    rows = to_rows(builtin.kind, weights.data)
    readers = sum(builtin.inputs[WEIGHTS] in other.inputs for other in plain.ops)
    return OpSummary(
        *(number, op.kind, name, *shapes),
        macs=math.prod(shapes[1]) // len(rows) * rows.size,
        row_values=max(np.unique(row).size for row in rows),
        tensor_values=np.unique(rows).size,
        zero_share=float(np.mean(rows == 0)),
        int8_bytes=rows.size,
        **_stored(graph.tensors[op.inputs[WEIGHTS]], op.kind in BUILTIN_KINDS),
        **_best(rows),
        shared=readers,
    )


def _stored(tensor: Tensor, packed: bool) -> dict[str, str | int]:
    if not packed:
        return {"stored": INT8, "stored_bytes": tensor.size}
    number = unpack_header(tensor.data.tobytes()).format
    name = next(row.name for row in table().formats if row.id == number)
    return {"stored": name, "stored_bytes": tensor.size}


def _best(rows: np.ndarray) -> dict[str, str | int]:
    try:
        name, blob = formats.smallest(rows)
    except (BlobError, ValueError):
        return {"best": INT8, "best_bytes": rows.size}
    if len(blob) >= rows.size:
        return {"best": INT8, "best_bytes": rows.size}
    return {"best": name, "best_bytes": len(blob)}
