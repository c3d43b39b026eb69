"""What a kernel will take once stored, from its float weights alone: for searches that cannot convert at every step."""

from __future__ import annotations

import numpy as np

from keras_hwcompress import formats


def stored(rows: np.ndarray) -> tuple[str, int]:
    """The format that takes fewest bytes and how many, headers included.

    The weights are rounded to int8 per output channel as the TFLite converter does it. It scales a channel when it folds
    a BatchNormalization, which changes no rounded weight, so that the figure is that of the converted model but for
    weights in the middle between two int8 values.

    Args:
        rows: float array, shape (rows, row_length), one row per output channel.
    """
    name, blob = formats.smallest(to_int8(rows))
    return name, len(blob)


def to_int8(rows: np.ndarray) -> np.ndarray:
    """Per row: the largest magnitude becomes 127, the others are rounded; int8 array of the same shape."""
    largest = np.abs(rows).max(axis=1, keepdims=True).astype(np.float64)
    return np.round(rows * (127 / np.where(largest > 0, largest, 1))).astype(np.int8)
