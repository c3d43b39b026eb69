"""bitmap: which weights are not zero, one bit each or one for four neighbours; and the weights that are stored.

Payload, one section: the levels, 2^n int8 for codes of n = 1, 2 or 4 bits, none for n = 8; the set bits of each row,
1, 2 or 4 bytes each; the maps, rows from a byte boundary; the codes of all rows without a gap, n bits each; padding.
Codes are indices of levels, or for n = 8 the weights themselves. Everything begins with the low bits. A set bit of a
map of groups stands for four codes, also behind the end of a row, where they are 0.
param: bits 0-1 log2 n, bit BITMAP_GROUPS, bits 3-4 log2 of the bytes of a row's count.

Example: the row 0 5 0 0 0 -5 -5 0 0 has the levels -5, 5, three set bits, the map 0b0_0110_0010 and the codes 1 0 0.
>>> param, payload = encode_payload(np.array([[0, 5, 0, 0, 0, -5, -5, 0, 0]], np.int8))
>>> param, payload.hex(" ", 4)
(0, 'fb050362 00010000')
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob
from keras_hwcompress.formats.table import table

_GROUPS = table().constants["BITMAP_GROUPS"]
_GROUP = table().constants["BITMAP_GROUP"]
_CODE_MASK, _WEIGHTS, _INDEX_SHIFT, _MOST_INDEX_LOG2 = 3, 3, 3, 2


def encode_payload(values: np.ndarray, groups: bool | None = None) -> tuple[int, bytes]:
    """Encodes any int8 weights.

    Args:
        values: int8 array, shape (rows, row_length).
        groups: a bit for four neighbours (True), for every weight (False), or what is shorter (None; a tie goes to a
            bit for every weight).

    Returns:
        param and payload.
    """
    choices = (False, True) if groups is None else (groups,)
    return min((_encode(values, choice) for choice in choices), key=lambda encoded: len(encoded[1]))


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param is out of range, the length is not the one that header and maps imply, a count is not that of
            the map, or bits that stand for nothing, codes behind the end of a row or padding are not zero.
    """
    shape = _shape_of(header)
    levels, counts, maps, codes = _split(header, shape, payload)
    mask = _unpack_bits(maps.reshape(header.rows, -1), 1)
    if mask[:, shape.units :].any():
        raise BlobError("bitmap: bits of a map behind the end of its row must be zero")
    mask = mask[:, : shape.units].astype(bool)
    if not np.array_equal(mask.sum(axis=1), counts):
        raise BlobError(f"bitmap: expected the counts of the maps. Received: {counts[:8].tolist()}")
    mask = np.repeat(mask, shape.per_bit, axis=1)
    grid = np.zeros(mask.shape, np.uint8)
    grid[mask] = codes
    if grid[:, header.row_length :].any():
        raise BlobError("bitmap: codes behind the end of a row must be zero")
    grid, mask = grid[:, : header.row_length], mask[:, : header.row_length]
    return np.where(mask, levels[grid] if shape.levels else grid.view(np.int8), np.int8(0))


def describe(header: blob.Header, payload: bytes) -> list[str]:
    """Lines for `formats.dump`: map, codes and levels."""
    shape = _shape_of(header)
    levels, counts, _, _ = _split(header, shape, payload)
    what = "group of four weights" if shape.per_bit > 1 else "weight"
    lines = [f"a bit for every {what}, {counts.sum()} of {header.rows * shape.units} are set; codes of {shape.code_bits} bits"]
    return [*lines, f"levels: {' '.join(map(str, levels.tolist()))}"] if shape.levels else lines


@dataclass(frozen=True, slots=True)
class _Shape:
    """What param and row length say: bits of a code, levels in the table, weights for a bit, bits and bytes of a row's
    map, bytes of a count."""

    code_bits: int
    levels: int
    per_bit: int
    units: int
    map_bytes: int
    count_bytes: int


def _shape(param: int, row_length: int) -> _Shape:
    code_bits = 1 << (param & _CODE_MASK)
    per_bit = _GROUP if param & _GROUPS else 1
    units = -(-row_length // per_bit)
    return _Shape(code_bits, 0 if code_bits == 8 else 1 << code_bits, per_bit, units, -(-units // 8), 1 << (param >> _INDEX_SHIFT))


def _shape_of(header: blob.Header) -> _Shape:
    if header.param >> _INDEX_SHIFT > _MOST_INDEX_LOG2:
        raise BlobError(f"bitmap: expected param bits 3-7 up to {_MOST_INDEX_LOG2}. Received: {header.param}")
    return _shape(header.param, header.row_length)


def _encode(values: np.ndarray, groups: bool) -> tuple[int, bytes]:
    rows, row_length = values.shape
    per_bit = _GROUP if groups else 1
    padded = np.pad(values, ((0, 0), (0, -row_length % per_bit))).reshape(rows, -1, per_bit)
    mask = padded.any(axis=2)
    behind = np.zeros(padded.shape, bool)
    behind.reshape(rows, -1)[:, row_length:] = True
    stored = padded[mask]
    levels, codes = np.unique(stored[~behind[mask]], return_inverse=True)
    code_log2 = next(log2 for log2 in range(4) if len(levels) <= 1 << (1 << log2))
    counts = mask.sum(axis=1)
    count_log2 = next(log2 for log2 in range(3) if counts.max() < 1 << (8 << log2))
    param = code_log2 | (_GROUPS if groups else 0) | count_log2 << _INDEX_SHIFT
    every = stored.view(np.uint8).copy()
    tables = b""
    if code_log2 != _WEIGHTS:
        every[~behind[mask]] = codes
        tables = np.pad(levels if levels.size else np.zeros(1, np.int8), (0, (1 << (1 << code_log2)) - max(len(levels), 1)), "edge").tobytes()
    packed = (tables, counts.astype(f"<u{1 << count_log2}").tobytes(), _pack_bits(mask, 1).tobytes())
    return param, blob.pad(b"".join((*packed, _pack_bits(every.reshape(1, -1), 1 << code_log2).tobytes())))


def _split(header: blob.Header, shape: _Shape, payload: bytes) -> tuple[np.ndarray, ...]:
    """Levels int8, counts, maps uint8 and codes uint8 (one each), after checking the length and the padding."""
    starts = np.cumsum([0, shape.levels, header.rows * shape.count_bytes, header.rows * shape.map_bytes]).tolist()
    if starts[3] > len(payload):
        raise BlobError(f"bitmap: the maps end at byte {starts[3]} of the payload. Received: {len(payload)} bytes")
    levels = np.frombuffer(payload[: starts[1]], np.int8)
    counts = np.frombuffer(payload[starts[1] : starts[2]], f"<u{shape.count_bytes}").astype(np.int64)
    maps = np.frombuffer(payload[starts[2] : starts[3]], np.uint8)
    count = int(counts.sum()) * shape.per_bit
    code_bytes = -(-count * shape.code_bits // 8)
    (section,) = blob.split_sections(payload, [starts[3] + code_bytes])
    codes = _unpack_bits(section[starts[3] :].reshape(1, -1), shape.code_bits).reshape(-1)
    if codes[count:].any():
        raise BlobError("bitmap: unused bits of the last code byte must be zero")
    return levels, counts, maps, codes[:count]


def _pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes, shape (rows, n), of 1, 2, 4 or 8 bits as bytes, the first in the low bits; rows begin at a byte."""
    per_byte = 8 // bits
    padded = np.pad(codes.astype(np.uint8), ((0, 0), (0, -codes.shape[1] % per_byte))).reshape(len(codes), -1, per_byte)
    return np.bitwise_or.reduce(padded << (bits * np.arange(per_byte, dtype=np.uint8)), axis=2)


def _unpack_bits(data: np.ndarray, bits: int) -> np.ndarray:
    """The codes of bytes, shape (rows, n), as shape (rows, n * 8 / bits)."""
    shifts = bits * np.arange(8 // bits, dtype=np.uint8)
    return (data[..., None] >> shifts & np.uint8((1 << bits) - 1)).reshape(len(data), -1)
