"""Single kernels of the C runtime in a shared library, called with numpy arrays.

The host runner runs whole models; this is for tests, benchmarks and tools that look at one layer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.structs import CLayer, Scratch, Weights
from keras_hwcompress.tflite import layers

_WEIGHTED = (layers.Conv, layers.FullyConnected)
_ALIGNMENT = 16


class Kernels:
    """The functions of `hwcmp.h` in a shared library.

    Args:
        path: a library with the runtime's sources and one arm.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.hwcmp_weights_open.argtypes = [c_void_p, c_size_t, c_void_p]

    def open_weights(self, blob: np.ndarray) -> ctypes.Structure:
        """The view of a blob, which must be 4-byte aligned and outlive the view (see `aligned`).

        Raises:
            BlobError: the runtime rejects the blob.
        """
        weights = Weights()
        status = self._library.hwcmp_weights_open(blob.ctypes.data, blob.nbytes, ctypes.byref(weights))
        if status != 0:
            raise BlobError(f"the runtime rejects the blob: {table().statuses[status][1]}")
        return weights

    def scratch_bytes(self, layer: CLayer, weights: ctypes.Structure | None = None) -> int:
        """Scratch bytes that the layer's function asks for; 0 without weights."""
        if weights is None:
            return 0
        function = getattr(self._library, f"{layer.function}_scratch_bytes")
        function.restype = c_size_t
        return function(ctypes.byref(layer.params), ctypes.byref(weights))

    def run(
        self,
        layer: CLayer,
        inputs: Sequence[np.ndarray],
        output: np.ndarray,
        weights: ctypes.Structure | None = None,
        scratch: np.ndarray | None = None,
    ) -> int:
        """Calls the layer's function.

        Args:
            layer: from `to_c`. inputs: C-contiguous activations. output: written in place.
            weights: from `open_weights`, for layers with weights. scratch: bytes, None for a null pointer.

        Returns:
            The status code; 0 is OK.
        """
        function = getattr(self._library, layer.function)
        function.restype = c_int32
        pointers = [c_void_p(array.ctypes.data) for array in inputs]
        return function(*_leading(layer, weights, scratch, pointers), c_void_p(output.ctypes.data))


def _leading(layer: CLayer, weights: Any, scratch: np.ndarray | None, inputs: list[c_void_p]) -> list[Any]:
    """All arguments but the output."""
    source = layer.layer
    if isinstance(source, layers.Lut):
        return [c_void_p(layer.keep[0].ctypes.data), c_int32(source.count), *inputs]
    params = ctypes.byref(layer.params)
    if isinstance(source, _WEIGHTED):
        buffer = Scratch() if scratch is None else Scratch(scratch.ctypes.data, scratch.nbytes)
        return [ctypes.byref(buffer), params, ctypes.byref(weights), ctypes.byref(layer.channels), *inputs]
    if isinstance(source, layers.Concat):
        return [params, (c_void_p * len(inputs))(*inputs)]
    if isinstance(source, layers.Affine):
        return [params, c_int32(source.count), *inputs]
    return [params, *inputs]


def aligned(data: bytes | np.ndarray) -> np.ndarray:
    """A copy of some bytes as a uint8 array that begins at a multiple of 16."""
    values = np.frombuffer(bytes(data), np.uint8)
    room = np.empty(values.size, np.uint8)
    if room.ctypes.data % _ALIGNMENT != 0:
        room = np.empty(values.size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    room[start : start + values.size] = values
    return room[start : start + values.size]
