"""Plots of results/kernels.csv (instructions per MAC, bits per weight) and, for `pareto.py`, of flash against latency.

    python benchmarks/plots.py

Writes results/kernels_insns.png and results/kernels_bits.png, against the share of non-zero weights.
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


def plot_front(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Rows of results/pareto.csv: above, flash against instructions; below, the format of each layer of every choice.

    A column of panels for each density; the choices are numbered from the largest to the smallest.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    densities = list(dict.fromkeys(row["density"] for row in rows))
    names = sorted({name for row in rows for name in row["choice"].split()})
    figure, grid = plt.subplots(2, len(densities), figsize=(6.5 * len(densities), 8.5), squeeze=False)
    for (front, formats), density in zip(grid.T, densities, strict=True):
        own = sorted((row for row in rows if row["density"] == density), key=lambda row: -int(row["counted_flash"]))
        _front(front, own)
        title = "int8 weights as they are" if float(density) >= 1 else f"ternary, {float(density):.0%} not zero"
        front.set_title(f"{own[0]['model']}, {own[0]['core']}: {title}", fontsize=10)
        _formats(formats, own, names)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _front(axes, rows: Sequence[dict[str, str]]) -> None:
    """Linked image against counted instructions; crosses: predicted. A number at every point, on alternating sides."""
    sizes = [int(row["flash_bytes"]) / 1024 for row in rows]
    measured, predicted = ([int(row[key]) / 1e6 for row in rows] for key in ("insns", "predicted_insns"))
    axes.plot(measured, sizes, "o-", label="counted in QEMU")
    axes.plot(predicted, sizes, "x", color="gray", label="predicted")
    for number, point in enumerate(zip(measured, sizes, strict=True), 1):
        axes.annotate(str(number), point, textcoords="offset points", xytext=(6, 4) if number % 2 else (-6, -12), ha="left" if number % 2 else "right", fontsize=9)
    axes.set_xlim(0, 1.1 * max(*measured, *predicted))
    axes.set_ylim(0, 1.1 * max(sizes))
    axes.set_xlabel("million instructions per inference")
    axes.set_ylabel("linked image, KB")
    axes.legend()
    axes.grid(alpha=0.3)


def _formats(axes, rows: Sequence[dict[str, str]], names: Sequence[str]) -> None:
    """A column for each choice, a field for each layer, coloured by format."""
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    for number, row in enumerate(rows, 1):
        for layer, name in enumerate(row["choice"].split()):
            axes.barh(layer, 0.9, left=number - 0.45, height=0.9, color=colours[name])
    weights = [int(size) for size in rows[0]["layers"].split()]
    axes.set_yticks(range(len(weights)), [f"{layer}: {size:,}" for layer, size in enumerate(weights)], fontsize=8)
    axes.set_xticks(range(1, len(rows) + 1))
    axes.invert_yaxis()
    axes.set_xlabel("choice, from the largest to the smallest")
    axes.set_ylabel("layer: weights")
    handles = [axes.barh(0, 0, color=colours[name], label=name) for name in names]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=len(names), frameon=False)


if __name__ == "__main__":
    with (RESULTS / "kernels.csv").open(newline="", encoding="utf-8") as file:
        for path in plot_kernels(list(csv.DictReader(file))):
            print(path)
