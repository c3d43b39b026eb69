"""What a layer-wise search hands back: the model, and what every attempt gained in bytes and cost in accuracy."""

from __future__ import annotations

import io
from dataclasses import dataclass

import keras
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class LayerwiseStep:
    """One attempt. bytes_before, bytes_after: of its layers, pruned and constrained, in the formats that take fewest.

    paths: of the layers. score: of the model with these layers constrained too. drop: how much less than the float
    model's. accepted: whether they stayed constrained.
    """

    paths: tuple[str, ...]
    accepted: bool
    score: float
    drop: float
    bytes_before: int
    bytes_after: int
    format_before: str
    format_after: str

    @property
    def name(self) -> str:
        """The paths in one string."""
        return " + ".join(self.paths)

    def __str__(self) -> str:
        gain = f"{self.bytes_before:,} -> {self.bytes_after:,} bytes ({self.format_before} -> {self.format_after})"
        verdict = "constrained" if self.accepted else "left as it was, too much is lost"
        return f"{self.name}: {gain}, score {self.score:.4f}, {self.drop:+.4f} lost against float: {verdict}"


@dataclass(frozen=True, slots=True)
class LayerwiseResult:
    """model: wrapped, ready for `Converter`. baseline, pruned: scores of the float and of the pruned float model.

    score: of `model`. order: in which layers were tried. steps: of those that were tried.
    """

    model: keras.Model
    baseline: float
    pruned: float
    score: float
    order: tuple[str, ...]
    steps: tuple[LayerwiseStep, ...]

    @property
    def constrained(self) -> tuple[str, ...]:
        """Paths of the layers on the grid."""
        return tuple(path for step in self.steps if step.accepted for path in step.paths)

    def table(self) -> Table:
        """A rich table, one row per attempt."""
        table = Table("layer", "constrained", title=f"float {self.baseline:.4f}, pruned {self.pruned:.4f}, end {self.score:.4f}")
        for heading in ("bytes before", "after", "score", "lost"):
            table.add_column(heading, justify="right")
        for step in self.steps:
            sizes = f"{step.bytes_before:,} {step.format_before}", f"{step.bytes_after:,} {step.format_after}"
            table.add_row(step.name, "yes" if step.accepted else "no", *sizes, f"{step.score:.4f}", f"{step.drop:+.4f}")
        return table

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120)
        console.print(self.table())
        return console.file.getvalue()
