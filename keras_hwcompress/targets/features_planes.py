"""Counts of depthwise convolutions of the DSP arm, and what its plan has in common with those of the other arms.

Each arm walks along the height or the width, whichever leaves less undone, and keeps a band of the input in scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_hwcompress.targets.features_conv import Tiles
from keras_hwcompress.targets.features_windows import Counts, ceil
from keras_hwcompress.tflite.layers import Conv


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the layer."""

    inputs: int
    outputs: int
    taps: int
    stride: int
    dilation: int
    pad: int

    @property
    def span(self) -> int:
        """Values from the first to the last tap."""
        return (self.taps - 1) * self.dilation + 1


def axes_of(layer: Conv) -> tuple[Axis, Axis]:
    """Height and width."""
    fields = (layer.input, layer.output, layer.kernel, layer.stride, layer.dilation, layer.pad)
    height, width = (Axis(*(field[axis] for field in fields)) for axis in (0, 1))
    return height, width


def bands_of(lines: Axis, band: int) -> list[int]:
    """Output lines of every band."""
    return [min(band, lines.outputs - first) for first in range(0, lines.outputs, band)]


def lines_needed(lines: Axis, count: int) -> int:
    """Input lines for `count` output lines."""
    return (count - 1) * lines.stride + lines.span


def lines_inside(lines: Axis, band: int) -> int:
    """Input lines that all bands together read from the input."""
    total = 0
    for first in range(0, lines.outputs, band):
        at = first * lines.stride - lines.pad
        last = min(at + lines_needed(lines, min(band, lines.outputs - first)), lines.inputs)
        total += max(last - max(at, 0), 0)
    return total


# ---- planes of int16, for four channels or one -------------------------------------------------------------------

_DSP_BYTES, _DSP_PLANES = 3072, 4


@dataclass(frozen=True, slots=True)
class _Dsp:
    """The plan of depthwise_conv2d.c."""

    lines: Axis
    lanes: Axis

    @property
    def kind(self) -> str:
        if self.lanes.stride > 1 and self.lanes.dilation > 1 and self.lanes.taps > 1:
            return "single"
        return "loops" if self.lines.taps == 3 and self.lanes.taps == 3 and self.lanes.stride <= 2 else "windows"

    @property
    def pairs(self) -> int:
        return ceil(self.lanes.taps, 2)

    @property
    def classes(self) -> int:
        return min(self.lanes.dilation, self.lanes.outputs) if self.lanes.stride == 1 else 1

    def outputs(self, number: int) -> int:
        return ceil(self.lanes.outputs - number, self.classes)

    @property
    def cost(self) -> int:
        """What decides on the axis."""
        outputs, pairs = self.outputs(0), self.lines.taps * self.pairs
        of_class = {
            "loops": 17 + 51 * (outputs // 4) + 35 * ((outputs % 4 + 1) // 2),
            "windows": 40 + ceil(outputs, 4) * (45 + 11 * pairs),
            "single": outputs * (45 + 10 * pairs),
        }
        return self.lines.outputs * self.classes * of_class[self.kind]

    @property
    def elements(self) -> int:
        """Values of a class in a line of a plane."""
        outputs, stride = self.outputs(0), self.lanes.stride
        if self.kind == "loops":
            return 2 * ceil(outputs, 2) * stride + 2
        reach = (ceil(outputs, 4) * 4 - 1) * stride + 2 * self.pairs
        return 2 * ceil(reach if self.kind == "windows" else (outputs - 1) * stride + self.lanes.span, 2)

    def fitting(self, planes: int) -> int:
        return _DSP_BYTES // (2 * planes * self.classes * self.elements)

    def band(self, planes: int) -> int:
        most = max(self.lines.span, self.fitting(planes))
        return min(self.lines.outputs, (most - self.lines.span) // self.lines.stride + 1)

    def planes(self, depth: int) -> int:
        four, one = self.band(_DSP_PLANES), self.band(1)
        better = 21 * lines_needed(self.lines, four) * one <= 28 * lines_needed(self.lines, one) * four
        return _DSP_PLANES if depth >= _DSP_PLANES and self.fitting(_DSP_PLANES) >= self.lines.span and better else 1

    def values(self) -> Iterator[int]:
        """Values of an input line in every class."""
        lanes, distance = self.lanes, self.lanes.dilation if self.lanes.stride == 1 else 1
        for number in range(self.classes):
            skipped = max(lanes.pad - number + distance - 1, 0) // distance
            first = number + skipped * distance - lanes.pad
            yield min(max(self.elements - skipped, 0), max(ceil(lanes.inputs - first, distance), 0))


def planes(layer: Conv, tiles: Tiles) -> tuple[str, Counts]:
    height, width = axes_of(layer)
    plan = min(_Dsp(height, width), _Dsp(width, height), key=lambda item: item.cost)
    count = plan.planes(layer.input[2])
    bands = bands_of(plan.lines, plan.band(count))
    channels = _dsp_channels(layer, plan, len(bands))
    groups = groups_of(layer, tiles, count)
    size = count * plan.classes * plan.elements * lines_needed(plan.lines, bands[0])
    lines = lines_inside(plan.lines, bands[0])
    needed = sum(lines_needed(plan.lines, count) for count in bands)
    filled = count * (needed - lines) * groups * (len(bands) > 1)
    values = list(plan.values())
    kept = {
        "plane values begun": size,
        "groups": groups,
        "bands": groups * len(bands),
        "band classes": groups * len(bands) * plan.classes,
        "lines filled": filled * plan.classes,
        "values filled": filled * sum(values),
    }
    step, name = (2, "four planes") if count == _DSP_PLANES else (4, "one plane")
    kept |= {
        f"lines of {name}": groups * lines * plan.classes,
        f"steps of {name}": groups * lines * sum(value // step for value in values),
        f"values behind of {name}": groups * lines * sum(value % step for value in values),
    }
    return "any", channels | kept


def groups_of(layer: Conv, tiles: Tiles, planes: int) -> int:
    """How often planes are filled: input channels `planes` at a time, anew for each tile of weight rows."""
    multiplier, found, first = layer.output[2] // layer.input[2], 0, 0
    for count in tiles.counts:
        ch = first
        while ch < first + count:
            ch = min((min(ch // multiplier, layer.input[2] - planes) + planes) * multiplier, first + count)
            found += 1
        first += count
    return found


def _dsp_channels(layer: Conv, plan: _Dsp, bands: int) -> Counts:
    """Work of the output channels, by how they are requantized."""
    shift = -np.broadcast_to(layer.channels.shift, (layer.output[2],)).astype(int)
    rectifies = layer.activation_min >= layer.output_zero_point
    literal = int(np.count_nonzero((shift < 1) | (shift > 22)))
    positive = int(np.count_nonzero((shift >= 4) & (shift < 11))) * rectifies if plan.kind == "loops" else 0
    general = layer.output[2] - literal - positive
    if plan.kind == "single":
        literal, general = layer.output[2], 0
    loop = _dsp_loops(plan, bands) if plan.kind == "loops" else _dsp_windows(plan, bands) if plan.kind == "windows" else {}
    total = _dsp_singly(plan, literal, bands) | {key: (general + positive) * value for key, value in loop.items()}
    return total | {"outputs scaled in full": general * plan.lines.outputs * plan.lanes.outputs}


def _dsp_loops(plan: _Dsp, bands: int) -> Counts:
    outputs, lines = [plan.outputs(number) for number in range(plan.classes)], plan.lines.outputs
    return {
        "loops": bands * plan.classes,
        "loop channels": bands,
        "loop lines": lines * plan.classes,
        f"fours, stride {plan.lanes.stride}": lines * sum(count // 4 for count in outputs),
        "ones behind": lines * sum(count % 4 == 1 for count in outputs),
        "twos behind": lines * sum(count % 4 == 2 for count in outputs),
        "threes behind": lines * sum(count % 4 == 3 for count in outputs),
    }


def _dsp_windows(plan: _Dsp, bands: int) -> Counts:
    blocks = plan.lines.outputs * sum(ceil(plan.outputs(number), 4) for number in range(plan.classes))
    return {
        "loop channels": bands,
        "taps": bands * plan.lines.taps * plan.lanes.taps,
        "loops": bands * plan.classes,
        "loop lines": plan.lines.outputs * plan.classes,
        "blocks": blocks,
        "block lines": blocks * plan.lines.taps,
        "block pairs": blocks * plan.lines.taps * plan.pairs,
        "block outputs": plan.lines.outputs * plan.lanes.outputs,
    }


def _dsp_singly(plan: _Dsp, channels: int, bands: int) -> Counts:
    windows = channels * plan.lines.outputs * plan.lanes.outputs
    return {
        "channels singly": channels * bands,
        "taps singly": channels * bands * plan.lines.taps * plan.lanes.taps,
        "windows singly": windows,
        "window lines singly": windows * plan.lines.taps,
        "window taps singly": windows * plan.lines.taps * plan.lanes.taps,
    }
