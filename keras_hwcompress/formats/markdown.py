"""The tables of FORMAT.md, rendered from `hwcmp_format.def`.

`python -m keras_hwcompress.formats.markdown mcu_runtime/FORMAT.md` rewrites what lies between
`<!-- table: NAME -->` and `<!-- end -->`; a test compares the file with the rendering.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

from keras_hwcompress.formats.table import OptionField, Table, table

_REGION = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(rows: Table) -> dict[str, str]:
    """Region name -> Markdown table: constants, formats, layouts, header, custom options and statuses."""
    return {
        "constants": _markdown(("constant", "value"), list(rows.constants.items())),
        "formats": _markdown(("id", "name", "kind"), [(row.id, row.name, row.kind) for row in rows.formats]),
        "layouts": _markdown(("id", "layout", "name"), [(row.id, row.layout, row.name) for row in rows.layouts]),
        "header": _markdown(
            ("bytes", "type", "field"),
            [(_span(field.offset, field.bytes), f"u{8 * field.bytes}", field.name) for field in rows.header],
        ),
        "options": _markdown(("bytes", "type", "field"), [_option(field) for field in rows.options]),
        "statuses": _markdown(
            ("value", "status", "meaning"),
            [(value, f"HWCMP_{name}", text) for value, (name, text) in rows.statuses.items()],
        ),
    }


def fill(text: str, rows: Table) -> str:
    """`text` with every region replaced by its table.

    Raises:
        ValueError: a region is missing, or there is one that no table belongs to.
    """
    tables = render(rows)
    found = [match[2] for match in _REGION.finditer(text)]
    if sorted(found) != sorted(tables):
        raise ValueError(f"expected one region for each of {sorted(tables)}. Received: {found}")
    return _REGION.sub(lambda match: match[1] + tables[match[2]] + match[3], text)


def _option(field: OptionField) -> tuple[str, str, str]:
    size = struct.calcsize(field.code)
    return _span(field.offset, size), f"{'i' if field.code.islower() else 'u'}{8 * size}", field.name


def _span(offset: int, length: int) -> str:
    return str(offset) if length == 1 else f"{offset}-{offset + length - 1}"


def _markdown(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(fill(path.read_text(encoding="utf-8"), table()), encoding="utf-8")
