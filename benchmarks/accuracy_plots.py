"""Plots of results/constrained.csv: accuracy against bytes of weights, a panel for each task.

    python benchmarks/accuracy_plots.py

Writes results/constrained.png.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from common import RESULTS

from keras_hwcompress.report.trained import KINDS, Arm, arms_of, kind_of


def plot_accuracy(rows: Sequence[dict[str, str]], folder: Path = RESULTS) -> Path:
    """Means over the folds with the standard error of the difference to float; the bound of one point as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks: dict[str, list[Arm]] = defaultdict(list)
    for arm in arms_of(rows):
        tasks[arm.task].append(arm)
    figure, panels = plt.subplots(1, len(tasks), figsize=(5 * len(tasks), 4), squeeze=False)
    for axes, (task, arms) in zip(panels[0], tasks.items(), strict=True):
        _panel(axes, arms)
        axes.set_title(f"{task}, folds: {max(arm.folds for arm in arms)}", fontsize=9)
        axes.set_xlabel("weight_bytes / int8 bytes")
    panels[0][0].set_ylabel("accuracy minus float, points")
    figure.tight_layout()
    path = folder / "constrained.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _panel(axes, arms: Sequence[Arm]) -> None:
    for number, kind in enumerate(KINDS):
        own = sorted((arm for arm in arms if kind_of(arm) == kind), key=lambda arm: arm.weight_bytes)
        if own:
            sizes, drops = [arm.weight_bytes / arm.int8_weight_bytes for arm in own], [arm.against for arm in own]
            axes.errorbar(sizes, drops, [arm.error or 0 for arm in own], fmt="o-", color=f"C{number}", markersize=3, capsize=2, label=kind)
    axes.axhline(-1, color="gray", linestyle=":", linewidth=1)
    axes.axvline(0.125, color="gray", linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xticks([2.0**-power for power in range(5)], ["1", "1/2", "1/4", "1/8", "1/16"])
    axes.set_xlim(2**-4.5, 1.2)
    axes.set_ylim(bottom=max(-30, axes.get_ylim()[0]))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


if __name__ == "__main__":
    with (RESULTS / "constrained.csv").open(newline="", encoding="utf-8") as file:
        print(plot_accuracy(list(csv.DictReader(file))))
