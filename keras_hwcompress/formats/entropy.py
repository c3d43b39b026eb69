"""entropy: prefix codes for the gaps between non-zero weights and for their values, in tiles of whole rows.

A tile is a sequence of tokens: a gap code says how many zeros come next, a value code which weight follows them. One
of the gap symbols is a run of zeros without a weight behind it. Where zeros are too rare for gaps to pay, the gap
code is empty and every weight, zeros too, is a value. FORMAT.md has the layout; in short, one section:

    nibbles: counts of code lengths | gap symbols | levels | bytes of the tiles but the first | padding | tiles

Every tile is read backwards, from bit 7 of its last byte to bit 0 of its first, so that a decoder may fetch whole
words and never reads beyond the blob. A token may reach beyond the last weight of its tile: the tile ends there.

Example: the row 5 0 0 -5 0 5 0 0 has the gaps 0, 2, 1 and two zeros behind the last weight. Gap code: the lengths
1, 2, 2 for the gaps 0 and 1 and the run of 2 zeros; value code: 0 is -5, 1 is 5.
>>> param, payload = encode_payload(np.array([[5, 0, 0, -5, 0, 5, 0, 0]], np.int8))
>>> decode_payload(blob.Header(133, 1, 0, 1, 0, param, 8, len(payload)), payload).tolist()
[[5, 0, 0, -5, 0, 5, 0, 0]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob, prefix_code
from keras_hwcompress.formats.entropy_model import RUN, Model, choose, unpack
from keras_hwcompress.formats.table import table

_LISTED = table().constants["ENTROPY_LISTED"]
_MOST_ROWS_LOG2, _INDEX_SHIFT, _MOST_INDEX_LOG2 = 7, 3, 2
_WINDOW = 2 * table().constants["ENTROPY_MAX_LENGTH"]  # the longest token
_WINDOW_MASK = (1 << _WINDOW) - 1


def encode_payload(values: np.ndarray, tile_rows: int | None = None) -> tuple[int, bytes]:
    """Encodes any int8 weights.

    Args:
        values: int8 array, shape (rows, row_length).
        tile_rows: rows that are decoded together, a power of two up to 128. None takes the fewest for which index
            and incomplete bytes stay below 1 / 64 of the payload, but not more than 8 rows or 256 weights.

    Returns:
        param and payload.

    Raises:
        BlobError: tile_rows is not a power of two in 1..128.
    """
    if tile_rows is None:
        return _encode_in_small_tiles(values)
    if tile_rows not in (1 << power for power in range(_MOST_ROWS_LOG2 + 1)):
        raise BlobError(f"entropy: expected tile_rows to be a power of two in 1..128. Received: {tile_rows}")
    return _encode(values, tile_rows.bit_length() - 1)


def decode_payload(header: blob.Header, payload: bytes) -> np.ndarray:
    """The int8 values, shape (rows, row_length).

    Raises:
        BlobError: param, code lengths, alphabets or index contradict the header or each other, a tile has too few
            bits for its weights or more than it needs, or an unused bit is not zero.
    """
    model, tiles = _parse(header, payload)
    decoder = _Decoder(model)
    most, count = header.row_length * _rows_of_tile(header), header.rows * header.row_length
    decoded = []
    for number, tile in enumerate(tiles):
        decoded.append(decoder.tile(tile, min(most, count - number * most), spare_bytes=0 if number else 3))
    return np.concatenate(decoded).reshape(header.rows, header.row_length)


def describe(header: blob.Header, payload: bytes) -> list[str]:
    """Lines for `formats.dump`: tiles and codes."""
    model, tiles = _parse(header, payload)
    values = (f"{level}: {length}" for level, length in zip(model.levels[:16], model.value_lengths, strict=False))
    lines = [f"{len(tiles)} tiles of {_rows_of_tile(header)} rows; bits of the levels {', '.join(values)}"]
    if len(model.gaps) > 1:
        names = (f"run {symbol - RUN + 1}" if symbol >= RUN else str(symbol) for symbol in model.gaps)
        gaps = (f"{name}: {length}" for name, length in zip(names, model.gap_lengths, strict=True))
        lines.append(f"bits of the gaps {', '.join(gaps)}")
    return lines


# ---- encode ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Zeros before each non-zero weight of its tile, and behind the last; positions count all weights of a tensor.

    `at`: position of each non-zero weight; `gaps`: zeros before it in its tile; `ends`: position behind each tile;
    `tails`: zeros at its end.
    """

    at: np.ndarray
    gaps: np.ndarray
    ends: np.ndarray
    tails: np.ndarray


def _gaps_of(flat: np.ndarray, tile: int) -> _Gaps:
    at = np.flatnonzero(flat)
    first = at // tile * tile
    before = np.concatenate([[-1], at[:-1]])
    gaps = at - np.maximum(before + 1, first)
    ends = np.minimum(np.arange(tile, flat.size + tile, tile), flat.size)
    behind = np.concatenate([[0], at + 1])[np.searchsorted(at, ends)]
    return _Gaps(at, gaps, ends, ends - np.maximum(behind, (ends - 1) // tile * tile))


def _encode_in_small_tiles(values: np.ndarray) -> tuple[int, bytes]:
    """Takes the fewest rows that keep the overhead of tiles small: an index entry and, on average, half a byte each."""
    rows, row_length = values.shape
    most = min(_MOST_ROWS_LOG2, max(3, (256 // row_length).bit_length() - 1), (rows - 1).bit_length())
    encoded = _encode(values, most)
    length = len(encoded[1])
    for power in range(most):
        tiles = -(-rows >> power)
        if 64 * tiles * (1 + (1 << _index_log2(length // tiles * 5 // 4))) <= length:
            return _encode(values, power)
    return encoded


def _encode(values: np.ndarray, rows_log2: int) -> tuple[int, bytes]:
    flat = values.reshape(-1)
    gaps = _gaps_of(flat, values.shape[1] << rows_log2)
    model = choose(flat, gaps.gaps, gaps.tails)
    tiles = _tiles(flat, gaps, model)
    lengths = [len(tile) for tile in tiles[1:]]
    index_log2 = _index_log2(max(lengths, default=0))
    index = b"".join(length.to_bytes(1 << index_log2, "little") for length in lengths)
    head = model.pack() + index
    streams = b"".join(tiles)
    param = rows_log2 | index_log2 << _INDEX_SHIFT | (_LISTED if model.listed else 0)
    return param, head + bytes(-(len(head) + len(streams)) % 4) + streams


def _index_log2(longest: int) -> int:
    return 0 if longest < 1 << 8 else 1 if longest < 1 << 16 else 2


def _tiles(flat: np.ndarray, gaps: _Gaps, model: Model) -> list[bytes]:
    """The bytes of every tile."""
    bits, lengths, ends = _tokens(flat, gaps, model)
    unpacked = np.repeat(bits, lengths)
    shift = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(unpacked.size)
    unpacked = (unpacked >> shift & 1).astype(np.uint8)
    borders = np.concatenate([[0], np.cumsum(lengths)])[np.concatenate([[0], ends])]
    return [np.packbits(unpacked[i:j])[::-1].tobytes() for i, j in zip(borders[:-1], borders[1:], strict=True)]


def _tokens(flat: np.ndarray, gaps: _Gaps, model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bits of each token, their number, number of tokens up to the end of each tile)."""
    value_bits, value_lengths = np.zeros(256, np.int64), np.zeros(256, np.int64)
    index = np.array(model.levels[::-1]) & 255  # where a level is there twice the first, shorter code wins
    value_bits[index], value_lengths[index] = prefix_code.codes(model.value_lengths)[::-1], model.value_lengths[::-1]
    if len(model.gaps) == 1:
        values = flat.view(np.uint8)
        return value_bits[values], value_lengths[values], gaps.ends
    return _gap_tokens(flat, gaps, model, value_bits, value_lengths)


def _gap_tokens(
    flat: np.ndarray, gaps: _Gaps, model: Model, value_bits: np.ndarray, value_lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`_tokens` where gaps are coded: runs, then the rest of the gap and the weight, or the end of the tile."""
    codes = dict(zip(model.gaps, zip(prefix_code.codes(model.gap_lengths), model.gap_lengths, strict=True), strict=True))
    run = next(symbol for symbol in model.gaps if symbol >= RUN)
    period = run - RUN + 1
    gap_code = np.array([codes.get(gap, (0, 0)) for gap in range(period)])[gaps.gaps % period]
    values = flat[gaps.at].view(np.uint8)
    bits = gap_code[:, 0] << value_lengths[values] | value_bits[values]
    lengths = gap_code[:, 1] + value_lengths[values]
    last = np.array([_last_token(codes, run, rest, min(model.value_lengths)) for rest in range(1, period + 1)])
    open_ends = gaps.tails > 0
    last = last[(gaps.tails[open_ends] - 1) % period]
    runs = np.concatenate([gaps.gaps // period, (gaps.tails[open_ends] - 1) // period])
    order = np.argsort(np.concatenate([2 * gaps.at, 2 * gaps.ends[open_ends] - 1]), kind="stable")
    behind = np.cumsum(runs[order] + 1)
    token_bits, token_lengths = (np.full(behind[-1] if behind.size else 0, part, np.int64) for part in codes[run])
    token_bits[behind - 1] = np.concatenate([bits, last[:, 0]])[order]
    token_lengths[behind - 1] = np.concatenate([lengths, last[:, 1]])[order]
    items = np.searchsorted(gaps.at, gaps.ends) + np.cumsum(open_ends)
    return token_bits, token_lengths, behind[items - 1]


def _last_token(codes: dict[int, tuple[int, int]], run: int, rest: int, value_length: int) -> tuple[int, int]:
    """The shortest token, (bits, number), that `rest` zeros at the end of a tile can be: the run or a longer gap."""
    tokens = [codes[run], *((code << value_length, length + value_length) for gap, (code, length) in codes.items() if rest <= gap < RUN)]
    return min(tokens, key=lambda token: token[1])


# ---- decode ------------------------------------------------------------------------------------------------


def _rows_of_tile(header: blob.Header) -> int:
    return 1 << (header.param & 7)


def _parse(header: blob.Header, payload: bytes) -> tuple[Model, list[bytes]]:
    """The codes, and the bytes of every tile; those of the first with the padding in front."""
    index_log2 = header.param >> _INDEX_SHIFT & 3
    if index_log2 > _MOST_INDEX_LOG2 or header.param >= 2 * _LISTED:
        raise BlobError(f"entropy: expected param bits 3-4 up to 2 and bits 6-7 zero. Received: {header.param}")
    model, at = unpack(payload, bool(header.param & _LISTED))
    width, count = 1 << index_log2, -(-header.rows // _rows_of_tile(header)) - 1
    start = at + width * count
    if start > len(payload):
        raise BlobError(f"entropy: an index of {count} tiles ends beyond the payload. Received: {len(payload)} bytes")
    lengths = [int.from_bytes(payload[i : i + width], "little") for i in range(at, start, width)]
    first = len(payload) - start - sum(lengths)
    if first < 0:
        raise BlobError(f"entropy: tiles of {sum(lengths)} bytes exceed the payload. Received: {len(payload)} bytes")
    ends = np.cumsum([start + first, *lengths]).tolist()
    return model, [payload[i:j] for i, j in zip([start, *ends[:-1]], ends, strict=True)]


class _Decoder:
    """Reads the tokens of tiles."""

    def __init__(self, model: Model) -> None:
        self._gaps = prefix_code.lookup(model.gap_lengths, model.gaps)
        self._values = prefix_code.lookup(model.value_lengths, model.levels)
        self._gap_shift = _WINDOW - model.gap_lengths[-1]
        self._value_bits = model.value_lengths[-1]

    def tile(self, data: bytes, count: int, spare_bytes: int) -> np.ndarray:
        """`count` weights, int8; BlobError unless they take all bits but incomplete and `spare_bytes` bytes."""
        stream, limit = data[::-1] + bytes(5), 8 * len(data)
        at = bit = 0
        places, values = [], []
        while at < count and bit <= limit:
            byte = bit >> 3
            window = int.from_bytes(stream[byte : byte + 5], "big") >> (16 - (bit & 7)) & _WINDOW_MASK
            length, advance, value = self._token(window)
            bit += length
            at += advance
            places.append(at - 1)
            values.append(value)
        spare = limit - bit
        if spare < 0:
            raise BlobError(f"entropy: a tile ends inside its tokens. Received: {at} of {count} weights")
        if spare > 8 * spare_bytes + 7 or int.from_bytes(data[:4], "little") & ((1 << spare) - 1):
            raise BlobError(f"entropy: expected at most {8 * spare_bytes + 7} unused bits, all zero. Received: {spare}")
        found = np.zeros(max(at, count), np.int8)
        found[places] = values
        return found[:count]

    def _token(self, window: int) -> tuple[int, int, int]:
        """(bits, weights, the last of them) of the token at the top of 24 bits."""
        length, symbol = self._gaps[window >> self._gap_shift]
        if symbol >= RUN:
            return length, symbol - RUN + 1, 0
        bits, value = self._values[window >> (_WINDOW - length - self._value_bits) & (1 << self._value_bits) - 1]
        return length + bits, symbol + 1, value
