"""The format runs: blobs typed by hand, its own malformed blobs, fillers, segments, bounds and sizes.

test_formats.py and test_formats_runtime.py run their tests on the dictionaries of this file, too.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError

SEEDED = settings(derandomize=True, deadline=None, database=None, max_examples=80)

HAND_TYPED = {
    "runs narrow": (
        # param 1 = one segment, gaps of 4 bits | minus: 1 entry, 8 + 7 | plus: 5 entries, 8 + 3 | v = 5, ends
        # minus 8: gap 8 above an unused half; plus 0 1 3 6 7: gaps 0 | 0 1 | 2 0, the first above an unused half
        "82 01 0000  0100 00 01  09000000  08000000  0f 0b 05 c0  80 00 10 02",
        [[5, 5, 0, 5, 0, 0, 5, 5, -5]],
    ),
    "runs wide": (
        # param 128 + 1 | row 0: no minus list, plus: 1 entry, 4 + 3, v = -3 (0xfd), gap 0; then v = 7, gap 3, ends
        # row 1: nothing, ends; padding
        "82 01 0000  0200 00 81  04000000  10000000  00 07 fd 00  00 00 07 07  c0 03 00 00  00 c0 0000",
        [[-3, 0, 0, 7], [0, 0, 0, 0]],
    ),
    "runs filler": (
        # 6 from 0 to 8 and at 27: the gap of 18 is bridged at 11, 16 before 27, in both lists. minus: 11, gap 11;
        # plus: 11 entries, 16 + 5: 0 1 2 3 4 5 6 7 8 11 27, gaps 0 | 0 0 | 0 0 | 0 0 | 0 0 | 2 15
        "82 01 0000  0100 00 01  1c000000  0c000000  0f 15 06 c0  b0 00 00 00  00 00 f2 00",
        [[6] * 9 + [0] * 18 + [6]],
    ),
    "runs segments": (
        # param 128 + 2: segments of 513 and 512 positions | 1 at 0, end of a segment | 1 at 513 + 3, ends
        "82 01 0000  0100 00 82  01040000  0c000000  00 07 01 40  00 00 07 01  c0 03 0000",
        [[1] + [0] * 515 + [1] + [0] * 508],
    ),
}
IN_FORMAT_MD = ("runs narrow", "runs wide")


def _edit(case: str, param: int | None = None, **edits: int) -> bytes:
    """A blob typed by hand with bytes (by `b<offset>`) or the header's param replaced."""
    data = bytearray(bytes.fromhex(HAND_TYPED[case][0]))
    if param is not None:
        data[7] = param
    for name, value in edits.items():
        data[int(name[1:])] = value
    return bytes(data)


MALFORMED = {
    "no segment": (_edit("runs narrow", param=128), "segments of 1..1024 positions. Received: 128 for row_length 9"),
    "empty segment": (_edit("runs narrow", param=7), "segments of 1..1024 positions. Received: 7 for row_length 9"),
    "list length": (_edit("runs narrow", b16=7), "length of a list is 0 or at least 8. Received: 7, 11"),
    "list beyond the end": (_edit("runs narrow", b17=16), "payload ends inside segment 0. Received: 8 bytes"),
    "no end": (_edit("runs narrow", b19=0), "payload ends inside segment 0. Received: 8 bytes"),
    "flags": (_edit("runs narrow", b19=64), r"flags of a head contradict the order of segments. Received: \[64\]"),
    "value without lists": (_edit("runs wide", b28=1), "a value exactly if it has a list"),
    "lists without value": (_edit("runs narrow", b18=0), "a value exactly if it has a list"),
    "unused half": (_edit("runs narrow", b20=0x81), "unused bits of a list must be zero"),
    "position": (_edit("runs narrow", b20=0x90), "leaves its segment of 9 positions. Received: 9"),
    "fillers alone": (_edit("runs narrow", b17=0x0F, b21=0x80, b22=0, b23=0), "only a segment of zeros has an empty"),
    "minus 128": (_edit("runs narrow", b18=128), "minus list of value -128"),
    "weight twice": (_edit("runs wide", b25=0), "a weight occurs in two groups"),
    "runs padding": (_edit("runs wide", b31=1), "expected 14 bytes and padding of zeros. Received: 16 bytes"),
}
MALFORMED_STATUS = {
    **dict.fromkeys(MALFORMED, "ERR_PAYLOAD"),
    **dict.fromkeys(("no segment", "empty segment"), "ERR_HEADER"),
}


def ternary(rng: np.random.Generator, shape: tuple[int, int], density: float, value: int = 127) -> np.ndarray:
    """Weights of {-value, 0, value}, independent of each other."""
    return (rng.choice([-value, value], shape) * (rng.random(shape) < density)).astype(np.int8)


def groups_of(blob: bytes) -> list[tuple[set[int], set[int], int, int]]:
    """(minus positions, plus positions, value, segment) of each group; shares no code with the package."""
    rows, length, param = blob[4] | blob[5] << 8, int.from_bytes(blob[8:12], "little"), blob[7]
    bits, found, at = (8 if param & 128 else 4), [], 16
    for segment in range(rows * (param & 127)):
        flags = 0
        while flags == 0:
            lengths, flags = blob[at : at + 2], blob[at + 3]
            value = int.from_bytes(blob[at + 2 : at + 3], "little", signed=True)
            at += 4
            lists = []
            for size in lengths:
                entries = size - 2 * (size % (32 // bits))
                raw = blob[at : at + -(-entries * bits // 8)]
                gaps = list(raw) if bits == 8 else [half for byte in raw for half in (byte & 15, byte >> 4)]
                at += len(raw)
                lists.append(set((np.cumsum(np.array(gaps[len(gaps) - entries :], int) + 1) - 1).tolist()))
            found.append((*lists, value, segment))
    assert len(blob) - at in range(4) and length
    return found


@st.composite
def sparse_weights(draw: st.DrawFn) -> np.ndarray:
    """Long rows of few levels: wide gaps, several segments, rows that are nearly full or empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 5)), draw(st.sampled_from([1, 15, 16, 17, 33, 255, 256, 257, 600, 1024, 1025, 2300])))
    levels = rng.choice([-128, -127, -3, -1, 1, 3, 127], draw(st.integers(1, 7)), replace=False)
    density = draw(st.sampled_from([0.002, 0.02, 0.1, 0.35, 0.8, 1.0]))
    return (rng.choice(levels, shape) * (rng.random(shape) < density)).astype(np.int8)


@SEEDED
@given(sparse_weights(), st.sampled_from([4, 8]))
def test_long_rows_come_back_and_keep_the_bounds_of_the_kernels(values: np.ndarray, bits: int) -> None:
    blob = formats.encode("runs", values, gap_bits=bits)
    np.testing.assert_array_equal(formats.decode(blob), values)
    segments, length = blob[7] & 127, values.shape[1]
    width = -(-length // segments)
    rebuilt = np.zeros((values.shape[0], segments * width), np.int16)
    for minus, plus, value, segment in groups_of(blob):
        assert len(minus ^ plus) <= 255
        start = segment // segments * segments * width + segment % segments * width
        rebuilt.reshape(-1)[[start + k for k in plus - minus]] += value
        rebuilt.reshape(-1)[[start + k for k in minus - plus]] -= value
    np.testing.assert_array_equal(rebuilt[:, :length], values)
    assert not rebuilt[:, length:].any()


def test_one_sum_holds_at_most_255_weights_and_the_next_takes_another_segment() -> None:
    for count, segments in ((255, 1), (256, 2)):
        values = np.full((1, 400), 9, np.int8)
        values[0, ::2] = -9
        values[0, count:] = 0
        blob = formats.encode("runs", values)
        assert blob[7] & 127 == segments
        assert max(len(minus ^ plus) for minus, plus, _, _ in groups_of(blob)) == (255 if segments == 1 else 200)


def test_a_blob_with_256_weights_in_a_sum_is_refused() -> None:
    ones = bytes([0x11] * 63)
    plus = bytes([0x10]) + ones  # 128 entries: gap 0, then 1: 0 2 4 ... 254
    for first, length, terms in ((0x11, 128, 256), (0x10, 127 + 2, 255)):  # minus: 1 3 5 ... 255, or ... 253
        head = bytes([length, 128, 1, 192])
        blob = bytes.fromhex("82010000 01000001 00010000 84000000") + head + bytes([first]) + ones + plus
        if terms == 256:
            with pytest.raises(BlobError, match="at most 255 weights. Received: 256"):
                formats.decode(blob)
        else:
            assert formats.decode(blob).tolist() == [[1, -1] * 127 + [1, 0]]


def test_lists_that_leave_no_room_for_a_filler_become_groups_of_their_own() -> None:
    values = np.full((1, 40), -8, np.int8)
    values[0, [0, 39]] = 8  # a gap of 38 in the plus list, all of it weights of the minus list
    blob = formats.encode("runs", values, gap_bits=4)
    np.testing.assert_array_equal(formats.decode(blob), values)
    found = groups_of(blob)
    assert [value for *_, value, _ in found] == [8, -8]
    assert found[0][0] == {7, 23} and found[0][1] == {0, 7, 23, 39} and found[1][0] == set()


def test_a_magnitude_of_one_sign_has_no_minus_list_and_minus_128_is_a_value() -> None:
    values = np.array([[-128, 0, -5, 0, -128, 5, 0, 1]], np.int8)
    assert groups_of(formats.encode("runs", values)) == [
        (set(), {7}, 1, 0),
        ({2}, {5}, 5, 0),
        (set(), {0, 4}, -128, 0),
    ]


@pytest.mark.parametrize("length, channels", [(144, 16), (144, 32), (288, 32), (576, 64)])
def test_ternary_weights_at_35_percent_take_less_than_2_bits(length: int, channels: int) -> None:
    for seed in range(3):
        values = ternary(np.random.default_rng(seed), (channels, length), 0.35)
        blob = formats.encode("runs", values)
        assert 8 * len(blob) / values.size <= 1.9


def test_gaps_of_8_bits_are_taken_where_they_are_shorter() -> None:
    rng = np.random.default_rng(0)
    for density, wide in ((0.35, False), (0.05, True)):
        values = ternary(rng, (16, 576), density)
        lengths = {bits: len(formats.encode("runs", values, gap_bits=bits)) for bits in (4, 8)}
        blob = formats.encode("runs", values)
        assert len(blob) == min(lengths.values()) and bool(blob[7] & 128) == wide


def test_values_that_runs_cannot_hold_are_refused() -> None:
    many = np.zeros((2, 40), np.int8)
    many[1, :17] = np.arange(17)
    with pytest.raises(BlobError, match="at most 16 levels in a row. Received: 17"):
        formats.encode("runs", many)
    with pytest.raises(BlobError, match="rows are too long. Received: row_length=130049"):
        formats.encode("runs", np.zeros((1, 127 * 1024 + 1), np.int8))
    with pytest.raises(BlobError, match="gap_bits of 4 or 8. Received: 5"):
        formats.encode("runs", many[:1], gap_bits=5)
    longest = np.zeros((1, 127 * 1024), np.int8)
    longest[0, -1] = 3
    np.testing.assert_array_equal(formats.decode(formats.encode("runs", longest)), longest)


def test_a_hundred_thousand_weights_are_encoded_in_well_under_a_second() -> None:
    values = ternary(np.random.default_rng(1), (160, 640), 0.35)
    start = time.process_time()
    formats.encode("runs", values)
    assert time.process_time() - start < 0.8


def test_dump_tells_entries_and_fillers() -> None:
    text = formats.dump(bytes.fromhex(HAND_TYPED["runs filler"][0]))
    assert "gaps of 4 bits, 1 segments of up to 28 positions a row" in text
    assert "1 groups, 12 entries, 2 of them fillers" in text
