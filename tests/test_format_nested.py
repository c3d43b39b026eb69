"""The layout `nested` of dense8 and nary: blobs typed by hand, malformed blobs, which values and sums it admits.

test_formats.py and test_formats_runtime.py run their tests on the dictionaries of this file, too.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError

SEEDED = settings(derandomize=True, deadline=None, database=None, max_examples=80)

HAND_TYPED = {
    "dense8_nested": (
        # format 128, layout 1 | pair 0 (positions 0, 2): 1 + 256*4 = 0x0401, 3 - 256*6 = 0xfa03; -1 + 256*127 = 0x7eff, 127
        # pair 1 (positions 1, 3): -2 + 256*5 = 0x04fe, 0; 0 - 256*128 = 0x8000, 0 | the fifth row and a zero
        "80 01 0000  0500 01 00  03000000  14000000  01 04 03 fa  ff 7e 7f 00  fe 04 00 00  00 80 00 00  07 08 09 00",
        [[1, -2, 3], [4, 5, -6], [-1, 0, 127], [127, -128, 0], [7, 8, 9]],
    ),
    "nary_nested 4 codes": (
        # param 4, one grid: -3 (0xfd) + 3 code | a 2 0 1, b 1 2 2: bytes 2 + 4*1, 0 + 4*2, 1 + 4*2, 0
        "81 01 0000  0200 01 04  03000000  08000000  fd 03 0000  06 08 09 00",
        [[3, -3, 0], [0, 3, 3]],
    ),
    "nary_nested 16 codes": (
        # param 16, one grid: 0 + 1 code | position 0: 0 + 16*1 + 256*2 + 4096*(3 xor 8) = 0xb210, position 1:
        # 4 + 16*3 + 256*2 + 4096*(1 xor 8) = 0x9234, positions 2 and 3: 4096*(0 xor 8) = 0x8000
        "81 01 0000  0400 01 10  02000000  0c000000  00 01 0000  10 b2 00 80  34 92 00 80",
        [[0, 4], [1, 3], [2, 2], [3, 1]],
    ),
    "nary_nested per row": (
        # param 128 + 4, grids -128 (0x80) + 255 code and 10 + 10 code | a 0 1 1 0 1, b 0 2 1 1 0
        "81 01 0000  0200 01 84  05000000  0c000000  80 ff 0a 0a  00 09 05 04  01 000000",
        [[-128, 127, 127, -128, 127], [10, 30, 20, 20, 10]],
    ),
}
IN_FORMAT_MD = ("dense8_nested", "nary_nested 4 codes", "nary_nested 16 codes")


def _edit(case: str, **edits: int) -> bytes:
    """A blob typed by hand with bytes (by `b<offset>`) replaced; rows, param: header fields."""
    data = bytearray(bytes.fromhex(HAND_TYPED[case][0]))
    for name, value in edits.items():
        data[{"rows": 4, "param": 7}.get(name) or int(name[1:])] = value
    return bytes(data)


def too_long_rows(layout: str) -> np.ndarray:
    """A row b or d whose sum does not fit the bits above the others by one."""
    levels = [1, -128, 1, -128] if layout == "dense8_nested" else [0, 7, 7, -8]
    values = np.repeat(np.array(levels, np.int8)[:, None], 512, axis=1)
    values[0] = np.resize(np.arange(0 if layout == "dense8_nested" else -8, 8), 512)
    return values


def _without_parts(layout: str) -> bytes:
    data = bytearray(formats.encode(layout, too_long_rows(layout)))
    data[7] &= ~64
    return bytes(data)


MALFORMED = {
    "dense8_nested param": (_edit("dense8_nested", param=1), "expected param 0 or 64. Received: 1"),
    "dense8_nested length": (_edit("dense8_nested", rows=6), "implies a payload of 24 bytes. Received: 20"),
    "dense8_nested half": (_edit("dense8_nested", b20=0x80, b21=0x7F), "halves a \\+ 256 b of int8 a and b. Received: 32640"),
    "dense8_nested filling": (_edit("dense8_nested", b26=1), "fills up nested rows must be 0"),
    "dense8_nested filling of the rest": (_edit("dense8_nested", b35=1), "fills up nested rows must be 0"),
    "dense8_nested parts": (_without_parts("dense8_nested"), "need NESTED_PARTS"),
    "nary_nested levels": (_edit("nary_nested 4 codes", param=3), "4 or 16 levels in param. Received: 3"),
    "nary_nested length": (_edit("nary_nested 4 codes", rows=5), "implies a payload of 12 bytes. Received: 8"),
    "nary_nested value": (_edit("nary_nested 4 codes", b16=122), "values up to 127. Received: 128"),
    "nary_nested table padding": (_edit("nary_nested 4 codes", b18=1), "padding must be zero. Received: 0100"),
    "nary_nested filling": (_edit("nary_nested 4 codes", b23=1), "fills up nested rows must be 0"),
    "nary_nested filling of the group": (_edit("nary_nested 4 codes", b20=0x16), "fills up nested rows must be 0"),
    "nary_nested filling of 16 codes": (_edit("nary_nested 16 codes", b23=0), "fills up nested rows must be 0"),
    "nary_nested parts": (_without_parts("nary_nested"), "need NESTED_PARTS"),
}
MALFORMED_STATUS = {
    **dict.fromkeys(MALFORMED, "ERR_PAYLOAD"),
    **dict.fromkeys(("dense8_nested param", "nary_nested levels"), "ERR_HEADER"),
}


@SEEDED
@given(st.integers(0, 2**32 - 1), st.integers(1, 11), st.integers(1, 30))
def test_int8_is_nested_unless_minus_128_lies_above_a_negative_value(seed: int, rows: int, length: int) -> None:
    values = np.random.default_rng(seed).choice(np.array([-128, -127, -1, 0, 1, 127], np.int8), (rows, length))
    grouped = values[: rows // 4 * 4]
    if ((grouped[1::2] == -128) & (grouped[::2] < 0)).any():
        with pytest.raises(BlobError, match="-128 cannot be nested above a negative value"):
            formats.encode("dense8_nested", values)
    else:
        data = formats.encode("dense8_nested", values)
        assert len(data) == 16 + rows * (length + -length % 4)
        np.testing.assert_array_equal(formats.decode(data), values)


@SEEDED
@given(st.integers(0, 2**32 - 1), st.integers(2, 17), st.booleans(), st.sampled_from([None, False, True]))
def test_evenly_spaced_levels_are_nested_in_the_fewest_bits(seed: int, levels: int, alike: bool, per_channel: bool | None) -> None:
    rng = np.random.default_rng(seed)
    rows, length = rng.integers(1, 9), rng.integers(levels, 40)
    step = rng.integers(1, 255 // (levels - 1) + 1, (1 if alike else rows, 1))
    base = -128 + rng.integers(0, 256 - step * (levels - 1))
    codes = np.stack([rng.permutation(np.resize(np.arange(levels), length)) for _ in range(rows)])
    values = (base + step * codes).astype(np.int8)
    if levels > 16:
        with pytest.raises(BlobError, match="at most 16 evenly spaced levels"):
            formats.encode("nary_nested", values, per_channel=True)
        return
    if not alike and per_channel is False:
        return
    data = formats.encode("nary_nested", values, per_channel=per_channel)
    np.testing.assert_array_equal(formats.decode(data), values)
    assert data[7] & 31 == (4 if levels <= 4 else 16)
    bits, grids = (2 if levels <= 4 else 4), rows if data[7] & 128 else 1
    assert len(data) == 16 + (2 * grids + 3) // 4 * 4 + (rows + 3) // 4 * 4 * (length + -length % 4) * bits // 8
    assert per_channel is None or bool(data[7] & 128) == per_channel


@pytest.mark.parametrize("layout", ["dense8_nested", "nary_nested"])
def test_rows_are_cut_into_parts_exactly_if_a_sum_needs_it(layout: str) -> None:
    values = too_long_rows(layout)
    assert formats.encode(layout, values)[7] & 64
    values[3, 1] += 1  # one less in row d, and row b has room
    values[1, 1] = 0
    assert not formats.encode(layout, values)[7] & 64
    np.testing.assert_array_equal(formats.decode(formats.encode(layout, too_long_rows(layout))), too_long_rows(layout))


def test_uneven_levels_are_not_nested() -> None:
    values = np.array([[0, 1, 3, 100]], np.int8)
    assert "nary_nested" not in formats.layouts(values) and "nary" in formats.admissible(values)
    with pytest.raises(BlobError, match="expected 4 or 16 levels. Received: 5"):
        formats.encode("nary_nested", values, levels=5)
