"""A TFLite model as frozen dataclasses: what every other part of the package looks at.

A `Graph` is a value: rewriting (pack, expand, regrid) makes a new one with `dataclasses.replace`. Tensors are
addressed by their index in `Graph.tensors`, as in the flatbuffer; -1 stands for an absent optional input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

NO_TENSOR = -1


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization: real = scale * (q - zero_point), per tensor or along `axis`.

    scale: float32 array, shape (1,) or (channels,). zero_point: int64 array of the same shape.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `data` is a read-only array of `shape` and `dtype` for constants, None for activations.

    Two tensors that shared a buffer in the file share the same array object.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    quantization: Quantization | None = None
    data: np.ndarray | None = None
    shape_signature: tuple[int, ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether the values are stored in the file."""
        return self.data is not None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Op:
    """One operator.

    kind: builtin name as in the TFLite schema ("CONV_2D") or custom code ("HwcmpConv2D").
    options: for builtins the fields of the options table by their schema name ("strideH", "padding" ...), for
    custom ops {"custom": bytes}. options_type is the schema name of the union member ("Conv2DOptions") or "".
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    options_type: str = ""
    version: int = 1
    is_custom: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature definition: names of inputs and outputs -> tensor index."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A model with one subgraph."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = "main"
    description: str = ""
    metadata: tuple[tuple[str, bytes], ...] = ()
    signatures: tuple[Signature, ...] = ()
