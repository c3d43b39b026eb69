"""Which arrays of a graph are one buffer of the file."""

from __future__ import annotations

import numpy as np


def memory_key(array: np.ndarray) -> tuple[int, ...]:
    """A key that two arrays have in common exactly when they are the same bytes in memory.

    Valid while the arrays live. A strided view never shares a buffer: in the file its bytes have another order.
    """
    if array.size == 0 or not array.flags.c_contiguous:
        return (id(array),)
    return (array.__array_interface__["data"][0], array.nbytes)
