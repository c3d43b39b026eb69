"""Accuracy and bytes of the digits network, 5-fold cross-validation, a fold counts as a seed.

    python benchmarks/digits.py [--budget-minutes M]

Both arms start from one base network per fold and train the same further epochs; figures are of the int8 models on the
held-out fold (float: of the float model). Rows are written to results/digits.csv as they finish and never recomputed.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import Budget, Results
from rich.console import Console
from rich.table import Table

from keras_hwcompress import digits
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.tflite.reader import read_model

ARMS = ("float", "int8", "ternary")


def int8_accuracy(tflite: bytes, data: digits.Split) -> float:
    """Of the generated C on the test images."""
    graph = read_model(tflite)
    quantization = graph.tensors[graph.inputs[0]].quantization
    images = digits.quantize_images(data.x_test, float(quantization.scale[0]), int(quantization.zero_point[0]))
    scores = HostLibrary(graph).run([images])[0].reshape(len(images), -1)
    return float(np.mean(scores.argmax(axis=1) == data.y_test))


def run_fold(fold: int, results: Results) -> None:
    """The three arms of one fold."""
    data = digits.load_fold(fold)
    base = digits.train_base(data, seed=fold)
    models = {"float": digits.train_float(base, data, seed=fold), "ternary": digits.train_ternary(base, data, seed=fold)}
    for arm, model in (("float", models["float"]), ("int8", models["float"]), ("ternary", models["ternary"])):
        if results.has(fold=fold, arm=arm):
            continue
        tflite, report = digits.convert(model, data)
        score = digits.accuracy(model, data) if arm == "float" else int8_accuracy(tflite, data)
        size = report.fp32_weight_bytes if arm == "float" else report.weight_bytes
        results.add({"fold": fold, "arm": arm, "seed": fold, "accuracy": score, "weight_bytes": size, "int8_weight_bytes": report.int8_weight_bytes})


def show(results: Results) -> None:
    """Means over the folds, and paired differences to float with their standard error."""
    table = Table("arm", "folds", "accuracy", "minus float, points", "standard error", "weight_bytes", "of int8")
    score = {(row["arm"], row["fold"]): 100 * float(row["accuracy"]) for row in results.rows}
    for arm in ARMS:
        rows = [row for row in results.rows if row["arm"] == arm]
        if not rows:
            table.add_row(arm, "not run")
            continue
        difference = np.array([score[arm, row["fold"]] - score["float", row["fold"]] for row in rows])
        error = difference.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else float("nan")
        size, int8 = (np.mean([int(row[key]) for row in rows]) for key in ("weight_bytes", "int8_weight_bytes"))
        mean = np.mean([score[arm, row["fold"]] for row in rows])
        table.add_row(arm, str(len(rows)), f"{mean:.2f} %", f"{difference.mean():+.2f}", f"{error:.2f}", f"{size:,.0f}", f"{size / int8:.3f}")
    Console().print(table)


def main() -> None:
    """Runs the missing folds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget-minutes", type=float, default=None, help="start no further fold after this time")
    budget = Budget(parser.parse_args().budget_minutes)
    results = Results("digits.csv", ("fold", "arm"), ("seed", "accuracy", "weight_bytes", "int8_weight_bytes"))
    for fold in range(digits.FOLDS):
        if not all(results.has(fold=fold, arm=arm) for arm in ARMS) and not budget.is_spent:
            print(f"fold {fold + 1} of {digits.FOLDS}", flush=True)
            run_fold(fold, results)
    show(results)


if __name__ == "__main__":
    main()
