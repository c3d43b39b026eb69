"""nary in the layout `nested`: evenly spaced levels as codes of 2 or 4 bits, four rows nested in the halves of words.

A weight is base + step * code, so a kernel multiplies codes: sum(w x) = step * sum(code x) + base * sum(x). `param` is the
number of codes, 4 or 16, plus NARY_PER_CHANNEL if every row has a base and a step of its own, plus NESTED_PARTS if rows must be
cut. Two sections: base (int8) and
step (uint8) of the tensor or of each row; then the groups of four rows a, b, c, d:

* 16 codes: for each pair of positions one word with the halves a + 16 b + 256 c + 4096 (d xor 8). As a signed number such a
  half ends in 4096 (d - 8), so the kernel takes d - 8 for d's code.
* 4 codes: a byte a + 4 b + 16 c + 64 d for each position; a word holds two pairs, the bytes of the first in bits 0-7 and 16-23.

Codes that fill up rows (to a multiple of four positions) and groups are 0.

Example: 3 0 0 0 | -3 3 0 0 in rows a and b: base -3, step 3, codes 2 1 1 1 and 0 2 1 1. The bytes of the positions are
2 + 4*0, 1 + 4*2, 1 + 4*1, 1 + 4*1; positions 0, 1, 2, 3 lie in bytes 0, 1, 2, 3 of the word.
>>> param, payload = encode_payload(np.array([[3, 0, 0, 0], [-3, 3, 0, 0]], np.int8))
>>> param, payload.hex(" ", 4)
(4, 'fd030000 02090505')
"""

from __future__ import annotations

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob, nested
from keras_hwcompress.formats.table import table

_BITS = {4: 2, 16: 4}
_SIGN = 8  # the code of row d is stored with this bit inverted, if codes have 4 bits


def encode_payload(values: np.ndarray, per_channel: bool | None = None, levels: int | None = None) -> tuple[int, bytes]:
    """Encodes weights whose distinct values lie on an evenly spaced grid.

    Args:
        values: int8 array, shape (rows, row_length).
        per_channel: a grid per row (True), one for all (False), or what is shorter (None; one grid in a tie).
        levels: 4 or 16 codes; None takes 4 where that is enough.

    Returns:
        param as described above, and the payload.

    Raises:
        BlobError: the values need more codes.
    """
    if levels not in (None, *_BITS):
        raise BlobError(f"nary_nested: expected 4 or 16 levels. Received: {levels}")
    choices = []
    for each in (False, True):
        base, step, count = _grids(values if each else values.reshape(1, -1))
        fitting = [codes for codes in _BITS if count <= codes and levels in (None, codes)]
        if fitting and per_channel in (None, each):
            choices.append((payload_length(fitting[0], each, values.shape), each, fitting[0], base, step))
    if not choices:
        raise BlobError(f"nary_nested: expected at most {levels or 16} evenly spaced levels. Received: up to {count} in a row")
    _, each, codes, base, step = min(choices, key=lambda choice: choice[:2])
    grids = np.stack((base.astype(np.int8).view(np.uint8), step.astype(np.uint8)), axis=1)
    digits = ((values - base[:, None]) // np.maximum(step, 1)[:, None]).astype(np.uint8)
    constants = table().constants
    param = codes | (constants["NARY_PER_CHANNEL"] if each else 0) | (constants["NESTED_PARTS"] if _parts(digits, codes) else 0)
    return param, blob.pad(grids.tobytes()) + _pack(digits, codes).tobytes()


def payload_length(levels: int, per_channel: bool, shape: tuple[int, int]) -> int:
    """Exact payload bytes for `shape` = (rows, row_length)."""
    return sum(blob.padded_length(length) for length in _section_lengths(levels, per_channel, shape))


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param is not 4 or 16 levels, the length is not the one that the header implies, a value exceeds 127, or
            codes that fill up rows and groups are not 0.
    """
    codes, per_channel, parts = _options(header.param)
    lengths = _section_lengths(codes, per_channel, (header.rows, header.row_length))
    grids, words = blob.split_sections(payload, lengths)
    grids = grids.reshape(-1, 2)
    digits = _unpack(words, codes, nested.padded(header.row_length))
    digits = nested.check_filling(digits, header.rows, header.row_length)
    nested.check_parts(parts, _parts(digits, codes))
    base, step = grids[:, :1].view(np.int8).astype(np.int16), grids[:, 1:].astype(np.int16)
    values = base + step * digits
    if values.max() > 127:
        raise BlobError(f"nary_nested: expected values up to 127. Received: {values.max()}")
    return values.astype(np.int8)


def describe(header: blob.Header, payload: bytes) -> list[str]:
    """Lines for `formats.dump`: the grids."""
    codes, per_channel, parts = _options(header.param)
    grids = np.frombuffer(payload, np.uint8, 2 * (header.rows if per_channel else 1)).reshape(-1, 2)
    lines = [f"{codes} codes, a grid per {'row' if per_channel else 'tensor'}{', rows in parts' if parts else ''}"]
    lines.extend(f"grid {i}: {np.int8(base.view(np.int8))} + {step} * code" for i, (base, step) in enumerate(grids[:8]))
    return lines


def _grids(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each row the smallest value and the largest step, int16; and the most codes that a row needs."""
    base = rows.min(axis=1).astype(np.int16)
    offsets = rows - base[:, None]
    step = np.gcd.reduce(offsets, axis=1)
    count = 1 + int((offsets.max(axis=1) // np.maximum(step, 1)).max())
    return base, step, count


def _options(param: int) -> tuple[int, bool, bool]:
    """(number of codes, a grid per row?, rows in parts?)."""
    constants = table().constants
    codes = param & ~(constants["NARY_PER_CHANNEL"] | constants["NESTED_PARTS"])
    if codes not in _BITS:
        raise BlobError(f"nary_nested: expected 4 or 16 levels in param. Received: {param}")
    return codes, bool(param & constants["NARY_PER_CHANNEL"]), bool(param & constants["NESTED_PARTS"])


def _parts(digits: np.ndarray, levels: int) -> bool:
    """Whether the codes (uint8, shape (rows, row_length)) must be added up in parts."""
    fields = digits.astype(np.int16)
    if levels == 16:
        fields[3 :: nested.ROWS] -= _SIGN
    return any(nested.needs_parts(fields[i :: nested.ROWS], _BITS[levels] * i) for i in range(1, nested.ROWS))


def _section_lengths(levels: int, per_channel: bool, shape: tuple[int, int]) -> tuple[int, int]:
    rows, row_length = shape
    group_bytes = nested.padded(row_length) * _BITS[levels] * nested.ROWS // 8
    return 2 * rows if per_channel else 2, nested.group_count(rows) * group_bytes


def _pack(digits: np.ndarray, levels: int) -> np.ndarray:
    """Codes uint8, shape (rows, row_length), as the words of all groups."""
    rows = nested.fill_up_rows(nested.fill_up(digits)).astype(np.uint16)
    if levels == 16:
        rows[:, 3] ^= _SIGN
    fields = (rows << (_BITS[levels] * np.arange(4, dtype=np.uint16))[:, None]).sum(axis=1, dtype=np.uint16)
    return nested.by_pairs(fields).astype("<u2") if levels == 16 else fields.astype(np.uint8)


def _unpack(words: np.ndarray, levels: int, length: int) -> np.ndarray:
    """The inverse of `_pack`: codes uint8, shape (4 * groups, length)."""
    if levels == 16:
        fields = nested.by_position(words.view("<u2").reshape(-1, length // nested.PAIRED, 2, 2))
    else:
        fields = words.reshape(-1, length).astype(np.uint16)
    shifts = (_BITS[levels] * np.arange(4, dtype=np.uint16))[:, None]
    rows = ((fields[:, None] >> shifts) & (levels - 1)).astype(np.uint8)
    if levels == 16:
        rows[:, 3] ^= _SIGN
    return rows.reshape(-1, length)
