"""The binary format as Python sees it: the table, round trips, blobs typed by hand, golden vectors, malformed blobs."""

from __future__ import annotations

import doctest
import hashlib
import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob as blobs
from keras_hwcompress.formats import markdown, nary, vectors
from keras_hwcompress.formats.table import keep_formats, parse_table, table, table_path
from keras_hwcompress.runtime_files import runtime_dir

NAMES = [row.name for row in table().stored]
SEEDED = settings(derandomize=True, deadline=None, database=None, max_examples=150)
VECTOR_DIR = runtime_dir() / "tests" / "vectors"


# What the files test_format_<name>.py add to the tests here: HAND_TYPED, MALFORMED, MALFORMED_STATUS, VARIANTS (dicts; the
# last of functions that encode with other options than the default) and IN_FORMAT_MD (names of the blobs typed by hand
# that FORMAT.md shows).
_MORE = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("test_format_*.py"))]


def _more(attribute: str) -> dict:
    return {key: value for module in _MORE for key, value in getattr(module, attribute, {}).items()}


VARIANTS = _more("VARIANTS")


def encoded(values: np.ndarray) -> dict[str, bytes]:
    """The blobs of `values` in every admissible format and layout and every variant of a format."""
    blobs = formats.admissible(values) | formats.layouts(values)
    return blobs | {name: encode(values) for name, encode in VARIANTS.items()}


@st.composite
def weights(draw: st.DrawFn, most_levels: int = 256) -> np.ndarray:
    """int8 matrices whose rows draw from a few levels, so that every format is reached."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 43)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, most_levels))
    grids = [rng.permutation(np.arange(-128, 128))[:count] for _ in range(shape[0])]
    if draw(st.booleans()):
        grids = [grids[0]] * shape[0]
    return np.stack([rng.choice(grid, shape[1]) for grid in grids]).astype(np.int8)


# ---- the table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_python_file_and_a_c_file_of_its_name(name: str) -> None:
    assert (Path(formats.__file__).parent / f"{name}.py").is_file()
    assert (runtime_dir() / "src" / f"unpack_{name}.c").is_file()


def test_every_unpack_file_has_a_row() -> None:
    found = sorted(path.stem for path in (runtime_dir() / "src").glob("unpack_*.c"))
    assert found == sorted(f"unpack_{name}" for name in NAMES)


def test_a_row_without_its_module_is_an_import_error_that_names_the_file() -> None:
    text = table_path().read_text(encoding="ascii") + "HWCMP_WEIGHT_FORMAT(250, ABSENT, absent, TILE)\n"
    with pytest.raises(ImportError, match="keras_hwcompress/formats/absent.py is missing"):
        formats._load_modules(parse_table(text))


@pytest.mark.parametrize(
    "line",
    [
        "HWCMP_WEIGHT_FORMAT(129, OTHER, other, TILE)",
        "HWCMP_WEIGHT_FORMAT(7, OTHER, other, TILE)",
        "HWCMP_WEIGHT_FORMAT(250, OTHER, another, TILE)",
        "HWCMP_WEIGHT_FORMAT(250, OTHER, other, DIRECTLY)",
        "HWCMP_WEIGHT_FORMAT(250, OTHER, other)",
        "HWCMP_WEIGHT_LAYOUT(128, NESTED, DENSE8_NESTED, dense8_nested)",
        "HWCMP_WEIGHT_LAYOUT(130, NESTED, RUNS_NESTED, dense8_nested)",
        "HWCMP_WEIGHT_LAYOUT(130, NESTED, DENSE8_NESTED, dense8_nested)",
        "HWCMP_WEIGHT_LAYOUT(130, OTHER, RUNS_OTHER, runs_other)",
        "HWCMP_WEIGHT_LAYOUT(130, CANONICAL, RUNS_CANONICAL, runs_canonical)",
        "HWCMP_HEADER_FIELD(16, u8, more)",
        "HWCMP_COLOUR(1, RED)",
        "int x;",
    ],
)
def test_a_row_that_is_malformed_or_contradicts_another_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="hwcmp_format.def"):
        parse_table(table_path().read_text(encoding="ascii") + line + "\n")


def test_keep_formats_drops_the_other_rows_and_nothing_else() -> None:
    text = table_path().read_text(encoding="ascii")
    kept = parse_table(keep_formats(text, {"nary"}))
    assert [row.name for row in kept.formats] == ["nary"]
    assert (kept.constants, kept.header, kept.statuses) == (table().constants, table().header, table().statuses)


def test_the_tables_in_format_md_are_those_of_the_def_file() -> None:
    text = (runtime_dir() / "FORMAT.md").read_text(encoding="utf-8")
    assert markdown.fill(text, table()) == text
    other = parse_table(table_path().read_text(encoding="ascii") + "HWCMP_CONSTANT(NEW, 3)\n")
    assert markdown.fill(text, other) != text


def test_format_md_shows_the_blobs_typed_by_hand_and_names_every_format() -> None:
    text = (runtime_dir() / "FORMAT.md").read_text(encoding="utf-8")
    assert all(f"\n## {row.name} ({row.id})\n" in text for row in table().formats)
    assert all(f"\n## {row.name} ({row.id}, layout {row.layout})\n" in text for row in table().layouts)
    code = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    more = [name for module in _MORE for name in getattr(module, "IN_FORMAT_MD", ())]
    for name in ("dense8", "nary ternary", "nary per channel", *more):
        data = bytes.fromhex(HAND_TYPED[name][0])
        for start in range(0, len(data), 4):
            assert f"    {data[start : start + 4].hex(' ')}   " in code, (name, start)


# ---- blobs typed by hand: an oracle that shares no code with the encoder ------------------------------------

HAND_TYPED = {
    "dense8": (
        # format 128, version 1, reserved | rows 2, layout, param | row_length 3 | 6 weights padded to 8
        "80 01 0000  0200 00 00  03000000  08000000"
        # 0xff = -1, 0x80 = -128, 0x7f = 127
        "01 ff 02  80 7f 00  0000",
        [[1, -1, 2], [-128, 127, 0]],
    ),
    "nary ternary": (
        # param 3 = 3 levels | table -4 0 4: 0xfc = -4 | codes 2 1 0 2 2 | 1 0:
        # 2 + 1*3 + 0*9 + 2*27 + 2*81 = 221 = 0xdd; 1 + 0*3 = 1
        "81 01 0000  0100 00 03  07000000  08000000  fc 00 04 00  dd 01 0000",
        [[4, 0, -4, 4, 4, 0, -4]],
    ),
    "nary per channel": (
        # param 128 + 2 | tables -5 5 (0xfb = -5) and 0 100 (0x64) | codes, the first weight in bit 0:
        # 0 1 1 0 0 0 0 1 = 0b10000110 = 0x86, 1; 1 0 0 0 1 0 0 0 = 0b00010001 = 0x11, 0
        "81 01 0000  0200 00 82  09000000  08000000  fb 05 00 64  86 01 11 00",
        [[-5, 5, 5, -5, -5, -5, -5, 5, 5], [100, 0, 0, 0, 100, 0, 0, 0, 0]],
    ),
    "nary 4 levels": (
        # table -3 -1 1 3 (0xfd, 0xff) | codes 0 1 2 3 | 3: 0 + 1*4 + 2*16 + 3*64 = 228 = 0xe4; 3
        "81 01 0000  0100 00 04  05000000  08000000  fd ff 01 03  e4 03 0000",
        [[-3, -1, 1, 3, 3]],
    ),
    "nary 5 levels": (
        # table -2..2 padded to 8 | codes 1 2 4 | 0 3: 1 + 2*5 + 4*25 = 111 = 0x6f; 0 + 3*5 = 15
        "81 01 0000  0100 00 05  05000000  0c000000  fe ff 00 01 02 000000  6f 0f 0000",
        [[-1, 0, 2, -2, 1]],
    ),
    "nary 13 levels": (
        # table 0..12 padded to 16 | rows 12 11 | 0..1: 12 + 11*13 = 155 = 0x9b; the rest 0..10 in pairs:
        # 0 + 1*13 = 0x0d, 2 + 3*13 = 41, 4 + 5*13 = 69, 6 + 7*13 = 97, 8 + 9*13 = 125, 10 alone
        "81 01 0000  0100 00 0d  0d000000  18000000"
        "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 000000  9b 0d 29 45 61 7d 0a 00",
        [[12, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ),
    "nary constant rows": (
        # all weights equal: still 2 levels, the table repeats the value; 0xf9 = -7
        "81 01 0000  0200 00 02  03000000  08000000  f9 f9 0000  00 00 0000",
        [[-7, -7, -7], [-7, -7, -7]],
    ),
    **_more("HAND_TYPED"),
}


@pytest.mark.parametrize("case", HAND_TYPED)
def test_a_blob_typed_by_hand_is_what_encode_writes_and_decode_reads(case: str) -> None:
    data, values = bytes.fromhex(HAND_TYPED[case][0]), np.array(HAND_TYPED[case][1], np.int8)
    assert formats.encode(case.split()[0], values).hex(" ", 4) == data.hex(" ", 4)
    np.testing.assert_array_equal(formats.decode(data), values)


def test_every_format_has_a_blob_typed_by_hand() -> None:
    assert {case.split()[0] for case in HAND_TYPED} == set(NAMES)


# ---- round trips -------------------------------------------------------------------------------------------


@SEEDED
@given(weights())
def test_every_admissible_format_gives_the_values_back(values: np.ndarray) -> None:
    found = formats.admissible(values)
    assert set(found) >= {"dense8"}
    for data in encoded(values).values():
        decoded = formats.decode(data)
        assert decoded.dtype == np.int8 and decoded.flags.c_contiguous and decoded.flags.writeable
        np.testing.assert_array_equal(decoded, values)
        assert len(data) % 4 == 0
    name, data = formats.smallest(values)
    assert data == found[name] and len(data) == min(map(len, found.values()))


@SEEDED
@given(weights(most_levels=16), st.sampled_from([None, False, True]), st.integers(2, 16))
def test_nary_admits_exactly_what_fits_its_tables(values: np.ndarray, per_channel: bool | None, levels: int) -> None:
    in_tensor, in_row = len(set(values.ravel().tolist())), max(len(set(row)) for row in values.tolist())
    fits = (in_tensor if per_channel is False else in_row) <= levels
    if not fits:
        with pytest.raises(BlobError, match=rf"at most {levels} levels.*Received: {in_tensor} distinct values"):
            formats.encode("nary", values, per_channel=per_channel, levels=levels)
        return
    data = formats.encode("nary", values, per_channel=per_channel, levels=levels)
    np.testing.assert_array_equal(formats.decode(data), values)
    assert data[7] & 127 == levels
    assert per_channel is None or bool(data[7] & 128) == per_channel


@SEEDED
@given(weights(most_levels=16))
def test_nary_takes_the_shorter_tables_and_the_tensor_table_in_a_tie(values: np.ndarray) -> None:
    lengths = {}
    for per_channel in (False, True):
        try:
            lengths[per_channel] = len(formats.encode("nary", values, per_channel=per_channel))
        except BlobError:
            assert not per_channel and np.unique(values).size > 16
    data = formats.encode("nary", values)
    assert len(data) == min(lengths.values())
    assert bool(data[7] & 128) == (lengths[True] < lengths.get(False, 2**32))
    shape = (values.shape[0], values.shape[1])
    assert len(data) == 16 + nary.payload_length(data[7] & 127, bool(data[7] & 128), shape)


def test_strided_and_read_only_values_encode_like_their_copy() -> None:
    values = np.tile(np.array([[1, 0, -1, 1, 5], [0, 0, 5, -1, 1]], np.int8), (3, 4))
    view = values[::2, ::3]
    view.flags.writeable = False
    for name in NAMES:
        assert formats.encode(name, view) == formats.encode(name, view.copy())
        assert formats.encode(name, np.asfortranarray(view)) == formats.encode(name, view.copy())


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3), np.int16),
        np.zeros((2, 3), np.uint8),
        np.zeros(4, np.int8),
        np.zeros((1, 2, 3), np.int8),
        np.zeros((0, 3), np.int8),
        np.zeros((3, 0), np.int8),
        np.zeros((65536, 1), np.int8),
        np.broadcast_to(np.int8(0), (1, 1 << 24)),
        [[1, 2]],
    ],
)
def test_values_that_no_blob_can_hold_are_refused_with_what_was_received(values: np.ndarray) -> None:
    for call in (formats.admissible, formats.smallest, lambda v: formats.encode("dense8", v)):
        with pytest.raises(ValueError, match="Received: "):
            call(values)


def test_the_largest_number_of_rows_round_trips() -> None:
    values = (np.arange(65535) % 3 - 1).astype(np.int8)[:, None]
    for data in formats.admissible(values).values():
        np.testing.assert_array_equal(formats.decode(data), values)


def test_an_unknown_format_and_an_unknown_option_are_refused() -> None:
    values = np.zeros((1, 1), np.int8)
    with pytest.raises(ValueError, match="Expected one of: dense8, nary.* Received: 'lut3'"):
        formats.encode("lut3", values)
    with pytest.raises(TypeError):
        formats.encode("dense8", values, levels=3)
    with pytest.raises(BlobError, match="2..16 levels. Received: levels=17"):
        formats.encode("nary", values, levels=17)


def test_dump_tells_what_a_blob_holds() -> None:
    text = formats.dump(bytes.fromhex(HAND_TYPED["nary per channel"][0]))
    parts = ("nary", "rows 2, row_length 9", "24 bytes", "a table per row", "table 0: -5 5", "row 1: 100 0 0 0 100")
    assert [part for part in parts if part not in text] == []
    assert "more rows" in formats.dump(formats.encode("dense8", np.zeros((9, 17), np.int8)))


# ---- golden vectors ----------------------------------------------------------------------------------------


def test_the_golden_vectors_are_reproduced_bit_for_bit(tmp_path: Path) -> None:
    vectors.write(tmp_path)
    names = sorted(path.name for path in VECTOR_DIR.iterdir() if not path.name.startswith("."))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (VECTOR_DIR / name).read_bytes(), name


def test_the_committed_vectors_match_their_checksums() -> None:
    for line in (VECTOR_DIR / vectors.SUMS).read_text(encoding="ascii").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((VECTOR_DIR / name).read_bytes()).hexdigest() == digest, name


def test_every_vector_decodes_to_the_payload_of_its_dense8_twin() -> None:
    for path in VECTOR_DIR.glob("*.hwb"):
        case = path.name.split(".")[0]
        dense = (VECTOR_DIR / f"{case}.dense8.hwb").read_bytes()
        values = formats.decode(path.read_bytes())
        assert values.tobytes() == dense[16 : 16 + values.size], path.name
        np.testing.assert_array_equal(values, vectors.cases()[case])


@pytest.mark.parametrize("name", NAMES)
def test_every_format_has_vectors(name: str) -> None:
    assert list(VECTOR_DIR.glob(f"*.{name}.hwb"))


# ---- malformed blobs ---------------------------------------------------------------------------------------


def _edit(case: str, **edits: int) -> bytes:
    """A blob typed by hand with header fields (by name) or bytes (by `b<offset>`) replaced."""
    data = bytearray(bytes.fromhex(HAND_TYPED[case][0]))
    fields = {field.name: field for field in table().header}
    for name, value in edits.items():
        start, size = (fields[name].offset, fields[name].bytes) if name in fields else (int(name[1:]), 1)
        data[start : start + size] = value.to_bytes(size, "little")
    return bytes(data)


MALFORMED = {
    "format": (_edit("dense8", format=255), "header field format: expected one of .* Received: 255"),
    "version": (_edit("dense8", version=2), "version: expected 1. Received: 2"),
    "reserved": (_edit("dense8", reserved=256), "reserved: expected 0. Received: 256"),
    "layout": (_edit("dense8", layout=2), r"layout: expected one of \[0, 1\]. Received: 2"),
    "no rows": (_edit("dense8", rows=0), "rows: expected at least 1. Received: 0"),
    "empty rows": (_edit("dense8", row_length=0), "row_length: expected 1..16777215. Received: 0"),
    "long rows": (_edit("dense8", row_length=1 << 24), "row_length: expected 1..16777215. Received: 16777216"),
    "odd payload": (_edit("dense8", payload_bytes=7), "payload_bytes: expected a multiple of 4. Received: 7"),
    "truncated": (_edit("dense8")[:-1], "truncated: expected 8 payload bytes. Received: 7"),
    "trailing": (_edit("dense8") + bytes(4), "longer than its header says: expected 8 payload bytes. Received: 12"),
    "no header": (_edit("dense8")[:15], "header of 16 bytes. Received: 15 bytes"),
    "empty": (b"", "header of 16 bytes. Received: 0 bytes"),
    "dense8 param": (_edit("dense8", param=1), "dense8: expected param 0. Received: 1"),
    "dense8 shape": (_edit("dense8", rows=3), "implies a payload of 12 bytes. Received: 8"),
    "dense8 padding": (_edit("dense8", b23=9), "padding must be zero. Received: 0009 at byte 6"),
    "one level": (_edit("nary ternary", param=1), "2..16 levels in param. Received: 1"),
    "17 levels": (_edit("nary ternary", param=17), "2..16 levels in param. Received: 17"),
    "no levels per channel": (_edit("nary ternary", param=128), "2..16 levels in param. Received: 128"),
    "nary shape": (_edit("nary ternary", row_length=21), "implies a payload of 12 bytes. Received: 8"),
    "table order": (_edit("nary ternary", b17=251), r"tables must ascend. Received: \[\[-4, -5, 4\]\]"),
    "table padding": (_edit("nary ternary", b19=1), "padding must be zero. Received: 01"),
    "code": (_edit("nary ternary", b20=243), "code bytes up to 242 for 3 levels. Received: 243"),
    "unused digit": (_edit("nary ternary", b21=9), "unused digits of a row's last byte must be zero"),
    "code padding": (_edit("nary ternary", b22=1), "padding must be zero. Received: 0100"),
    **_more("MALFORMED"),
}
MALFORMED_STATUS = {
    "format": "ERR_FORMAT",
    "version": "ERR_VERSION",
    "layout": "ERR_LAYOUT",
    **dict.fromkeys(("reserved", "no rows", "empty rows", "long rows", "odd payload"), "ERR_HEADER"),
    **dict.fromkeys(("dense8 param", "one level", "17 levels", "no levels per channel"), "ERR_HEADER"),
    **dict.fromkeys(("truncated", "no header", "empty"), "ERR_TRUNCATED"),
    **dict.fromkeys(("trailing", "dense8 shape", "dense8 padding", "nary shape"), "ERR_PAYLOAD"),
    **dict.fromkeys(("table order", "table padding", "code", "unused digit", "code padding"), "ERR_PAYLOAD"),
    **_more("MALFORMED_STATUS"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_blob_is_refused_with_a_sentence_that_says_what_is_wrong(case: str) -> None:
    data, message = MALFORMED[case]
    with pytest.raises(BlobError, match=message):
        formats.decode(data)


def test_a_text_is_not_a_blob() -> None:
    with pytest.raises(TypeError):
        formats.decode("80010000")  # type: ignore[arg-type]


def test_bytes_like_objects_are_decoded() -> None:
    data = bytes.fromhex(HAND_TYPED["nary ternary"][0])
    for view in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        np.testing.assert_array_equal(formats.decode(view), formats.decode(data))


def test_a_header_field_that_is_too_narrow_is_refused() -> None:
    header = blobs.Header(128, 1, 0, 1 << 16, 0, 0, 1, 4)
    with pytest.raises(BlobError, match="too narrow"):
        blobs.pack_header(header)


@pytest.mark.parametrize("name", ["__init__", *NAMES])
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    module = formats if name == "__init__" else importlib.import_module(f"keras_hwcompress.formats.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
