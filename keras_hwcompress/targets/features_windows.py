"""How the kernels of conv2d walk over the input: what of its windows they copy, and in which pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_hwcompress.tflite.layers import Conv

Counts = dict[str, float]
# Bytes that MVE copies at a time.
VECTOR = 16


def ceil(value: int, step: int) -> int:
    """How many times `step` it takes to cover `value`."""
    return -(-value // step)


def in_blocks(pixels: int, at_once: int) -> np.ndarray:
    """Numbers of the output pixels in the order of the walk: the last block overlaps the one before it if need be."""
    first = np.minimum(np.arange(0, pixels, at_once), max(pixels - at_once, 0))
    return (first[:, None] + np.arange(min(at_once, pixels))).ravel()


def _inside(layer: Conv, axis: int, at: np.ndarray) -> np.ndarray:
    """Which taps of the windows of output coordinates `at` lie inside the input: bool (len(at), taps)."""
    first = at * layer.stride[axis] - layer.pad[axis]
    taps = first[:, None] + np.arange(layer.kernel[axis]) * layer.dilation[axis]
    return (taps >= 0) & (taps < layer.input[axis])


class Windows:
    """The windows of output pixels `pixels`; kept: kernel rows at the top of each that need not be copied."""

    def __init__(self, layer: Conv, pixels: np.ndarray, kept: np.ndarray | int = 0) -> None:
        self.layer = layer
        y, x = np.divmod(pixels, layer.output[1])
        rows, self.taps = _inside(layer, 0, y), _inside(layer, 1, x).sum(axis=1)
        wanted = np.arange(layer.kernel[0]) >= np.broadcast_to(kept, pixels.shape)[:, None]
        self.wanted, self.rows = wanted.sum(axis=1), (rows & wanted).sum(axis=1)
        self.are_inside = (self.rows == self.wanted) & (self.taps == layer.kernel[1])
        self.are_runs = self.are_inside & (layer.dilation[1] == 1)

    def __len__(self) -> int:
        return len(self.taps)

    def runs(self, unit: int = 4) -> Counts:
        """Windows inside the input, kernel row by kernel row: rows, whole units of bytes, and the bytes behind them."""
        lines = int(self.wanted[self.are_runs].sum())
        return _copies("run", lines, self.layer.kernel[1] * self.layer.input[2], unit)

    def taps_one_by_one(self, unit: int = 4) -> Counts:
        """The other windows, tap by tap."""
        others = ~self.are_runs
        inside = int((self.rows * self.taps)[others].sum())
        outside = int(self.wanted[others].sum()) * self.layer.kernel[1] - inside
        depth = self.layer.input[2]
        return _copies("tap", inside, depth, unit) | {"taps outside": outside, "bytes outside": outside * depth}

    def pieces(self, unit: int = 4) -> Counts:
        """The other windows, in the longest pieces that lie inside or outside the input."""
        layer, others = self.layer, ~self.are_runs
        rows, taps, wanted = self.rows[others], self.taps[others], self.wanted[others]
        width, depth = layer.kernel[1], layer.input[2]
        if layer.dilation[1] != 1 and width > 1:
            inside = int((rows * taps).sum())
            outside = int(wanted.sum()) * width - inside
            pieces = _copies("piece", inside, depth, unit) | _copies("fill", outside, depth, unit)
            return {"cut windows": len(taps), "pieces of one tap": inside + outside} | pieces
        pieces = _copies("piece", rows * (taps > 0), taps * depth, unit)
        whole = _copies("fill", wanted - rows, np.full(len(taps), width * depth), unit)
        sides = _copies("fill", rows * (taps < width), (width - taps) * depth, unit)
        return {"cut windows": len(taps)} | pieces | {name: whole[name] + sides[name] for name in whole}


def _copies(name: str, times: np.ndarray | int, length: np.ndarray | int, unit: int) -> Counts:
    """`times` copies of `length` bytes each: how many, their units, the last of which vectors may leave unfinished."""
    whole, rest = np.divmod(length, unit)
    if unit == VECTOR:
        return {f"{name}s": int(np.sum(times)), f"{name} vectors": int(np.sum(times * (whole + (rest > 0))))}
    units = {f"{name}s": int(np.sum(times)), f"{name} units of {unit}": int(np.sum(times * whole))}
    return units | {f"{name} bytes behind": int(np.sum(times * rest))}


def lane_blocks(layer: Conv, lanes: int, rest: int = 0) -> Iterator[tuple[int, int]]:
    """(first pixel, kernel rows kept) of every block of conv2d_runs, as hwcmp_lane_blocks.h walks over them.

    rest: pixels at the end that are taken one by one.
    """
    height, width, _ = layer.output
    pixels = height * width - rest
    in_strips = width % lanes == 0 or (width < lanes and lanes % width == 0)
    step = max(width, lanes) if in_strips else lanes
    for strip in range(0, step, lanes):
        before = None
        for at in range(strip, pixels, step):
            first = min(at, max(pixels - lanes, 0))
            yield first, _shared_rows(layer, (first - before) // width) if in_strips and before is not None else 0
            before = first


def _shared_rows(layer: Conv, rows: int) -> int:
    taps, rest = divmod(rows * layer.stride[0], layer.dilation[0])
    return layer.kernel[0] - taps if rest == 0 and taps < layer.kernel[0] else 0
