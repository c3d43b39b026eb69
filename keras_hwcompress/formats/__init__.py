"""Weight formats: int8 weights to blobs and back, bit for bit.

Every row `HWCMP_WEIGHT_FORMAT` and `HWCMP_WEIGHT_LAYOUT` of `hwcmp_format.def` has a module of its name in this package, with

* `encode_payload(values, **options) -> (param, payload)`: values int8 (rows, row_length), contiguous; `param` goes
  into the header; the payload is made of sections padded to 4 (`blob.pad`). Raises BlobError where the format
  cannot hold the values.
* `decode_payload(header, payload) -> values`: checks `header.param` and every byte of the payload, as the C
  function `check` of `src/unpack_<name>.c` does, and returns int8 (rows, row_length).
* optionally `describe(header, payload) -> list[str]`: lines for `dump`.

A layout (`dense8_nested`) is another order of a format's weights, for one kernel arm: same id, another number in the header
field `layout`. Model files hold formats only; the code generator lays them out for the boards of a project.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats import blob as _blob
from keras_hwcompress.formats.table import Table, WeightFormat, table

__all__ = ["admissible", "decode", "dump", "encode", "layouts", "smallest"]


def _load_modules(rows: Table) -> dict[str, ModuleType]:
    modules = {}
    for row in rows.stored:
        name = f"{__name__}.{row.name}"
        try:
            modules[row.name] = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ImportError(
                f"the format table has a row {row.name!r} but keras_hwcompress/formats/{row.name}.py is missing"
            ) from error
    return modules


_MODULES = _load_modules(table())


def encode(name: str, values: np.ndarray, **options: Any) -> bytes:
    """Encodes weights as a blob; the same values give the same bytes everywhere.

    Args:
        name: a format or layout of the table, such as "nary" or "nary_nested".
        values: int8 array, shape (rows, row_length): one row per output channel.
        **options: of the format's `encode_payload`.

    Returns:
        The 16-byte header and the payload; the length is a multiple of 4.

    Raises:
        BlobError: the format does not admit the values.
        ValueError: the format is unknown, or `values` is not an int8 matrix of an allowed size.

    Example:
    >>> encode("dense8", np.array([[1, -1, 2]], np.int8)).hex(" ", 4)
    '80010000 01000000 03000000 04000000 01ff0200'
    """
    row = table().format_by_name(name)
    matrix = _blob.check_values(values)
    param, payload = _MODULES[name].encode_payload(matrix, **options)
    return _blob.join(row, param, matrix.shape, payload)


def decode(blob: bytes) -> np.ndarray:
    """Decodes a blob of any format; accepts exactly the blobs that `hwcmp_weights_open` accepts.

    Args:
        blob: bytes-like, header and payload.

    Returns:
        int8 array, shape (rows, row_length).

    Raises:
        BlobError: any byte contradicts the binary format.
    """
    header, payload = _blob.split(blob)
    return _MODULES[_name_of(header)].decode_payload(header, payload)


def admissible(values: np.ndarray) -> dict[str, bytes]:
    """Blobs of `values` (int8, shape (rows, row_length)) in every format that can hold them, in table order."""
    return _encode_all(values, table().formats)


def layouts(values: np.ndarray) -> dict[str, bytes]:
    """Blobs of `values` in every layout that can hold them, in table order."""
    return _encode_all(values, table().layouts)


def smallest(values: np.ndarray) -> tuple[str, bytes]:
    """The shortest of `admissible(values)` as (name, blob); the earlier row of the table wins a tie.

    Raises:
        BlobError: no format can hold the values.
    """
    blobs = admissible(values)
    if not blobs:
        raise BlobError(f"no weight format holds these values. Received: shape={np.shape(values)}")
    return min(blobs.items(), key=lambda item: len(item[1]))


def dump(blob: bytes) -> str:
    """A blob as text for humans: header, what the format says about its payload, and the first values.

    Raises:
        BlobError: as `decode`.
    """
    values = decode(blob)
    header, payload = _blob.split(blob)
    name = _name_of(header)
    total = len(payload) + table().constants["HEADER_BYTES"]
    lines = [f"{name} (format {header.format}, version {header.version}), layout {header.layout}"]
    lines.append(f"rows {header.rows}, row_length {header.row_length}, param {header.param}")
    lines.append(f"{total} bytes = {8 * total / values.size:.2f} bits per weight")
    distinct = np.unique(values)
    lines.append(f"{distinct.size} distinct values in {distinct[0]}..{distinct[-1]}, {np.mean(values == 0):.1%} zeros")
    describe = getattr(_MODULES[name], "describe", None)
    lines.extend(describe(header, payload) if describe else ())
    lines.extend(_dump_rows(values))
    return "\n".join(lines) + "\n"


def _encode_all(values: np.ndarray, rows: Iterable[WeightFormat]) -> dict[str, bytes]:
    matrix = _blob.check_values(values)
    blobs = {}
    for row in rows:
        try:
            blobs[row.name] = encode(row.name, matrix)
        except BlobError:
            continue
    return blobs


def _dump_rows(values: np.ndarray, rows: int = 8, columns: int = 16) -> list[str]:
    lines = []
    for index, row in enumerate(values[:rows]):
        more = " ..." if row.size > columns else ""
        lines.append(f"row {index}: {' '.join(str(value) for value in row[:columns])}{more}")
    if len(values) > rows:
        lines.append(f"... {len(values) - rows} more rows")
    return lines


def _name_of(header: _blob.Header) -> str:
    return next(row.name for row in table().stored if (row.id, row.layout) == (header.format, header.layout))
