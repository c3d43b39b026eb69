"""Weights in the layouts that the kernels of one arm want. Model files hold formats; this is the code generator's choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keras_hwcompress import formats
from keras_hwcompress.codegen.kernels import kernel_of
from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats.blob import unpack_header
from keras_hwcompress.formats.nary import codes_per_byte
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.layers import ConvAdd, Layer, weighted

if TYPE_CHECKING:
    from keras_hwcompress.codegen.model import Blob

LAYOUTS = ("canonical", "same", "fast")

# The arm that has kernels for the layout "nested".
_NESTED_ARM = "dsp"
# Operators with such kernels, and about how many bytes of code one of them is.
_NESTED_OPS = {"conv2d": 8192, "fully_connected": 3072}
# Bytes of weights for which it pays to swap an operator's kernel for another one, which may be some hundred bytes larger.
_WORTH = 2048
# What counts as the same size: rows and groups are filled up.
_MORE_PER_BYTE, _MORE = 1 / 16, 64


def with_layouts(layers: Sequence[Layer], blobs: Mapping[int, Blob], arms: Sequence[str], which: str) -> dict[int, Blob]:
    """The blobs, some of them laid out again.

    Args:
        layers: of the model. blobs: weight tensor -> blob. arms: that the image may be built with; the reference arm unpacks
            every layout.
        which: "canonical": none. "same": those that take about the same flash, operators whose weights are few compared
            with the code of the kernels left out. "fast": all that can, also where it takes more flash (ternary codes of
            2 bits, for example).

    Raises:
        ValueError: unknown `which`.
    """
    if which not in LAYOUTS:
        raise ValueError(f"expected one of {LAYOUTS}. Received: {which!r}")
    if which == "canonical" or _NESTED_ARM not in arms:
        return dict(blobs)
    users = _users(layers)
    nested = {tensor: found for tensor, blob in blobs.items() if (found := _nested(layers, blob, users[tensor])) is not None}
    if which == "same":
        nested = {tensor: found for tensor, found in nested.items() if _is_same_size(blobs[tensor], found)}
        paying: set[str] = set()
        for op in _NESTED_OPS:
            there = {found.stored.name for tensor, found in nested.items() if users[tensor] & paying}
            if _Operator(op, {tensor: blob for tensor, blob in blobs.items() if op in users[tensor]}, nested).pays(there):
                paying.add(op)
        nested = {tensor: found for tensor, found in nested.items() if users[tensor] <= paying}
    return {tensor: nested.get(tensor, blob) for tensor, blob in blobs.items()}


@dataclass(frozen=True, slots=True)
class _Operator:
    """The weights of all layers of an operator, and those (of any operator) that could be nested."""

    op: str
    blobs: Mapping[int, Blob]
    nested: Mapping[int, Blob]

    def pays(self, there: set[str]) -> bool:
        """Whether the nested weights are worth the code of their kernels.

        That is little if they take the place of others, and less than nothing if convolutions have brought most of it. there:
        layouts of operators that pay.
        """
        found = {tensor: self.nested[tensor] for tensor in self.blobs if tensor in self.nested}
        before = {kernel_of(self.op, blob.stored) for blob in self.blobs.values()}
        more = len({kernel_of(self.op, found.get(tensor, blob).stored) for tensor, blob in self.blobs.items()}) - len(before)
        if more == 0 and {blob.stored.name for blob in found.values()} <= there:
            return bool(found)
        return sum(len(blob.data) for blob in found.values()) >= _WORTH + _NESTED_OPS[self.op] * more


def _users(layers: Sequence[Layer]) -> dict[int, set[str]]:
    """Weight tensor -> operators that read it."""
    users: dict[int, set[str]] = defaultdict(set)
    for layer in weighted(layers):
        users[layer.weights.tensor].add(layer.conv.op if isinstance(layer, ConvAdd) else layer.op)
    return users


def _nested(layers: Sequence[Layer], blob: Blob, ops: set[str]) -> Blob | None:
    row = next((row for row in table().layouts if row.name == f"{blob.format.name}_nested"), None)
    if row is None or not ops <= set(_NESTED_OPS):
        return None
    values = next(layer.weights.values for layer in weighted(layers) if layer.weights.tensor == blob.tensor)
    try:
        return replace(blob, data=formats.encode(row.name, values), stored=row)
    except BlobError:
        return None


def _is_same_size(canonical: Blob, nested: Blob) -> bool:
    """Whether a weight takes as many bits, and what fills up rows and groups is little."""
    size = len(canonical.data)
    return _bits(canonical) == _bits(nested) and len(nested.data) <= size + max(size * _MORE_PER_BYTE, _MORE)


def _bits(blob: Blob) -> float:
    """Bits of a weight, without what fills up."""
    if blob.format.name != "nary":
        return 8
    constants = table().constants
    levels = unpack_header(blob.data).param & ~(constants["NARY_PER_CHANNEL"] | constants["NESTED_PARTS"])
    return 8 / codes_per_byte(levels)
