"""Instructions, scratch and bytes of single layers in every format, on every core; wrong outputs are a failure.

    python benchmarks/kernels.py [--boards B ...] [--formats F ...] [--cases PATTERN] [--budget-minutes M] [--force]

Each cell of the matrix (`cases.py`) is a one-layer model, run in QEMU and compared with the numpy reference; some dozens
share one image. Rows go to results/kernels.csv and are never recomputed, unless --force finds them outdated. Exit
code 1: a cell gave wrong outputs or did not build; it gets no row.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from cases import Cell, cells, named_cases, random_cases
from common import Budget, Results, add_common_options, progress_bar
from goals import GOALS, NEAREST, ODD_FACTOR, SCRATCH_GOALS
from plots import plot_kernels
from rich.console import Console

from keras_hwcompress.errors import BlobError, HwcmpError
from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.qemu import QemuResult, run_qemu_many
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.samples import random_batch

KEYS = ("core", "case", "format", "levels")
VALUES = (
    "board", "arm", "op", "kernel", "stage", "macs", "outputs", "insns", "insns_per_mac", "insns_per_output", "scratch_bytes", "tile_rows",
    "weight_bytes", "bits_per_weight",
)  # fmt: skip
_CELLS_PER_IMAGE = 160
_BYTES_PER_IMAGE = 1_000_000


def default_boards() -> list[Board]:
    """For each core the board with most RAM; the cores with goals first."""
    wanted = {core: None for core, *_ in GOALS}
    best: dict[str, Board] = {}
    for board in BOARDS.values():
        if board.core not in best or board.ram.length > best[board.core].ram.length:
            best[board.core] = board
    return [best.pop(core) for core in wanted if core in best] + list(best.values())


def model_of(cell: Cell) -> tuple[Graph, Graph] | None:
    """(plain, packed) one-layer models of a cell; None where the format does not admit the weights."""
    plain = cell.case.graph(cell.levels)
    if not cell.format:
        return plain, plain
    try:
        return plain, pack(plain, {0: cell.format})
    except BlobError:
        return None


def inputs_of(cell: Cell, graph: Graph) -> list[np.ndarray]:
    """Two inputs: extreme values only, then any values; the second is the one that is counted."""
    arrays = random_batch(graph, 2, seed=1)
    for array in arrays:
        low, high = (-1, 1) if array.dtype.kind == "f" else (-128, 127)
        array[0] = np.where(array[0] < 0, low, high)
    return arrays


def measure(board: Board, todo: Sequence[Cell]) -> Iterator[tuple[Cell, dict[str, object] | None, str]]:
    """(cell, row or None, what is wrong) of every cell whose format admits its weights; they have the same layouts."""
    models = {cell: model for cell in todo if (model := model_of(cell)) is not None}
    if not models:
        return
    try:
        inputs = {cell: inputs_of(cell, plain) for cell, (plain, _) in models.items()}
        pairs = [(packed, inputs[cell]) for cell, (_, packed) in models.items()]
        results = run_qemu_many(pairs, board=board.name, layouts=todo[0].layouts)
    except HwcmpError as error:
        if len(models) == 1:
            yield next(iter(models)), None, str(error)
        else:  # one of them is to blame: find it
            halves = list(models)
            yield from measure(board, halves[: len(halves) // 2])
            yield from measure(board, halves[len(halves) // 2 :])
        return
    for (cell, (plain, _)), result in zip(models.items(), results, strict=True):
        wrong = mismatches(plain, inputs[cell], result)
        yield (cell, None, f"{wrong} outputs differ") if wrong else (cell, row_of(board, cell, result), "")


def mismatches(plain: Graph, inputs: Sequence[np.ndarray], result: QemuResult) -> int:
    """Outputs that differ from the reference on the unpacked model."""
    if not result.exact:
        raise HwcmpError("instructions were not counted: the plugin of the emulator did not load")
    wrong = 0
    for number in range(len(inputs[0])):
        expected = reference.run(plain, [column[number] for column in inputs])
        wrong += sum(int(np.count_nonzero(a[number].reshape(b.shape) != b)) for a, b in zip(result.outputs, expected, strict=True))
    return wrong


def row_of(board: Board, cell: Cell, result: QemuResult) -> dict[str, object]:
    """The measured columns."""
    model, insns = result.model, result.layer_insns[0][2]
    outputs = sum(tensor.size for tensor in model.outputs)
    return {
        **cell.keys,
        "core": board.core,
        "board": board.name,
        "arm": board.arm,
        "op": cell.case.op,
        "kernel": model.kernel(model.layers[0]) if cell.format else cell.case.op,
        "stage": cell.case.stage,
        "macs": model.macs,
        "outputs": outputs,
        "insns": insns,
        "insns_per_mac": round(insns / model.macs, 4) if model.macs else "",
        "insns_per_output": round(insns / outputs, 3),
        "scratch_bytes": sum(buffer.bytes for buffer in model.plan.scratch.values()),
        "tile_rows": next(iter(model.tile_rows.values()), ""),
        "weight_bytes": model.weight_bytes,
        "bits_per_weight": round(8 * model.weight_bytes / model.int8_weight_bytes, 4) if model.int8_weight_bytes else "",
    }


def batches(todo: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Cells that share an image: of the same layouts, bounded in number and in bytes of weights."""
    batch: list[Cell] = []
    size = 0
    for cell in sorted(todo, key=lambda cell: cell.layouts, reverse=True):
        rows, length = cell.case.weights_shape if cell.format else (0, 0)
        full = len(batch) == _CELLS_PER_IMAGE or size + rows * length > _BYTES_PER_IMAGE
        if batch and (full or cell.layouts != batch[0].layouts):
            yield batch
            batch, size = [], 0
        batch.append(cell)
        size += rows * length
    if batch:
        yield batch


def run(boards: Sequence[Board], todo: Sequence[Cell], results: Results, budget: Budget) -> list[str]:
    """Measures the unfinished cells; returns a line for every failure."""
    failures = []
    plan = [(board, batch) for board in boards for batch in batches([cell for cell in todo if not results.has(core=board.core, **cell.keys)])]
    with progress_bar() as progress:
        task = progress.add_task("kernels", total=sum(len(batch) for _, batch in plan))
        for board, batch in plan:
            if budget.is_spent:
                break
            progress.update(task, description=board.name)
            found = list(measure(board, batch))
            results.add(*(row for _, row, _ in found if row is not None))
            failures += [f"{board.name} {' '.join(cell.keys.values())}: {text}" for cell, row, text in found if row is None]
            progress.advance(task, len(batch))
    return failures


def show(results: Results) -> int:
    """Prints the cells that have a goal; returns how many miss it."""
    console, missed = Console(width=160), 0
    found = {tuple(row[key] for key in KEYS): row for row in results.rows}
    for cell, (value, goal, scratch, scratch_goal) in checked(found).items():
        met = value <= goal and scratch <= (scratch_goal or scratch)
        missed += not met
        room = f"scratch {scratch:,}" + (f" goal {scratch_goal:,}" if scratch_goal else "")
        console.print(f"{' '.join(cell):62} {value:7.3f}  goal {goal:<7g} {'ok' if met else 'MISSED':7} {room}")
    return missed


def checked(found: Mapping[tuple[str, ...], Mapping[str, str]]) -> dict[tuple[str, ...], tuple[float, float, int, int | None]]:
    """(figure, goal, scratch, goal of the scratch) of the measured cells that have a goal."""
    goals = {cell: goal for cell, goal in GOALS.items() if cell in found}
    for odd, regular in NEAREST.items():
        for core, case, name, levels in found:
            nearest = found.get((core, regular, name, levels))
            if case == odd and core == "cortex-m4" and nearest:
                goals[core, case, name, levels] = round(ODD_FACTOR * float(nearest["insns_per_mac"]), 4)
    return {cell: (_figure(found[cell]), goal, int(found[cell]["scratch_bytes"]), SCRATCH_GOALS.get(cell)) for cell, goal in goals.items()}


def _figure(row: Mapping[str, str]) -> float:
    return float(row["insns_per_mac"] or row["insns_per_output"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    formats = [row.name for row in table().formats]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", nargs="+", choices=list(BOARDS), help="default: one for each core")
    parser.add_argument("--formats", nargs="+", choices=formats, default=formats, help="default: all of the table")
    parser.add_argument("--cases", default="*", help="pattern of case names, such as 'conv*' (default: all)")
    parser.add_argument("--output", default="kernels.csv", help="CSV file (default: results/kernels.csv)")
    parser.add_argument("--no-plots", action="store_true", help="draw nothing")
    add_common_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the cells with a goal, plots; the exit code tells whether all outputs were right."""
    options = parse(arguments)
    boards = [BOARDS[name] for name in options.boards] if options.boards else default_boards()
    todo = [cell for cell in (*cells(named_cases(), options.formats), *cells(random_cases(), options.formats)) if fnmatch.fnmatchcase(cell.case.name, options.cases)]
    results = Results(options.output, KEYS, VALUES, refresh=options.force)
    failures = run(boards, todo, results, Budget(options.budget_minutes))
    missed = show(results)
    if results.rows and not options.no_plots:
        plot_kernels(results.rows, results.path.parent)
    print(f"{len(results.rows)} rows in {results.path}; {missed} goals missed; {len(failures)} failures")
    for line in failures:
        print(f"FAILED {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
