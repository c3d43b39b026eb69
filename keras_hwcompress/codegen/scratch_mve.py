"""Scratch of the kernels in mcu_runtime/src/mve, unpacked weight rows not counted."""

from __future__ import annotations

from dataclasses import dataclass

from keras_hwcompress.tflite.layers import Conv

_VECTOR_BYTES = 16
_CHANNEL_BYTES = 16

# conv2d: pixels that share one pass over the weights, rows whose constants are prepared at a time for PLAIN formats,
# and the most output channels that a block can address.
_PIXELS = 4
_TABLE_ROWS = 64
_MAX_DEPTH = 21844

# depthwise_conv2d: input channels in a strip and the bytes of one of its columns, output channels prepared at a time,
# the wish for the size of the strips, and the cost of beginning a line in blocks of four outputs.
_CHANNELS = 16
_COLUMN_BYTES = 64
_MAX_GROUP = 64
_STRIP_BYTES = 4096
_LINE_BLOCKS = 3


def conv2d_bytes(layer: Conv, tile_rows: int | None) -> int:
    """Columns of four pixels, constants, and a window where columns cannot be gathered in place.

    Args:
        layer: a conv2d layer.
        tile_rows: rows that are unpacked at a time; None for a PLAIN format.
    """
    rows, length = layer.weights.values.shape
    vectors = -(-length // _VECTOR_BYTES)
    if layer.output[0] * layer.output[1] < _PIXELS or rows > _MAX_DEPTH:
        return vectors * _VECTOR_BYTES
    at_once = min(rows, _TABLE_ROWS) if tile_rows is None else tile_rows
    window = vectors * _VECTOR_BYTES if layer.input[2] % _VECTOR_BYTES else 0
    return vectors * _VECTOR_BYTES * _PIXELS + _CHANNEL_BYTES * max(at_once, 2) + window


@dataclass(frozen=True, slots=True)
class _Axis:
    outputs: int
    taps: int
    stride: int
    dilation: int

    @property
    def blocks(self) -> int:
        """Groups of four outputs."""
        return -(-self.outputs // 4)

    @property
    def quads(self) -> int:
        """Groups of four taps."""
        return -(-self.taps // 4)


def depthwise_bytes(layer: Conv, tile_rows: int | None) -> int:
    """Strips of a segment of outputs, weights and constants of a group of channels, offsets of gathers.

    Args:
        layer: a depthwise_conv2d layer.
        tile_rows: rows that are unpacked at a time; None for a PLAIN format.
    """
    lines, lanes = (_Axis(layer.output[i], layer.kernel[i], layer.stride[i], layer.dilation[i]) for i in (0, 1))
    if lines.outputs * (lanes.blocks + _LINE_BLOCKS) > lanes.outputs * (lines.blocks + _LINE_BLOCKS):
        lines, lanes = lanes, lines
    rows = len(layer.weights.values)
    group = min(tile_rows or rows, _MAX_GROUP, min(rows // layer.input[2], _MAX_GROUP) * _CHANNELS)
    gathers = lines.quads * lanes.quads
    strips = lines.quads * _COLUMN_BYTES * _strip_columns(lines, lanes)
    return strips + 4 * gathers + group * (_VECTOR_BYTES * gathers + _CHANNEL_BYTES)


def _strip_columns(lines: _Axis, lanes: _Axis) -> int:
    most, taps = _STRIP_BYTES // (_COLUMN_BYTES * lines.quads), 4 * lanes.quads
    if lanes.dilation != 1:
        fits = most // taps
    else:
        fits = (most - taps) // lanes.stride + 1 if most >= taps else 0
    outputs = max(min(fits // 4 * 4, 4 * lanes.blocks), 4)
    return taps * outputs if lanes.dilation != 1 else (outputs - 1) * lanes.stride + taps
