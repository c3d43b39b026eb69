"""Shapes in the runtime's four axes, right-aligned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from keras_hwcompress.errors import UnsupportedModelError

T = TypeVar("T")
AXES = 4


def four_axes(
    shape: Sequence[int], extra: Sequence[T], fill: T, droppable: T | None = None
) -> tuple[tuple[int, int, int, int], tuple[T, T, T, T]]:
    """Right-aligns a shape and one value per axis in four axes.

    Axes of size 1 are left out first when there are more than four, as long as their value does not matter.

    Args:
        shape: sizes. extra: one value per axis. fill: the value of the axes added in front.
        droppable: only axes of size 1 with this value may be left out; None: all axes of size 1.

    Raises:
        UnsupportedModelError: more than four axes are left.
    """
    pairs = list(zip(shape, extra, strict=True))
    for pair in list(pairs):
        if len(pairs) > AXES and pair[0] == 1 and droppable in (None, pair[1]):
            pairs.remove(pair)
    if len(pairs) > AXES:
        raise UnsupportedModelError(f"expected at most {AXES} axes that are not 1. Received: {tuple(shape)}")
    pairs = [(1, fill)] * (AXES - len(pairs)) + pairs
    sizes, values = zip(*pairs)
    return sizes, values


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Elements between neighbours along each axis of a row-major array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
