"""Canonical prefix codes with a bound on the length: what the formats made of Huffman codes share.

A code is stored as the number of codes of each length; the symbols are listed in the order of their codes, shorter
codes first. The first code is all zeros, each next one is one more, with zeros appended where the length grows. The
counts need no end mark: a code ends where it is complete, that is where its codes c satisfy sum of 2^-len(c) = 1.

>>> code_lengths([10, 1, 4, 2], 12)
[1, 3, 2, 3]
>>> codes([1, 2, 3, 3])
[0, 2, 6, 7]
>>> nibbles_of([1, 2, 3, 3])
[0, 1, 1, 2]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keras_hwcompress.errors import BlobError

_ESCAPE = 15  # a count from here on is this nibble and three more, the low one first


def code_lengths(frequencies: Sequence[int], longest: int) -> list[int]:
    """Lengths of the prefix code that takes the fewest bits, by package-merge; a single symbol has length 0.

    Args:
        frequencies: of the symbols, zero allowed.
        longest: bound on the lengths, at least log2 of the number of symbols.

    Returns:
        For each symbol the length of its code.
    """
    order = sorted(range(len(frequencies)), key=lambda symbol: (frequencies[symbol], -symbol))
    coins = [(frequencies[symbol], 0) for symbol in order]
    levels, packages = [], []
    for _ in range(longest):
        merged = sorted(coins + packages)
        levels.append([kind for _, kind in merged])
        packages = [(merged[i][0] + merged[i + 1][0], 1) for i in range(0, len(merged) - 1, 2)]
    lengths, taken = [0] * len(order), 2 * len(order) - 2
    for kinds in reversed(levels):
        packed = sum(kinds[:taken])
        for symbol in order[: taken - packed]:
            lengths[symbol] += 1
        taken = 2 * packed
    return lengths


def codes(lengths: Sequence[int]) -> list[int]:
    """The codes for ascending lengths of a complete code."""
    found, code, last = [], 0, 0
    for length in lengths:
        code <<= length - last
        found.append(code)
        code, last = code + 1, length
    return found


def nibbles_of(lengths: Sequence[int]) -> list[int]:
    """The numbers of codes of length 0, 1, 2, ... as nibbles, for ascending lengths of a complete code."""
    nibbles = []
    for length in range(lengths[-1] + 1):
        count = lengths.count(length)
        nibbles += [count] if count < _ESCAPE else [_ESCAPE, count & 15, count >> 4 & 15, count >> 8]
    return nibbles


def read_lengths(nibbles: Iterator[int], longest: int, most: int, what: str) -> list[int]:
    """Ascending lengths of a complete code from its counts.

    Raises:
        BlobError: the nibbles end, or the code is not complete with `most` symbols of at most `longest` bits.
    """
    lengths: list[int] = []
    room, length = 1, 0
    while room:
        count = _read_count(nibbles, what)
        room -= count
        lengths += [length] * min(count, most + 1)
        if room < 0 or len(lengths) > most or (room and length == longest):
            raise BlobError(f"{what}: expected a complete prefix code of at most {most} symbols and {longest} bits")
        room, length = 2 * room, length + 1
    return lengths


def _read_count(nibbles: Iterator[int], what: str) -> int:
    try:
        count = next(nibbles)
        return count if count < _ESCAPE else next(nibbles) | next(nibbles) << 4 | next(nibbles) << 8
    except StopIteration:
        raise BlobError(f"{what}: the payload ends inside the table of code lengths") from None


def lookup(lengths: Sequence[int], symbols: Sequence[int]) -> list[tuple[int, int]]:
    """For every window of lengths[-1] bits the length of the code that it begins with, and that code's symbol."""
    found: list[tuple[int, int]] = []
    for length, symbol in zip(lengths, symbols, strict=True):
        found += [(length, symbol)] * (1 << lengths[-1] - length)
    return found
