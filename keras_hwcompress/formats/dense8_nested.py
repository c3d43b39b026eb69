"""dense8 in the layout `nested`: four rows a, b, c, d as the halves a + 256 b and c + 256 d of two words for each pair.

A group of four rows is, for each pair of positions, one word of rows a and b and one word of rows c and d, the earlier
position in the lower half. Up to three rows behind the last group are plain int8. All rows are filled with zeros up to a
multiple of four positions, so the payload has rows * that many bytes.

Example: rows 1 0 0 2, -1 0 0 0, zeros, zeros. Pair (0, 2): 1 - 256 = 0xff01 and 0; pair (1, 3): 0 and 2.
>>> values = np.array([[1, 0, 0, 2], [-1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.int8)
>>> encode_payload(values)[1].hex(" ", 4)
'01ff0000 00000000 00000200 00000000'
"""

from __future__ import annotations

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob, nested
from keras_hwcompress.formats.table import table

_LAST = 0x7F7F  # 127 + 256 * 127; above it the high part would be 128


def encode_payload(values: np.ndarray) -> tuple[int, bytes]:
    """Param 0 or NESTED_PARTS, and the groups of `values` (int8, shape (rows, row_length)) followed by the rows left.

    Raises:
        BlobError: -128 in row b or d beside a negative value in row a or c: the sum does not fit 16 bits.
    """
    filled = nested.fill_up(values)
    grouped = len(values) // nested.ROWS * nested.ROWS
    rows = filled[:grouped].reshape(grouped // nested.ROWS, 2, 2, filled.shape[1]).astype(np.int32)
    halves = rows[:, :, 0] + 256 * rows[:, :, 1]
    if halves.size and halves.min() < -32768:
        raise BlobError("dense8_nested: -128 cannot be nested above a negative value")
    words = np.moveaxis(nested.by_pairs(halves.astype("<i2")), 1, -2)
    return _parts(filled[:grouped]), words.tobytes() + filled[grouped:].tobytes()


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param is neither 0 nor NESTED_PARTS, or the latter is missing, the length is not the one that the header implies, a half is no a + 256 b, or what fills
            up rows is not zero.
    """
    parts = table().constants["NESTED_PARTS"]
    if header.param not in (0, parts):
        raise BlobError(f"dense8_nested: expected param 0 or {parts}. Received: {header.param}")
    length = nested.padded(header.row_length)
    (section,) = blob.split_sections(payload, [header.rows * length])
    grouped = header.rows // nested.ROWS * nested.ROWS
    words = section[: grouped * length].view("<i2").reshape(grouped // nested.ROWS, length // nested.PAIRED, 2, 2, 2)
    halves = nested.by_position(np.moveaxis(words, -2, 1))
    if halves.size and halves.max() > _LAST:
        raise BlobError(f"dense8_nested: expected halves a + 256 b of int8 a and b. Received: {halves.max()}")
    low = halves.astype(np.int8)
    high = ((halves.astype(np.int32) - low) >> 8).astype(np.int8)
    rows = np.stack((low, high), axis=2).reshape(grouped, length)
    nested.check_parts(header.param == parts, bool(_parts(rows)))
    rest = section[grouped * length :].view(np.int8).reshape(-1, length)
    return nested.check_filling(np.concatenate((rows, rest)), header.rows, header.row_length)


def _parts(rows: np.ndarray) -> int:
    """NESTED_PARTS if rows b and d of the groups need it."""
    return table().constants["NESTED_PARTS"] if nested.needs_parts(rows[1::2], 8) else 0
