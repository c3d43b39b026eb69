"""Fits the cost model to results/kernels.csv and unpack.csv and writes keras_hwcompress/targets/cost.json.

    python benchmarks/fit_cost.py [--input CSV] [--unpack CSV] [--output JSON]

For each core one non-negative least-squares problem on relative errors: a row for every measured layer and for every
blob that was unpacked by itself, a column for every count of `targets/features.py`. In whole layers the counts of decoders
and kernels grow together; the rows of unpack.csv tell them apart. Non-negative, because no count saves instructions: what
does not help gets 0. The errors are those of ten-fold cross-validation in which all rows of a layer are left out together,
so that no format of a layer helps to predict another.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import LEVELS, WEIGHTED, Case, Cell, named_cases, random_cases
from common import RESULTS, Results
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls
from unpack import cases as decoder_cases

from keras_hwcompress import formats
from keras_hwcompress.codegen.kernels import kernel_file, kernel_of
from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.qemu import flash_bytes
from keras_hwcompress.runners.tools import run_tool
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.targets.cost import NOT_FITTED, CostModel
from keras_hwcompress.targets.features import Features, Stored, layer_features, unpack_features
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.prepare import prepare

MEDIAN_GOAL, WORST_GOAL = 0.05, 0.15
_COEFFICIENTS = Path(__file__).resolve().parent.parent / "keras_hwcompress" / "targets" / "cost.json"
_FOLDS = 10
# Counts that go together share what they explain, and what few rows say does not outweigh the rest.
_RIDGE = 0.01
DECODER = "unpack"
_DIGITS = 5
KEYS = ("core", "op", "format")
VALUES = ("rows", "median_error", "p90_error", "worst_error", "worst_case")


@dataclass(frozen=True, slots=True)
class Problem:
    """One core: rows of the CSV with their features, as a matrix (rows, names), and measured instructions (rows,)."""

    core: str
    rows: list[dict[str, str]]
    features: list[Features]
    names: list[str]
    counts: np.ndarray
    insns: np.ndarray

    def layers(self) -> list[int]:
        """Indices of the rows that are layers, not decoders by themselves."""
        return [index for index, row in enumerate(self.rows) if row["op"] != DECODER]

    def fit(self, rows: np.ndarray) -> CostModel:
        """The model that the rows with these indices give: coefficients >= 0, least sum of squared relative errors."""
        relative = self.counts[rows] / self.insns[rows, None]
        size = relative.max(axis=0)
        size[size == 0] = 1
        scaled = np.vstack((relative / size, _RIDGE * np.eye(len(size))))
        found = nnls(scaled, np.append(np.ones(len(rows)), np.zeros(len(size))), maxiter=100 * len(size))[0] / size
        kept = {name: float(f"{value:.{_DIGITS}g}") for name, value in zip(self.names, found, strict=True) if value > 0}
        return CostModel(self.core, self.rows[0]["arm"], kept)


def features_of(case: Case, row: dict[str, str]) -> Features:
    """The counts of a measured row: its layer is built again from its name."""
    cell = Cell(case, row["format"], LEVELS[row["levels"]] if row["levels"] else None)
    graph = case.graph(cell.levels)
    if not cell.format:
        return layer_features(prepare(graph)[0], row["arm"])
    layer = prepare(pack(graph, {0: cell.format}))[0]
    layout = next((item.name for item in table().layouts if row["kernel"].endswith(f"_{item.name}")), "")
    blob = formats.encode(layout, layer.weights.values) if layout else layer.weights.blob
    return layer_features(layer, row["arm"], Stored(cell.format, blob, row["kernel"], int(row["tile_rows"])))


def decoder_features(row: dict[str, str]) -> Features:
    """The counts of a blob that was unpacked by itself."""
    values = decoder_cases((int(row["rows"]), int(row["row_length"])))[row["weights"]]
    return unpack_features(values, Stored(row["format"], formats.encode(row["format"], values), "", int(row["rows_at_once"])))


def problems(rows: Sequence[dict[str, str]], decoders: Sequence[dict[str, str]] = ()) -> list[Problem]:
    """A least-squares problem for every core that has rows; `decoders`: rows of unpack.csv."""
    cases = {case.name: case for case in (*named_cases(), *random_cases())}
    found: dict[str, list[tuple[dict[str, str], Features]]] = defaultdict(list)
    cache: dict[tuple[str, ...], Features] = {}
    for row in rows:
        key = (row["arm"], row["case"], row["levels"], row["format"], row["kernel"], row["tile_rows"])
        if row["case"] in cases:
            cache[key] = cache.get(key) or features_of(cases[row["case"]], row)
            found[row["core"]].append((row, cache[key]))
    for row in decoders:
        if row["core"] in found and row["format"] != "dense8":
            key = ("", row["format"], row["weights"], f"{row['rows']} {row['row_length']} {row['rows_at_once']}")
            cache[key] = cache.get(key) or decoder_features(row)
            found[row["core"]].append((row | {"case": row["weights"], "op": DECODER, "levels": ""}, cache[key]))
    return [_problem(core, pairs) for core, pairs in found.items()]


def _problem(core: str, pairs: Sequence[tuple[dict[str, str], Features]]) -> Problem:
    names = sorted({name for _, features in pairs for name in features if not name.endswith(f"/{NOT_FITTED}")})
    counts = np.array([[features.get(name, 0.0) for name in names] for _, features in pairs])
    rows, features = [row for row, _ in pairs], [item for _, item in pairs]
    return Problem(core, rows, features, names, counts, np.array([float(row["insns"]) for row in rows]))


def held_out_errors(problem: Problem) -> np.ndarray:
    """Relative error of every layer, predicted by a fit to the layers of the other folds and to all decoders; 0 for those."""
    names = sorted({problem.rows[index]["case"] for index in problem.layers()})
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % _FOLDS, strict=True))
    folds = np.array([fold_of.get(row["case"], -1) for row in problem.rows])
    errors, own = np.zeros(len(folds)), set(problem.layers())
    for fold in range(_FOLDS):
        model = problem.fit(np.flatnonzero(folds != fold))
        for index in own.intersection(np.flatnonzero(folds == fold)):
            errors[index] = model.predict(problem.features[index]) / problem.insns[index] - 1
    return errors


def summary(problem: Problem, errors: np.ndarray) -> list[dict[str, object]]:
    """Errors by operator and format."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index in problem.layers():
        row = problem.rows[index]
        groups[row["op"], row["format"]].append(index)
    rows = []
    for (op, name), indices in groups.items():
        sizes = np.abs(errors[indices])
        worst = problem.rows[indices[int(np.argmax(sizes))]]
        values = (len(indices), np.median(sizes), np.quantile(sizes, 0.9), sizes.max())
        rounded = dict(zip(VALUES, (values[0], *(round(float(value), 4) for value in values[1:])), strict=False))
        rows.append({"core": problem.core, "op": op, "format": name, **rounded, "worst_case": f"{worst['case']} {worst['levels']}".strip()})
    return rows


def model_row(problem: Problem, errors: np.ndarray) -> dict[str, object]:
    """What cost.json says about a core."""
    model, errors = problem.fit(np.arange(len(problem.rows))), np.abs(errors[problem.layers()])
    return {
        "arm": model.arm,
        "code_bytes": code_bytes(BOARDS[problem.rows[0]["board"]]),
        "cases": len(errors),
        "median_error": round(float(np.median(errors)), 4),
        "worst_error": round(float(errors.max()), 4),
        "coefficients": dict(model.coefficients),
    }


def code_bytes(board: Board) -> dict[str, int]:
    """Compiled size of every kernel with weights and every decoder, as the generated projects compile them."""
    source = runtime_dir() / "src"
    files = {f"unpack {row.name}": source / f"unpack_{row.name}.c" for row in table().stored}
    for op in WEIGHTED:
        for kernel in {kernel_of(op, row) for row in table().stored}:
            files[kernel] = source / kernel_file(board.arm, kernel)
    return {name: _object_bytes(path, board) for name, path in sorted(files.items())}


def _object_bytes(path: Path, board: Board) -> int:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "object.o"
        flags = ["-std=c11", "-O2", "-ffreestanding", "-ffunction-sections", "-fdata-sections", *board.flags]
        include = [f"-I{runtime_dir() / 'include'}", f"-I{runtime_dir() / 'src'}"]
        run_tool(["arm-none-eabi-gcc", *flags, *include, "-c", str(path), "-o", str(target)])
        return flash_bytes(target)


def show(rows: Sequence[dict[str, object]]) -> None:
    """Prints the errors."""
    printed = Table(*KEYS, *VALUES, title="cost model, ten-fold cross-validation: relative errors on layers that were left out of the fit")
    for row in rows:
        shares = [f"{row[key]:.1%}" for key in VALUES[1:4]]
        printed.add_row(*(str(row[key]) for key in KEYS), str(row["rows"]), *shares, str(row["worst_case"]))
    Console(width=150).print(printed)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, default=RESULTS / "kernels.csv", help="measured rows (default: results/kernels.csv)")
    parser.add_argument("--unpack", type=Path, default=RESULTS / "unpack.csv", help="decoders by themselves (default: results/unpack.csv)")
    parser.add_argument("--output", type=Path, default=_COEFFICIENTS, help="file to write (default: keras_hwcompress/targets/cost.json)")
    parser.add_argument("--errors", default="cost_model.csv", help="CSV of the errors (default: results/cost_model.csv)")
    options = parser.parse_args(arguments)
    found = problems(_rows(options.input), _rows(options.unpack))
    results, models = Results(options.errors, KEYS, VALUES), {}
    results.clear()
    for problem in found:
        errors = held_out_errors(problem)
        models[problem.core] = model_row(problem, errors)
        rows = summary(problem, errors)
        results.add(*rows)
        show(rows)
    options.output.write_text(json.dumps(models, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for core, row in models.items():
        verdict = "ok" if row["median_error"] <= MEDIAN_GOAL and row["worst_error"] <= WORST_GOAL else "goal missed"
        print(f"{core}: {row['cases']} layers, median error {row['median_error']:.1%}, worst {row['worst_error']:.1%}: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
