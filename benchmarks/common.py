"""What the benchmarks share: CSV files with provenance that are resumed, never recomputed."""

from __future__ import annotations

import csv
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PROVENANCE = ("git_sha", "compiler", "flags", "qemu", "python")


class Results:
    """A CSV file of finished rows.

    Args:
        name: file name in benchmarks/results.
        keys: columns that name a row; a row whose keys are there already is finished.
        values: the measured columns.
    """

    def __init__(self, name: str, keys: Iterable[str], values: Iterable[str]) -> None:
        self.path = RESULTS / name
        self.keys, self.values = tuple(keys), tuple(values)
        self.rows = self._read()

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def has(self, **keys: Any) -> bool:
        """Whether the row is finished."""
        return any(all(row[key] == str(keys[key]) for key in self.keys) for row in self.rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a row with its provenance and writes the file."""
        full = {key: str(row[key]) for key in (*self.keys, *self.values)} | provenance()
        self.rows.append(full)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(full))
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)


class Budget:
    """Minutes that a benchmark may still take; None for no limit."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def is_spent(self) -> bool:
        """Whether no further row may be started."""
        return self._end is not None and time.monotonic() > self._end


def provenance() -> dict[str, str]:
    """Commit, compiler and emulator of this moment."""
    return {
        "git_sha": _first_line(["git", "rev-parse", "--short", "HEAD"]) + ("+" if _first_line(["git", "status", "--porcelain", "-uno"]) else ""),
        "compiler": _first_line(["arm-none-eabi-gcc", "--version"]),
        "flags": "-O2",
        "qemu": _first_line(["qemu-system-arm", "--version"]),
        "python": platform.python_version(),
    }


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return "missing"
    return (done.stdout.splitlines() or [""])[0]
