"""The binary format's table, parsed from `hwcmp_format.def`, the file that the C runtime includes.

Anything in that file that is not a comment, a preprocessor line or a well-formed row is an error, so the two
languages cannot drift apart.
"""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from keras_hwcompress.runtime_files import runtime_dir

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ROW = re.compile(r"HWCMP_(CONSTANT|WEIGHT_FORMAT|WEIGHT_LAYOUT|HEADER_FIELD|OPTION_FIELD|STATUS)\(([^()]*)\)\Z")
_KINDS = ("PLAIN", "TILE", "DIRECT")
_FIELD_BYTES = {"u8": 1, "u16": 2, "u32": 4}
_OPTION_TYPES = {"u8": "B", "u16": "H", "i16": "h"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """One row HWCMP_WEIGHT_FORMAT or HWCMP_WEIGHT_LAYOUT: how weights are stored in flash.

    layout: 0 (canonical) for a format; the kind of a layout is "DIRECT".
    """

    id: int
    name: str
    kind: str
    layout: int = 0


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One row HWCMP_HEADER_FIELD: an unsigned little-endian integer of the 16-byte blob header."""

    offset: int
    bytes: int
    name: str


@dataclass(frozen=True, slots=True)
class OptionField:
    """One row HWCMP_OPTION_FIELD: an integer in the custom options of a packed operator; code is `struct`'s."""

    offset: int
    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Table:
    """All rows of the table. layouts: other orders of some formats' weights, each for one kernel arm."""

    constants: dict[str, int]
    formats: tuple[WeightFormat, ...]
    layouts: tuple[WeightFormat, ...]
    header: tuple[HeaderField, ...]
    statuses: dict[int, tuple[str, str]]
    options: tuple[OptionField, ...]

    @property
    def stored(self) -> tuple[WeightFormat, ...]:
        """All that can be in a blob: formats, then layouts."""
        return self.formats + self.layouts

    def format_by_name(self, name: str) -> WeightFormat:
        """The row of a format or layout; ValueError naming the known ones otherwise."""
        for row in self.stored:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.stored)
        raise ValueError(f"unknown weight format. Expected one of: {known}. Received: {name!r}")


def parse_table(text: str) -> Table:
    """Parses the text of `hwcmp_format.def`.

    Raises:
        ValueError: a line is not a row, or the rows contradict each other.
    """
    constants: dict[str, int] = {}
    formats: list[WeightFormat] = []
    layouts: list[WeightFormat] = []
    header: list[HeaderField] = []
    statuses: dict[int, tuple[str, str]] = {}
    options: list[OptionField] = []
    for line in _rows(text):
        match = _ROW.match(line)
        if match is None:
            raise ValueError(f"hwcmp_format.def: expected a HWCMP_ row or a comment. Received: {line!r}")
        kind, cells = match[1], [cell.strip() for cell in match[2].split(",")]
        if kind == "CONSTANT":
            name, value = _cells(line, cells, 2)
            constants[name] = int(value, 0)
        elif kind == "WEIGHT_FORMAT":
            formats.append(_format_row(line, cells))
        elif kind == "WEIGHT_LAYOUT":
            layouts.append(_layout_row(line, cells, constants))
        elif kind == "HEADER_FIELD":
            offset, width, name = _cells(line, cells, 3)
            header.append(HeaderField(int(offset), _type(line, _FIELD_BYTES, width), name))
        elif kind == "OPTION_FIELD":
            offset, code, name = _cells(line, cells, 3)
            options.append(OptionField(int(offset), _type(line, _OPTION_TYPES, code), name))
        else:
            value, name, message = _cells(line, [*cells[:2], ", ".join(cells[2:])], 3)
            statuses[int(value)] = (name, message.strip('"'))
    _check(constants, formats, header)
    _check_layouts(formats, layouts)
    _check_options(constants, options)
    return Table(constants, tuple(formats), tuple(layouts), tuple(header), statuses, tuple(options))


def keep_formats(text: str, names: set[str]) -> str:
    """The same table with only the rows of the named formats and layouts: what a generated project compiles."""
    kept = []
    for line in text.splitlines(keepends=True):
        match = _ROW.match(line.strip())
        if match and match[1] in ("WEIGHT_FORMAT", "WEIGHT_LAYOUT") and _row_name(match) not in names:
            continue
        kept.append(line)
    return "".join(kept)


def table_path() -> Path:
    """The table in the C runtime's include folder."""
    return runtime_dir() / "include" / "hwcmp" / "hwcmp_format.def"


@functools.cache
def table() -> Table:
    """The table of this installation."""
    return parse_table(table_path().read_text(encoding="ascii"))


def _rows(text: str) -> list[str]:
    lines, skip_macro_body = [], False
    for line in _COMMENT.sub("", text).splitlines():
        stripped = line.strip()
        continued, skip_macro_body = skip_macro_body, stripped.endswith("\\")
        if stripped and not stripped.startswith("#") and not continued:
            lines.append(stripped)
    return lines


def _cells(line: str, cells: list[str], count: int) -> list[str]:
    if len(cells) != count:
        raise ValueError(f"hwcmp_format.def: expected {count} cells. Received: {line!r}")
    return cells


def _type(line: str, types: dict[str, _T], name: str) -> _T:
    if name not in types:
        raise ValueError(f"hwcmp_format.def: expected a type of {', '.join(types)}. Received: {line!r}")
    return types[name]


def _format_row(line: str, cells: list[str]) -> WeightFormat:
    number, upper, name, kind = _cells(line, cells, 4)
    if upper != name.upper() or not name.isidentifier() or kind not in _KINDS:
        raise ValueError(f"hwcmp_format.def: expected (id, NAME, name, {'|'.join(_KINDS)}). Received: {line!r}")
    return WeightFormat(int(number), name, kind)


def _layout_row(line: str, cells: list[str], constants: dict[str, int]) -> WeightFormat:
    number, layout, upper, name = _cells(line, cells, 4)
    if upper != name.upper() or not name.endswith(f"_{layout.lower()}") or f"LAYOUT_{layout}" not in constants:
        raise ValueError(f"hwcmp_format.def: expected (id, LAYOUT, NAME_LAYOUT, name_layout). Received: {line!r}")
    return WeightFormat(int(number), name, "DIRECT", constants[f"LAYOUT_{layout}"])


def _row_name(match: re.Match[str]) -> str:
    return match[2].split(",")[2 if match[1] == "WEIGHT_FORMAT" else 3].strip()


def _check(constants: dict[str, int], formats: list[WeightFormat], header: list[HeaderField]) -> None:
    ids = [row.id for row in formats]
    if len(set(ids)) != len(ids) or any(not 128 <= number <= 255 for number in ids):
        raise ValueError(f"hwcmp_format.def: format ids must be unique and in 128..255. Received: {ids}")
    ends = [0] + [field.offset + field.bytes for field in header]
    starts = [field.offset for field in header] + [constants["HEADER_BYTES"]]
    if ends != starts:
        raise ValueError("hwcmp_format.def: header fields must fill the header without holes or overlaps")


def _check_layouts(formats: list[WeightFormat], layouts: list[WeightFormat]) -> None:
    names = {row.id: row.name for row in formats}
    keys = [(row.id, row.layout) for row in layouts]
    strays = [row.name for row in layouts if row.layout == 0 or not row.name.startswith(f"{names.get(row.id)}_")]
    if strays or len(set(keys)) != len(keys):
        raise ValueError(f"hwcmp_format.def: a layout belongs to one format and occurs once. Received: {strays or keys}")


def _check_options(constants: dict[str, int], options: list[OptionField]) -> None:
    ends = [0] + [field.offset + struct.calcsize(field.code) for field in options]
    starts = [field.offset for field in options] + [constants.get("OPTION_BYTES", 0)]
    if ends != starts:
        raise ValueError("hwcmp_format.def: option fields must fill OPTION_BYTES without holes or overlaps")
