"""Constrained training against its rivals: accuracy and bytes of weights on the same data with the same epochs.

    python benchmarks/constrained.py [--tasks digits fsdd fsdd_gru resnet8] [--data FOLDER] [--checkpoints FOLDER] [--budget-minutes M]

Arms: float; int8 (the float arm, converted); distilled (see below); twn (ternary weight networks: threshold 0.7 mean|w|,
closed-form scale per layer); ternary (the same with a scale per channel); ttq ("trained ternary quantization" in style:
threshold 0.05 max|w|, one learned magnitude per sign and layer, plain straight-through gradients); prune-S (magnitude
pruning under one threshold to S percent zeros, int8 values); constrained-S (all layers but the first and the classifier on
{-s, 0, +s}, S percent zeros among these); constrained-all-S (every layer); layerwise-S (S percent zeros under one
threshold, then greedy, at most two points lost on held-out data before the last fine-tuning; three on CIFAR-10, whose base
networks know these data: the float arm itself loses 1.2 points there); layerwise5-S (the same on the grid
{-2s, -s, 0, s, 2s}). Grids: one learned scale per layer; on CIFAR-10 in closed form per channel.

A fold counts as a seed; all arms of a fold start from one base network and train on the same data for the same epochs. On
CIFAR-10 the compressed arms are distilled (temperature 2, share 0.7) from the mean logits of the float arms of all seeds;
the arm distilled is the float network trained like that, to tell what the teachers alone are worth. Accuracy is that of the
int8 model on the test fold, by the generated C (float: of the float model). Every exported model is run on a few test
samples as a host library and on an emulated Cortex-M4, too; an output that differs from the oracle's fails the arm. Formats
are chosen for the fewest bytes of weights. Rows are written as they finish and never recomputed; a row that is not there
prints "not run".
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import Budget, Results
from keras import ops
from rich.console import Console
from rich.table import Table
from tasks import TASKS, Fold, Task, accuracy, smoke, train

import keras_hwcompress as hwc
from keras_hwcompress.digits import quantize_images
from keras_hwcompress.report.conversion import ConversionReport
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.training import Rule

KEYS = ("task", "fold", "arm")
VALUES = ("accuracy", "float_accuracy", "weight_bytes", "int8_weight_bytes", "zeros", "constrained", "formats", "epochs", "samples",
          "note", "insns", "flash_bytes", "arena_bytes", "mismatches")  # fmt: skip
BOARD, CHECKED = "mps2-an386", 4  # where every model runs, and on how many samples it is compared there


@keras.saving.register_keras_serializable(package="hwcmp_benchmarks")
@dataclass(frozen=True)
class TtqStyle(Rule):
    """-s_n, 0 and s_p with both magnitudes learned (C. Zhu et al. 2016), threshold 0.05 max|w|."""

    share: float = 0.05

    def build(self, state) -> None:
        """Adds both magnitudes, which start at the mean magnitudes of their sides."""
        for name, sign in (("positive", 1.0), ("negative", -1.0)):
            state.add(name, (1,), lambda w, sign=sign: self._mean(ops.maximum(sign * w, 0.0), w), trainable=True)

    def constrain(self, weights, state):
        """The magnitude of the side beyond the threshold."""
        threshold = self.share * ops.max(ops.abs(weights))
        above, below = (ops.cast(side, "float32") for side in (weights > threshold, weights < -threshold))
        return above * ops.abs(state["positive"]) - below * ops.abs(state["negative"])

    def _mean(self, side, weights):
        kept = ops.cast(side > self.share * ops.max(ops.abs(weights)), "float32")
        return ops.reshape(ops.sum(side * kept) / ops.maximum(ops.sum(kept), 1.0), (1,))


Arm = Callable[[keras.Model, Task, Fold, int], tuple[keras.Model, str, int]]


def _copy(base: keras.Model) -> keras.Model:
    model = keras.models.clone_model(base)
    model.set_weights(base.get_weights())
    return model


def train_float(base: keras.Model, task: Task, fold: Fold, seed: int) -> tuple[keras.Model, str, int]:
    """More epochs of the base network."""
    return train(task, fold, _copy(base), task.epochs), "", task.epochs


def uniform(rule: Rule) -> Arm:
    """Every layer under one rule from the start, but for first layer and classifier."""

    def run(base: keras.Model, task: Task, fold: Fold, seed: int) -> tuple[keras.Model, str, int]:
        model = hwc.wrap(base, [*((name, None) for name in task.unconstrained), ("*", rule)])
        train(task, fold, model, task.epochs)
        hwc.training.reestimate_batch_norm(model, fold.x[:2000])
        return model, "all but " + " ".join(task.unconstrained), task.epochs

    return run


def pruned(sparsity: float) -> Arm:
    """Magnitude pruning, int8 values."""

    def run(base: keras.Model, task: Task, fold: Fold, seed: int) -> tuple[keras.Model, str, int]:
        callback = hwc.callbacks.GlobalPruning(sparsity)
        return train(task, fold, hwc.wrap(base, callback.rule), task.epochs, [callback]), "", task.epochs

    return run


def constrained(sparsity: float, everything: bool = False) -> Arm:
    """All layers, or all but those that the uniform baselines spare, too."""

    def run(base: keras.Model, task: Task, fold: Fold, seed: int) -> tuple[keras.Model, str, int]:
        callback = hwc.callbacks.ConstrainedTraining(
            sparsity=sparsity, schedule=task.schedule, masked_decay=task.masked_decay, scale=task.scale, per=task.per,
            batch_norm_data=fold.x[:2000],
        )  # fmt: skip
        spared = () if everything else task.unconstrained
        model = hwc.wrap(base, [*((name, None) for name in spared), ("*", callback.rule)])
        layers = " ".join(("all but", *spared)) if spared else "all"
        return train(task, fold, model, task.epochs, [callback]), layers, task.epochs

    return run


def layerwise(sparsity: float, levels: int = 3) -> Arm:
    """Greedy."""

    def run(base: keras.Model, task: Task, fold: Fold, seed: int) -> tuple[keras.Model, str, int]:
        with tempfile.TemporaryDirectory(prefix="hwcmp-") as folder:
            order = hwc.search.layer_significance(base, sparsity=sparsity).order[: task.tried]
            result = hwc.compress_layerwise(
                base, lambda model, epochs, callbacks: train(task, fold, model, epochs, callbacks),
                validation_data=(fold.x_val, fold.y_val), sparsity=sparsity, max_accuracy_drop=task.max_drop, levels=levels,
                prune_epochs=task.prune_epochs, epochs=task.step_epochs, finetune_epochs=task.finetune_epochs,
                order=order, group=task.group, ramp=hwc.callbacks.Ramp(0.0, task.ramp_end, "cosine"), scale=task.scale, per=task.per,
                batch_norm_data=fold.x[:2000], folder=folder, seed=seed, verbose=0,
            )  # fmt: skip
        epochs = task.prune_epochs + task.step_epochs * len(result.steps) + task.finetune_epochs
        return result.model, " ".join(result.constrained) or "none", epochs

    return run


PLAIN: dict[str, Arm] = {
    "float": train_float, "distilled": train_float, "twn": uniform(hwc.Nary(3, per="layer")), "ttq": uniform(TtqStyle()),
    "ternary": uniform(hwc.Nary(3))}  # fmt: skip
AT_A_SPARSITY: dict[str, Callable[[float], Arm]] = {
    "prune": pruned, "constrained": constrained, "constrained-all": functools.partial(constrained, everything=True),
    "layerwise": layerwise, "layerwise5": functools.partial(layerwise, levels=5)}  # fmt: skip


def arm_of(name: str) -> Arm:
    """The arm of that name, such as "twn" or "layerwise-90"; int8 is no arm but the float arm converted.

    Raises:
        argparse.ArgumentTypeError: no such arm.
    """
    kind, _, percent = name.rpartition("-")
    if name in PLAIN:
        return PLAIN[name]
    if kind not in AT_A_SPARSITY or not percent.isdigit() or int(percent) >= 100:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(PLAIN)}, or one of {', '.join(AT_A_SPARSITY)} with -PERCENT. Received: {name}")
    return AT_A_SPARSITY[kind](int(percent) / 100)


def _arm_name(name: str) -> str:
    arm_of(name)
    return name


def convert(model: keras.Model, fold: Fold) -> tuple[bytes, ConversionReport]:
    """The .tflite file and its report; calibrated on 200 training samples."""
    converter = hwc.Converter.from_keras_model(model)
    converter.representative_dataset = fold.x[:200]
    converter.scope = "weights"
    return converter.convert(), converter.report


def run_exported(tflite: bytes, fold: Fold) -> dict[str, object]:
    """Accuracy of the generated C on the test samples, its size and instructions; a wrong output is an error."""
    graph = read_model(tflite)
    tensor = graph.tensors[graph.inputs[0]]
    scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zero_point[0])
    inputs = quantize_images(fold.x_test, scale, zero_point).reshape(-1, *tensor.shape)
    scores = HostLibrary(graph).run([inputs])[0].reshape(len(inputs), -1)
    device = run_qemu(graph, [inputs[:CHECKED]], board=BOARD)
    expected = run_oracle(graph, [inputs[:CHECKED]], "tflm")[0].reshape(CHECKED, -1)
    wrong = [int(np.count_nonzero(found.reshape(expected.shape) != expected)) for found in (scores[:CHECKED], device.outputs[0])]
    if any(wrong):
        raise hwc.HwcmpError(f"outputs differ from the oracle's: {wrong[0]} on the host, {wrong[1]} on {BOARD}")
    return {
        "accuracy": float(np.mean(scores.argmax(axis=1) == fold.y_test)),
        "insns": device.insns,
        "flash_bytes": device.flash_bytes,
        "arena_bytes": device.arena_bytes,
        "mismatches": sum(wrong),
    }


def row_of(model: keras.Model, fold: Fold) -> dict[str, object]:
    """The measured columns of a trained model."""
    tflite, report = convert(model, fold)
    return {
        "float_accuracy": accuracy(model, fold.x_test, fold.y_test),
        "weight_bytes": report.weight_bytes,
        "int8_weight_bytes": report.int8_weight_bytes,
        "zeros": round(sum(row.zeros for row in report.layers) / report.int8_weight_bytes, 4),
        "formats": " ".join(row.format for row in report.layers),
        "samples": len(fold.y_test),
        **run_exported(tflite, fold),
    }


class FoldRun:
    """The networks of one fold: data, base network and trained arms, each made when it is first asked for, and once.

    runs: of all folds of the task, this one included.
    """

    def __init__(self, task: Task, number: int, options: argparse.Namespace, runs: Mapping[int, FoldRun]) -> None:
        self.task, self.number, self._options, self._runs = task, number, options, runs
        self._trained: dict[str, tuple[keras.Model, str, int]] = {}

    @functools.cached_property
    def fold(self) -> Fold:
        """The data."""
        fold = self.task.load(self.number, self._options.data)
        return fold.first(300) if self._options.smoke else fold

    @functools.cached_property
    def taught(self) -> Fold:
        """The same with the answers of the float arms of all folds."""
        return self.fold.taught_by([run.arm("float")[0] for run in self._runs.values()])

    @functools.cached_property
    def base(self) -> keras.Model:
        """The network that all arms start from."""
        return self._kept("base", lambda: (self.task.base(self.fold, self.number, self.task, self._options.checkpoints), "", 0))[0]

    def arm(self, name: str) -> tuple[keras.Model, str, int]:
        """The trained model of an arm, what is constrained, and for how many epochs it was trained."""
        if name not in self._trained:
            self._trained[name] = self._kept(name, functools.partial(self._train, name))
        return self._trained[name]

    def _train(self, name: str) -> tuple[keras.Model, str, int]:
        fold, base = self.taught if name in self.task.distilled else self.fold, self.base  # the teacher before the seed is set
        keras.utils.set_random_seed(100 + self.number)
        return arm_of(name)(base, self.task, fold, 1000 * (self.number + 1))

    def _kept(self, name: str, make: Callable[[], tuple[keras.Model, str, int]]) -> tuple[keras.Model, str, int]:
        """From the folder of --models if it is there, so that rows can be measured anew without training."""
        folder = self._options.models
        path = None if folder is None else folder / f"{self.task.name}-{self.number}-{name}.keras"
        if path is not None and path.exists():
            return keras.models.load_model(path, compile=False), *json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        made = make()
        if path is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".json").write_text(json.dumps(made[1:]), encoding="utf-8")
            made[0].save(path)
        return made


def run_fold(run: FoldRun, wanted: Sequence[str], results: Results, budget: Budget, note: str) -> None:
    """The unfinished arms of one fold."""
    name, number = run.task.name, run.number
    for arm in [arm for arm in wanted if not results.has(task=name, fold=number, arm=arm)]:
        if budget.is_spent:
            return
        print(f"{name} fold {number} {arm}", flush=True)
        model, layers, epochs = run.arm(arm)
        try:
            measured = row_of(model, run.fold)
        except hwc.HwcmpError as error:
            print(f"FAILED {name} fold {number} {arm}: {error}", flush=True)
            continue
        row = {"task": name, "fold": number, "arm": arm, "constrained": layers, "epochs": epochs, "note": note, **measured}
        if arm == "float":
            results.add({**row, "arm": "int8"})
            row |= {"accuracy": row["float_accuracy"], "weight_bytes": 4 * row["int8_weight_bytes"], "formats": "float32"}
            row |= dict.fromkeys(("insns", "flash_bytes", "arena_bytes", "mismatches"), "")
        results.add(row)


def show(task: Task, results: Results, arms: Sequence[str]) -> Table:
    """Means over the folds, and paired differences to float with their standard error."""
    table = Table("arm", title=task.name)
    for heading in ("folds", "accuracy", "minus float, points", "standard error", "zeros", "weight_bytes", "of int8", "x smaller than fp32"):
        table.add_column(heading, justify="right")
    rows = {(row["arm"], row["fold"]): row for row in results.rows if row["task"] == task.name}
    for arm in arms:
        found = [row for (name, fold), row in rows.items() if name == arm and ("float", fold) in rows]
        table.add_row(arm, *(_cells(found, rows) if found else ["not run"]))
    return table


def _cells(found: list[dict[str, str]], rows: dict[tuple[str, str], dict[str, str]]) -> list[str]:
    score = 100 * np.array([float(row["accuracy"]) for row in found])
    against = score - 100 * np.array([float(rows["float", row["fold"]]["accuracy"]) for row in found])
    error = against.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else float("nan")
    size, int8, zeros = (np.mean([float(row[key]) for row in found]) for key in ("weight_bytes", "int8_weight_bytes", "zeros"))
    cells = [f"{len(found)}", f"{score.mean():.2f} %", f"{against.mean():+.2f}", f"{error:.2f}", f"{zeros:.0%}"]
    return [*cells, f"{size:,.0f}", f"{size / int8:.3f}", f"{4 * int8 / size:.1f}"]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=["digits"], help="default: digits")
    parser.add_argument("--arms", nargs="+", type=_arm_name, default=None, help="arms by name, such as layerwise-90 (default: the task's)")
    parser.add_argument("--folds", nargs="+", type=int, default=None, help="folds or seeds (default: all)")
    parser.add_argument("--data", type=Path, default=None, help="folder with fsdd.npz and cifar10.npz")
    parser.add_argument("--checkpoints", type=Path, default=None, help="folder with the base checkpoints of resnet8")
    parser.add_argument("--models", type=Path, default=None, help="folder that keeps the trained models; those in it are not trained again")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of an arm other than float and layer-wise (default: the task's)")
    parser.add_argument("--output", default="constrained.csv", help="CSV file (default: results/constrained.csv)")
    parser.add_argument("--budget-minutes", type=float, default=None, help="start no further arm after this time")
    parser.add_argument("--smoke", action="store_true", help="one epoch on a few samples, to see that it runs; use with --output")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing and prints the tables."""
    options = parse(arguments)
    results, budget = Results(options.output, KEYS, VALUES), Budget(options.budget_minutes)
    tasks = [smoke(TASKS[name]) if options.smoke else TASKS[name] for name in options.tasks]
    tasks = [task if options.epochs is None else dataclasses.replace(task, epochs=options.epochs) for task in tasks]
    note = "smoke test: one epoch, 300 samples, no result" if options.smoke else ""
    for task in tasks:
        wanted = task.arms if options.arms is None else options.arms
        chosen = task.folds if options.folds is None else options.folds
        runs: dict[int, FoldRun] = {}
        runs.update((number, FoldRun(task, number, options, runs)) for number in {*task.folds, *chosen})
        for number in chosen:
            try:
                run_fold(runs[number], wanted, results, budget, note)
            except hwc.HwcmpError as error:
                print(f"{task.name}: {error}", flush=True)
                break
    for task in tasks:
        found = dict.fromkeys(row["arm"] for row in results.rows if row["task"] == task.name)
        Console(width=140).print(show(task, results, list(dict.fromkeys(["float", "int8", *task.arms, *found]))))


if __name__ == "__main__":
    main()
