"""Positions of weights by magnitude, and the fillers between them: what the format `runs` writes as gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows are cut: `segments` of `width` positions each (the last may be shorter), gaps of `bits` bits."""

    bits: int
    segments: int
    width: int
    last_width: int

    @property
    def slots(self) -> int:
        """Gaps in a word."""
        return 32 // self.bits


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups in the order of the stream.

    segment: number of the segment, int (groups,). value: int16 (groups,). lists: bool (groups, 2, width), minus, plus.
    """

    segment: np.ndarray
    value: np.ndarray
    lists: np.ndarray


def groups_of(values: np.ndarray, shape: Shape) -> Groups:
    """One group per magnitude and segment; lone lists become plus lists. Segments of zeros get an empty group."""
    rows, length = values.shape
    cut = np.zeros((rows, shape.segments * shape.width), np.int16)
    cut[:, :length] = values
    cut = cut.reshape(rows * shape.segments, shape.width)
    parts = []
    for magnitude in np.unique(np.abs(cut)):
        lists = np.stack((cut == -magnitude, cut == magnitude), axis=1)
        used = np.flatnonzero(lists.any(axis=(1, 2)) if magnitude else ~cut.any(axis=1))
        lists = lists[used] & bool(magnitude)
        lone = ~lists[:, 1].any(axis=1)
        lists[lone] = lists[lone, ::-1]
        parts.append((used, np.where(lone, -magnitude, magnitude), lists))
    segment, value, lists = (np.concatenate(items) for items in zip(*parts, strict=True))
    order = np.lexsort((np.abs(value), segment))
    return Groups(segment[order], value[order], lists[order])


def with_fillers(groups: Groups, reach: int) -> Groups:
    """Entries at most `reach` apart. Where no position is free for a filler, the lists become groups of their own."""
    fillers, failed = _fillers(groups.lists, reach)
    if failed.any():
        groups = _apart(groups, failed)
        fillers, _ = _fillers(groups.lists, reach)
    return Groups(groups.segment, groups.value, groups.lists | fillers[:, None])


def _fillers(lists: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Fillers, bool (groups, width), and the groups in which there is no room for them, bool (groups,).

    From the end of the lists to their beginning, for all groups at once: a filler is put as far before the entry that
    needs it as possible. It enters both lists, which is why the end comes first: a list is complete behind `position`.
    """
    count, _, width = lists.shape
    by_position = np.ascontiguousarray(lists.transpose(2, 1, 0))
    position = np.arange(width)[:, None, None]
    before = np.maximum.accumulate(np.where(by_position, position, -1), axis=0)
    free = np.where(by_position.any(axis=1), width, position[:, 0])
    next_free = np.minimum.accumulate(free[::-1], axis=0)[::-1]
    fillers, failed = np.zeros((width, count), np.bool_), np.zeros(count, np.bool_)
    following = np.full((2, count), -1)  # the entry that comes next, -1 for none: its reach begins before any position
    column = np.arange(count)
    for at in range(width - 1, -1, -1):
        edge = following - reach
        needed = before[at] < edge
        if needed.any():
            wish = next_free[np.maximum(edge, 0), column]
            fillers[at] = (needed & (wish == at)).any(axis=0)
            failed |= (needed & (wish >= following)).any(axis=0)
        following = np.where(by_position[at] | fillers[at], at, following)
    return fillers.T, failed


def _apart(groups: Groups, failed: np.ndarray) -> Groups:
    """The failed groups as two: (v, plus) and (-v, minus), each a lone plus list."""
    twice = np.repeat(np.arange(len(failed)), 1 + failed)
    second = np.diff(twice, prepend=-1) == 0
    lists, value = groups.lists[twice], groups.value[twice]
    lists[second] = lists[second, ::-1]
    value[second] *= -1
    lists[failed[twice], 0] = False
    return Groups(groups.segment[twice], value, lists)
