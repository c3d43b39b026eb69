"""Scratch of the DSP arm's convolution with weights in the layout `nested`: mcu_runtime/src/dsp/nested_conv2d.h."""

from __future__ import annotations

from keras_hwcompress.formats import nested
from keras_hwcompress.tflite.layers import Conv

# Output channels whose constants are prepared at a time, and the bytes of one: with a grid of codes, or without.
_TABLE_ROWS = 64
_CODES_BYTES, _INT8_BYTES = 24, 16


def conv2d_bytes(layer: Conv, codes: bool, windows_inside: bool) -> int:
    """Columns of two pixels (or one), constants, gathered windows or a tap of padding.

    Args:
        codes: the weights are codes of a grid. windows_inside: no window reaches beyond the input.
    """
    rows, row_length = layer.weights.values.shape
    length, depth = nested.padded(row_length), layer.input[2]
    if layer.output[0] * layer.output[1] == 1:
        return 3 * length
    table = min(rows, _TABLE_ROWS) * (_CODES_BYTES if codes else _INT8_BYTES)
    if depth % 4:
        return 6 * length + table
    return 4 * length + table + (0 if windows_inside else depth)
