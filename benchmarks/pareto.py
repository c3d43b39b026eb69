"""Flash against latency: the formats that the choice takes as the bound on instructions tightens.

    python benchmarks/pareto.py MODEL.tflite [--density 0.35] [--points 9] [--board mps2-an386] [--budget-minutes M] [--force]

Rounds the network to ternary weights between its first and last layer (as `networks.py` does; --density 1 leaves it as it
is), sweeps latency bounds from the fastest choice to the smallest, and runs every distinct choice in QEMU. Writes
results/pareto.csv and results/pareto.png. Exit code 1: an output differs from the tflite-micro wheel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, Budget, Results, add_common_options, progress_bar
from models import ternary
from rich.console import Console

from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.select import Bounds, Selection, select_formats
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch

KEYS = ("model", "density", "core", "choice")
VALUES = ("latency_bound", "predicted_insns", "insns", "model_bytes", "weight_bytes", "flash_bytes", "arena_bytes", "mismatches")


def sweep(graph: Graph, board: Board, points: int) -> list[tuple[int, Selection]]:
    """(latency bound, smallest choice within it), from the fastest to the smallest; each choice once."""
    fastest, smallest = (select_formats(graph, board, objective=objective) for objective in ("latency", "flash"))
    found: dict[str, tuple[int, Selection]] = {}
    for bound in np.linspace(fastest.latency, max(smallest.latency, fastest.latency), points).round().astype(int):
        selection = fastest if bound == fastest.latency else select_formats(graph, board, Bounds(latency=int(bound)))
        found.setdefault(choice_of(selection), (int(bound), selection))
    return list(found.values())


def choice_of(selection: Selection) -> str:
    """The format of every layer, in order."""
    return " ".join(row.format for _, row in sorted(selection.picked.items(), key=lambda item: item[0].ops[0]))


def measure(selection: Selection, plain: Graph, board: Board) -> dict[str, object]:
    """The measured columns."""
    inputs = random_batch(plain, 2, seed=1)
    result = run_qemu(selection.packed, inputs, board=board.name)
    expected = run_oracle(plain, inputs, "tflm")
    wrong = sum(int(np.count_nonzero(a.reshape(b.shape) != b)) for a, b in zip(result.outputs, expected, strict=True))
    return {
        "predicted_insns": selection.latency,
        "insns": result.insns,
        "model_bytes": result.model.model_bytes,
        "weight_bytes": result.model.weight_bytes,
        "flash_bytes": result.flash_bytes,
        "arena_bytes": result.arena_bytes,
        "mismatches": wrong,
    }


def plot(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Measured and predicted instructions against bytes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ordered = sorted(rows, key=lambda row: int(row["insns"]))
    figure, axes = plt.subplots(figsize=(7, 4.5))
    sizes = [int(row["model_bytes"]) / 1024 for row in ordered]
    axes.plot([int(row["insns"]) / 1e6 for row in ordered], sizes, "o-", label="counted in QEMU")
    axes.plot([int(row["predicted_insns"]) / 1e6 for row in ordered], sizes, "x", label="predicted")
    axes.set_xlabel("million instructions per inference")
    axes.set_ylabel("weights, bias and requantization, KB")
    axes.set_title(f"{ordered[0]['model']}, {float(ordered[0]['density']):.0%} non-zero, {ordered[0]['core']}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def run(options: argparse.Namespace, results: Results) -> tuple[int, list[dict[str, str]]]:
    """Measures the unfinished points; returns the number of outputs that differ, and the rows of this sweep."""
    board, budget, wrong = BOARDS[options.board], Budget(options.budget_minutes), 0
    plain = expand(read_model(options.model.read_bytes()))
    graph = plain if options.density >= 1 else ternary(plain, options.density)
    chosen = sweep(graph, board, options.points)
    keys = [{"model": options.model.stem, "density": options.density, "core": board.core, "choice": choice_of(item)} for _, item in chosen]
    with progress_bar() as progress:
        task = progress.add_task("choices", total=len(chosen))
        for key, (bound, selection) in zip(keys, chosen, strict=True):
            if not results.has(**key) and not budget.is_spent:
                row = measure(selection, graph, board)
                wrong += int(row["mismatches"])
                results.add(key | {"latency_bound": bound} | row)
            progress.advance(task)
    return wrong, [row for row in results.rows if any(all(row[name] == str(value) for name, value in key.items()) for key in keys)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweeps, prints, plots; the exit code tells whether all outputs were right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="an int8 .tflite file")
    parser.add_argument("--density", type=float, default=0.35, help="share of weights that are not zero (default: 0.35)")
    parser.add_argument("--points", type=int, default=9, help="latency bounds to try (default: 9)")
    parser.add_argument("--board", choices=list(BOARDS), default="mps2-an386", help="board to emulate (default: mps2-an386)")
    parser.add_argument("--output", default="pareto.csv", help="CSV file (default: results/pareto.csv); the plot goes beside it")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    results = Results(options.output, KEYS, VALUES, refresh=options.force)
    wrong, rows = run(options, results)
    for row in rows:
        Console(width=160).print(f"{int(row['insns']):>12,} insns (predicted {int(row['predicted_insns']):>12,})  {int(row['model_bytes']):>8,} B  {row['choice']}")
    if rows:
        plot(rows, (RESULTS / options.output).with_suffix(".png"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
