"""What the nested layouts share: rows in groups of four, positions in pairs that fill the halves of a word.

The DSP instructions of Cortex-M4, M7 and M33 multiply two pairs of 16-bit halves at once. A half holds the weights
of several rows at one position as one integer, say a + 256 b: the kernel sums the product of x with the whole half and
with its low part, and the difference is 256 times what b contributes. The pairs are (0, 2), (1, 3), (4, 6), (5, 7) ...: the
order in which SXTB16 takes activations apart. Rows are filled with zeros up to a multiple of four positions.

A row that is nested `shift` bits above others contributes its sum times 2^shift. The kernel takes sums of whole rows apart
if they fit the bits that are left for any activations: if the sum of |w| is below 2^(24 - shift). The bit NESTED_PARTS in
`param` says that some row breaks this; then the kernel cuts rows into parts.
"""

from __future__ import annotations

import numpy as np

from keras_hwcompress.errors import BlobError

_SUM_BITS = 24  # 31, and 7 less because activations reach -128
ROWS = 4  # in a group
PAIRED = 4  # positions that two pairs cover


def padded(row_length: int) -> int:
    """Positions of a row with those that fill it up."""
    return row_length + -row_length % PAIRED


def group_count(rows: int) -> int:
    """Groups of four rows, the last of which may be incomplete."""
    return -(-rows // ROWS)


def fill_up(values: np.ndarray) -> np.ndarray:
    """`values`, shape (rows, row_length), with zeros up to a multiple of four positions."""
    return np.pad(values, ((0, 0), (0, padded(values.shape[1]) - values.shape[1])))


def fill_up_rows(values: np.ndarray) -> np.ndarray:
    """`values`, shape (rows, length), with rows of zeros up to a multiple of four, shape (groups, 4, length)."""
    return np.pad(values, ((0, -len(values) % ROWS), (0, 0))).reshape(-1, ROWS, values.shape[1])


def by_pairs(lanes: np.ndarray) -> np.ndarray:
    """Values by position, shape (..., length), as (..., length / 4, pair, half): pair 0 is (0, 2), pair 1 is (1, 3)."""
    return lanes.reshape(*lanes.shape[:-1], lanes.shape[-1] // PAIRED, 2, 2).swapaxes(-1, -2)


def by_position(pairs: np.ndarray) -> np.ndarray:
    """The inverse of `by_pairs`."""
    return pairs.swapaxes(-1, -2).reshape(*pairs.shape[:-3], pairs.shape[-3] * PAIRED)


def check_filling(values: np.ndarray, rows: int, row_length: int, zero: int = 0) -> np.ndarray:
    """`values`, shape (at least rows, at least row_length), without what fills it up.

    Raises:
        BlobError: something else than `zero` fills it up.
    """
    if (values[rows:] != zero).any() or (values[:, row_length:] != zero).any():
        raise BlobError(f"what fills up nested rows must be {zero}. Received: {values.shape} for {rows} x {row_length}")
    return np.ascontiguousarray(values[:rows, :row_length])


def needs_parts(fields: np.ndarray, shift: int) -> bool:
    """Whether a row of `fields` (what is nested `shift` bits above others, shape (rows, length)) is too large to sum up."""
    return bool(fields.size) and int(np.abs(fields.astype(np.int64)).sum(axis=1).max()) >= 1 << (_SUM_BITS - shift)


def check_parts(flagged: bool, needed: bool) -> None:
    """Raises BlobError if rows must be cut and param does not say so."""
    if needed and not flagged:
        raise BlobError("nested rows whose sums exceed 24 bits need NESTED_PARTS in param")
