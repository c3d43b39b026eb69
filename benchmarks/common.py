"""What the benchmarks share: CSV files with provenance that are resumed, never recomputed unless asked to."""

from __future__ import annotations

import argparse
import csv
import functools
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

RESULTS = Path(__file__).resolve().parent / "results"
PROVENANCE = ("git_sha", "compiler", "flags", "qemu", "python")
# What a measurement depends on: a row of another commit is still good while these are the same.
_SOURCES = ("mcu_runtime/src", "mcu_runtime/include", "keras_hwcompress/codegen", "keras_hwcompress/formats", "keras_hwcompress/tflite")
_ROOT = RESULTS.parent.parent


class Results:
    """A CSV file of finished rows.

    Args:
        name: file name in benchmarks/results, or a path.
        keys: columns that name a row; a row whose keys are there already is finished.
        values: the measured columns.
        refresh: rows whose sources have changed since, or that were measured in a dirty checkout, count as unfinished.
    """

    def __init__(self, name: str | Path, keys: Iterable[str], values: Iterable[str], *, refresh: bool = False) -> None:
        self.path = RESULTS / name
        self.keys, self.values = tuple(keys), tuple(values)
        self.refresh = refresh
        self._rows = {self._key(row): row for row in self._read()}

    @property
    def rows(self) -> list[dict[str, str]]:
        """All finished rows, also stale ones, in the order in which they were first measured."""
        return list(self._rows.values())

    def has(self, **keys: Any) -> bool:
        """Whether the row is finished."""
        row = self._rows.get(self._key(keys))
        return row is not None and not (self.refresh and is_stale(row["git_sha"]))

    def clear(self) -> None:
        """Forgets all rows, for results that are computed from others."""
        self._rows = {}

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Adds rows with their provenance (a row may have its own), replaces those of the same keys, and writes the file."""
        for row in rows:
            full = {key: str(row[key]) for key in (*self.keys, *self.values)} | provenance()
            full |= {key: str(row[key]) for key in PROVENANCE if key in row}
            self._rows[self._key(full)] = full
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*self.keys, *self.values, *PROVENANCE], restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[key]) for key in self.keys)


class Budget:
    """Minutes that a benchmark may still take; None for no limit."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def is_spent(self) -> bool:
        """Whether no further row may be started."""
        return self._end is not None and time.monotonic() > self._end


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """--budget-minutes and --force."""
    parser.add_argument("--budget-minutes", type=float, default=None, help="start nothing new after this time")
    parser.add_argument("--force", action="store_true", help="measure again what was measured with other sources than those of HEAD")


def progress_bar() -> Progress:
    """A progress display on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


@functools.cache
def provenance() -> Mapping[str, str]:
    """Commit, compiler and emulator; a "+" behind the commit says that the sources differed from it."""
    dirty = _first_line(["git", "status", "--porcelain", "-uno", "--", *_SOURCES])
    return {
        "git_sha": _first_line(["git", "rev-parse", "--short", "HEAD"]) + ("+" if dirty else ""),
        "compiler": _first_line(["arm-none-eabi-gcc", "--version"]),
        "flags": "-O2",
        "qemu": _first_line(["qemu-system-arm", "--version"]),
        "python": platform.python_version(),
    }


@functools.cache
def is_stale(git_sha: str) -> bool:
    """Whether a row of that commit may come out differently now."""
    if git_sha.endswith("+"):
        return True
    return _run(["git", "diff", "--quiet", git_sha, "HEAD", "--", *_SOURCES]).returncode != 0


def _first_line(command: Sequence[str]) -> str:
    try:
        return (_run(command).stdout.splitlines() or [""])[0]
    except FileNotFoundError:
        return "missing"


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
