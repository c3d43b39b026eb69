"""Planes and taps of mcu_runtime/src/dsp/depthwise_conv2d.c: how many bytes of scratch they take."""

from __future__ import annotations

from dataclasses import dataclass

from keras_hwcompress.tflite.layers import Conv

# The wish for the size of the planes, how many there are at most, and instructions for ten values of four and of one.
_PLANE_BYTES = 3072
_MOST_PLANES = 4
_WIDEN_FOUR, _WIDEN_ONE = 21, 28


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a depthwise layer: outputs, taps, step of the window and of the taps."""

    outputs: int
    taps: int
    stride: int
    dilation: int

    @property
    def span(self) -> int:
        """Elements from the first to the last tap."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def pairs(self) -> int:
        """Pairs of taps."""
        return (self.taps + 1) // 2

    @property
    def classes(self) -> int:
        """Remainders modulo the dilation by which the values of a line are sorted."""
        return min(self.dilation, self.outputs) if self.stride == 1 else 1

    @property
    def class_outputs(self) -> int:
        """Outputs of the largest class."""
        return -(-self.outputs // self.classes)


def depthwise_bytes(layer: Conv) -> int:
    """int16 copies of input channels, as many lines of them as a run of output lines needs, and a row of taps."""
    height, width = (_Axis(layer.output[i], layer.kernel[i], layer.stride[i], layer.dilation[i]) for i in (0, 1))
    upright = _cost(width, height) < _cost(height, width)
    lines, lanes = (width, height) if upright else (height, width)
    return _planes(lines, lanes, layer.input[2]) + 4 * lines.taps * lanes.pairs


def _kind(lines: _Axis, lanes: _Axis) -> str:
    """Which of the kernel's loops run along the lanes."""
    if lanes.stride > 1 and lanes.dilation > 1 and lanes.taps > 1:
        return "single"
    return "loops" if lines.taps == lanes.taps == 3 and lanes.stride <= 2 else "windows"


def _cost(lines: _Axis, lanes: _Axis) -> int:
    """Instructions, roughly, as the kernel estimates them."""
    kind, outputs, pairs = _kind(lines, lanes), lanes.class_outputs, lines.taps * lanes.pairs
    if kind == "loops":
        cost = 17 + 51 * (outputs // 4) + 35 * ((outputs % 4 + 1) // 2)
    elif kind == "windows":
        cost = 40 + (outputs + 3) // 4 * (45 + 11 * pairs)
    else:
        cost = outputs * (45 + 10 * pairs)
    return lines.outputs * lanes.classes * cost


def _elements(kind: str, lanes: _Axis) -> int:
    """Values that the windows of a class reach, rounded up to pairs."""
    outputs = lanes.class_outputs
    if kind == "loops":
        return 2 * ((outputs + 1) // 2) * lanes.stride + 2
    if kind == "windows":
        reach = ((outputs + 3) // 4 * 4 - 1) * lanes.stride + 2 * lanes.pairs
    else:
        reach = (outputs - 1) * lanes.stride + lanes.span
    return reach + reach % 2


def _planes(lines: _Axis, lanes: _Axis, channels: int) -> int:
    line_bytes = 2 * lanes.classes * _elements(_kind(lines, lanes), lanes)
    if channels >= _MOST_PLANES and _is_better_by_four(lines, line_bytes):
        line_bytes *= _MOST_PLANES
    return line_bytes * _lines(lines, _band(lines, line_bytes))


def _is_better_by_four(lines: _Axis, line_bytes: int) -> bool:
    """Four planes cost fewer instructions for a value, but lower bands, which overlap more often."""
    four, one = _band(lines, _MOST_PLANES * line_bytes), _band(lines, line_bytes)
    fits = _PLANE_BYTES // (_MOST_PLANES * line_bytes) >= lines.span
    return fits and _WIDEN_FOUR * _lines(lines, four) * one <= _WIDEN_ONE * _lines(lines, one) * four


def _band(lines: _Axis, line_bytes: int) -> int:
    """Output lines at a time, if a line of all planes takes so many bytes."""
    most = max(lines.span, _PLANE_BYTES // line_bytes)
    return min(lines.outputs, (most - lines.span) // lines.stride + 1)


def _lines(lines: _Axis, band: int) -> int:
    """Lines of a plane that so many output lines need."""
    return (band - 1) * lines.stride + lines.span
