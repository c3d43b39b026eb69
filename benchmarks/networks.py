"""Whole networks on an emulated core: instructions, memory and bytes, compared with the tflite-micro wheel.

    python benchmarks/networks.py [--ic ic_resnet8_int8.tflite] [--boards B ...] [--budget-minutes M] [--force]

MLPerf Tiny's image classification network is read from a file (skipped without one), as it is and rounded to ternary
weights of 35 % density between its first and last layer; the others have random weights. "small" kernels: the reference
kernels in an image that is optimised for size as a whole; the cost model does not know them. Rows go to results/networks.csv
and, layer by layer, to results/network_layers.csv. Exit code 1: an output differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Budget, Results, add_common_options, progress_bar
from models import NETWORKS, int8_model, ternary
from rich.console import Console
from rich.table import Table

from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import QemuResult, run_qemu
from keras_hwcompress.select import Selection, select_formats
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Reshape, weighted
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch

KEYS = ("network", "weights", "objective", "scope", "kernels", "core")
VALUES = (
    "board", "macs", "insns", "insns_per_mac", "predicted_insns", "arena_bytes", "stack_bytes", "flash_bytes", "weight_bytes", "model_bytes",
    "formats", "outputs", "mismatches", "goals",
)  # fmt: skip
LAYER_KEYS = (*KEYS, "layer")
LAYER_VALUES = ("op", "format", "macs", "insns", "insns_per_mac", "predicted_insns", "scratch_bytes")
_INPUTS = 2
SMALL_FLAGS = "-Os -flto, kernels -O2"
_DENSITY = 0.35
IC = "ResNet-8"


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `bound` in a column of the CSV."""

    column: str
    bound: float


@dataclass(frozen=True, slots=True)
class Run:
    """One row: a network with given weights under an objective."""

    network: str
    weights: str
    objective: str
    scope: str = "image"
    kernels: str = "fast"
    goals: tuple[Goal, ...] = ()

    @property
    def keys(self) -> dict[str, str]:
        """What names the row, but for the core."""
        return {name: getattr(self, name) for name in KEYS if name != "core"}


_TERNARY = "ternary 35 %"
RUNS = (
    Run(IC, "int8", "latency", goals=(Goal("insns", 14_000_000), Goal("arena_bytes", 36_000))),
    Run(IC, _TERNARY, "latency", goals=(Goal("insns", 6_500_000),)),
    Run(IC, _TERNARY, "flash", kernels="small", goals=(Goal("flash_bytes", 28 * 1024),)),
    Run(IC, _TERNARY, "flash"),
    Run(IC, _TERNARY, "flash", "weights"),
    Run("MobileNet", "int8", "latency", goals=(Goal("insns_per_mac", 1.5), Goal("arena_bytes", 60_000))),
    Run("MobileNet", _TERNARY, "latency"),
    Run("DS-CNN", "int8", "latency", goals=(Goal("insns_per_mac", 1.35),)),
    Run("DS-CNN", _TERNARY, "latency"),
    Run("autoencoder", "int8", "latency", goals=(Goal("insns_per_mac", 1.15),)),
    Run("autoencoder", _TERNARY, "latency"),
    Run("anomaly detection", "int8", "latency"),
)
GOAL_CORE = "cortex-m4"


def graphs(run: Run, ic: Path | None, cache: dict[str, Graph]) -> Graph | None:
    """The plain graph of a run; None where its file was not given."""
    if run.network not in cache:
        if run.network == IC and ic is None:
            return None
        data = ic.read_bytes() if run.network == IC else int8_model(run.network)
        cache[run.network] = expand(read_model(data))
    plain = cache[run.network]
    return plain if run.weights == "int8" else ternary(plain, _DENSITY)


def measure(run: Run, plain: Graph, board: Board) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The row of a run, and the rows of its layers."""
    selection = select_formats(plain, board, objective=run.objective, scope=run.scope)
    inputs = random_batch(plain, _INPUTS, seed=1)
    result = run_qemu(selection.packed, inputs, board=board.name, kernels=run.kernels)
    expected = run_oracle(plain, inputs, oracle_of(plain))
    wrong = sum(int(np.count_nonzero(a.reshape(b.shape) != b)) for a, b in zip(result.outputs, expected, strict=True))
    keys = run.keys | {"core": board.core}
    return keys | row_of(run, board, selection, result, wrong), [keys | row for row in layer_rows(run, selection, result)]


def oracle_of(graph: Graph) -> str:
    """The wheel, but for models with a standalone RELU6, which it does not requantize."""
    return "reference" if any(op.kind == "RELU6" for op in graph.ops) else "tflm"


def row_of(run: Run, board: Board, selection: Selection, result: QemuResult, wrong: int) -> dict[str, object]:
    """The measured columns."""
    model = result.model
    names = [blob.format.name for blob in model.blobs.values()]
    goals = run.goals if board.core == GOAL_CORE else ()
    return {
        "board": board.name,
        "macs": model.macs,
        "insns": result.insns,
        "insns_per_mac": round(result.insns / model.macs, 4),
        "predicted_insns": selection.latency if run.kernels == "fast" else "",
        "arena_bytes": result.arena_bytes,
        "stack_bytes": result.stack_bytes,
        "flash_bytes": result.flash_bytes,
        "weight_bytes": model.weight_bytes,
        "model_bytes": model.model_bytes,
        "formats": " ".join(f"{names.count(name)}x{name}" for name in dict.fromkeys(names)),
        "outputs": sum(array.size for array in result.outputs),
        "mismatches": wrong,
        "goals": " ".join(f"{goal.column}<={goal.bound:.9g}" for goal in goals),
    } | ({"flags": SMALL_FLAGS} if run.kernels == "small" else {})


def layer_rows(run: Run, selection: Selection, result: QemuResult) -> Iterator[dict[str, object]]:
    """A row for each layer that is called."""
    predicted = {layer.outputs[0]: insns for layer, insns in selection.insns} if run.kernels == "fast" else {}
    numbers = [number for number, layer in enumerate(result.model.layers) if not isinstance(layer, Reshape)]
    for number, (_, op, insns) in zip(numbers, result.layer_insns, strict=True):
        layer = result.model.layers[number]
        macs = layer.macs if weighted([layer]) else 0
        scratch = result.model.plan.scratch.get(number)
        yield {
            "layer": number,
            "op": op,
            "format": result.model.blobs[layer.weights.tensor].format.name if macs else "",
            "macs": macs,
            "insns": insns,
            "insns_per_mac": round(insns / macs, 4) if macs else "",
            "predicted_insns": predicted.get(layer.outputs[0], ""),
            "scratch_bytes": scratch.bytes if scratch else 0,
        }


def run_all(options: argparse.Namespace, results: Results, layers: Results) -> int:
    """Measures the unfinished rows; returns how many outputs differ."""
    budget, cache, wrong = Budget(options.budget_minutes), {}, 0
    todo = [(BOARDS[name], run) for name in options.boards for run in RUNS if not results.has(core=BOARDS[name].core, **run.keys)]
    with progress_bar() as progress:
        task = progress.add_task("networks", total=len(todo))
        for board, run in todo:
            if budget.is_spent:
                break
            progress.update(task, description=f"{run.network} {run.weights} {run.objective}")
            plain = graphs(run, options.ic, cache)
            if plain is None:
                progress.console.print(f"skipped {run.network}: give its file with --ic")
                continue
            row, rows = measure(run, plain, board)
            wrong += int(row["mismatches"])
            results.add(row)
            layers.add(*rows)
            progress.advance(task)
    return wrong


def show(results: Results, layers: Results) -> None:
    """Prints the figures, the goals, and for every goal that is missed the layers that cost most."""
    console = Console(width=180)
    figures = Table(*KEYS, "insns", "per MAC", "predicted", "arena", "flash", "weights", "mismatches", "formats")
    for row in results.rows:
        error = f"{int(row['predicted_insns']) / int(row['insns']) - 1:+.1%}" if row["predicted_insns"] else "-"
        counts = [f"{int(row[key]):,}" for key in ("arena_bytes", "flash_bytes", "weight_bytes", "mismatches")]
        figures.add_row(*(row[key] for key in KEYS), f"{int(row['insns']):,}", f"{float(row['insns_per_mac']):.3f}", error, *counts, row["formats"])
    console.print(figures)
    goals = Table("goal", "at most", "measured", "verdict")
    for row, column, bound in _goals(results.rows):
        name = " ".join(row[key] for key in ("network", "weights", "objective"))
        goals.add_row(f"{name}: {column}", f"{bound:,.9g}", f"{float(row[column]):,.9g}", "ok" if float(row[column]) <= bound else "MISSED")
    console.print(goals)
    for row, column, bound in _goals(results.rows):
        if float(row[column]) > bound:
            _show_culprits(console, row, layers)


def _goals(rows: Sequence[dict[str, str]]) -> Iterator[tuple[dict[str, str], str, float]]:
    """(row, column, bound) of every goal."""
    for row in rows:
        for goal in row["goals"].split():
            column, bound = goal.split("<=")
            yield row, column, float(bound)


def _show_culprits(console: Console, row: dict[str, str], layers: Results) -> None:
    own = [layer for layer in layers.rows if all(layer[key] == row[key] for key in KEYS)]
    table = Table("layer", "operator", "format", "insns", "share", "per MAC", "scratch", title=f"layers of {' '.join(row[key] for key in KEYS)}")
    for layer in sorted(own, key=lambda layer: -int(layer["insns"]))[:5]:
        share = f"{int(layer['insns']) / int(row['insns']):.1%}"
        table.add_row(layer["layer"], layer["op"], layer["format"], f"{int(layer['insns']):,}", share, layer["insns_per_mac"], layer["scratch_bytes"])
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints; the exit code tells whether all outputs were right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ic", type=Path, help="MLPerf Tiny's ic_resnet8_int8.tflite (default: skipped)")
    parser.add_argument("--boards", nargs="+", choices=list(BOARDS), default=["mps2-an386"], help="default: mps2-an386")
    add_common_options(parser)
    options = parser.parse_args(arguments)
    results = Results("networks.csv", KEYS, VALUES, refresh=options.force)
    layers = Results("network_layers.csv", LAYER_KEYS, LAYER_VALUES)
    wrong = run_all(options, results, layers)
    show(results, layers)
    print(f"{len(results.rows)} rows in {results.path}; networks known: {IC}, {', '.join(NETWORKS)}; {wrong} outputs differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
