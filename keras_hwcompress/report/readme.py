"""Renders the README's tables: `python -m keras_hwcompress.report.readme [README.md]`. Nobody types a number."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path

from keras_hwcompress.formats.table import table
from keras_hwcompress.report.measured import sections
from keras_hwcompress.targets import BOARDS

_RESULTS = Path("benchmarks") / "results"


def render(readme: Path) -> str:
    """The README with fresh tables, from the CSV files of benchmarks/results beside it."""
    text = readme.read_text(encoding="utf-8")
    text = _between(text, "demo table", _demo(readme.parent / _RESULTS / "demo.csv"))
    text = _between(text, "formats", _formats())
    for name, body in sections(readme.parent / _RESULTS).items():
        text = _between(text, name, body)
    return _between(text, "boards", _boards())


def _between(text: str, name: str, body: str) -> str:
    """Replaces what stands between the two comments of a section."""
    start = text.index("\n", text.index(f"<!-- {name}:")) + 1
    end = text.index(f"<!-- end of {name} -->")
    return text[:start] + body + text[end:]


def _demo(path: Path) -> str:
    lines = [
        "scikit-learn's handwritten digits on an emulated Cortex-M4 (`make demo`):",
        "",
        "| | test accuracy | weight_bytes | flash_bytes | RAM bytes | insns per inference |",
        "|---|---|---|---|---|---|",
    ]
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counts = [f"{int(row[key]):,}" if row[key] else "-" for key in ("weight_bytes", "flash_bytes", "ram_bytes", "insns")]
            lines.append(f"| {row['arm']} | {float(row['accuracy']):.2%} | {' | '.join(counts)} |")
    lines += ["", "RAM = arena + scratch + stack; insns = instructions counted in QEMU; flash = linked image with weights."]
    return "\n".join(lines) + "\n"


def _formats() -> str:
    lines = ["| weight format | id | what it stores |", "|---|---|---|"]
    for row in table().formats:
        first_line = importlib.import_module(f"keras_hwcompress.formats.{row.name}").__doc__.splitlines()[0]
        lines.append(f"| `{row.name}` | {row.id} | {first_line.removeprefix(row.name + ':').strip()} |")
    return "\n".join(lines) + "\n"


def _boards() -> str:
    lines = ["| board | part | kernels | flash, KB | RAM, KB |", "|---|---|---|---|---|"]
    for board in BOARDS.values():
        flash, ram = board.flash.length >> 10, board.ram.length >> 10
        lines.append(f"| `{board.name}` | {board.title} | {board.arm} | {flash:,} | {ram:,} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    target.write_text(render(target), encoding="utf-8")
