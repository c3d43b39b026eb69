"""Counts of kernels that run weights as stored: lists of positions (`runs`) and layouts of an arm (`nested`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_hwcompress.formats.blob import split, unpack_header
from keras_hwcompress.formats.table import table
from keras_hwcompress.targets.features_windows import VECTOR, Counts, Windows, ceil, in_blocks, lane_blocks
from keras_hwcompress.tflite.layers import Conv, FullyConnected

# ---- runs ------------------------------------------------------------------------------------------------------------

# Output pixels that the lists pass over at a time, and how many left over are taken one by one.
LANES = {"dsp": 16, "swar": 8, "mve": 16}
_FEW = {"dsp": 3, "swar": 1, "mve": 1}


@dataclass(frozen=True, slots=True)
class Lists:
    """What a pass over all lists of a blob goes through. words: of 32 bits, which hold 8 gaps or 4."""

    rows: int
    groups: int
    lists: int
    words: int
    entries: int

    @property
    def counts(self) -> Counts:
        """By name."""
        return {"rows": self.rows, "groups": self.groups, "lists": self.lists, "words": self.words, "entries": self.entries}


def is_wide(blob: bytes) -> bool:
    """Whether gaps have 8 bits."""
    return bool(unpack_header(blob).param & table().constants["RUNS_WIDE"])


def lists_of(blob: bytes) -> Lists:
    """Reads the heads of all groups."""
    header, payload = split(blob)
    wide, constants = is_wide(blob), table().constants
    slots, end_row = (4, constants["RUNS_END_ROW"]) if wide else (8, constants["RUNS_END_ROW"])
    at, rows, groups, lengths = 0, 0, 0, []
    while rows < header.rows:
        found = [length - 2 * (length % slots) for length in payload[at : at + 2]]
        rows += bool(payload[at + 3] & end_row)
        groups += 1
        at += 4 + sum(found if wide else ((entries + 1) // 2 for entries in found))
        lengths += [entries for entries in found if entries]
    return Lists(rows, groups, len(lengths), sum(ceil(entries, slots) for entries in lengths), sum(lengths))


def conv2d_runs(layer: Conv, blob: bytes, arm: str) -> tuple[str, Counts]:
    """(path, counts)."""
    pixels, lanes = layer.output[0] * layer.output[1], LANES[arm]
    singles = pixels % lanes if pixels % lanes <= _FEW[arm] else 0
    counts = _run_columns(layer, blob, singles)
    if singles:
        windows = Windows(layer, np.arange(pixels - singles, pixels))
        counts |= {"columns": singles} | windows.taps_one_by_one() | windows.runs()
    return "any", counts | (_in_lanes(layer, blob, arm, pixels - singles) if singles < pixels else {})


def _in_lanes(layer: Conv, blob: bytes, arm: str, pixels: int) -> Counts:
    """The first pixels of a layer, which are all of them or all but a few."""
    lanes, lists, shifts = LANES[arm], lists_of(blob), _shifts(layer)
    blocks = list(lane_blocks(layer, lanes, layer.output[0] * layer.output[1] - pixels))
    literal, rectified = int(np.count_nonzero(shifts < 1)), _rectified_rows(layer, arm)
    counts = {f"block {name}": len(blocks) * count for name, count in lists.counts.items()}
    counts |= {
        "in lanes": 1,
        "channels in lanes": lists.rows,
        "blocks": len(blocks),
        "outputs taken literally": lanes * len(blocks) * literal,
        "outputs rectified": lanes * len(blocks) * rectified,
        "outputs scaled": lanes * len(blocks) * (lists.rows - literal - rectified),
        "outputs moved": pixels * lists.rows * (pixels < lanes),
    }
    return counts | _TILES[arm](layer, blocks, pixels)


def _run_columns(layer: Conv | FullyConnected, blob: bytes, times: int) -> Counts:
    """All lists pass over one column: fully_connected, and pixels that conv2d takes one by one."""
    literal, words = int(np.count_nonzero(_shifts(layer) < 1)), "wide words" if is_wide(blob) else "words"
    counts = {words if name == "words" else name: count for name, count in lists_of(blob).counts.items()}
    return {f"run columns/-/-/{name}": times * count for name, count in (counts | {"taken literally": literal}).items()}


def _shifts(layer: Conv | FullyConnected) -> np.ndarray:
    """Right shifts of the channels."""
    return -np.broadcast_to(layer.channels.shift, (len(layer.weights.values),)).astype(int)


def _rectified_rows(layer: Conv, arm: str) -> int:
    """Channels whose outputs end at the zero point, which the DSP and SWAR arms scale in fewer steps."""
    if arm == "mve" or layer.activation_min < layer.output_zero_point:
        return 0
    low, high = (6, 14) if arm == "dsp" else (0, 32)
    shifts = _shifts(layer)
    return int(np.count_nonzero((shifts > low) & (shifts < high)))


def _walk(blocks: list[tuple[int, int]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of `count` lanes of all blocks, and the kernel rows that each has in the tile already."""
    first, kept = np.array(blocks).T
    return (first[:, None] + np.arange(count)).ravel(), np.repeat(kept, count)


def _repeated(pixels: np.ndarray, lanes: int) -> np.ndarray:
    """With fewer pixels than lanes, the lanes behind the last repeat the first."""
    return np.pad(pixels, (0, max(lanes - len(pixels), 0)), constant_values=pixels[0])


def _kept_lines(layer: Conv, blocks: list[tuple[int, int]]) -> int:
    return sum(kept for _, kept in blocks) * layer.kernel[1] * layer.input[2]


def _transposed(groups: int, length: int) -> Counts:
    """Groups of four lanes, `length` bytes of each: four by four; a rest repeats some, or goes alone if there are none."""
    short = groups * (length % 4) * (length < 4)
    return {"fours": groups * (length // 4), "rests": groups * (length % 4 > 0), "short rests": short}


def _dsp_tile(layer: Conv, blocks: list[tuple[int, int]], pixels: int) -> Counts:
    depth, kernel_rows = layer.input[2], sum(layer.kernel[0] - kept for _, kept in blocks)
    counts: Counts = {"lines moved": _kept_lines(layer, blocks), "tile rows": kernel_rows}
    width = layer.kernel[1]
    if layer.output[1] % 16 == 0 and layer.stride[1] == 1 and layer.dilation[1] == 1 and 2 <= width <= 4:
        shared = {"groups shared": 5 * kernel_rows, "fours shared": 5 * kernel_rows * (depth // 4)}
        return counts | shared | {"rests shared": 5 * kernel_rows * (depth % 4), "lines shifted": kernel_rows * (width - 1) * depth}
    windows = Windows(layer, *(_repeated(item, 16) for item in _walk(blocks, min(16, pixels))))
    if layer.kernel == layer.stride == (1, 1) and windows.are_inside.all() and layer.output[1] == layer.input[1]:
        groups = len(windows) // 4
        return {"groups in order": groups} | _transposed(groups, depth)
    run = width * depth
    gathered = int(windows.rows[windows.taps < width].sum()) if layer.dilation[1] == 1 or width == 1 else int(windows.rows.sum())
    counts |= {"groups": 4 * kernel_rows} | _transposed(4 * kernel_rows, run)
    return counts | {
        "lanes": len(windows),
        "rows gathered": gathered,
        "taps gathered": gathered * width,
        "words gathered": gathered * width * (depth // 4),
        "bytes gathered": gathered * width * (depth % 4),
    }


def _swar_tile(layer: Conv, blocks: list[tuple[int, int]], pixels: int) -> Counts:
    count = min(8, pixels)
    numbers, kept = _walk(blocks, count)
    windows = Windows(layer, numbers, kept)
    inside = windows.are_runs.reshape(-1, count)
    both = inside[:, 4:] & inside[:, : max(count - 4, 0)]
    run = layer.kernel[1] * layer.input[2]
    rows = windows.wanted.reshape(-1, count)[:, : max(count - 4, 0)]
    in_pairs = np.zeros_like(inside)
    in_pairs[:, : both.shape[1]] |= both
    in_pairs[:, 4:] |= both
    alone = ~in_pairs.ravel()
    others = Windows(layer, numbers[alone], kept[alone])
    paired = int(rows[both].sum())
    return {
        "lines moved": _kept_lines(layer, blocks),
        "pairs of windows": int(both.sum()),
        "rows in pairs": paired,
        "bytes in pairs": paired * run,
        "windows alone": len(others),
    } | others.runs(1) | others.pieces(1)


def _mve_tile(layer: Conv, blocks: list[tuple[int, int]], pixels: int) -> Counts:
    windows = Windows(layer, *_walk(blocks, min(16, pixels)))
    return {"lines moved": _kept_lines(layer, blocks), "windows": len(windows)} | windows.runs(VECTOR) | windows.pieces(VECTOR)


_TILES = {"dsp": _dsp_tile, "swar": _swar_tile, "mve": _mve_tile}


def fully_connected_runs(layer: FullyConnected, blob: bytes, arm: str) -> tuple[str, Counts]:
    """(path, counts)."""
    return "any", _run_columns(layer, blob, layer.batch)


# ---- nested: four rows to a word, two pixels at a time ----------------------------------------------------------------

_TABLE_ROWS, _PART = 64, 504


def nested_bits(blob: bytes) -> int:
    """Bits of a weight."""
    header, constants = unpack_header(blob), table().constants
    if header.format == table().format_by_name("dense8").id:
        return 8
    return 2 if header.param & ~(constants["NARY_PER_CHANNEL"] | constants["NESTED_PARTS"]) == 4 else 4


def _nested_rows(blob: bytes, rows: int, length: int) -> Counts:
    """One pass over all rows; rows behind the last group are a group filled up with zeros, or, of int8, go one by one."""
    is_cut = bool(unpack_header(blob).param & table().constants["NESTED_PARTS"])
    bits, units = nested_bits(blob), ceil(length, 4)
    rest, groups = (rows % 4, rows // 4) if bits == 8 else (0, ceil(rows, 4))
    return {
        "groups": groups,
        f"group units, {bits} bits": groups * units,
        f"group units, odd, {bits} bits": groups * (units % 2),
        "group parts, further": groups * (ceil(4 * units, _PART) - 1) * is_cut,
        "rests": rest > 0,
        "rest rows": rest,
        "rest units": rest * units,
        "rows of codes": rows * (bits < 8),
        "units of codes": units * (bits < 8),
    }


def _nested_pixel(blob: bytes, layer: Conv | FullyConnected) -> Counts:
    """One column, which conv2d with one pixel and fully_connected work on alike."""
    rows, length = layer.weights.values.shape
    counts = _nested_rows(blob, rows, length) | {"rows": rows, "units": ceil(length, 4)}
    return {f"nested rows/-/-/{name}": count for name, count in counts.items()}


def _apart(layer: Conv, blob: bytes) -> int:
    """Rows that the assembly leaves to C: those of a table that has one which is not shifted right, and all cut ones."""
    if unpack_header(blob).param & table().constants["NESTED_PARTS"]:
        return len(layer.weights.values)
    tables = np.split(_shifts(layer), range(_TABLE_ROWS, len(layer.weights.values), _TABLE_ROWS))
    return sum(len(shifts) if (shifts < 1).any() else len(shifts) % 4 for shifts in tables)


def conv2d_nested(layer: Conv, blob: bytes, arm: str) -> tuple[str, Counts]:
    """(path, counts) of the DSP arm; elsewhere layouts are unpacked, which nobody chooses."""
    rows, length = layer.weights.values.shape
    pixels = layer.output[0] * layer.output[1]
    if pixels == 1:
        windows = Windows(layer, in_blocks(1, 1))
        return "one pixel", _nested_pixel(blob, layer) | windows.runs() | windows.pieces()
    blocks, passes = ceil(pixels, 2), ceil(rows, _TABLE_ROWS)
    counts = {f"block {name}": blocks * count for name, count in _nested_rows(blob, rows, length).items()}
    counts |= {
        "blocks": blocks * passes,
        "block outputs": 2 * blocks * rows,
        "block outputs apart": 2 * blocks * _apart(layer, blob),
        "block units": blocks * passes * ceil(length, 4),
    }
    copied = _nested_columns(layer, Windows(layer, in_blocks(pixels, 2)))
    return "pairs", counts | {name: passes * count for name, count in copied.items()}


def _nested_columns(layer: Conv, windows: Windows) -> Counts:
    """What all pairs of pixels together copy."""
    if layer.input[2] % 4:
        return {"windows": len(windows)} | {f"{name} gathered": count for name, count in (windows.runs() | windows.pieces()).items()}
    both = windows.are_runs.reshape(-1, 2).all(axis=1)
    (height, width), units = layer.kernel, layer.input[2] // 4
    lines, others = int(both.sum()) * height, int((~both).sum()) * height
    return {
        "runs": lines,
        "run units": lines * width * units,
        "tap rows": others,
        "taps": others * width,
        "tap units": others * width * units,
    }


def fully_connected_nested(layer: FullyConnected, blob: bytes, arm: str) -> tuple[str, Counts]:
    """(path, counts) of the DSP arm."""
    counts = _nested_pixel(blob, layer) | {"columns": 1, "bytes behind": layer.input_length % 4}
    return "any", {name: layer.batch * count for name, count in counts.items()}
