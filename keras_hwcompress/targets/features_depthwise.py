"""Counts of depthwise convolutions: what the three arms plan, and how often their loops turn then."""

from __future__ import annotations

import numpy as np

from keras_hwcompress.targets.features_conv import Tiles
from keras_hwcompress.targets.features_planes import Axis, axes_of, bands_of, groups_of, lines_inside, lines_needed, planes
from keras_hwcompress.targets.features_windows import Counts, ceil
from keras_hwcompress.tflite.layers import Conv


def depthwise(layer: Conv, tiles: Tiles, arm: str) -> tuple[str, Counts]:
    """(path, counts) of depthwise_conv2d."""
    return _ARMS[arm](layer, tiles)


# ---- swar: planes of words, one channel at a time ----------------------------------------------------------------------

_SWAR_BYTES, _SWAR_TURN = 2048, 3


def _swar(layer: Conv, tiles: Tiles) -> tuple[str, Counts]:
    lines, lanes = axes_of(layer)
    if ceil(lanes.outputs, 4) * lines.outputs > ceil(lines.outputs, 4) * lanes.outputs:
        lines, lanes = lanes, lines
    phase = 4 * ceil(lanes.outputs, 4) + (lanes.span - 1) // lanes.stride
    phases = min(lanes.stride, lanes.span)
    most = max(lines.span, _SWAR_BYTES // 4 // (phase * phases))
    bands = bands_of(lines, min(lines.outputs, (most - lines.span) // lines.stride + 1))
    inside, needed = lines_inside(lines, bands[0]), sum(lines_needed(lines, count) for count in bands)
    groups, rows = groups_of(layer, tiles, 1), layer.output[2]
    values = min(lanes.inputs, phase * phases)
    taps = ceil(lines.taps * lanes.taps, _SWAR_TURN) * _SWAR_TURN
    blocks = rows * lines.outputs * ceil(lanes.outputs, 4)
    return "any", {
        "bands": groups * len(bands),
        "lines": groups * needed,
        "phases": groups * needed * phases,
        "values": groups * inside * values,
        "values filled": groups * (needed * phase * phases - inside * values),
        "band channels": rows * len(bands),
        "taps": rows * len(bands) * lines.taps * lanes.taps,
        "line channels": rows * lines.outputs,
        "line channels, outputs behind": rows * lines.outputs * (lanes.outputs % 4 > 0),
        "outputs behind": rows * lines.outputs * (lanes.outputs % 4),
        "blocks": blocks,
        "block taps": blocks * taps,
    }


# ---- mve: strips of four lines, up to sixteen channels ------------------------------------------------------------------

_MVE_CHANNELS, _MVE_GROUP, _MVE_BYTES, _MVE_COLUMN = 16, 64, 4096, 64


def _mve(layer: Conv, tiles: Tiles) -> tuple[str, Counts]:
    lines, lanes = axes_of(layer)
    if lines.outputs * (ceil(lanes.outputs, 4) + 3) > lanes.outputs * (ceil(lines.outputs, 4) + 3):
        lines, lanes = lanes, lines
    strips, gathers, apart = ceil(lines.taps, 4), ceil(lanes.taps, 4), lanes.dilation != 1
    most = _MVE_BYTES // (_MVE_COLUMN * strips)
    fits = most // (4 * gathers) if apart else (most - 4 * gathers) // lanes.stride + 1
    segment = min(max(min(fits & ~3, ceil(lanes.outputs, 4) * 4), 4), lanes.outputs)
    segments = bands_of(lanes, segment)
    columns, inside = _mve_columns(lanes, segments, apart)
    sizes, rows, multiplier = _mve_groups(layer, tiles), layer.output[2], layer.output[2] // layer.input[2]
    groups = len(sizes)
    in_loop = strips * gathers == 1 and (apart or lanes.stride <= 2)
    shift = -np.broadcast_to(layer.channels.shift, (rows,)).astype(int)
    is_literal = (shift < 1) | (shift > 22)
    literal = int(np.count_nonzero(is_literal))
    fast_calls, scanned = _mve_fast_calls(is_literal, sizes, multiplier)
    others = literal if in_loop else rows
    jobs = groups * lines.outputs * len(segments)
    blocks = lines.outputs * sum(ceil(count, 4) for count in segments)
    calls = lines.outputs * len(segments)
    return "any", {
        "groups": groups,
        "weights": rows * lines.taps * lanes.taps,
        "gathers": rows * strips * gathers,
        "segments": jobs,
        "strips": jobs * strips,
        "put": jobs * strips * (not apart),
        "taps put": jobs * strips * lanes.taps * apart,
        "columns": groups * lines.outputs * strips * inside,
        "columns filled": groups * lines.outputs * strips * (columns - inside),
        "calls": calls * fast_calls * in_loop,
        "channels scanned": calls * scanned * in_loop,
        "channel segments": calls * (rows - others),
        "blocks": blocks * (rows - others),
        "channel segments, any": calls * others,
        "blocks, any": blocks * others,
        "block gathers, any": blocks * others * strips * gathers,
        "blocks taken literally": blocks * literal,
    }


def _mve_fast_calls(is_literal: np.ndarray, sizes: list[int], multiplier: int) -> tuple[int, int]:
    """Calls of the short loop for a line's segment, and channels looked at to find out how many each can take.

    A call takes all neighbours that are not literal, or one channel if several share an input channel.
    """
    calls, scanned, first = 0, 0, 0
    for size in sizes:
        ch, end = first, first + size
        while ch < end:
            run = int(np.argmax(np.append(is_literal[ch:end], True)))
            calls, scanned = calls + (run > 0), scanned + run
            ch += run if multiplier == 1 and run else 1
        first = end
    return calls, scanned


def _mve_columns(lanes: Axis, segments: list[int], apart: bool) -> tuple[int, int]:
    """Columns of a strip of every segment, and how many of them lie inside the input."""
    first, columns, inside = 0, 0, 0
    for count in segments:
        x = first * lanes.stride - lanes.pad
        if apart:
            at = x + np.arange(lanes.taps)[:, None] * lanes.dilation + np.arange(count) * lanes.stride
        else:
            at = x + np.arange((count - 1) * lanes.stride + lanes.taps)
        columns += at.size
        inside += int(((at >= 0) & (at < lanes.inputs)).sum())
        first += count
    return columns, inside


def _mve_groups(layer: Conv, tiles: Tiles) -> list[int]:
    """Output channels of every group."""
    multiplier, found, ch = layer.output[2] // layer.input[2], [], 0
    group = min(tiles.at_once, _MVE_GROUP, min(multiplier, _MVE_GROUP) * _MVE_CHANNELS)
    for count in tiles.counts:
        last = ch + count
        while ch < last:
            end = min((ch // multiplier + _MVE_CHANNELS) * multiplier, ch + group, last)
            found.append(end - ch)
            ch = end
    return found


_ARMS = {"dsp": planes, "swar": _swar, "mve": _mve}
