"""runs: for each row and magnitude two lists of positions, written as the gaps between them.

A kernel adds up the activations of a list and multiplies once per pair of lists: sum(w x) = sum over the magnitudes v
of v (sum of x over +v - sum of x over -v). Nothing is stored for a zero but a wider gap.

A row is cut into `param & 127` segments of ceil(row_length / segments) positions, at most RUNS_SEGMENT. A segment is
one or more groups; a group is a head, its minus list and its plus list. A list is a sequence of gaps of 4 bits, or 8 if
param has RUNS_WIDE: the number of positions between an entry and the one before it, low bits first; where gaps of 4
bits are odd in number, the lowest 4 bits of the list are unused. The bytes of a head are the lengths of the two lists,
the value v as int8, and flags: RUNS_END_SEGMENT and RUNS_END_ROW on the last group of a segment and of a row. A length
is the number of entries rounded up to what fills 32-bit words, plus what that adds: a kernel whose loop is unrolled for
one word jumps over the added entries in its first turn and needs no tail. Where a gap is too long, a position without a
weight of this magnitude is put into both lists, where it cancels: a filler.

Example: 5 5 0 5 0 0 5 5 -5 has the lists (8) and (0, 1, 3, 6, 7): lengths 8 + 7 and 8 + 3, gaps 8 and 0 0 1 2 0.
>>> param, payload = encode_payload(np.array([[5, 5, 0, 5, 0, 0, 5, 5, -5]], np.int8))
>>> param, payload.hex(" ", 4)
(1, '0f0b05c0 80001002')
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob
from keras_hwcompress.formats.runs_lists import Groups, Shape, groups_of, with_fillers
from keras_hwcompress.formats.table import table

_GAP_BITS = (8, 4)  # in a tie the wide gaps win: they need fewer fillers
_SEGMENTS_MASK = 127
_HEAD_BYTES = 4
_LENGTH_MASK = 255  # the length of a list is a byte


def encode_payload(values: np.ndarray, gap_bits: int | None = None) -> tuple[int, bytes]:
    """Encodes weights of few levels a row.

    Args:
        values: int8 array, shape (rows, row_length).
        gap_bits: 4, 8 (longer blobs, but fewer instructions), or None for what is shorter.

    Returns:
        param = the number of segments, plus RUNS_WIDE for gaps of 8 bits; and the payload.

    Raises:
        BlobError: a row has more than MAX_LEVELS distinct values, rows are too long, or gap_bits is something else.
    """
    if gap_bits not in (None, *_GAP_BITS):
        raise BlobError(f"runs: expected gap_bits of 4 or 8. Received: {gap_bits}")
    _check_levels(values)
    found = [_encode(values, bits) for bits in _GAP_BITS if gap_bits in (None, bits)]
    return min(found, key=lambda item: len(item[1]))


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param is out of range, a list ends outside its segment or the payload, a group adds up more than 255
            weights, a weight occurs twice, or a head is inconsistent.
    """
    shape = _shape_of(header)
    groups = _unpack(header, payload, shape)
    net = groups.lists & ~groups.lists[:, ::-1]
    firsts = np.flatnonzero(np.diff(groups.segment, prepend=-1))
    _check_terms(groups, net.sum(axis=(1, 2)), np.diff(firsts, append=len(groups.value)))
    if (net[:, 0].any(axis=1) & (groups.value == -128)).any():
        raise BlobError("runs: the minus list of value -128 must be empty but for fillers")
    if (np.add.reduceat(net.any(axis=1).astype(np.int16), firsts, axis=0) > 1).any():
        raise BlobError("runs: a weight occurs in two groups")
    signed = (net[:, 1].astype(np.int16) - net[:, 0]) * groups.value[:, None]
    rows = np.add.reduceat(signed, firsts, axis=0).astype(np.int8).reshape(header.rows, -1)
    return np.ascontiguousarray(rows[:, : header.row_length])


def _check_terms(groups: Groups, terms: np.ndarray, groups_in_segment: np.ndarray) -> None:
    """terms: weights of each group without fillers; groups_in_segment: how many groups each segment has."""
    if terms.max() > table().constants["RUNS_MAX_TERMS"]:
        raise BlobError(f"runs: a group may add up at most 255 weights. Received: {terms.max()}")
    alone = np.repeat(groups_in_segment, groups_in_segment) == 1
    if ((terms == 0) & ~(alone & (groups.value == 0))).any():
        raise BlobError("runs: only a segment of zeros has an empty group")


def describe(header: blob.Header, payload: bytes) -> list[str]:
    """Lines for `formats.dump`: gap width, segments, entries and how many of them are fillers."""
    shape = _shape_of(header)
    lists = _unpack(header, payload, shape).lists
    entries, fillers = int(lists.sum()), 2 * int(lists.all(axis=1).sum())
    return [
        f"gaps of {shape.bits} bits, {shape.segments} segments of up to {shape.width} positions a row",
        f"{len(lists)} groups, {entries} entries, {fillers} of them fillers",
    ]


def _check_levels(values: np.ndarray) -> None:
    ordered = np.sort(values, axis=1)
    most = 1 + int((ordered[:, 1:] != ordered[:, :-1]).sum(axis=1).max())
    if most > table().constants["MAX_LEVELS"]:
        raise BlobError(f"runs: expected at most {table().constants['MAX_LEVELS']} levels in a row. Received: {most}")


# ---- encoding ----------------------------------------------------------------------------------------------


def _encode(values: np.ndarray, bits: int) -> tuple[int, bytes]:
    """Cuts rows into the fewest segments in which every list is short enough."""
    length = values.shape[1]
    fewest = -(-length // table().constants["RUNS_SEGMENT"])
    for segments in range(fewest, min(length, _SEGMENTS_MASK) + 1):
        width = -(-length // segments)
        shape = Shape(bits, segments, width, length - (segments - 1) * width)
        if shape.last_width < 1:
            continue
        groups = with_fillers(groups_of(values, shape), 1 << bits)
        if _is_storable(groups, shape):
            return segments | (table().constants["RUNS_WIDE"] if bits == 8 else 0), _pack(groups, shape)
    raise BlobError(f"runs: rows are too long. Received: row_length={length}")


def _is_storable(groups: Groups, shape: Shape) -> bool:
    counts = groups.lists.sum(axis=2)
    terms = (groups.lists[:, 0] ^ groups.lists[:, 1]).sum(axis=1)
    longest = _LENGTH_MASK // shape.slots * shape.slots
    return counts.max() <= longest and terms.max() <= table().constants["RUNS_MAX_TERMS"]


def _pack(groups: Groups, shape: Shape) -> bytes:
    """The groups, one behind the other, padded to 4 bytes."""
    count, per_byte = len(groups.value), 8 // shape.bits
    lists = groups.lists.reshape(2 * count, -1)
    entries = lists.sum(axis=1)
    sizes = -(-entries // per_byte)
    list_ends = np.cumsum(sizes) + _HEAD_BYTES * (1 + np.arange(2 * count) // 2)
    number, position = np.nonzero(lists)
    gaps = np.diff(position, prepend=-1) - 1
    first = np.diff(number, prepend=-1) != 0
    gaps[first] = position[first]
    rank = np.arange(len(number)) - np.cumsum(entries)[number]  # from the end of the list: -1 is the last
    slot = np.zeros(list_ends[-1] * per_byte, np.uint8)
    slot[list_ends[number] * per_byte + rank] = gaps
    stream = slot if shape.bits == 8 else slot[::2] | slot[1::2] << 4
    heads = (list_ends - sizes)[::2] - _HEAD_BYTES
    lengths = (entries + 2 * (-entries % shape.slots)).reshape(count, 2)
    fields = (lengths[:, 0], lengths[:, 1], groups.value, _flags(groups.segment, shape.segments))
    stream[heads[:, None] + np.arange(_HEAD_BYTES)] = np.stack(fields, axis=1).astype(np.uint8)
    return blob.pad(stream.tobytes())


def _flags(segment: np.ndarray, segments: int) -> np.ndarray:
    constants = table().constants
    ends = np.diff(segment, append=-1) != 0
    row_ends = ends & (segment % segments == segments - 1)
    return ends * constants["RUNS_END_SEGMENT"] + row_ends * constants["RUNS_END_ROW"]


# ---- decoding ----------------------------------------------------------------------------------------------


def _shape_of(header: blob.Header) -> Shape:
    constants = table().constants
    segments = header.param & _SEGMENTS_MASK
    width = -(-header.row_length // max(segments, 1))
    last_width = header.row_length - (segments - 1) * width
    if segments < 1 or width > constants["RUNS_SEGMENT"] or last_width < 1:
        raise BlobError(
            f"runs: param must cut rows into segments of 1..{constants['RUNS_SEGMENT']} positions. "
            f"Received: {header.param} for row_length {header.row_length}"
        )
    return Shape(8 if header.param & constants["RUNS_WIDE"] else 4, segments, width, last_width)


def _heads(header: blob.Header, payload: bytes, shape: Shape) -> np.ndarray:
    """Of every group: segment, offset of the head, its four bytes. int64 (6, groups); lists lie inside the payload."""
    found, at = [], 0
    for segment in range(header.rows * shape.segments):
        flags = 0
        while flags == 0:
            minus, plus, value, flags = payload[at : at + _HEAD_BYTES].ljust(_HEAD_BYTES, b"\0")
            if 0 < minus < shape.slots or 0 < plus < shape.slots:
                raise BlobError(f"runs: the length of a list is 0 or at least {shape.slots}. Received: {minus}, {plus}")
            found.append((segment, at, minus, plus, value, flags))
            at += _HEAD_BYTES + sum(-(-_entries(length, shape) * shape.bits // 8) for length in (minus, plus))
            if at > len(payload):
                raise BlobError(f"runs: the payload ends inside segment {segment}. Received: {len(payload)} bytes")
    if blob.padded_length(at) != len(payload) or any(payload[at:]):
        raise BlobError(f"runs: expected {at} bytes and padding of zeros. Received: {len(payload)} bytes")
    return np.array(found, np.int64).T


def _entries(length: Any, shape: Shape) -> Any:
    """Entries of a list from its length in a head (or an array of them)."""
    return length - 2 * (length % shape.slots)


def _unpack(header: blob.Header, payload: bytes, shape: Shape) -> Groups:
    """The groups, every head and every gap checked."""
    segment, at, minus, plus, value, flags = _heads(header, payload, shape)
    value = value.astype(np.uint8).view(np.int8).astype(np.int16)
    lengths = np.stack((minus, plus), axis=1)
    if (flags != _flags(segment, shape.segments)).any():
        raise BlobError(f"runs: the flags of a head contradict the order of segments. Received: {flags.tolist()[:8]}")
    if ((value == 0) != (lengths == 0).all(axis=1)).any():
        raise BlobError("runs: a group has a value exactly if it has a list")
    limit = np.where(segment % shape.segments == shape.segments - 1, shape.last_width, shape.width)
    lists = _positions(payload, at + _HEAD_BYTES, _entries(lengths, shape), limit, shape)
    return Groups(segment, value, lists)


def _positions(payload: bytes, at: np.ndarray, entries: np.ndarray, limit: np.ndarray, shape: Shape) -> np.ndarray:
    """The lists as bool (groups, 2, width).

    Args:
        at: where the minus lists begin, the plus lists follow. entries: int (groups, 2). limit: positions allowed.
    """
    per_byte = 8 // shape.bits
    data = np.frombuffer(payload, np.uint8)
    slot = data if per_byte == 1 else np.stack((data & 15, data >> 4), axis=1).reshape(-1)
    sizes = -(-entries // per_byte)
    starts = per_byte * np.stack((at, at + sizes[:, 0]), axis=1)
    unused = sizes * per_byte - entries
    if (slot[np.minimum(starts, slot.size - 1)] * unused).any():
        raise BlobError("runs: the unused bits of a list must be zero")
    entries, starts = entries.reshape(-1), (starts + unused).reshape(-1)
    number = np.repeat(np.arange(entries.size), entries)
    before = np.cumsum(entries) - entries
    steps = slot[starts[number] + np.arange(number.size) - before[number]].astype(np.int64) + 1
    total = np.cumsum(steps)
    position = total - np.concatenate(([0], total))[before][number] - 1
    if (position >= limit[number // 2]).any():
        raise BlobError(f"runs: a list leaves its segment of {shape.width} positions. Received: {position.max()}")
    lists = np.zeros((entries.size, shape.width), np.bool_)
    lists[number, position] = True
    return lists.reshape(-1, 2, shape.width)
