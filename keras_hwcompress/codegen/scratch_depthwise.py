"""Planes and taps of mcu_runtime/src/dsp/depthwise_conv2d.c: how many bytes of scratch they take."""

from __future__ import annotations

from dataclasses import dataclass

from keras_hwcompress.tflite.layers import Conv

# The wish for the size of the planes, and how many there are at a time.
_PLANE_BYTES = 4096
_MOST_PLANES = 4


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a depthwise layer: outputs, taps, step of the window and of the taps."""

    outputs: int
    taps: int
    stride: int
    dilation: int

    @property
    def is_fast(self) -> bool:
        """Whether the hand-written loops can run along this axis of a 3x3 layer."""
        return self.stride in (1, 2)

    @property
    def span(self) -> int:
        """Elements from the first to the last tap."""
        return (self.taps - 1) * self.dilation + 1


def depthwise_bytes(layer: Conv) -> int:
    """int16 copies of input channels, as many lines of them as a run of output lines needs, and a row of taps."""
    lines, lanes = (_Axis(layer.output[i], layer.kernel[i], layer.stride[i], layer.dilation[i]) for i in (0, 1))
    is_3x3 = lines.taps == lanes.taps == 3 and lines.dilation == lanes.dilation == 1
    if is_3x3 and lines.is_fast and not (lanes.is_fast and _cost(lines, lanes) <= _cost(lanes, lines)):
        lines, lanes = lanes, lines
    taps = 2 * lines.taps * (lanes.taps + lanes.taps % 2)
    return _planes(lines, lanes, is_3x3 and lanes.is_fast, layer.input[2]) + taps


def _cost(lines: _Axis, lanes: _Axis) -> int:
    """The work of the hand-written loops: blocks of four outputs, then of two."""
    return lines.outputs * (1 + 3 * (lanes.outputs // 4) + 2 * ((lanes.outputs % 4 + 1) // 2))


def _planes(lines: _Axis, lanes: _Axis, fast: bool, channels: int) -> int:
    if fast:
        elements = 2 * ((lanes.outputs + 1) // 2) * lanes.stride + 2
    else:
        elements = (lanes.outputs - 1) * lanes.stride + lanes.span + 1
        elements += elements % 2
    together = channels >= _MOST_PLANES and _PLANE_BYTES // (2 * _MOST_PLANES * elements) >= lines.span
    line_bytes = 2 * elements * (_MOST_PLANES if together else 1)
    most = max(lines.span, _PLANE_BYTES // line_bytes)
    outputs = min(lines.outputs, (most - lines.span) // lines.stride + 1)
    return line_bytes * ((outputs - 1) * lines.stride + lines.span)
