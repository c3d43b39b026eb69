"""Flash against latency: the formats that the choice takes as a bound on flash or on instructions tightens.

    python benchmarks/pareto.py MODEL.tflite [--density 1 0.35] [--points 7] [--board mps2-an386] [--budget-minutes M] [--force]

For each density: rounds the network to ternary weights between its first and last layer (as `networks.py` does; 1 leaves
it as it is), sweeps bounds on latency (least flash within them) and on flash (least latency within them) from one end of
the front to the other, and runs every distinct choice in QEMU. Writes results/pareto.csv and results/pareto.png. Exit code
1: an output differs from the tflite-micro wheel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, Budget, Results, add_common_options, progress_bar
from models import ternary
from plots import plot_front
from rich.console import Console
from rich.table import Table

from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.select import Bounds, Selection, select_formats
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch

KEYS = ("model", "density", "core", "choice")
VALUES = (
    "bound", "bound_value", "predicted_insns", "insns", "counted_flash", "model_bytes", "weight_bytes", "flash_bytes", "arena_bytes", "layers",
    "mismatches",
)  # fmt: skip


def sweep(graph: Graph, board: Board, points: int) -> list[tuple[str, int, Selection]]:
    """(bound's name, its value, the choice within it), from the fastest to the smallest; each choice once."""
    found: dict[str, tuple[str, int, Selection]] = {}
    for name, bound, selection in _selections(graph, board, points):
        found.setdefault(choice_of(selection), (name, bound, selection))
    return sorted(found.values(), key=lambda item: (item[2].latency, item[2].flash))


def _selections(graph: Graph, board: Board, points: int) -> Iterator[tuple[str, int, Selection]]:
    fastest, smallest = (select_formats(graph, board, objective=objective) for objective in ("latency", "flash"))
    yield "flash", fastest.flash, fastest
    yield "latency", smallest.latency, smallest
    for bound in _between(fastest.latency, smallest.latency, points):
        yield "latency", bound, select_formats(graph, board, Bounds(latency=bound))
    for bound in _between(smallest.flash, fastest.flash, points):
        yield "flash", bound, select_formats(graph, board, Bounds(flash=bound), "latency")


def _between(low: int, high: int, points: int) -> list[int]:
    """Bounds from one end of the front to the other; none where the ends are one choice."""
    return np.linspace(low, high, points).round().astype(int).tolist() if low < high else []


def choice_of(selection: Selection) -> str:
    """The format of every layer, in order."""
    return " ".join(row.format for _, row in _in_order(selection))


def _in_order(selection: Selection) -> list:
    return sorted(selection.picked.items(), key=lambda item: item[0].ops[0])


def measure(selection: Selection, plain: Graph, board: Board) -> dict[str, object]:
    """The measured columns. counted_flash: what a bound on flash is compared with. layers: int8 bytes of each."""
    inputs = random_batch(plain, 2, seed=1)
    result = run_qemu(selection.packed, inputs, board=board.name)
    expected = run_oracle(plain, inputs, "tflm")
    wrong = sum(int(np.count_nonzero(a.reshape(b.shape) != b)) for a, b in zip(result.outputs, expected, strict=True))
    return {
        "predicted_insns": selection.latency,
        "insns": result.insns,
        "counted_flash": selection.flash,
        "model_bytes": result.model.model_bytes,
        "weight_bytes": result.model.weight_bytes,
        "flash_bytes": result.flash_bytes,
        "arena_bytes": result.arena_bytes,
        "layers": " ".join(str(plain.tensors[group.tensors[0]].size) for group, _ in _in_order(selection)),
        "mismatches": wrong,
    }


def run(options: argparse.Namespace, results: Results) -> tuple[int, list[dict[str, str]]]:
    """Measures the unfinished points; returns the number of outputs that differ, and the rows of this sweep."""
    board, budget, wrong = BOARDS[options.board], Budget(options.budget_minutes), 0
    plain = expand(read_model(options.model.read_bytes()))
    graphs = {density: plain if density >= 1 else ternary(plain, density) for density in options.density}
    chosen = [(density, *found) for density, graph in graphs.items() for found in sweep(graph, board, options.points)]
    rows = []
    with progress_bar() as progress:
        task = progress.add_task("choices", total=len(chosen))
        for density, name, bound, selection in chosen:
            key = {"model": options.model.stem, "density": density, "core": board.core, "choice": choice_of(selection)}
            if not results.has(**key) and not budget.is_spent:
                row = measure(selection, graphs[density], board)
                wrong += int(row["mismatches"])
                results.add(key | {"bound": name, "bound_value": bound} | row)
            rows += [row for row in results.rows if all(row[name] == str(value) for name, value in key.items())]
            progress.advance(task)
    return wrong, rows


def show(rows: Sequence[dict[str, str]]) -> None:
    """A line for each choice."""
    table = Table("density", "bound", "insns", "predicted", "flash counted", "flash_bytes", "formats", "mismatches")
    for row in rows:
        error = f"{int(row['predicted_insns']) / int(row['insns']) - 1:+.1%}"
        sizes = [f"{int(row[key]):,}" for key in ("counted_flash", "flash_bytes")]
        table.add_row(row["density"], f"{row['bound']}={int(row['bound_value']):,}", f"{int(row['insns']):,}", error, *sizes, row["choice"], row["mismatches"])
    Console(width=200).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweeps, prints, plots; the exit code tells whether all outputs were right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="an int8 .tflite file")
    parser.add_argument("--density", type=float, nargs="+", default=[1.0, 0.35], help="shares of weights that are not zero, 1: as it is (default: 1 0.35)")
    parser.add_argument("--points", type=int, default=7, help="bounds to try on either axis (default: 7)")
    parser.add_argument("--board", choices=list(BOARDS), default="mps2-an386", help="board to emulate (default: mps2-an386)")
    parser.add_argument("--output", default="pareto.csv", help="CSV file (default: results/pareto.csv); the plot goes beside it")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    results = Results(options.output, KEYS, VALUES, refresh=options.force)
    wrong, rows = run(options, results)
    show(rows)
    if rows:
        plot_front(rows, (RESULTS / options.output).with_suffix(".png"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
