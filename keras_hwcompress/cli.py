"""The `hwcmp` command: inspect, compress, project, run, demo.

Every error that a user can cause is one line on standard error and exit code 1 (2 for a wrong command line).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from keras_hwcompress import __version__
from keras_hwcompress.errors import HwcmpError

_BATCH = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except (HwcmpError, ValueError, OSError) as error:
        message = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"hwcmp: {' '.join(message.split())}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hwcmp", description="Compress int8 TFLite models and run them on Cortex-M.")
    parser.add_argument("--version", action="version", version=f"hwcmp {__version__}")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    inspect = _command(commands, "inspect", _inspect, "show every layer: shape, MACs, distinct values, zeros, bytes now and possible")
    compress = _command(commands, "compress", _compress, "re-encode the weights losslessly; writes a .tflite with custom operators")
    project = _command(commands, "project", _project, "generate a C project that runs the model on a board, in QEMU and on the host")
    run = _command(commands, "run", _run, "run the model and compare every output with an oracle")
    for command in (inspect, compress, project, run):
        command.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    compress.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    compress.add_argument("--regrid", action="store_true", help="put rows that lie on a uniform grid up to rounding exactly on it")
    compress.add_argument("--force", action="store_true", help="replace the output file")
    compress.add_argument("--target", default="cortex-m4", help="core or board whose instructions count (default: cortex-m4)")
    compress.add_argument("--flash", type=int, help="most bytes of flash, counted as --scope says")
    compress.add_argument("--latency", type=int, help="most instructions of an inference, as predicted for the target")
    compress.add_argument("--ram", type=int, help="most bytes for activations and scratch on the target")
    compress.add_argument("--objective", choices=("flash", "latency"), default="flash", help="what to make small within the bounds (default: flash)")
    compress.add_argument("--scope", choices=("weights", "image"), default="image", help="whether flash counts weights, bias and requantization alone, or also the code that they need (default: image)")
    project.add_argument("-o", "--output", type=Path, required=True, help="folder to create")
    project.add_argument("--name", default="model", help="prefix of the C symbols (default: model)")
    project.add_argument("--vectors", type=int, default=4, help="test vectors to embed (default: 4)")
    project.add_argument("--force", action="store_true", help="replace a project generated before")
    for command in (project, run):
        command.add_argument("--board", default="mps2-an386", help="board of the table in the README (default: mps2-an386)")
        command.add_argument("--seed", type=int, default=0, help="seed of the random inputs (default: 0)")
        command.add_argument("--layouts", choices=("same", "fast", "canonical"), default="same", help="weights in the core's own order: where that takes the same flash, also where it takes more, or never (default: same)")
        command.add_argument("--kernels", choices=("fast", "small"), default="fast", help="the core's own, or the reference kernels in an image that is optimised for size (default: fast)")
    demo = commands.add_parser("demo", help="train, compress, export, build and run a small network, and show the figures")
    demo.set_defaults(command=_demo)
    demo.add_argument("-o", "--output", type=Path, default=Path("build/demo"), help="folder for results (default: build/demo)")
    demo.add_argument("--board", default="mps2-an386", help="board to emulate (default: mps2-an386)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the training (default: 0)")
    run.add_argument("--on", choices=("host", "qemu"), default="host", help="compiled for this machine, or emulated (default: host)")
    run.add_argument("--count", type=int, default=10, help="random inputs (default: 10)")
    run.add_argument("--oracle", choices=("tflm", "litert", "reference"), default="reference", help="what to compare with (default: reference)")
    run.add_argument("--inputs", type=Path, help=".npz with arrays input_0, input_1, ... instead of random inputs")
    run.add_argument("--outputs", type=Path, help=".npz to write the outputs to, as output_0, output_1, ...")
    return parser


def _command(commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("model", type=Path, help="an int8 .tflite file")
    parser.set_defaults(command=function)
    return parser


def _inspect(arguments: argparse.Namespace) -> int:
    from keras_hwcompress.tflite.compress import inspect
    from keras_hwcompress.tflite.reader import read_model

    rows = inspect(read_model(arguments.model.read_bytes()))
    if arguments.json:
        print(json.dumps({"model": str(arguments.model), "layers": [asdict(row) for row in rows]}, default=_plain))
        return 0
    table = Table("#", "operator", "output", title=str(arguments.model))
    for heading in ("MACs", "values/row", "values", "zeros", "int8 bytes", "stored", "bytes", "best", "best bytes"):
        table.add_column(heading, justify="right")
    for row in rows:
        shape = "x".join(map(str, row.output_shape))
        cells = [""] * 9
        if row.int8_bytes:
            cells = [
                f"{row.macs:,}", str(row.row_values), str(row.tensor_values), f"{row.zero_share:.1%}",
                f"{row.int8_bytes:,}", row.stored, f"{row.stored_bytes:,}", row.best, f"{row.best_bytes:,}",
            ]  # fmt: skip
        table.add_row(str(row.index), row.kind, shape, *cells)
    table.add_section()
    table.add_row("", "total", "", *_totals(rows))
    _console().print(table)
    return 0


def _totals(rows: Sequence[Any]) -> list[str]:
    """Sums of the columns; weights that several operators share are counted once."""
    once = [row for row in rows if row.shared]
    int8, stored, best = (sum(getattr(row, key) / row.shared for row in once) for key in ("int8_bytes", "stored_bytes", "best_bytes"))
    macs = sum(row.macs for row in rows)
    ratios = [f"{size / int8:.3f}" if int8 else "" for size in (stored, best)]
    return [f"{macs:,}", "", "", "", f"{int8:,.0f}", ratios[0], f"{stored:,.0f}", ratios[1], f"{best:,.0f}"]


def _compress(arguments: argparse.Namespace) -> int:
    from keras_hwcompress.compress import compress_with_report
    from keras_hwcompress.select import Bounds

    source = arguments.model.read_bytes()
    bounds = Bounds(arguments.flash, arguments.latency, arguments.ram)
    result, report = compress_with_report(source, arguments.target, bounds, arguments.objective, scope=arguments.scope, regrid=arguments.regrid)
    _write_file(arguments.output, result, arguments.force)
    sizes = {
        "input_bytes": len(source), "output_bytes": len(result), "weight_bytes": report.weight_bytes,
        "const_bytes": report.const_bytes, "code_bytes": report.code_bytes, "int8_weight_bytes": report.int8_weight_bytes,
        "ratio_of_int8": round(report.weight_bytes / max(report.int8_weight_bytes, 1), 4), "predicted_insns": report.insns,
    }  # fmt: skip
    if arguments.json:
        sizes["layers"] = report.to_dict()["layers"]
    else:
        _console().print(report.table())
    _report(arguments, sizes, f"wrote {arguments.output}")
    return 0


def _project(arguments: argparse.Namespace) -> int:
    from keras_hwcompress.codegen.project import generate_project

    project = generate_project(
        arguments.model.read_bytes(), arguments.output, board=arguments.board, name=arguments.name,
        vectors=arguments.vectors, seed=arguments.seed, overwrite=arguments.force, layouts=arguments.layouts, kernels=arguments.kernels,
    )  # fmt: skip
    model = next(iter(project.models.values()))
    sizes = {"weight_bytes": model.weight_bytes, "const_bytes": model.const_bytes, "arena_bytes": model.plan.arena_bytes}
    _report(arguments, sizes, f"wrote {arguments.output}: cmake --preset {arguments.board} && cmake --build --preset {arguments.board}")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from keras_hwcompress.demo import run_demo

    return run_demo(arguments.output, arguments.board, arguments.seed)


def _run(arguments: argparse.Namespace) -> int:
    from keras_hwcompress.runners.oracle import run_oracle
    from keras_hwcompress.tflite.reader import read_model

    graph = read_model(arguments.model.read_bytes())
    inputs = _inputs(graph, arguments)
    with _progress() as progress:
        figures, outputs = (_run_host if arguments.on == "host" else _run_qemu)(graph, inputs, arguments, progress)
        task = progress.add_task(f"oracle {arguments.oracle}", total=len(inputs[0]))
        expected = run_oracle(graph, inputs, arguments.oracle, lambda done: progress.update(task, completed=done))
    wrong = sum(int(np.count_nonzero(a != b)) for a, b in zip(outputs, expected, strict=True))
    total = sum(array.size for array in outputs)
    if arguments.outputs:
        np.savez(arguments.outputs, **{f"output_{i}": array for i, array in enumerate(outputs)})
    verdict = f"{wrong} mismatches of {total} outputs ({arguments.on} against {arguments.oracle}, {len(inputs[0])} inputs)"
    _report(arguments, {"mismatches": wrong, "outputs": total, "oracle": arguments.oracle} | figures, verdict)
    return 0 if wrong == 0 else 1


def _run_host(graph, inputs, arguments, progress) -> tuple[dict[str, Any], list[np.ndarray]]:
    import time

    from keras_hwcompress.runners.host import HostLibrary

    task = progress.add_task("compile for the host", total=len(inputs[0]))
    library = HostLibrary(graph)
    progress.update(task, description="host")
    start, columns = time.perf_counter(), []
    for at in range(0, len(inputs[0]), _BATCH):
        columns.append(library.run([column[at : at + _BATCH] for column in inputs]))
        progress.update(task, completed=min(at + _BATCH, len(inputs[0])))
    seconds = time.perf_counter() - start
    figures = {"inferences_per_second": round(len(inputs[0]) / seconds, 1), "arena_bytes": library.model.plan.arena_bytes}
    return figures, [np.concatenate(column) for column in zip(*columns, strict=True)]


def _run_qemu(graph, inputs, arguments, progress) -> tuple[dict[str, Any], list[np.ndarray]]:
    from keras_hwcompress.runners.qemu import run_qemu

    progress.add_task(f"build and run on {arguments.board}", total=None)
    result = run_qemu(graph, inputs, board=arguments.board, layouts=arguments.layouts, kernels=arguments.kernels)
    if not arguments.json:
        _print_layers(result)
    figures = {
        "board": arguments.board, "insns" if result.exact else "insns~": result.insns, "macs": result.model.macs,
        "flash_bytes": result.flash_bytes, "arena_bytes": result.arena_bytes, "stack_bytes": result.stack_bytes,
        "ram_bytes": result.ram_bytes,
    }  # fmt: skip
    return figures, result.outputs


def _print_layers(result: Any) -> None:
    table = Table("layer", "operator", title="instructions per layer")
    table.add_column("insns", justify="right")
    for name, op, insns in result.layer_insns:
        table.add_row(name[-60:], op, f"{insns:,}")
    if result.layer_insns:
        _console().print(table)


def _inputs(graph: Any, arguments: argparse.Namespace) -> list[np.ndarray]:
    from keras_hwcompress.tflite.samples import random_batch

    if arguments.inputs is None:
        if arguments.count < 1:
            raise ValueError(f"--count must be at least 1. Received: {arguments.count}")
        return random_batch(graph, arguments.count, arguments.seed)
    with np.load(arguments.inputs) as file:
        missing = [f"input_{i}" for i in range(len(graph.inputs)) if f"input_{i}" not in file]
        if missing:
            raise ValueError(f"{arguments.inputs} must hold {', '.join(missing)}. Received: {', '.join(file.files)}")
        return [file[f"input_{i}"] for i in range(len(graph.inputs))]


def _write_file(path: Path, data: bytes, force: bool) -> None:
    if path.exists() and not force:
        raise HwcmpError(f"{path} exists: give --force to replace it")
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _report(arguments: argparse.Namespace, figures: dict[str, Any], verdict: str) -> None:
    if arguments.json:
        print(json.dumps(figures, default=_plain))
        return
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key, value in figures.items():
        table.add_row(key, f"{value:,}" if isinstance(value, int) else str(value))
    _console().print(table)
    print(verdict)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 140)


def _progress() -> Progress:
    """A progress display on standard error, so that standard output stays parseable."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
