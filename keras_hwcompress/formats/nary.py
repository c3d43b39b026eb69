"""nary: n in 2..16 levels, as many base-n digits in a byte as fit.

Payload: the level table (int8, ascending; one of n bytes for the tensor, or one for each row when param has the
bit NARY_PER_CHANNEL), padded to 4; then the codes, padded to 4. A code is the position of the weight's value in
the table. A byte holds k = floor(8 / log2 n) codes as the digits of a number in base n, the first weight in the
lowest digit, so that n^k <= 256; every row begins at a byte, and the unused digits of its last byte are zero.

| n | 2 | 3 | 4 | 5, 6 | 7..16 |
|---|---|---|---|---|---|
| codes in a byte | 8 | 5 | 4 | 3 | 2 |

Example: the ternary row 4 0 -4 4 4 | 0 -4 has the table (-4, 0, 4) and the codes 2 1 0 2 2 | 1 0; the bytes are
2 + 1*3 + 0*9 + 2*27 + 2*81 = 221 = 0xdd and 1 + 0*3 = 0x01.
>>> param, payload = encode_payload(np.array([[4, 0, -4, 4, 4, 0, -4]], np.int8))
>>> param, payload.hex(" ", 4)
(3, 'fc000400 dd010000')
"""

from __future__ import annotations

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob
from keras_hwcompress.formats.table import table


def codes_per_byte(levels: int) -> int:
    """The largest k with levels**k <= 256, for levels in 2..16."""
    return next(k for k in range(8, 0, -1) if levels**k <= 256)


def payload_length(levels: int, per_channel: bool, shape: tuple[int, int]) -> int:
    """Exact payload bytes for `shape` = (rows, row_length)."""
    return sum(blob.padded_length(length) for length in _section_lengths(levels, per_channel, shape))


def encode_payload(values: np.ndarray, per_channel: bool | None = None, levels: int | None = None) -> tuple[int, bytes]:
    """Encodes weights of at most 16 distinct values a row.

    Args:
        values: int8 array, shape (rows, row_length).
        per_channel: one table per row (True), one for all (False), or what is shorter (None; a tie goes to one
            table for all).
        levels: n; None takes the number of distinct values, at least 2. Tables with fewer values repeat their
            largest.

    Returns:
        param = n, plus NARY_PER_CHANNEL for one table per row; and the payload.

    Raises:
        BlobError: there are more distinct values than 16 or than `levels`.
    """
    index = values.view(np.uint8) ^ np.uint8(0x80)  # 0..255 in the order of the int8 values
    present = np.zeros((values.shape[0], 256), np.bool_)
    present[np.arange(values.shape[0])[:, None], index] = True
    levels, per_channel = _choose(present, values.shape, per_channel, levels)
    present = present if per_channel else present.any(axis=0, keepdims=True)
    rank = np.cumsum(present, axis=1, dtype=np.uint8) - np.uint8(1)
    codes = np.take_along_axis(rank, index, axis=1) if per_channel else rank[0][index]
    param = levels | (table().constants["NARY_PER_CHANNEL"] if per_channel else 0)
    return param, blob.pad(_tables(present, rank, levels).tobytes()) + blob.pad(_pack(codes, levels).tobytes())


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param is out of range, the length is not the one that the header implies, a table does not
            ascend, a digit is not a level, or unused digits or padding are not zero.
    """
    tables, codes = _sections(header, payload)
    digits = _unpack(codes, tables.shape[1], header.row_length)
    return np.take_along_axis(tables, digits, axis=1) if len(tables) > 1 else tables[0][digits]


def describe(header: blob.Header, payload: bytes) -> list[str]:
    """Lines for `formats.dump`: the tables."""
    tables, codes = _sections(header, payload)
    per = "row" if header.param & table().constants["NARY_PER_CHANNEL"] else "tensor"
    lines = [f"{tables.shape[1]} levels, {codes_per_byte(tables.shape[1])} codes a byte, a table per {per}"]
    lines.extend(f"table {i}: {' '.join(str(level) for level in levels)}" for i, levels in enumerate(tables[:8]))
    return [*lines, f"... {len(tables) - 8} more tables"] if len(tables) > 8 else lines


def _choose(
    present: np.ndarray, shape: tuple[int, int], per_channel: bool | None, levels: int | None
) -> tuple[int, bool]:
    """(n, per_channel): the shortest choice that the options and the values allow."""
    constants = table().constants
    most = constants["MAX_LEVELS"] if levels is None else levels
    if not constants["MIN_LEVELS"] <= most <= constants["MAX_LEVELS"]:
        raise BlobError(f"nary: expected 2..16 levels. Received: levels={levels}")
    needed = {False: int(present.any(axis=0).sum()), True: int(present.sum(axis=1).max())}
    choices = []
    for each, count in needed.items():
        if count <= most and per_channel in (None, each):
            number = max(count, constants["MIN_LEVELS"]) if levels is None else levels
            choices.append((payload_length(number, each, shape), each, number))
    if not choices:
        found = f"{needed[False]} distinct values in the tensor, up to {needed[True]} in a row, {per_channel=}"
        raise BlobError(f"nary: expected at most {most} levels in a table. Received: {found}")
    _, each, number = min(choices)
    return number, each


def _tables(present: np.ndarray, rank: np.ndarray, levels: int) -> np.ndarray:
    """Level tables int8, shape (tables, levels), ascending; short ones repeat their largest value."""
    tables = np.full((len(present), levels), -128, np.int16)
    row, value = np.nonzero(present)
    tables[row, rank[row, value]] = value - 128
    return np.maximum.accumulate(tables, axis=1).astype(np.int8)


def _pack(codes: np.ndarray, levels: int) -> np.ndarray:
    """Codes uint8, shape (rows, row_length), as bytes, shape (rows, row_bytes)."""
    digits = codes_per_byte(levels)
    spare = -codes.shape[1] % digits
    padded = np.pad(codes, ((0, 0), (0, spare))).reshape(len(codes), -1, digits)
    packed = padded[..., -1].copy()
    for digit in reversed(range(digits - 1)):
        packed *= np.uint8(levels)
        packed += padded[..., digit]
    return packed


def _unpack(codes: np.ndarray, levels: int, row_length: int) -> np.ndarray:
    """Bytes, shape (rows, row_bytes), as codes uint8, shape (rows, row_length)."""
    digits = np.empty((*codes.shape, codes_per_byte(levels)), np.uint8)
    rest = codes
    for digit in range(digits.shape[2]):
        quotient = rest // np.uint8(levels)
        digits[..., digit] = rest - quotient * np.uint8(levels)
        rest = quotient
    if rest.any():
        largest = levels ** digits.shape[2] - 1
        raise BlobError(f"nary: expected code bytes up to {largest} for {levels} levels. Received: {codes.max()}")
    flat = digits.reshape(len(codes), -1)
    if flat[:, row_length:].any():
        raise BlobError(f"nary: unused digits of a row's last byte must be zero. Received: {codes[:, -1].max()}")
    return flat[:, :row_length]


def _section_lengths(levels: int, per_channel: bool, shape: tuple[int, int]) -> tuple[int, int]:
    rows, row_length = shape
    row_bytes = -(-row_length // codes_per_byte(levels))
    return (levels * rows if per_channel else levels), rows * row_bytes


def _sections(header: blob.Header, payload: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Level tables int8 (tables, levels) and code bytes uint8 (rows, row_bytes), not yet digits."""
    constants = table().constants
    per_channel = bool(header.param & constants["NARY_PER_CHANNEL"])
    levels = header.param & ~constants["NARY_PER_CHANNEL"]
    if not constants["MIN_LEVELS"] <= levels <= constants["MAX_LEVELS"]:
        raise BlobError(f"nary: expected 2..16 levels in param. Received: {header.param}")
    lengths = _section_lengths(levels, per_channel, (header.rows, header.row_length))
    tables, codes = blob.split_sections(payload, lengths)
    tables = tables.view(np.int8).reshape(-1, levels)
    if (tables[:, 1:] < tables[:, :-1]).any():
        raise BlobError(f"nary: level tables must ascend. Received: {tables.tolist()[:4]}")
    return tables, codes.reshape(header.rows, -1)
