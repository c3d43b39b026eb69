"""Bytes in, bytes out: compresses an int8 .tflite file that somebody else trained."""

from __future__ import annotations

from collections.abc import Mapping

from keras_hwcompress.tflite import regrid as _regrid
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.summary import OpSummary, inspect
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.simplify import simplify
from keras_hwcompress.tflite.writer import write_model

__all__ = ["OpSummary", "compress_tflite", "expand_tflite", "inspect"]


def compress_tflite(data: bytes, *, regrid: bool = False, choice: Mapping[int, str] | None = None) -> bytes:
    """Compresses the weights of an int8 model, without changing any of them unless `regrid` is asked for.

    Args:
        data: a .tflite file with full int8 quantization; one that is compressed already is expanded first.
        regrid: also write weights that lie on a uniform grid as its exact multiples (see `regrid.regrid`).
        choice: operator index -> weight format or "builtin" (see `pack.pack`).

    Returns:
        The same model with its compressible layers as custom operators; `expand_tflite` undoes it.

    Raises:
        ModelFormatError: the bytes are not a TFLite model. UnsupportedModelError: it is not of a kind that can be
        compiled, or `choice` does not fit it. BlobError: a chosen format does not hold the weights.
    """
    graph = simplify(expand(read_model(data)))
    check_compilable(graph)
    if regrid:
        graph = _regrid.regrid(graph)
    return write_model(pack(graph, choice))


def expand_tflite(data: bytes) -> bytes:
    """The ordinary .tflite file that a compressed one stands for; any interpreter runs it.

    Raises:
        ModelFormatError, UnsupportedModelError, BlobError: the bytes are no compressed model, or damaged.
    """
    return write_model(expand(read_model(data)))
