"""The README's table of constrained training: the smallest networks that lose at most a point, and where it breaks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_Row = Mapping[str, str]
BOUND = -1.0  # points of accuracy, against the float arm of the same folds
_TITLES = {"digits": "digits, CNN", "fsdd": "FSDD, DS-CNN", "fsdd_gru": "FSDD, GRU(32)", "resnet8": "CIFAR-10 (JPEG copies), ResNet-8"}
_PUBLISHED = {"digits": "77x", "fsdd": "77x", "fsdd_gru": "95x", "resnet8": "77x"}
KINDS = ("int8", "distilled", "twn", "ttq", "ternary", "prune", "constrained", "constrained-all", "layerwise", "layerwise5")
_FEW = 5  # so many arms of a task, or fewer, are all shown
_HEADINGS = ("task", "arm", "folds", "zeros", "accuracy", "minus float, points", "weight_bytes", "of int8", "smaller than fp32", "published",
             "insns", "flash_bytes", "mismatches")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arm:
    """Means over the folds of an arm. against: accuracy minus that of the float arm, in points; error: its standard error.

    insns, flash_bytes: None where they were not measured. mismatches: outputs that differ from the oracle's, all folds.
    """

    task: str
    name: str
    folds: int
    zeros: float
    accuracy: float
    against: float
    error: float | None
    weight_bytes: float
    int8_weight_bytes: float
    insns: float | None
    flash_bytes: float | None
    mismatches: int | None


def kind_of(arm: Arm) -> str:
    """One of KINDS: the arm's name without its share of zeros."""
    head, _, tail = arm.name.rpartition("-")
    return head if tail.isdigit() else arm.name


def arms_of(rows: Sequence[_Row]) -> list[Arm]:
    """The arms of every task, in the order of the file; folds whose float arm is missing are left out."""
    scores = {(row["task"], row["fold"]): float(row["accuracy"]) for row in rows if row["arm"] == "float"}
    own = [row for row in rows if row["arm"] != "float" and (row["task"], row["fold"]) in scores]
    keys = dict.fromkeys((row["task"], row["arm"]) for row in own)
    return [_arm([row for row in own if (row["task"], row["arm"]) == key], scores) for key in keys]


def _arm(rows: Sequence[_Row], scores: Mapping[tuple[str, str], float]) -> Arm:
    against = [100 * (float(row["accuracy"]) - scores[row["task"], row["fold"]]) for row in rows]
    wrong = [int(row["mismatches"]) for row in rows if row.get("mismatches")]
    return Arm(
        rows[0]["task"], rows[0]["arm"], len(rows),
        *(statistics.mean(float(row[name]) for row in rows) for name in ("zeros", "accuracy")),
        statistics.mean(against), statistics.stdev(against) / len(against) ** 0.5 if len(against) > 1 else None,
        *(statistics.mean(float(row[name]) for row in rows) for name in ("weight_bytes", "int8_weight_bytes")),
        _mean(rows, "insns"), _mean(rows, "flash_bytes"), sum(wrong) if len(wrong) == len(rows) else None,
    )  # fmt: skip


def _mean(rows: Sequence[_Row], name: str) -> float | None:
    """None where a row was not measured: then a mean would be of other folds than those of the other columns."""
    values = [row.get(name) for row in rows]
    return statistics.mean(map(float, values)) if all(values) else None


def constrained(rows: Sequence[_Row]) -> list[str]:
    """For every task int8, the smallest arm within the bound of each kind, and the smallest arm that is not within it."""
    arms = arms_of(rows)
    lines = []
    for task in (task for task in _TITLES if any(arm.task == task for arm in arms)):
        lines += [_cells(arm, mark) for arm, mark in _shown([arm for arm in arms if arm.task == task])]
    table = [f"| {' | '.join(cells)} |" for cells in (_HEADINGS, ["---"] * len(_HEADINGS), *lines)]
    note = (
        'Means over folds (seeds for ResNet-8) of the generated int8 C code; differences to the float arm of the same fold with their standard error. For each '
        "kind of arm: the smallest within one point of float (of five arms or fewer: all). **Bold**: the smallest of all within one point. "
        "*Breaks*: the largest arm that is smaller still. Numbers in names of arms are percent of zeros asked for. Published: the best ratios of Grimaldi et al., on other networks. Instructions and flash "
        "(whole image) on Cortex-M4; mismatches on host and in QEMU against the tflite-micro wheel."
    )
    return [*table, "", note]


def _shown(arms: Sequence[Arm]) -> list[tuple[Arm, str]]:
    """Arms in the order of KINDS (few: all of them, as they come) with their marks; only arms that ran on most folds count."""
    full = [arm for arm in arms if 2 * arm.folds > max(other.folds for other in arms)]
    within = [arm for arm in full if arm.against >= BOUND]
    best = _smallest(within)
    beyond = [arm for arm in full if arm.against < BOUND and (best is None or arm.weight_bytes < best.weight_bytes)]
    breaks = max(beyond, key=lambda arm: arm.weight_bytes, default=None)
    chosen = full if len(full) <= _FEW else [*(_smallest([arm for arm in within if kind_of(arm) == kind]) for kind in KINDS), breaks]
    return [(arm, "best" if arm is best else "breaks" if arm is breaks else "") for arm in chosen if arm is not None]


def _smallest(arms: Sequence[Arm]) -> Arm | None:
    return min(arms, key=lambda arm: arm.weight_bytes, default=None)


def _cells(arm: Arm, mark: str) -> list[str]:
    name = {"best": f"**{arm.name}**", "breaks": f"*breaks:* {arm.name}"}.get(mark, arm.name)
    spread = "" if arm.error is None else f" ± {arm.error:.2f}"
    sizes = [f"{arm.weight_bytes:,.0f}", f"{arm.weight_bytes / arm.int8_weight_bytes:.3f}", f"{4 * arm.int8_weight_bytes / arm.weight_bytes:.1f}x"]
    counts = ["-" if value is None else f"{value:,.0f}" for value in (arm.insns, arm.flash_bytes, arm.mismatches)]
    published = _PUBLISHED[arm.task] if mark == "best" else ""
    return [_TITLES[arm.task], name, f"{arm.folds}", f"{arm.zeros:.0%}", f"{arm.accuracy:.2%}", f"{arm.against:+.2f}{spread}", *sizes, published, *counts]
