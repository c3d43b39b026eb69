"""What all weight blobs share: the 16-byte header and sections padded with zeros to 4 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats.table import WeightFormat, table

_MAX_ROWS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Header:
    """The header fields of `hwcmp_format.def`; offsets and widths come from there."""

    format: int
    version: int
    reserved: int
    rows: int
    layout: int
    param: int
    row_length: int
    payload_bytes: int


def check_values(values: np.ndarray) -> np.ndarray:
    """`values` as a contiguous array.

    Raises:
        ValueError: it is not int8 of shape (rows, row_length) with 1..65535 rows of 1..MAX_ROW_LENGTH values.
    """
    if not isinstance(values, np.ndarray) or values.dtype != np.int8 or values.ndim != 2:
        found = f"{type(values).__name__}, dtype={getattr(values, 'dtype', None)}, shape={np.shape(values)}"
        raise ValueError(f"weights must be an int8 array of shape (rows, row_length). Received: {found}")
    longest = table().constants["MAX_ROW_LENGTH"]
    if not (1 <= values.shape[0] <= _MAX_ROWS and 1 <= values.shape[1] <= longest):
        raise ValueError(f"weights need 1..{_MAX_ROWS} rows of 1..{longest} values. Received: shape={values.shape}")
    return np.ascontiguousarray(values)


def join(row: WeightFormat, param: int, shape: tuple[int, int], payload: bytes) -> bytes:
    """The blob of a payload whose length is a multiple of 4.

    Raises:
        BlobError: a header field does not hold its value (a payload of 4 GiB).
    """
    constants = table().constants
    header = Header(
        format=row.id,
        version=constants["FORMAT_VERSION"],
        reserved=0,
        rows=shape[0],
        layout=row.layout,
        param=param,
        row_length=shape[1],
        payload_bytes=len(payload),
    )
    return pack_header(header) + payload


def pack_header(header: Header) -> bytes:
    """The header's bytes, without judging the values.

    Raises:
        BlobError: a value is wider than its field.
    """
    values = asdict(header)
    try:
        return b"".join(values[field.name].to_bytes(field.bytes, "little") for field in table().header)
    except OverflowError as error:
        raise BlobError(f"a header field is too narrow. Received: {values}") from error


def unpack_header(blob: bytes) -> Header:
    """The header fields as they are, without judging them.

    Raises:
        BlobError: the blob is shorter than a header.
    """
    header_bytes = table().constants["HEADER_BYTES"]
    if len(blob) < header_bytes:
        raise BlobError(f"a blob begins with a header of {header_bytes} bytes. Received: {len(blob)} bytes")
    fields = table().header
    return Header(**{f.name: int.from_bytes(blob[f.offset : f.offset + f.bytes], "little") for f in fields})


def split(blob: bytes) -> tuple[Header, bytes]:
    """Header and payload of a blob; everything that does not depend on the format is checked.

    Raises:
        BlobError: naming the first rule that is broken.
    """
    data = memoryview(blob).tobytes()
    header = unpack_header(data)
    payload = data[table().constants["HEADER_BYTES"] :]
    _check_header(header)
    if len(payload) != header.payload_bytes:
        what = "truncated" if len(payload) < header.payload_bytes else "longer than its header says"
        raise BlobError(f"the blob is {what}: expected {header.payload_bytes} payload bytes. Received: {len(payload)}")
    return header, payload


def _check_header(header: Header) -> None:
    constants = table().constants
    known = sorted({row.id for row in table().stored})
    orders = [row.layout for row in table().stored if row.id == header.format]
    longest = constants["MAX_ROW_LENGTH"]
    rules = (
        ("format", header.format in known, f"one of {known}"),
        ("version", header.version == constants["FORMAT_VERSION"], str(constants["FORMAT_VERSION"])),
        ("layout", header.layout in orders, f"one of {orders}"),
        ("reserved", header.reserved == 0, "0"),
        ("rows", header.rows >= 1, "at least 1"),
        ("row_length", 1 <= header.row_length <= longest, f"1..{longest}"),
        ("payload_bytes", header.payload_bytes % constants["SECTION_ALIGN"] == 0, "a multiple of 4"),
    )
    for name, holds, expected in rules:
        if not holds:
            raise BlobError(f"header field {name}: expected {expected}. Received: {getattr(header, name)}")


def pad(section: bytes) -> bytes:
    """The section with zeros up to a multiple of 4 bytes."""
    return section + bytes(-len(section) % table().constants["SECTION_ALIGN"])


def padded_length(length: int) -> int:
    """Bytes that a section of `length` bytes takes in the payload."""
    return length + -length % table().constants["SECTION_ALIGN"]


def split_sections(payload: bytes, lengths: Sequence[int]) -> list[np.ndarray]:
    """Cuts a payload that holds nothing but sections of known lengths.

    Args:
        payload: bytes of the payload.
        lengths: of the sections, without their padding.

    Returns:
        uint8 arrays, one per section, read-only views.

    Raises:
        BlobError: the payload has another length, or padding is not zero.
    """
    expected = sum(padded_length(length) for length in lengths)
    if len(payload) != expected:
        raise BlobError(f"the header implies a payload of {expected} bytes. Received: {len(payload)}")
    data, sections, start = np.frombuffer(payload, np.uint8), [], 0
    for length in lengths:
        end = start + padded_length(length)
        stop = start + length
        if data[stop:end].any():
            raise BlobError(f"padding must be zero. Received: {payload[stop:end].hex()} at byte {stop}")
        sections.append(data[start:stop])
        start = end
    return sections
