"""The alphabets and prefix codes of the entropy format: their bytes, and the choice of the shortest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import prefix_code
from keras_hwcompress.formats.table import table

RUN = table().constants["ENTROPY_RUN"]
_LONGEST = table().constants["ENTROPY_MAX_LENGTH"]
_MOST_GAPS = RUN + 1

_SHORT = 7  # decoders look up the next 7 bits: gap codes are kept that short
_TOKENS_PER_BIT = 64
_PERIODS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, slots=True)
class Model:
    """Both codes, symbols in the order of the codes.

    gaps: g < RUN: g zeros and a weight, RUN + r: r + 1 zeros; (0,) where the gap code is empty. listed: the gap
    symbols are stored one by one. levels: the weights that value codes stand for.
    """

    gap_lengths: tuple[int, ...]
    gaps: tuple[int, ...]
    listed: bool
    value_lengths: tuple[int, ...]
    levels: tuple[int, ...]

    def pack(self) -> bytes:
        """Code lengths, gap symbols and levels as they lie in the payload."""
        nibbles = prefix_code.nibbles_of(self.gap_lengths) + prefix_code.nibbles_of(self.value_lengths)
        nibbles += [0] * (len(nibbles) % 2)
        data = bytearray(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
        if self.listed:
            data += bytes(self.gaps)
        elif len(self.gaps) > 1:
            data.append(_run_at(self.gaps))
        return bytes(data) + np.array(self.levels, np.int8).tobytes()


def unpack(payload: bytes, listed: bool) -> tuple[Model, int]:
    """The model at the beginning of a payload, and its length in bytes.

    Raises:
        BlobError: it is truncated, a code is not complete, or a weight would take no bit.
    """
    reader = _Nibbles(payload)
    gap_lengths = prefix_code.read_lengths(reader, _LONGEST, _MOST_GAPS, "entropy: gap code")
    value_lengths = prefix_code.read_lengths(reader, _LONGEST, 256, "entropy: level code")
    if gap_lengths == [0] == value_lengths:
        raise BlobError("entropy: expected a gap code or a level code. Received: two empty codes")
    if listed and gap_lengths == [0]:
        raise BlobError("entropy: an empty gap code has no list of symbols. Received: param with ENTROPY_LISTED")
    at = reader.finish()
    count = len(gap_lengths) if listed else int(len(gap_lengths) > 1)
    stored, levels = payload[at : at + count], payload[at + count : at + count + len(value_lengths)]
    if len(levels) < len(value_lengths):
        raise BlobError(f"entropy: the payload ends inside the alphabets. Received: {len(payload)} bytes")
    gaps = tuple(stored) if listed else _ascending(len(gap_lengths), stored)
    model = Model(tuple(gap_lengths), gaps, listed, tuple(value_lengths), tuple(np.frombuffer(levels, np.int8).tolist()))
    return model, at + count + len(levels)


class _Nibbles(Iterator[int]):
    """The nibbles of a payload, low ones first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __next__(self) -> int:
        if self._at >= 2 * len(self._data):
            raise StopIteration
        value = self._data[self._at // 2] >> 4 * (self._at % 2) & 15
        self._at += 1
        return value

    def finish(self) -> int:
        """Byte behind the nibbles; BlobError unless an unused one is zero."""
        if self._at % 2 and next(self):
            raise BlobError("entropy: the nibble behind the code lengths must be zero")
        return self._at // 2


def _run_at(gaps: Sequence[int]) -> int:
    return next(i for i, symbol in enumerate(gaps) if symbol >= RUN)


def _ascending(count: int, stored: bytes) -> tuple[int, ...]:
    """Gap symbols 0, 1, 2, ... with a run as long as there are others at the stored position."""
    if not stored:
        return (0,)
    if stored[0] >= count:
        raise BlobError(f"entropy: expected a position of the run below {count}. Received: {stored[0]}")
    return (*range(stored[0]), RUN + count - 2, *range(stored[0], count - 1))


# ---- choice ------------------------------------------------------------------------------------------------


def choose(values: np.ndarray, gaps: np.ndarray, tails: np.ndarray) -> Model:
    """The model for which model and codes take the fewest bits, where a token with a weight counts 1 / 64 bit more.

    That is the price of decoding: without it, coding every weight would win ties against coding half of them.

    Args:
        values: int8, all weights.
        gaps: int array, zeros before each non-zero weight in its tile.
        tails: int array, zeros at the end of each tile.
    """
    levels, counts = np.unique(values, return_counts=True)
    candidates = [_dense(levels, counts)]
    value_bits, value_code = _value_code(levels[levels != 0], counts[levels != 0])
    value_bits += gaps.size // _TOKENS_PER_BIT
    for period in _periods(max(gaps.max(initial=0), tails.max(initial=0))):
        frequencies = np.bincount(gaps % period, minlength=period).tolist()
        runs = int((gaps // period).sum() + (-(-tails // period)).sum())
        for alphabet in (_ascending_code, _listed_code):
            gap_bits, gap_code = alphabet(frequencies, runs)
            candidates.append((gap_bits + value_bits, Model(*gap_code, *value_code)))
    return min(candidates, key=lambda candidate: candidate[0] + 8 * len(candidate[1].pack()))[1]


def _periods(longest: int) -> list[int]:
    """Those up to the longest run of zeros, and the next one."""
    return [period for last, period in zip((0, *_PERIODS[:-1]), _PERIODS, strict=True) if last <= longest]


def _dense(levels: np.ndarray, counts: np.ndarray) -> tuple[int, Model]:
    """Every weight is a value; a single level is there twice, since no weight may take no bit."""
    if len(levels) == 1:
        levels, counts = np.repeat(levels, 2), np.append(counts, 0)
    bits, code = _value_code(levels, counts)
    return bits + int(counts.sum()) // _TOKENS_PER_BIT, Model((0,), (0,), False, *code)


def _value_code(levels: np.ndarray, counts: np.ndarray) -> tuple[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Bits of all values, code lengths and levels; without any value a code for zero that is never used."""
    if len(levels) == 0:
        return 0, ((0,), (0,))
    bits, lengths, order = _sorted_code(counts.tolist(), _LONGEST)
    return bits, (lengths, tuple(levels[list(order)].tolist()))


def _listed_code(frequencies: list[int], runs: int) -> tuple[int, tuple]:
    """Bits, and lengths, gap symbols and listed of a Model: the gaps that occur, and the run."""
    symbols = [gap for gap, count in enumerate(frequencies) if count] or [0]
    bits, lengths, order = _sorted_code([*(frequencies[gap] for gap in symbols), runs], _SHORT)
    symbols.append(RUN + len(frequencies) - 1)
    return bits, (lengths, tuple(symbols[i] for i in order), True)


def _ascending_code(frequencies: list[int], runs: int) -> tuple[int, tuple]:
    """The same for all gaps below the period in ascending order; the run takes its place by its frequency."""
    at = sum(count >= runs for count in frequencies)
    ordered = [*frequencies[:at], runs, *frequencies[at:]]
    longest = max(_SHORT, len(frequencies).bit_length())
    lengths = sorted(prefix_code.code_lengths(ordered, longest))
    bits = sum(length * count for length, count in zip(lengths, ordered, strict=True))
    return bits, (tuple(lengths), _ascending(len(ordered), bytes([at])), False)


def _sorted_code(counts: list[int], longest: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Bits of all symbols, ascending code lengths, and the symbols in that order."""
    lengths = prefix_code.code_lengths(counts, max(longest, (len(counts) - 1).bit_length()))
    bits = sum(length * count for length, count in zip(lengths, counts, strict=True))
    order = sorted(range(len(counts)), key=lambda symbol: (lengths[symbol], symbol))
    return bits, tuple(lengths[symbol] for symbol in order), tuple(order)
