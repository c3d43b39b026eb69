"""The format entropy: blobs typed by hand, malformed blobs, prefix codes against other means, sizes against the entropy.

test_formats.py and test_formats_runtime.py run their tests on the dictionaries of this file, too.
"""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import prefix_code

SEEDED = settings(derandomize=True, deadline=None, database=None, max_examples=100)

HAND_TYPED = {
    "entropy ternary": (
        # nibbles 0 1 1 2: gap codes 0 10 110 111; nibbles 0 2: level codes 0 1 | the run (of 3) is gap symbol 0 | -5, 5
        # 000+5: 0 10 1 | -5: 10 0 | 00-5: 111 0 | 9 zeros, 5: 0 0 0 10 1 | 000-5: 0 10 0 | 5 zeros: 0 0 (one too many)
        # 01011001 11000010 101000(00) = 59 c2 a0, backwards
        "85 01 0000  0100 00 00  1b000000  0c000000  10 21 20  00  fb 05  00 00  00 a0 c2 59",
        [[0, 0, 0, 5, -5, 0, 0, -5, *[0] * 9, 5, 0, 0, 0, -5, 0, 0, 0, 0, 0]],
    ),
    "entropy two tiles": (
        # param 32 + 3: listed, 8 rows | nibbles 0 0 4: four gap codes of 2 bits; 0 2: levels of 1 bit; one unused nibble
        # gaps 31, 32, 103, run of 128 | 5, 7 | tile 1: 1 byte | tile 0: 128 + 103 zeros, 5, 31 zeros, 7: 11 10 0 00 1
        # tile 1: 32 zeros, 5: 01 0
        "85 01 0000  0900 00 23  21000000  0c000000  00 04 02  1f 20 67 ff  05 07  01  e1 40",
        [*[[0] * 33] * 7, [5, *[0] * 31, 7], [*[0] * 32, 5]],
    ),
    "entropy values": (
        # nibble 1: the empty gap code; nibbles 0 1 2: 0 10 11 | 3, -1, 2 | padding | 0 0 10 0 11 0
        "85 01 0000  0100 00 00  06000000  08000000  01 21  03 ff 02  0000  26",
        [[3, 3, -1, 3, 2, 3]],
    ),
    "entropy sixteen levels": (
        # nibble 1: the empty gap code; 0 0 0 0 and 16 as 15, 0 1 0: sixteen codes of 4 bits | 0 to 15 | the codes backwards
        "85 01 0000  0100 00 00  10000000  20000000  01 00 f0 10 00  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  000000"
        "ef cd ab 89 67 45 23 01",
        [list(range(16))],
    ),
    "entropy one magnitude": (
        # nibbles 0 1 2: run (of 2), 0, 1: 0 10 11; nibble 1: a level of no bits | run first | 9 | 00 00 0+9: 0 0 11; 9: 10;
        # 00 00: 0 0
        "85 01 0000  0100 00 00  0b000000  08000000  10 12  00  09  0000 00  38",
        [[0, 0, 0, 0, 0, 9, 9, 0, 0, 0, 0]],
    ),
    "entropy constant": (
        # one level is there twice, with the codes 0 and 1, because no weight may take no bit
        "85 01 0000  0200 00 01  03000000  08000000  01 02  f9 f9  000000  00",
        [[-7, -7, -7], [-7, -7, -7]],
    ),
}
IN_FORMAT_MD = ("entropy ternary", "entropy two tiles", "entropy values")
VARIANTS = {
    f"entropy tiles of {rows}": lambda values, rows=rows: formats.encode("entropy", values, tile_rows=rows) for rows in (1, 2, 4, 128)
}


def _edit(case: str, length: int | None = None, rows: int | None = None, param: int | None = None, **edits: int) -> bytes:
    """A blob typed by hand with fields of the header, or bytes (by `b<offset>`), replaced."""
    data = bytearray(bytes.fromhex(HAND_TYPED[case][0]))
    data[4] = data[4] if rows is None else rows
    data[8] = data[8] if length is None else length
    data[7] = data[7] if param is None else param
    for name, value in edits.items():
        data[int(name[1:])] = value
    return bytes(data)


_HEAD = bytes.fromhex("85 01 0000  0100 00 00  08000000  04000000")
MALFORMED = {
    "entropy param": (_edit("entropy values", param=64), "bits 3-4 up to 2 and bits 6-7 zero. Received: 64"),
    "entropy index width": (_edit("entropy values", param=24), "bits 3-4 up to 2 and bits 6-7 zero. Received: 24"),
    "two empty codes": (_edit("entropy constant", b16=0x11), "Received: two empty codes"),
    "listed without gaps": (_edit("entropy values", param=32), "an empty gap code has no list"),
    "too many gap codes": (_edit("entropy ternary", b16=0x30), "gap code: expected a complete prefix code"),
    "too few gap codes": (_HEAD + bytes.fromhex("10 00 00 00"), "gap code: the payload ends inside the table"),
    "gap code too long": (_edit("entropy ternary", b16=0, b17=0, b18=0, b19=0, b20=0, b21=0, b22=0), "gap code: expected a complete"),
    "too many gap symbols": (
        _HEAD[:12] + bytes.fromhex("08000000  00 00 00 00  f0 00 01 00"),  # 256 codes of 8 bits
        "complete prefix code of at most 129 symbols",
    ),
    "too many levels": (
        _HEAD[:12] + bytes.fromhex("08000000  01 00 00 00  00 0f 20 00"),  # 512 codes of 9 bits
        "level code: expected a complete prefix code of at most 256 symbols",
    ),
    "nibble padding": (_edit("entropy two tiles", b18=0x12), "nibble behind the code lengths must be zero"),
    "levels cut off": (_HEAD + bytes.fromhex("20 20 81 00"), "ends inside the alphabets. Received: 4 bytes"),
    "run position": (_edit("entropy ternary", b19=4), "position of the run below 4. Received: 4"),
    "index cut off": (_edit("entropy two tiles", rows=200), "an index of 24 tiles ends beyond the payload"),
    "tile too long": (_edit("entropy two tiles", b25=3), "tiles of 3 bytes exceed the payload"),
    "tile too short": (_edit("entropy two tiles", b25=0), "a tile ends inside its tokens. Received: 290 of 264 weights"),
    "tokens cut off": (_edit("entropy ternary", length=200), "a tile ends inside its tokens"),
    "unused bit": (_edit("entropy two tiles", b27=0x41), "at most 7 unused bits, all zero. Received: 5"),
    "unused bytes": (_edit("entropy sixteen levels", length=7), "at most 31 unused bits, all zero. Received: 60"),
    "entropy padding": (_edit("entropy ternary", b22=1), "at most 31 unused bits, all zero. Received: 25"),
}
MALFORMED_STATUS = dict.fromkeys(MALFORMED, "ERR_PAYLOAD") | dict.fromkeys(("entropy param", "entropy index width"), "ERR_HEADER")


# ---- prefix codes ------------------------------------------------------------------------------------------


def _huffman_bits(frequencies: list[int]) -> int:
    """Bits of the best prefix code without a bound: the sum of the weights of all merged nodes."""
    heap, bits = list(frequencies), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return bits


@SEEDED
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=40))
def test_code_lengths_are_complete_and_as_good_as_huffmans(frequencies: list[int]) -> None:
    lengths = prefix_code.code_lengths(frequencies, 40)
    assert sum(2.0**-length for length in lengths) == 1
    assert sum(map(int.__mul__, lengths, frequencies)) == _huffman_bits(frequencies)


def _all_lengths(count: int, longest: int) -> list[tuple[int, ...]]:
    """Ascending lengths of every complete code."""
    choices = itertools.combinations_with_replacement(range(1, longest + 1), count)
    return [lengths for lengths in choices if sum(2.0**-length for length in lengths) == 1]


@SEEDED
@given(st.lists(st.integers(0, 300), min_size=5, max_size=8), st.integers(3, 5))
def test_bounded_code_lengths_are_the_best_of_all_complete_codes(frequencies: list[int], longest: int) -> None:
    lengths = prefix_code.code_lengths(frequencies, longest)
    falling = sorted(frequencies, reverse=True)
    best = min(sum(map(int.__mul__, choice, falling)) for choice in _all_lengths(len(falling), longest))
    assert sum(2.0**-length for length in lengths) == 1 and max(lengths) <= longest
    assert sum(map(int.__mul__, lengths, frequencies)) == best


def test_no_code_is_the_beginning_of_another() -> None:
    lengths = sorted(prefix_code.code_lengths([50, 20, 9, 9, 5, 3, 2, 1, 1], 6))
    words = [f"{code:0{length}b}" for code, length in zip(prefix_code.codes(lengths), lengths, strict=True)]
    assert words == sorted(words)
    assert not any(b.startswith(a) for a, b in itertools.permutations(words, 2))


# ---- size --------------------------------------------------------------------------------------------------


def _ternary(shape: tuple[int, int], density: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 0, 1], shape, p=[density / 2, 1 - density, density / 2]) * 127).astype(np.int8)


def _entropy_bytes(values: np.ndarray) -> float:
    """Zero-order entropy of a tensor, of the frequencies in it."""
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum() / 8)


@pytest.mark.parametrize("shape", [(64, 288), (64, 576), (128, 640), (256, 2304)], ids=str)
@pytest.mark.parametrize("density", [0.5, 0.35, 0.2, 0.1])
def test_ternary_blobs_are_within_5_percent_of_the_entropy(shape: tuple[int, int], density: float) -> None:
    for seed in range(3 if np.prod(shape) < 100_000 else 1):
        values = _ternary(shape, density, seed)
        assert len(formats.encode("entropy", values)) <= 1.05 * _entropy_bytes(values)


@pytest.mark.parametrize("shape", [(32, 288), (32, 576), (64, 144)], ids=str)
@pytest.mark.parametrize("density", [0.35, 0.2])
def test_smaller_ternary_blobs_are_so_too_at_20_and_35_percent(shape: tuple[int, int], density: float) -> None:
    values = _ternary(shape, density, 0)
    assert len(formats.encode("entropy", values)) <= 1.05 * _entropy_bytes(values)


@pytest.mark.parametrize(("scale", "density", "limit"), [(20, 1, 1.04), (20, 0.3, 1.05), (5, 1, 1.03), (40, 0.1, 1.07)])
def test_general_weights_are_near_the_entropy(scale: float, density: float, limit: float) -> None:
    rng = np.random.default_rng(0)
    values = np.clip(np.round(rng.normal(0, scale, (64, 576))), -127, 127) * (rng.random((64, 576)) < density)
    values = values.astype(np.int8)
    assert len(formats.encode("entropy", values)) <= limit * _entropy_bytes(values)


def test_groups_of_zeros_cost_less_than_the_entropy_of_single_weights() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-16, 17, (64, 64, 4, 4)).sum(axis=3) * (rng.random((64, 64, 1)) < 0.2)
    values = values.reshape(64, 256).astype(np.int8)
    assert len(formats.encode("entropy", values)) <= 0.9 * _entropy_bytes(values)


def test_zeros_cost_a_bit_for_many() -> None:
    values = np.zeros((64, 576), np.int8)
    assert len(formats.encode("entropy", values)) <= 80
    values[5, 17] = 3
    assert len(formats.encode("entropy", values)) <= 88


# ---- tiles -------------------------------------------------------------------------------------------------


def test_tiles_have_as_many_rows_as_asked_for() -> None:
    values = _ternary((20, 50), 0.3, 1)
    for rows in (1, 2, 4, 8, 16, 32, 64, 128):
        data = formats.encode("entropy", values, tile_rows=rows)
        assert 1 << (data[7] & 7) == rows
        np.testing.assert_array_equal(formats.decode(data), values)
    for rows in (0, 3, 256):
        with pytest.raises(BlobError, match=f"power of two in 1..128. Received: {rows}"):
            formats.encode("entropy", values, tile_rows=rows)


def test_tiles_are_small_where_rows_are_long_and_larger_where_they_are_short() -> None:
    shapes = ((64, 2304), (64, 288), (64, 9))
    rows = {shape: 1 << (formats.encode("entropy", _ternary(shape, 0.35, 0))[7] & 7) for shape in shapes}
    assert rows == {(64, 2304): 1, (64, 288): 4, (64, 9): 16}


@pytest.mark.parametrize(("bytes_of_a_tile", "width"), [(200, 1), (70_000, 4), (2000, 2)])
def test_index_entries_are_as_wide_as_the_longest_tile_needs(bytes_of_a_tile: int, width: int) -> None:
    values = np.tile(np.int8([1, 2]), (3, 4 * bytes_of_a_tile))
    data = formats.encode("entropy", values, tile_rows=1)
    assert 1 << (data[7] >> 3 & 3) == width
    np.testing.assert_array_equal(formats.decode(data), values)


def test_every_number_of_zeros_at_the_end_of_a_row_comes_back() -> None:
    values = np.ones((160, 160), np.int8)
    values[np.arange(160)[:, None] > np.arange(160)] = 0
    for rows in (1, 4):
        np.testing.assert_array_equal(formats.decode(formats.encode("entropy", values[:, ::-1], tile_rows=rows)), values[:, ::-1])


def test_dump_tells_the_codes() -> None:
    text = formats.dump(bytes.fromhex(HAND_TYPED["entropy ternary"][0]))
    assert "1 tiles of 1 rows; bits of the levels -5: 1, 5: 1" in text and "bits of the gaps run 3: 1, 0: 2, 1: 3, 2: 3" in text
