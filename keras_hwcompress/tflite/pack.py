"""P -> C: weights become blobs in custom operators; `expand.expand` gives the plain graph back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError, HwcmpError, UnsupportedModelError
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.expand_info import METADATA_NAME, ExpandInfo, write_info
from keras_hwcompress.tflite.graph import Graph, Op, Tensor
from keras_hwcompress.tflite.options import BUILTIN_KINDS, PACKED_KINDS, pack_options
from keras_hwcompress.tflite.packed_op import PackedOp, bias_of, has_bias, packed_op
from keras_hwcompress.tflite.sharing import memory_key
from keras_hwcompress.tflite.weights import WEIGHTS, WeightGroup, tensors_by_memory, uses, weight_groups

BUILTIN = "builtin"


def pack(graph: Graph, choice: Mapping[int, str] | None = None) -> Graph:
    """Replaces convolutions and fully connected layers by custom operators that hold a weight blob.

    Tensors keep their indices: the weights are replaced in place by the blob (uint8, one axis), the bias in place by
    the folded bias unless something else reads it; other constants are appended. Operators that cannot be packed
    without loss (float, grouped, weights read by several kinds of operators ...) stay as they are.

    Args:
        graph: a plain graph. choice: operator index -> name of a weight format, or "builtin" to leave it. Operators
            without an entry take the smallest blob if it is smaller than the int8 weights. Operators that share
            weights need one choice for all.

    Returns:
        A graph with `expand(pack(graph))` equal to `graph`; the graph itself if nothing is packed.

    Raises:
        UnsupportedModelError: the graph is packed already, or a chosen operator cannot be packed.
        BlobError: a chosen format does not hold the weights.
    """
    choice = choice or {}
    if is_packed(graph):
        raise UnsupportedModelError("the model is packed already: expand it first")
    packing = _Packing(graph)
    groups = weight_groups(graph)
    _check_choice(graph, groups, choice)
    for group in groups:
        name = _chosen(group, choice)
        if name != BUILTIN:
            packing.pack_group(group, name)
    return packing.graph()


def is_packed(graph: Graph) -> bool:
    """Whether a graph has custom operators of this package, or the metadata that belong to them."""
    custom = any(op.is_custom and op.kind in BUILTIN_KINDS for op in graph.ops)
    return custom or any(name == METADATA_NAME for name, _ in graph.metadata)


class _Packing:
    """The lists of the new graph while it is made."""

    def __init__(self, graph: Graph) -> None:
        self.plain = graph
        self.tensors = list(graph.tensors)
        self.ops = list(graph.ops)
        self.info = ExpandInfo(len(graph.tensors), {}, {})
        self.uses, self.stored = uses(graph), tensors_by_memory(graph)
        self.appended: dict[tuple[str, bytes], int] = {}

    def graph(self) -> Graph:
        if not self.info.bias:
            return self.plain
        metadata = (*self.plain.metadata, (METADATA_NAME, write_info(self.info)))
        return replace(self.plain, tensors=tuple(self.tensors), ops=tuple(self.ops), metadata=metadata)

    def pack_group(self, group: WeightGroup, name: str | None) -> None:
        """Packs the operators of a group in the named format, or where `name` is None in the smallest if it pays."""
        try:
            packed = {number: packed_op(self.plain, number) for number in group.ops}
            options = {number: pack_options(op.options) for number, op in packed.items()}
        except HwcmpError as error:
            if name is None:
                return
            raise UnsupportedModelError(f"operator {group.ops[0]} ({group.kind}) cannot be packed: {error}") from error
        values = packed[group.ops[0]].values
        blob = _blob(group, values, name)
        if blob is None:
            return
        data = _read_only(np.frombuffer(blob, np.uint8))
        for index in group.tensors:
            self.info.weights[index] = self.plain.tensors[index]
            self.tensors[index] = Tensor(self.plain.tensors[index].name, data.shape, data.dtype, None, data)
        for number, op in packed.items():
            self._pack_op(number, op, options[number])

    def _pack_op(self, number: int, packed: PackedOp, options: bytes) -> None:
        op = self.plain.ops[number]
        weights = self.plain.tensors[op.inputs[WEIGHTS]]
        bias = bias_of(op)
        self.info.bias[number] = bias
        inputs = (
            *op.inputs[: WEIGHTS + 1],
            self._bias(bias, weights.name, packed.channels.bias),
            self._append(f"{weights.name}/multiplier", packed.channels.multiplier),
            self._append(f"{weights.name}/shift", packed.channels.shift),
        )
        custom = MappingProxyType({"custom": options})
        self.ops[number] = Op(PACKED_KINDS[op.kind], inputs, op.outputs, custom, is_custom=True)

    def _bias(self, bias: int | None, name: str, folded: np.ndarray) -> int:
        if has_bias(bias):
            tensor = self.plain.tensors[bias]
            key = memory_key(tensor.data)
            if len(self.uses[key]) == 1 and len(self.stored[key]) == 1 and bias not in self.plain.outputs:
                self.tensors[bias] = replace(tensor, data=_read_only(folded.reshape(tensor.shape)))
                return bias
        return self._append(f"{name}/bias", folded)

    def _append(self, name: str, values: np.ndarray) -> int:
        """The index of a constant; equal ones (unrolled recurrent layers have many) are stored once."""
        key = (values.dtype.str, values.tobytes())
        if key not in self.appended:
            self.appended[key] = len(self.tensors)
            self.tensors.append(Tensor(name, values.shape, values.dtype, None, _read_only(values)))
        return self.appended[key]


def _check_choice(graph: Graph, groups: tuple[WeightGroup, ...], choice: Mapping[int, str]) -> None:
    known = {*(row.name for row in table().formats), BUILTIN}
    packable = {number for group in groups for number in group.ops}
    for number, name in choice.items():
        if not 0 <= number < len(graph.ops) or name not in known:
            raise UnsupportedModelError(
                f"expected an operator 0..{len(graph.ops) - 1} and one of {sorted(known)}. Received: {number}: {name!r}"
            )
        if name != BUILTIN and number not in packable:
            kind = graph.ops[number].kind
            raise UnsupportedModelError(f"operator {number} ({kind}) has no weights that can be packed")


def _chosen(group: WeightGroup, choice: Mapping[int, str]) -> str | None:
    names = {choice[number] for number in group.ops if number in choice}
    if len(names) > 1:
        raise UnsupportedModelError(
            f"operators {list(group.ops)} share their weights and need one choice. Received: {sorted(names)}"
        )
    return names.pop() if names else None


def _blob(group: WeightGroup, values: np.ndarray, name: str | None) -> bytes | None:
    try:
        if name is not None:
            return formats.encode(name, values)
        blob = formats.smallest(values)[1]
    except BlobError as error:
        if name is None:
            return None
        raise BlobError(f"operator {group.ops[0]} ({group.kind}): {error}") from error
    return blob if len(blob) < values.size else None


def _read_only(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values
