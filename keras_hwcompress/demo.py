"""`hwcmp demo`: train, compress, export, generate, build and run the digits network, and show one table.

Every figure of the table is measured: accuracy on the test images by the float model and by the int8 host library,
bytes from the blobs and the linked image, instructions, RAM and outputs from the emulated Cortex-M4.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from keras_hwcompress import digits
from keras_hwcompress.codegen.project import generate_project
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.interpreter import Interpreter
from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import QemuResult, run_qemu
from keras_hwcompress.tflite.reader import read_model

QEMU_IMAGES = 50
# Name, which model, what the choice of weight formats makes small.
ARMS = (("int8", "float", "flash"), ("ternary", "ternary", "flash"), ("ternary-fast", "ternary", "latency"))


@dataclass(frozen=True, slots=True)
class Row:
    """One arm. Bytes and instructions are None for the float model, which does not run on the device."""

    arm: str
    accuracy: float
    weight_bytes: int
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    insns: int | None = None


def run_demo(output: Path, board: str = "mps2-an386", seed: int = 0) -> int:
    """Runs everything; writes demo.csv, demo.png, the .tflite files and the project `firmware` to `output`.

    Returns:
        0 when every comparison shows 0 mismatches, 1 otherwise.
    """
    output.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 120)
    data = digits.load_fold(0)
    with _progress(console) as progress:
        models = _train(data, seed, progress)
        rows = [Row("float", digits.accuracy(models["float"], data), 4 * _weights(models["float"]))]
        verdicts = []
        for arm, trained, objective in ARMS:
            task = progress.add_task(f"{arm}: convert, compare, emulate", total=None)
            row, lines = _measure(arm, models[trained], objective, data, output, board)
            progress.update(task, total=1, completed=1)
            rows.append(row)
            verdicts += lines
    generate_project((output / "ternary.tflite").read_bytes(), output / "firmware", board=board, name="digits", overwrite=True)
    write_csv(rows, output / "demo.csv")
    plot(rows, output / "demo.png")
    _show(rows, verdicts, output, board, console)
    return 0 if all(wrong == 0 for wrong, _ in verdicts) else 1


def _train(data: digits.Split, seed: int, progress: Progress) -> dict[str, keras.Model]:
    def task(name: str, epochs: int) -> list[keras.callbacks.Callback]:
        return [_EpochProgress(progress, progress.add_task(f"train {name}", total=epochs))]

    base = digits.train_base(data, seed, task("base", digits.BASE_EPOCHS))
    return {
        "float": digits.train_float(base, data, seed, task("float", digits.ARM_EPOCHS)),
        "ternary": digits.train_ternary(base, data, seed, task("ternary", digits.ARM_EPOCHS)),
    }


def _measure(
    arm: str, model: keras.Model, objective: str, data: digits.Split, output: Path, board: str
) -> tuple[Row, list[tuple[int, str]]]:
    """One arm in int8: its row, and (mismatches, sentence) of every comparison."""
    tflite, report = digits.convert(model, data, objective)
    (output / f"{arm}.tflite").write_bytes(tflite)
    graph = read_model(tflite)
    quantization = graph.tensors[graph.inputs[0]].quantization
    images = digits.quantize_images(data.x_test, float(quantization.scale[0]), int(quantization.zero_point[0]))
    oracle = run_oracle(graph, [images], "tflm")[0]
    host = HostLibrary(graph).run([images])[0]
    stock = Interpreter(tflite).run([images])[0]
    emulated = run_qemu(graph, [images[:QEMU_IMAGES]], board=board)
    verdicts = [
        _compare(arm, "delegate", stock, oracle),
        _compare(arm, "host library", host, oracle),
        _compare(arm, f"QEMU {board}", emulated.outputs[0], oracle[:QEMU_IMAGES]),
    ]
    right = np.mean(host.reshape(len(host), -1).argmax(axis=1) == data.y_test)
    return _row(arm, float(right), report.weight_bytes, emulated), verdicts


def _row(arm: str, accuracy: float, weight_bytes: int, emulated: QemuResult) -> Row:
    if not emulated.exact:
        raise HwcmpError("the counting plugin did not load: the demo's table holds exact counts only")
    return Row(arm, accuracy, weight_bytes, emulated.flash_bytes, emulated.ram_bytes, emulated.insns)


def _compare(arm: str, what: str, got: np.ndarray, oracle: np.ndarray) -> tuple[int, str]:
    wrong = int(np.count_nonzero(got.reshape(oracle.shape) != oracle))
    return wrong, f"{arm}: {what} against the oracle: {wrong} mismatches of {oracle.size} outputs ({len(oracle)} images)"


def _weights(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights if len(weight.shape) > 1)


def write_csv(rows: list[Row], path: Path) -> None:
    """The table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def plot(rows: list[Row], path: Path) -> None:
    """Accuracy against bytes of weights."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    for row in rows:
        axes.plot(row.weight_bytes, 100 * row.accuracy, "o", markersize=9)
        axes.annotate(f"  {row.arm}\n  {row.weight_bytes:,} B", (row.weight_bytes, 100 * row.accuracy), va="center")
    low = min(100 * row.accuracy for row in rows)
    axes.set(xscale="log", xlabel="weight bytes", ylabel="test accuracy, %", title="scikit-learn digits", ylim=(min(low - 1, 95), 100.5))
    axes.set_xlim(min(row.weight_bytes for row in rows) / 2, max(row.weight_bytes for row in rows) * 4)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _show(rows: list[Row], verdicts: list[tuple[int, str]], output: Path, board: str, console: Console) -> None:
    table = Table("", title=f"digits on {board}")
    for heading in ("accuracy", "weight_bytes", "flash_bytes", "RAM bytes", "insns/inference"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = ["-" if value is None else f"{value:,}" for value in (row.flash_bytes, row.ram_bytes, row.insns)]
        table.add_row(row.arm, f"{row.accuracy:.2%}", f"{row.weight_bytes:,}", *counts)
    console.print(table)
    console.print("RAM = arena + scratch + stack. insns are instructions counted in QEMU, not cycles.")
    for wrong, line in verdicts:
        console.print(line, style="green" if wrong == 0 else "bold red")
    console.print(f"wrote {output}/demo.csv, demo.png, a .tflite file for each model and the project {output}/firmware")


class _EpochProgress(keras.callbacks.Callback):
    """Moves a progress bar at every epoch."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        super().__init__()
        self._progress, self._task = progress, task

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._progress.update(self._task, completed=epoch + 1)


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)
