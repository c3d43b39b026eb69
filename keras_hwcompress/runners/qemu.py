"""Runs a model on an emulated Cortex-M: outputs, instructions per layer, stack, and the size of the linked image."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_hwcompress.codegen.model import CompiledModel
from keras_hwcompress.codegen.project import write_stream_project
from keras_hwcompress.errors import ToolError
from keras_hwcompress.runners.records import pack_inputs, unpack_outputs
from keras_hwcompress.runners.tools import build_shared, find_tool, run_tool
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.targets import Board, get_board
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Layer, Reshape
from keras_hwcompress.tflite.reader import read_model

SENTINEL = "HWCMP-TEST-OK"


@dataclass(frozen=True, slots=True)
class QemuResult:
    """outputs: per model output an array with a leading axis over the inputs.

    insns: instructions of one inference (the last), counted exactly, or estimated from SysTick where the counting
    plugin does not load (`exact` is False then). layer_insns: (layer name, op, instructions). flash_bytes: linked
    image (code, constants, initialised data). ram_bytes: arena + scratch + stack used.
    """

    outputs: list[np.ndarray]
    insns: int
    exact: bool
    layer_insns: list[tuple[str, str, int]]
    stack_bytes: int
    arena_bytes: int
    flash_bytes: int
    model: CompiledModel

    @property
    def ram_bytes(self) -> int:
        """Arena with scratch, plus the most stack that was used."""
        return self.arena_bytes + self.stack_bytes


def run_qemu(
    model: bytes | Graph, inputs: Sequence[np.ndarray], *, board: str = "mps2-an386", timeout: float = 300,
    layouts: str = "same", kernels: str = "fast",
) -> QemuResult:  # fmt: skip
    """Generates, builds and runs a project for `board` in QEMU.

    Args:
        model: an int8 .tflite, or its graph.
        inputs: per model input an array of shape (count, *shape) in the input's dtype.
        timeout: seconds for the emulation.
        layouts, kernels: as of `generate_project`.

    Raises:
        ToolError: compiler or emulator missing or failed; BoardError: the image does not fit.
    """
    return run_qemu_many([(model, inputs)], board=board, timeout=timeout, layouts=layouts, kernels=kernels)[0]


def run_qemu_many(
    models: Sequence[tuple[bytes | Graph, Sequence[np.ndarray]]], *, board: str = "mps2-an386", timeout: float = 300,
    layouts: str = "same", kernels: str = "fast",
) -> list[QemuResult]:  # fmt: skip
    """`run_qemu` for several models (each with its inputs) in one image, which saves builds.

    flash_bytes and stack_bytes of every result are those of the whole image.
    """
    target = get_board(board)
    graphs = [model if isinstance(model, Graph) else read_model(model) for model, _ in models]
    records = [pack_inputs(graph, inputs) for graph, (_, inputs) in zip(graphs, models, strict=True)]
    counts = [len(rows) for rows in records]
    with tempfile.TemporaryDirectory(prefix="hwcmp-") as name:
        folder = Path(name)
        compiled = write_stream_project(folder / "project", graphs, counts, target, layouts, kernels)
        image = build_project(folder / "project", target.name)
        (folder / "inputs.bin").write_bytes(b"".join(b"".join(rows) for rows in records))
        text, exact = emulate(image, target, folder, timeout)
        outputs = _split_outputs(compiled, counts, (folder / "outputs.bin").read_bytes())
        regions = _split_counts(compiled, counts, read_counts(folder / "insns.txt")) if exact else [[]] * len(compiled)
        flash = flash_bytes(image)
    stack, ticks = int(re.findall(r"stack=(\d+)", text)[0]), [int(found) for found in re.findall(r"ticks=(\d+)", text)]
    return [
        _result(model, arrays, insns, _Run(exact, stack, round(tick * target.insns_per_tick), flash))
        for model, arrays, insns, tick in zip(compiled, outputs, regions, ticks, strict=True)
    ]


def build_project(path: Path, preset: str) -> Path:
    """Configures and builds a generated project with CMake; returns the image."""
    find_tool("arm-none-eabi-gcc" if preset != "host" else "cc")
    run_tool(["cmake", "--preset", preset], cwd=path)
    run_tool(["cmake", "--build", "--preset", preset, "--parallel", "2"], cwd=path)
    return next((path / "build" / preset).glob("*.elf"))


def flash_bytes(image: Path) -> int:
    """text + data of an image: what is programmed into the part."""
    sizes = run_tool(["arm-none-eabi-size", str(image)]).stdout.splitlines()[1].split()
    return int(sizes[0]) + int(sizes[1])


def emulate(image: Path, board: Board, folder: Path, timeout: float) -> tuple[str, bool]:
    """The program's output, and whether instructions were counted exactly."""
    command = [
        find_tool("qemu-system-arm"), "-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-kernel", str(image),
    ]  # fmt: skip
    plugin = _plugin()
    done = _run(command + ["-plugin", f"{plugin},out=insns.txt"], folder, timeout)
    if "plugin" in done.stderr and SENTINEL not in done.stderr:
        return _text(_run(command + ["-icount", "shift=0"], folder, timeout), board), False
    return _text(done, board), True


def _run(command: list[str], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, timeout=timeout, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"the emulation did not end within {timeout:g} s") from error


def _text(done: subprocess.CompletedProcess[str], board: Board) -> str:
    text = done.stdout + done.stderr
    if done.returncode != 0 or SENTINEL not in text:
        last = " | ".join(text.strip().splitlines()[-3:]) or "no output"
        raise ToolError(f"the image failed on {board.name} (exit code {done.returncode}): {last}")
    return text


def _plugin() -> Path:
    folder = runtime_dir() / "port" / "qemu"
    return build_shared("libinsn_count", [folder / "insn_count.c"], ["-O2"])


def read_counts(path: Path) -> list[int]:
    """What the counting plugin wrote: the instructions of every region."""
    return [int(line.removeprefix("insns=")) for line in path.read_text(encoding="ascii").split()]


def _split_outputs(models: Sequence[CompiledModel], counts: Sequence[int], data: bytes) -> list[list[np.ndarray]]:
    """The output arrays of each model, whose records follow each other."""
    arrays, start = [], 0
    for model, count in zip(models, counts, strict=True):
        end = start + count * sum(tensor.size * tensor.dtype.itemsize for tensor in model.outputs)
        arrays.append(unpack_outputs(model.outputs, data[start:end], count))
        start = end
    return arrays


def _split_counts(models: Sequence[CompiledModel], counts: Sequence[int], insns: Sequence[int]) -> list[list[int]]:
    """The counts of each model's last inference: one for every layer, and one for what is behind the last."""
    last, end = [], 0
    for model, count in zip(models, counts, strict=True):
        regions = len(_layers(model)) + 1
        end += count * regions
        last.append(list(insns[end - regions : end]))
    if end != len(insns):
        raise ToolError(f"the emulator counted {len(insns)} regions, expected {end}: the measurement is void")
    return last


def _layers(model: CompiledModel) -> list[Layer]:
    """The layers that are called."""
    return [layer for layer in model.layers if not isinstance(layer, Reshape)]


@dataclass(frozen=True, slots=True)
class _Run:
    """What was measured of the image. insns: estimated from ticks, for where they were not counted."""

    exact: bool
    stack_bytes: int
    insns: int
    flash_bytes: int


def _result(model: CompiledModel, outputs: list[np.ndarray], regions: list[int], run: _Run) -> QemuResult:
    per_layer: list[tuple[str, str, int]] = []
    if run.exact:
        per_layer = [(layer.name, layer.op, count) for layer, count in zip(_layers(model), regions[:-1], strict=True)]
    insns = sum(regions) if run.exact else run.insns
    if insns <= 0:
        raise ToolError("the emulator counted no instructions: the measurement is void")
    return QemuResult(outputs, insns, run.exact, per_layer, run.stack_bytes, model.plan.arena_bytes, run.flash_bytes, model)
