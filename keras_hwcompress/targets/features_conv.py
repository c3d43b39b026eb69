"""Counts of convolutions and fully connected layers whose weight rows are plain int8 or unpacked, by kernel arm.

Every arm multiplies four pixels at a time with all rows, and with fewer pixels one pixel with several rows; they differ
in how many rows and weights go together and in how they copy windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_hwcompress.targets.features_windows import VECTOR, Counts, Windows, ceil, in_blocks
from keras_hwcompress.tflite.layers import Conv, FullyConnected

PIXELS = 4
# SWAR: weights of a row that pass over the columns at a time.
_PART = 144


@dataclass(frozen=True, slots=True)
class Tiles:
    """Weight rows as a kernel takes them: so many at a time, `length` weights each; unpacked into scratch or in place."""

    rows: int
    length: int
    at_once: int
    are_unpacked: bool

    @property
    def counts(self) -> Sequence[int]:
        """Rows of every tile."""
        whole, rest = divmod(self.rows, self.at_once)
        return [self.at_once] * whole + [rest] * bool(rest)

    def covered(self, step: int) -> int:
        """Groups of `step` rows, of which none reaches into the next tile."""
        return sum(ceil(count, step) for count in self.counts)

    @property
    def are_words(self) -> bool:
        """Whether every row begins at a word."""
        return self.are_unpacked or self.length % 4 == 0


# ---- four pixels times all rows --------------------------------------------------------------------------------------


def conv2d(layer: Conv, tiles: Tiles, arm: str) -> tuple[str, Counts]:
    """(path, counts) of conv2d."""
    pixels = layer.output[0] * layer.output[1]
    if pixels < PIXELS:
        windows = Windows(layer, in_blocks(pixels, 1))
        unit = VECTOR if arm == "mve" else 4
        return "few pixels", _rows(tiles, arm, pixels) | _copied(windows, len(tiles.counts) if pixels > 1 or arm != "dsp" else 1, unit)
    blocks, order = ceil(pixels, PIXELS), in_blocks(pixels, PIXELS)
    return "blocks", _BLOCKS[arm](layer, tiles, blocks, Windows(layer, order))


def _times(count: int, counts: Counts) -> Counts:
    return {name: count * value for name, value in counts.items()}


def _copied(windows: Windows, passes: int, unit: int = 4) -> Counts:
    return _times(passes, {"windows": len(windows)} | windows.runs(unit) | windows.pieces(unit))


def _dsp_blocks(layer: Conv, tiles: Tiles, blocks: int, windows: Windows) -> Counts:
    eights, tail = divmod(ceil(tiles.length, 4), 2)
    done, passes = blocks * tiles.rows, len(tiles.counts)
    counts = {
        "blocks": blocks * passes,
        "blocks, last row apart": blocks * (not tiles.are_words),
        "block rows": done,
        "block rows x turns": done * ceil(eights, 4),
        "block rows x 8": done * eights,
        "block rows, tail": done * tail,
    }
    return counts | _times(passes, _dsp_columns(layer, blocks, windows))


def _dsp_columns(layer: Conv, blocks: int, windows: Windows) -> Counts:
    depth, length, columns = layer.input[2], layer.kernel[0] * layer.kernel[1] * layer.input[2], len(windows)
    column = {"columns of one tap" if layer.kernel == (1, 1) else "columns": columns, "column groups": columns * (length // 8), "column rests": columns * (length % 8 > 0)}
    column |= {"column bytes behind": columns * (length % 4)}
    if layer.kernel == (1, 1):
        return column
    if depth % 8:
        return column | windows.runs() | windows.taps_one_by_one()
    if layer.kernel[1] == 3 and layer.stride[1] == 1 and layer.dilation[1] == 1:
        return _dsp_neighbours(layer, blocks)
    return {"columns in groups": columns} | {f"{name} in groups": n for name, n in (windows.runs(8) | windows.taps_one_by_one(8)).items()}


def _dsp_neighbours(layer: Conv, blocks: int) -> Counts:
    """Blocks within a row share windows; the others copy window by window."""
    pixels, width = layer.output[0] * layer.output[1], layer.output[1]
    order = in_blocks(pixels, PIXELS).reshape(blocks, PIXELS)
    share = order[:, 0] % width + PIXELS <= width
    others = Windows(layer, order[~share].ravel())
    alone = {f"{name} in groups": n for name, n in (others.runs(8) | others.taps_one_by_one(8)).items()}
    lines = int(share.sum()) * layer.kernel[0]
    shared = {"shared columns": int(share.sum()), "shared lines": lines, "shared groups": lines * layer.input[2] // 8}
    return {"columns in groups": len(others)} | alone | shared


def _swar_blocks(layer: Conv, tiles: Tiles, blocks: int, windows: Windows) -> Counts:
    parts = ceil(tiles.length, _PART)
    rest = tiles.length - (parts - 1) * _PART
    words = ((parts - 1) * (_PART // 4) + rest // 4) * tiles.are_words
    done, passes = blocks * tiles.rows, len(tiles.counts)
    counts = {
        "blocks": blocks * passes,
        "block parts": blocks * passes * parts,
        "block rows": done,
        "block rows x parts": done * parts,
        "block rows x parts, further": done * (parts - 1),
        "block rows x 4": done * words,
        "block rows x 1": done * (tiles.length - 4 * words),
    }
    copied = _copied(windows, passes)
    if parts > 1:
        copied = {f"{name} in parts": n for name, n in copied.items()} | {"parts of windows": len(windows) * parts * passes}
    return counts | copied


def _mve_blocks(layer: Conv, tiles: Tiles, blocks: int, windows: Windows) -> Counts:
    groups, pairs, passes = ceil(tiles.length, 16), blocks * tiles.covered(2), len(tiles.counts)
    counts = {
        "blocks": blocks * passes,
        "blocks, odd row": blocks * sum(count % 2 for count in tiles.counts),
        "block pairs": pairs,
        "block pairs x 16": pairs * groups,
    }
    copied = _copied(windows, passes, VECTOR)
    if layer.input[2] % 16 == 0:
        return counts | {f"{name} in groups": n for name, n in copied.items()}
    return counts | copied | {"column groups": passes * len(windows) * groups}


_BLOCKS = {"dsp": _dsp_blocks, "swar": _swar_blocks, "mve": _mve_blocks}


# ---- one pixel times several rows --------------------------------------------------------------------------------------

# The function that fully_connected and conv2d share; rows that go together.
_ROWS = "rows/-/any"
_TURN = {"dsp": 3, "swar": 4, "mve": 4}


def _rows(tiles: Tiles, arm: str, items: int) -> Counts:
    """Every row of every tile times `items` runs of activations."""
    return {f"{_ROWS}/{name}": count for name, count in _row_turns(tiles, arm, items).items()}


def _row_turns(tiles: Tiles, arm: str, items: int) -> Counts:
    turns = items * tiles.covered(_TURN[arm])
    counts = {"tiles": items * len(tiles.counts), "row turns": turns, "rows": items * tiles.rows}
    if arm == "dsp":
        eights, tail = divmod(ceil(tiles.length, 4), 2)
        aligned = "" if tiles.are_words else " anywhere"
        return counts | {
            f"row turns x 8{aligned}": turns * eights,
            "row turns x loops": turns * ceil(eights, 8),
            "row turns, tail": turns * tail,
            "tiles, rest": items * sum(count % 3 > 0 for count in tiles.counts),
        }
    unit = {"swar": 4, "mve": 16}[arm]
    return counts | {"row turns x length": turns * tiles.length, f"row turns x {unit}": turns * ceil(tiles.length, unit)}


def fully_connected(layer: FullyConnected, tiles: Tiles, arm: str) -> tuple[str, Counts]:
    """(path, counts) of fully_connected."""
    counts = _rows(tiles, arm, layer.batch)
    if arm == "dsp":
        times = layer.batch * (len(tiles.counts) if layer.batch > 1 else 1)
        counts |= {"columns": times, "column groups": times * (tiles.length // 8), "column bytes behind": times * (tiles.length % 8)}
    return "any", counts
