"""Plots of results/kernels.csv: instructions per MAC and bits per weight against the share of non-zero weights.

    python benchmarks/plots.py

Writes results/kernels_insns.png and results/kernels_bits.png.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from cases import LEVELS
from common import RESULTS

_CASES = ("conv3x3_16to32_16x16", "conv3x3_64to64_8x8", "conv1x1_64to64_25x5")
_CORES = ("cortex-m0", "cortex-m4", "cortex-m55")


def plot_kernels(rows: Sequence[dict[str, str]], folder: Path = RESULTS) -> list[Path]:
    """The two plots: a column of panels for each core, a line for each format over ternary weights."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    paths = []
    for column, label in (("insns_per_mac", "instructions per MAC"), ("bits_per_weight", "bits per weight")):
        figure, grid = plt.subplots(len(_CASES), len(_CORES), figsize=(11, 8), sharex=True, squeeze=False)
        for line, case in zip(grid, _CASES, strict=True):
            for axes, core in zip(line, _CORES, strict=True):
                _panel(axes, [row for row in rows if row["case"] == case and row["core"] == core], column)
                axes.set_title(f"{case}, {core}", fontsize=8)
            line[0].set_ylabel(label)
        for axes in grid[-1]:
            axes.set_xlabel("non-zero weights, %")
        figure.tight_layout()
        paths.append(folder / f"kernels_{column.split('_')[0]}.png")
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return paths


def _panel(axes, rows: Sequence[dict[str, str]], column: str) -> None:
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        levels = LEVELS[row["levels"]]
        if row["format"] == "dense8":
            axes.axhline(float(row[column]), color="gray", linestyle=":", linewidth=1, label="dense8, int8")
        elif levels.count == 3:
            lines[row["format"]].append((100 * levels.density, float(row[column])))
    for name, points in sorted(lines.items()):
        axes.plot(*zip(*sorted(points), strict=True), "o-", markersize=3, label=name)
    axes.set_ylim(bottom=0)
    if rows:
        axes.legend(fontsize=6)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    with (RESULTS / "kernels.csv").open(newline="", encoding="utf-8") as file:
        for path in plot_kernels(list(csv.DictReader(file))):
            print(path)
