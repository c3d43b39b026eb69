"""Finding the uniform grid under int8 weights: level numbers k such that every weight is round(k * step)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_hwcompress.formats.table import table

# The converter's own rounding; the rest allows for its float32 division.
DEFAULT_TOLERANCE = 0.5 + 2**-12


@dataclass(frozen=True, slots=True)
class GridFit:
    """levels: int8 (rows, row_length), the k of each weight. steps: float64 (rows,), weight per level; 0 for zeros.

    An even number of levels has no zero: k is then odd, and the grid ... -3 -1 1 3 ...
    """

    levels: np.ndarray
    steps: np.ndarray

    @property
    def largest(self) -> int:
        """The largest |k|; 0 when all weights are zero."""
        return int(np.abs(self.levels).max())


def level_sets() -> Iterator[np.ndarray]:
    """The level numbers of n-level uniform grids, n = MIN_LEVELS..MAX_LEVELS, smallest n first.

    For even n both kinds that are in use: symmetric without zero (-3 -1 1 3) and two's complement (-2 -1 0 1).
    """
    constants = table().constants
    for count in range(constants["MIN_LEVELS"], constants["MAX_LEVELS"] + 1):
        if count % 2:
            yield np.arange(count) - count // 2
        else:
            yield 2 * np.arange(count) - (count - 1)
            yield np.arange(count) - count // 2


def fit_grid(values: np.ndarray, tolerance: float = DEFAULT_TOLERANCE) -> GridFit | None:
    """The smallest uniform grid whose multiples, scaled row by row, round to the given weights.

    Each row has a step of its own: its scale was its own largest weight over 127. A row need not reach the grid's
    ends, its largest weight may be below 127 (the converter enlarges the scale of a channel whose bias is large), and
    rows of zeros fit any grid.

    Args:
        values: int8 array, shape (rows, row_length). tolerance: largest distance from a multiple, in int8 steps.

    Returns:
        None if no grid of at most MAX_LEVELS levels fits every row.
    """
    distinct = [np.unique(row).astype(np.int64) for row in values]
    # Most layers have far too many values: no need to try anything. Two neighbours can round from one level.
    most = max((row.size for row in distinct), default=0) / (np.floor(2 * tolerance) + 1)
    for levels in level_sets():
        fits = _fit_rows(distinct, levels, tolerance) if most <= len(levels) + 1 else None
        if fits is not None:
            return _assembled(values, fits)
    return None


def _fit_rows(
    distinct: list[np.ndarray], levels: np.ndarray, tolerance: float
) -> list[tuple[dict[int, int], float]] | None:
    fits = []
    for row in distinct:
        fit = _fit_row(row, levels, tolerance)
        if fit is None:
            return None
        fits.append(fit)
    return fits


def _fit_row(distinct: np.ndarray, levels: np.ndarray, tolerance: float) -> tuple[dict[int, int], float] | None:
    """Level of each distinct weight of a row, and the step.

    The row's largest level is tried from the smallest up: the simplest explanation wins, then it is widened.
    """
    peak = distinct[np.argmax(np.abs(distinct))] if distinct.size else 0
    if peak == 0:
        return {0: 0}, 0.0
    for top in np.sort(levels[levels * np.sign(peak) > 0] * np.sign(peak)):
        candidate = _nearest(distinct * (top / abs(peak)), levels)
        step = _common_step(distinct, candidate, abs(int(peak)), tolerance)
        if step is not None:
            factor = _widening(candidate, levels)
            return dict(zip(distinct.tolist(), (candidate * factor).tolist())), step / factor
    return None


def _widening(candidate: np.ndarray, levels: np.ndarray) -> int:
    """The largest number by which the levels of a row can be multiplied within the grid.

    A row of -1 0 1 on a grid that ends at 7 becomes -7 0 7: the same weights with a smaller scale, and the bias, which
    is stored in units of that scale, keeps its precision.
    """
    most = int(np.abs(levels).max()) // int(np.abs(candidate).max())
    return next(factor for factor in range(most, 0, -1) if np.isin(candidate * factor, levels).all())


def _nearest(positions: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return levels[np.abs(positions[:, None] - levels[None, :]).argmin(axis=1)]


def _common_step(distinct: np.ndarray, levels: np.ndarray, peak: int, tolerance: float) -> float | None:
    """A step within `tolerance` of every weight: 127 / k where that is one, else the middle of the possible ones."""
    zero = levels == 0
    if np.any(np.abs(distinct[zero]) > tolerance):
        return None
    ratio, room = distinct[~zero] / levels[~zero], tolerance / np.abs(levels[~zero])
    low, high = float((ratio - room).max()), float((ratio + room).min())
    full = peak / int(np.abs(levels).max())
    if not max(low, 0.0) <= high:
        return None
    return full if peak == 127 and low <= full <= high else (max(low, 0.0) + high) / 2


def _assembled(values: np.ndarray, fits: list[tuple[dict[int, int], float]]) -> GridFit:
    lookup = np.zeros((len(fits), 256), np.int8)
    for row, (levels, _) in enumerate(fits):
        for weight, level in levels.items():
            lookup[row, weight & 0xFF] = level
    codes = np.take_along_axis(lookup, values.view(np.uint8).astype(np.intp), axis=1)
    return GridFit(codes, np.array([step for _, step in fits], np.float64))
