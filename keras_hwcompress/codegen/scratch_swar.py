"""Scratch of the kernels in mcu_runtime/src/swar; of depthwise_conv2d without unpacked weight rows."""

from __future__ import annotations

from dataclasses import dataclass

from keras_hwcompress.tflite.layers import Conv

# conv2d: pixels that share one pass over the weights, bytes of a tap in their columns and of the constants and sums of
# a channel, rows prepared at a time for PLAIN formats, and the most taps in columns at a time.
_PIXELS = 4
_TAP_BYTES = 16
_CHANNEL_BYTES = 16
_TABLE_ROWS = 32
_PART_TAPS = 144

# depthwise_conv2d: the wish for the size of a plane, and taps that are multiplied in a turn.
_WORD_BYTES = 4
_PLANE_BYTES = 2048
_TAP_BYTES_OF_LANES = 8
_TAP_TURN = 3


def conv2d_bytes(layer: Conv, tile_rows: int | None) -> int:
    """Columns of four pixels, constants, sums of windows that go in parts, and unpacked rows, aligned.

    Args:
        layer: a conv2d layer.
        tile_rows: rows that are unpacked at a time; None for a PLAIN format.
    """
    rows, length = layer.weights.values.shape
    unpacked = (tile_rows or 0) * _align4(length)
    if layer.output[0] * layer.output[1] < _PIXELS:
        return _align4(length) + unpacked
    at_once = tile_rows or min(rows, _TABLE_ROWS)
    sums = _TAP_BYTES * at_once if length > _PART_TAPS else 0
    return _TAP_BYTES * min(length, _PART_TAPS) + _CHANNEL_BYTES * at_once + sums + unpacked


def _align4(size: int) -> int:
    return -(-size // 4) * 4


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
    def span(self) -> int:
        """Elements from the first to the last tap."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def elements(self) -> int:
        """Words of a line in the plane, sorted by their remainder modulo the stride."""
        return (4 * self.blocks + (self.span - 1) // self.stride) * min(self.stride, self.span)


def depthwise_bytes(layer: Conv) -> int:
    """Words of one input channel, as many lines of them as a run of output lines needs, and the taps."""
    lines, lanes = (_Axis(layer.output[i], layer.kernel[i], layer.stride[i], layer.dilation[i]) for i in (0, 1))
    if lanes.blocks * lines.outputs > lines.blocks * lanes.outputs:
        lines, lanes = lanes, lines
    most = max(lines.span, _PLANE_BYTES // _WORD_BYTES // lanes.elements)
    outputs = min(lines.outputs, (most - lines.span) // lines.stride + 1)
    plane = _WORD_BYTES * lanes.elements * ((outputs - 1) * lines.stride + lines.span)
    taps = -(-lines.taps * lanes.taps // _TAP_TURN) * _TAP_TURN
    return plane + _TAP_BYTES_OF_LANES * taps
