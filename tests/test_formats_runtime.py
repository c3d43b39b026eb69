"""The C runtime reads blobs as Python does: values, any range of rows, and every malformed blob, under sanitizers."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import HAND_TYPED, MALFORMED, MALFORMED_STATUS, NAMES, encoded, weights

import keras_hwcompress
from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob as blobs
from keras_hwcompress.formats import vectors
from keras_hwcompress.formats.table import keep_formats, table, table_path
from keras_hwcompress.runtime_files import runtime_dir

CC = os.environ.get("CC", "gcc")
ARM_CC = "arm-none-eabi-gcc"
WARNINGS = (
    "-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Wcast-align -Wundef -Wvla "
    "-Wstrict-prototypes -Wmissing-prototypes -Wdouble-promotion -Werror"
).split()
SANITIZERS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover -fno-omit-frame-pointer".split()
STATUS = {name: value for value, (name, _) in table().statuses.items()}
SENTINEL = b"HWCMP-TEST-OK\n"

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"{CC} is not installed")


def _sources(runtime: Path) -> list[Path]:
    return [runtime / "src" / "weights.c", runtime / "src" / "status.c", *sorted((runtime / "src").glob("unpack_*.c"))]


def _compile(output: Path, sources: list[Path], *flags: str, runtime: Path, cc: str = CC) -> Path:
    include = [f"-I{runtime / 'include'}", f"-I{runtime / 'src'}"]
    command = [cc, *WARNINGS, *flags, *include, *map(str, sources), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{cc} failed:\n{done.stderr}")
    return output


# ---- the sanitized driver: blobs in, statuses and values out -------------------------------------------------

Outcome = tuple[int, np.ndarray | None]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime = runtime_dir()
    output = tmp_path_factory.mktemp("driver") / "blob_driver"
    return _compile(output, [runtime / "tests" / "blob_driver.c", *_sources(runtime)], *SANITIZERS, runtime=runtime)


def run_driver(driver: Path, data: list[bytes]) -> list[Outcome]:
    """What C makes of each blob: status and, if that is OK, the values."""
    stream = b"".join(struct.pack("=I", len(blob)) + blob for blob in data)
    done = subprocess.run([driver], input=stream, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert done.stdout.endswith(SENTINEL) and done.stderr == b""
    outcomes, at = [], 0
    for _ in data:
        (status,) = struct.unpack_from("=i", done.stdout, at)
        at += 4
        values = None
        if status == 0:
            rows, length = struct.unpack_from("=II", done.stdout, at)
            values = np.frombuffer(done.stdout, np.int8, rows * length, at + 8).reshape(rows, length)
            at += 8 + rows * length
        outcomes.append((status, values))
    assert at == len(done.stdout) - len(SENTINEL)
    return outcomes


def decode_or_none(blob: bytes) -> np.ndarray | None:
    try:
        return formats.decode(blob)
    except BlobError:
        return None


def agreed(driver: Path, data: list[bytes]) -> list[Outcome]:
    """The outcomes, after checking that Python accepts the same blobs and reads the same values."""
    outcomes = run_driver(driver, data)
    for blob, (status, values) in zip(data, outcomes, strict=True):
        expected = decode_or_none(blob)
        assert (status == 0) == (expected is not None), (status, blob.hex(" ", 4))
        assert status in table().statuses
        if expected is not None:
            np.testing.assert_array_equal(values, expected, err_msg=blob.hex(" ", 4))
    return outcomes


def _small(limit: int) -> Iterator[bytes]:
    """Blobs of every format up to `limit` bytes: those typed by hand and the golden vectors."""
    yield from (bytes.fromhex(text) for text, _ in HAND_TYPED.values())
    yield from (blob for blob in vectors.blobs().values() if len(blob) <= limit)


def test_the_driver_reads_every_golden_vector_and_every_blob_typed_by_hand(driver: Path) -> None:
    data = [path.read_bytes() for path in sorted((runtime_dir() / "tests" / "vectors").glob("*.hwb"))]
    outcomes = agreed(driver, [*data, *(bytes.fromhex(text) for text, _ in HAND_TYPED.values())])
    assert len(data) > 50 and all(status == 0 for status, _ in outcomes)
    for (_, values), (_, expected) in zip(outcomes[len(data) :], HAND_TYPED.values(), strict=True):
        assert values.tolist() == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_refused_and_never_read_beyond(driver: Path, name: str) -> None:
    whole = [blob for blob in _small(200) if formats.dump(blob).startswith(f"{name} ")]
    data = [blob[:length] for blob in whole for length in range(len(blob))]
    outcomes = agreed(driver, data)
    assert len(data) > 500 and {status for status, _ in outcomes} == {STATUS["ERR_TRUNCATED"]}


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_every_byte_gives_a_status_or_the_values_python_reads(driver: Path, name: str) -> None:
    for blob in _small(36):
        if not formats.dump(blob).startswith(f"{name} "):
            continue
        flips = [blob[:at] + bytes([value]) + blob[at + 1 :] for at in range(len(blob)) for value in range(256)]
        outcomes = agreed(driver, flips)
        assert sum(status == 0 for status, _ in outcomes) >= len(blob)  # the blob itself, once for each of its bytes


def test_every_bit_flip_of_larger_blobs_gives_a_status_or_the_values_python_reads(driver: Path) -> None:
    for blob in _small(280):
        if len(blob) > 36:
            flips = [(at, blob[at] ^ 1 << bit) for at in range(len(blob)) for bit in range(8)]
            agreed(driver, [blob[:at] + bytes([value]) + blob[at + 1 :] for at, value in flips])


def _layers() -> Iterator[np.ndarray]:
    """Weights of layers: sparse ternary ones, normally distributed ones, groups of zeros, few levels; odd row lengths."""
    rng = np.random.default_rng(7)
    for shape, density in (((16, 144), 0.35), ((16, 289), 0.2), ((5, 1031), 0.1), ((9, 576), 0.03), ((33, 9), 0.5)):
        yield (rng.choice([-127, 0, 127], shape, p=[density / 2, 1 - density, density / 2])).astype(np.int8)
    for shape, scale, density in (((8, 301), 25, 1), ((8, 300), 25, 0.3), ((8, 640), 3, 0.6), ((3, 2000), 50, 0.02)):
        yield (np.clip(np.round(rng.normal(0, scale, shape)), -128, 127) * (rng.random(shape) < density)).astype(np.int8)
    yield (rng.integers(-60, 61, (8, 64, 4)) * (rng.random((8, 64, 1)) < 0.2)).reshape(8, 256).astype(np.int8)
    yield rng.integers(-3, 4, (16, 147)).astype(np.int8)


def test_the_weights_of_layers_come_out_as_they_went_in(driver: Path) -> None:
    for values in _layers():
        for name, (status, found) in zip(encoded(values), run_driver(driver, list(encoded(values).values())), strict=True):
            assert status == 0, name
            np.testing.assert_array_equal(found, values, err_msg=name)


def _header(**fields: int) -> bytes:
    return blobs.pack_header(blobs.Header(**{"version": 1, "reserved": 0, "layout": 0, "param": 0, **fields}))


def test_header_fields_at_their_limits_are_refused(driver: Path) -> None:
    data = []
    for row in table().stored:
        for rows in (0, 1, 2, 0x7FFF, 0xFFFF):
            for length in (0, 1, 4, 0xFFFFFE, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0xFFFFFFFF):
                for promised in (0, 4, 8, 9, 0x7FFFFFFC, 0xFFFFFFF0, 0xFFFFFFFC, 0xFFFFFFFF):
                    for param in (0, 2, 3, 16, 130, 144, 255):
                        fields = {"rows": rows, "row_length": length, "payload_bytes": promised, "param": param}
                        data.append(_header(format=row.id, layout=row.layout, **fields) + bytes(8))
    outcomes = agreed(driver, data)
    assert 0 < sum(status == 0 for status, _ in outcomes) < len(data) // 50


def test_lengths_that_wrap_around_32_bits_are_refused(driver: Path) -> None:
    dense8, nary = (table().format_by_name(name).id for name in ("dense8", "nary"))
    wraps = [
        # 4096 rows of 2^20 + 1: 2^32 + 4096 bytes, 4096 in 32 bits
        _header(format=dense8, rows=4096, row_length=(1 << 20) + 1, payload_bytes=4096) + bytes(4096),
        # 2048 rows of 2^21 code bytes: 2^32, nothing in 32 bits; the payload is the table alone
        _header(format=nary, rows=2048, row_length=(1 << 24) - 1, payload_bytes=4, param=2) + bytes(4),
        # the same with a table per row: 4096 bytes of tables
        _header(format=nary, rows=2048, row_length=(1 << 24) - 1, payload_bytes=4096, param=130) + bytes(4096),
    ]
    assert [status for status, _ in agreed(driver, wraps)] == [STATUS["ERR_PAYLOAD"]] * 3


def test_each_kind_of_malformed_blob_has_its_status(driver: Path) -> None:
    outcomes = agreed(driver, [data for data, _ in MALFORMED.values()])
    names = {case: table().statuses[status][0] for case, (status, _) in zip(MALFORMED, outcomes, strict=True)}
    assert names == MALFORMED_STATUS


# An independent oracle for the digits: Python integers, every byte, every number of levels, every tail length.
@pytest.mark.parametrize("levels", range(2, 17))
def test_every_code_byte_unpacks_to_its_digits(driver: Path, levels: int) -> None:
    per_byte = {2: 8, 3: 5, 4: 4, 5: 3, 6: 3}.get(levels, 2)
    tables = bytes(range(levels))
    data, expected = [], []
    for digits in range(1, per_byte + 1):
        codes = bytes(range(levels**digits))
        payload = tables + bytes(-levels % 4) + codes + bytes(-len(codes) % 4)
        fields = {"rows": len(codes), "row_length": digits, "param": levels, "payload_bytes": len(payload)}
        data.append(struct.pack("<BBHHBBII", 129, 1, 0, fields["rows"], 0, levels, digits, len(payload)) + payload)
        expected.append([[code // levels**i % levels for i in range(digits)] for code in codes])
    for (status, values), digits in zip(agreed(driver, data), expected, strict=True):
        assert status == 0 and values.tolist() == digits


# ---- the library through ctypes: any range of rows -----------------------------------------------------------


class Weights(ctypes.Structure):
    """hwcmp_weights of hwcmp.h."""

    _fields_ = [
        ("ops", ctypes.c_void_p),
        ("payload", ctypes.c_void_p),
        ("payload_bytes", ctypes.c_uint32),
        ("row_length", ctypes.c_uint32),
        ("rows", ctypes.c_uint16),
        ("layout", ctypes.c_uint8),
        ("param", ctypes.c_uint8),
    ]


def _library(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in ("hwcmp_weights_open", "hwcmp_weights_view"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(Weights)]
    u32 = ctypes.c_uint32
    library.hwcmp_weights_unpack.argtypes = [ctypes.POINTER(Weights), u32, u32, u32, ctypes.c_void_p]
    library.hwcmp_status_text.restype = ctypes.c_char_p
    return library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    runtime = runtime_dir()
    output = tmp_path_factory.mktemp("library") / "weights.so"
    return _library(_compile(output, _sources(runtime), "-O2", "-shared", "-fPIC", runtime=runtime))


def _aligned(blob: bytes, shift: int = 0) -> np.ndarray:
    """A copy of the blob at `shift` bytes behind a 4-byte boundary."""
    memory = np.zeros(len(blob) // 4 + 2, np.uint32).view(np.uint8)[shift : shift + len(blob)]
    memory[:] = np.frombuffer(blob, np.uint8)
    return memory


@settings(derandomize=True, deadline=None, database=None, max_examples=150)
@given(st.data())
def test_any_range_of_rows_unpacks_as_python_decodes_it(library: ctypes.CDLL, data: st.DataObject) -> None:
    values = data.draw(weights())
    rows, length = values.shape
    first = data.draw(st.integers(0, rows))
    count = data.draw(st.integers(0, rows - first))
    stride = length + data.draw(st.integers(0, 5))
    for name, blob in encoded(values).items():
        memory, opened = _aligned(blob), Weights()
        assert library.hwcmp_weights_open(memory.ctypes.data, len(blob), ctypes.byref(opened)) == 0
        assert (opened.rows, opened.row_length, opened.layout, opened.param) == (rows, length, blob[6], blob[7])
        out = np.full((count + 1, stride), 0x5A, np.int8)
        assert library.hwcmp_weights_unpack(ctypes.byref(opened), first, count, stride, out.ctypes.data) == 0
        expected = np.full((count + 1, stride), 0x5A, np.int8)
        expected[:count, :length] = formats.decode(blob)[first : first + count]
        np.testing.assert_array_equal(out, expected, err_msg=name)


def test_open_refuses_null_and_misaligned_arguments_and_leaves_the_view_alone(library: ctypes.CDLL) -> None:
    blob = vectors.blobs()["odd.nary.hwb"]
    argument, opened = STATUS["ERR_ARGUMENT"], Weights(rows=77)
    for function in (library.hwcmp_weights_open, library.hwcmp_weights_view):
        assert function(None, len(blob), ctypes.byref(opened)) == argument
        assert function(_aligned(blob).ctypes.data, len(blob), None) == argument
        for shift in (1, 2, 3):
            memory = _aligned(blob, shift)
            assert function(memory.ctypes.data, len(blob), ctypes.byref(opened)) == argument
    bad = _aligned(blob[:-4] + b"\xff" * 4)
    assert library.hwcmp_weights_open(bad.ctypes.data, len(blob), ctypes.byref(opened)) == STATUS["ERR_PAYLOAD"]
    assert opened.rows == 77 and opened.ops is None
    out = np.zeros(4, np.int8)
    assert library.hwcmp_weights_unpack(ctypes.byref(opened), 0, 1, 1, out.ctypes.data) == argument


def test_every_status_has_the_sentence_of_the_table(library: ctypes.CDLL) -> None:
    for value, (_, text) in table().statuses.items():
        assert library.hwcmp_status_text(value) == text.encode()
    assert library.hwcmp_status_text(-1000) == b"unknown status"


# ---- builds ------------------------------------------------------------------------------------------------


def family(name: str) -> set[str]:
    """The format and its layouts."""
    number = table().format_by_name(name).id
    return {row.name for row in table().stored if row.id == number}


@pytest.mark.parametrize("kept", [set(), *({name} for name in NAMES)], ids=str)
def test_a_format_whose_row_is_absent_is_unknown_to_the_build(tmp_path: Path, kept: set[str]) -> None:
    overlay = tmp_path / "include" / "hwcmp"
    shutil.copytree(table_path().parent, overlay)
    text = keep_formats(table_path().read_text(encoding="ascii"), kept)
    (overlay / "hwcmp_format.def").write_text(text, encoding="ascii")
    src = runtime_dir() / "src"
    sources = [src / "weights.c", src / "status.c", *(src / f"unpack_{name}.c" for name in sorted(kept))]
    flags = ("-O1", "-shared", "-fPIC", f"-I{tmp_path / 'include'}")
    library = _library(_compile(tmp_path / "weights.so", sources, *flags, runtime=runtime_dir()))
    for name in NAMES:
        blob = _aligned(next(blob for file, blob in vectors.blobs().items() if f".{name}." in file))
        status = library.hwcmp_weights_open(blob.ctypes.data, blob.size, ctypes.byref(Weights()))
        absent = "ERR_LAYOUT" if kept & family(name) else "ERR_FORMAT"
        assert status == (0 if name in kept else STATUS[absent]), name


@pytest.mark.skipif(shutil.which(ARM_CC) is None, reason=f"{ARM_CC} is not installed")
@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m55"])
def test_the_sources_compile_for_cortex_m_without_a_warning(tmp_path: Path, cpu: str) -> None:
    for source in _sources(runtime_dir()):
        flags = (f"-mcpu={cpu}", "-mthumb", "-Os", "-c")
        _compile(tmp_path / f"{source.stem}.o", [source], *flags, runtime=runtime_dir(), cc=ARM_CC)


NEW_ROW = "HWCMP_WEIGHT_FORMAT(251, FLIPPED, flipped, TILE)\n"
NEW_PYTHON = '''"""flipped: every bit of every weight inverted."""

import numpy as np

from keras_hwcompress.formats import blob


def encode_payload(values):
    return 1, blob.pad((~values).tobytes())


def decode_payload(header, payload):
    (section,) = blob.split_sections(payload, [header.rows * header.row_length])
    return ~section.view(np.int8).reshape(header.rows, header.row_length)
'''
NEW_C = """#include "hwcmp_format_ops.h"

static hwcmp_status check_flipped(const hwcmp_weights *weights)
{
    const uint64_t bytes = (uint64_t)weights->rows * weights->row_length;

    return hwcmp_section_bytes(bytes) == weights->payload_bytes ? HWCMP_OK : HWCMP_ERR_PAYLOAD;
}

static void unpack_flipped(const hwcmp_weights *weights, uint32_t first_row, uint32_t row_count, uint32_t row_stride,
                           int8_t *out)
{
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t col = 0; col < weights->row_length; col++) {
            const uint32_t at = (first_row + row) * weights->row_length + col;
            out[row * row_stride + col] = (int8_t)~(int8_t)weights->payload[at];
        }
    }
}

const struct hwcmp_format_ops hwcmp_flipped_format = {
    .id = HWCMP_FORMAT_FLIPPED,
    .kind = HWCMP_KIND_OF_FLIPPED,
    .check = check_flipped,
    .unpack_rows = unpack_flipped,
};
"""
ENCODE = """
import pathlib, sys
import numpy as np
from keras_hwcompress import formats
values = (np.arange(21) * 12 - 128).astype(np.int8).reshape(3, 7)
blob = formats.encode("flipped", values)
assert (formats.decode(blob) == values).all() and "flipped" in formats.admissible(values)
pathlib.Path(sys.argv[1]).write_bytes(blob)
"""


def test_a_new_format_is_one_row_and_two_files_and_nothing_else(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(keras_hwcompress.__file__).parent, tmp_path / "keras_hwcompress", ignore=ignore)
    runtime = tmp_path / "mcu_runtime"
    for part in ("include", "src", "tests"):
        shutil.copytree(runtime_dir() / part, runtime / part, ignore=ignore)
    path = runtime / "include" / "hwcmp" / "hwcmp_format.def"
    lines = path.read_text(encoding="ascii").splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith("HWCMP_WEIGHT_FORMAT("))
    path.write_text("".join([*lines[: last + 1], NEW_ROW, *lines[last + 1 :]]), encoding="ascii")
    command = [sys.executable, "-c", ENCODE, str(tmp_path / "blob")]
    run = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path)}, "capture_output": True, "text": True}

    done = subprocess.run(command, **run, timeout=60, check=False)
    assert done.returncode != 0 and "keras_hwcompress/formats/flipped.py is missing" in done.stderr
    driver = runtime / "tests" / "blob_driver.c"
    with pytest.raises(RuntimeError, match="undefined reference to `?hwcmp_flipped_format"):
        _compile(tmp_path / "driver", [driver, *_sources(runtime)], "-O1", runtime=runtime)

    (tmp_path / "keras_hwcompress" / "formats" / "flipped.py").write_text(NEW_PYTHON, encoding="ascii")
    (runtime / "src" / "unpack_flipped.c").write_text(NEW_C, encoding="ascii")
    done = subprocess.run(command, **run, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    built = _compile(tmp_path / "driver", [driver, *_sources(runtime)], *SANITIZERS, runtime=runtime)
    ((status, values),) = run_driver(built, [(tmp_path / "blob").read_bytes()])
    assert status == 0 and values.ravel().tolist() == [12 * i - 128 for i in range(21)]
