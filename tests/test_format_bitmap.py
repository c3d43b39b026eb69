"""The format bitmap: blobs typed by hand, malformed blobs, sizes.

test_formats.py and test_formats_runtime.py run their tests on the dictionaries of this file, too.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress import formats

SEEDED = settings(derandomize=True, deadline=None, database=None, max_examples=100)

HAND_TYPED = {
    "bitmap ternary": (
        # levels -5, 5 | 3 bits | 0b01100010 = 0x62, 0 | codes 1 0 0 in the low bits: 0b001
        "86 01 0000  0100 00 00  09000000  08000000  fb 05  03  62 00  01  0000",
        [[0, 5, 0, 0, 0, -5, -5, 0, 0]],
    ),
    "bitmap groups": (
        # param 3 + 4 | 5 and 0 bits | 0b11111, 0 | -8 to 7 and 8 with three codes behind the row
        "86 01 0000  0200 00 07  11000000  18000000  05 00  1f 00  f8 f9 fa fb fc fd fe ff 00 01 02 03 04 05 06 07 08 00 00 00",
        [list(range(-8, 9)), [0] * 17],
    ),
    "bitmap five levels": (
        # param 2: 4 bits | 1 2 3 4 5, the last one repeated | 5 bits of ten | 0b00011011, 0b10 | 0 1 2 3 4: 0x10 0x32 0x04
        "86 01 0000  0100 00 02  0a000000  18000000  01 02 03 04 05 05 05 05 05 05 05 05 05 05 05 05  05  1b 02  10 32 04  0000",
        [[1, 2, 0, 3, 4, 0, 0, 0, 0, 5]],
    ),
    "bitmap rows share a code byte": (
        # param 1: 2 bits | -3 -1 2 2 | 1, 2 and 1 bits | 2, 5 and 1 | codes 2 | 0 1 | 1: 2 + 0*4 + 1*16 + 1*64 = 0x52
        "86 01 0000  0300 00 01  03000000  0c000000  fd ff 02 02  01 02 01  02 05 01  52  00",
        [[0, 2, 0], [-3, 0, -1], [-1, 0, 0]],
    ),
    "bitmap nothing": (
        # no weight: levels 0, 0; no bit, no code
        "86 01 0000  0200 00 00  03000000  08000000  00 00  00 00  00 00  0000",
        [[0, 0, 0], [0, 0, 0]],
    ),
}
IN_FORMAT_MD = ("bitmap ternary", "bitmap groups")
VARIANTS = {
    "bitmap weights": lambda values: formats.encode("bitmap", values, groups=False),
    "bitmap groups": lambda values: formats.encode("bitmap", values, groups=True),
}


def _edit(case: str, length: int | None = None, param: int | None = None, **edits: int) -> bytes:
    """A blob typed by hand with fields of the header, or bytes (by `b<offset>`), replaced."""
    data = bytearray(bytes.fromhex(HAND_TYPED[case][0]))
    data[8] = data[8] if length is None else length
    data[7] = data[7] if param is None else param
    for name, value in edits.items():
        data[int(name[1:])] = value
    return bytes(data)


MALFORMED = {
    "bitmap param": (_edit("bitmap ternary", param=32), "param bits 3-7 up to 2. Received: 32"),
    "bitmap count width": (_edit("bitmap ternary", param=24), "param bits 3-7 up to 2. Received: 24"),
    "maps cut off": (_edit("bitmap ternary", length=50), "maps end at byte 10 of the payload. Received: 8 bytes"),
    "bitmap count": (_edit("bitmap ternary", b18=2), r"expected the counts of the maps. Received: \[2\]"),
    "bitmap bit": (_edit("bitmap ternary", b19=0x63), r"expected the counts of the maps. Received: \[3\]"),
    "bit behind the row": (_edit("bitmap ternary", b18=4, b20=2), "bits of a map behind the end of its row must be zero"),
    "bitmap code padding": (_edit("bitmap ternary", b21=9), "unused bits of the last code byte must be zero"),
    "bitmap padding": (_edit("bitmap ternary", b23=1), "padding must be zero. Received: 0001"),
    "code behind the row": (_edit("bitmap groups", b38=1), "codes behind the end of a row must be zero"),
    "bitmap too long": (_edit("bitmap groups", b16=1, b18=1), "implies a payload of 8 bytes. Received: 24"),
    "bitmap too short": (_edit("bitmap groups", length=60, b16=8, b18=0xFF), "implies a payload of 40 bytes. Received: 24"),
}
MALFORMED_STATUS = dict.fromkeys(MALFORMED, "ERR_PAYLOAD") | dict.fromkeys(("bitmap param", "bitmap count width"), "ERR_HEADER")


def _expected_bytes(values: np.ndarray, groups: bool) -> int:
    """Blob bytes counted weight by weight."""
    per_bit = 4 if groups else 1
    codes, kept, most = 0, set(), 0
    for row in values.tolist():
        parts = [row[i : i + per_bit] for i in range(0, len(row), per_bit)]
        used = [part for part in parts if any(part)]
        codes += per_bit * len(used)
        most = max(most, len(used))
        kept.update(value for part in used for value in part)
    bits = next(bits for bits in (1, 2, 4, 8) if len(kept) <= 2**bits)
    count_bytes = 1 if most < 256 else 2
    maps = math.ceil(math.ceil(values.shape[1] / per_bit) / 8)
    payload = (2**bits if bits < 8 else 0) + len(values) * (count_bytes + maps) + math.ceil(codes * bits / 8)
    return 16 + -(-payload // 4) * 4


@SEEDED
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 1100), st.floats(0, 1), st.sampled_from([2, 4, 5, 16, 17, 250]))
def test_the_blob_is_as_long_as_its_parts_and_the_shorter_of_both_kinds(seed: int, rows: int, length: int, density: float, levels: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(1, levels + 1, (rows, length)).astype(np.uint8).view(np.int8) * (rng.random((rows, length)) < density)
    values = values.astype(np.int8)
    lengths = {groups: len(formats.encode("bitmap", values, groups=groups)) for groups in (False, True)}
    assert lengths == {groups: _expected_bytes(values, groups) for groups in (False, True)}
    data = formats.encode("bitmap", values)
    assert len(data) == min(lengths.values())
    assert bool(data[7] & 4) == (lengths[True] < lengths[False])


@pytest.mark.parametrize(("density", "bits"), [(0.35, 1.43), (0.2, 1.28), (0.1, 1.18)])
def test_ternary_weights_cost_a_bit_each_and_a_sign(density: float, bits: float) -> None:
    rng = np.random.default_rng(0)
    values = (rng.choice([-1, 0, 1], (64, 576), p=[density / 2, 1 - density, density / 2]) * 127).astype(np.int8)
    assert 8 * len(formats.encode("bitmap", values, groups=False)) <= bits * values.size


@pytest.mark.parametrize("nonzeros", [255, 256, 65_535, 65_536])
def test_counts_are_as_wide_as_the_fullest_row_needs(nonzeros: int) -> None:
    values = np.zeros((2, 70_000), np.int8)
    values[1, -nonzeros:] = 3
    data = formats.encode("bitmap", values, groups=False)
    assert 1 << (data[7] >> 3) == (1 if nonzeros < 256 else 2 if nonzeros < 65_536 else 4)
    np.testing.assert_array_equal(formats.decode(data), values)


def test_dump_tells_map_and_levels() -> None:
    text = formats.dump(bytes.fromhex(HAND_TYPED["bitmap ternary"][0]))
    assert "a bit for every weight, 3 of 9 are set; codes of 1 bits" in text and "levels: -5 5" in text
    assert "a bit for every group of four weights, 5 of 10 are set" in formats.dump(bytes.fromhex(HAND_TYPED["bitmap groups"][0]))
