"""Images for emulated boards that hold one arm and the reference arm, and what they print: for test_runtime_<arm>.py.

An image is mcu_runtime/tests/arm_driver.c with both arms, the reference under names prefixed by ref_. It draws random
layers, compares the outputs bit for bit, counts instructions of layers named in the driver, and prints a line for each.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from runtime_library import ARM_CC, WARNINGS

from keras_hwcompress.codegen.emit import templates
from keras_hwcompress.codegen.kernels import kernel_file
from keras_hwcompress.codegen.scratch import scratch_bytes
from keras_hwcompress.runners.tools import build_shared
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.targets import Board
from keras_hwcompress.tflite.layers import Channels, Conv, FullyConnected, Layer, Weights

SENTINEL = "HWCMP-TEST-OK"
WEIGHTED = ("conv2d", "depthwise_conv2d", "fully_connected")
OPS = (*WEIGHTED, "add", "average_pool", "max_pool", "mean")
KINDS = ("PLAIN", "TILE")

in_qemu = pytest.mark.skipif(
    not (shutil.which(ARM_CC) and shutil.which("qemu-system-arm")) and not os.environ.get("HWCMP_REQUIRE_QEMU"),
    reason="the Arm compiler or QEMU is not installed",
)


@dataclass(frozen=True)
class Run:
    """What an image printed, and the counts that the plugin wrote."""

    arm: str
    text: str
    counts: list[int]

    def lines(self, word: str) -> list[list[str]]:
        return [line.split()[1:] for line in self.text.splitlines() if line.startswith(word + " ")]

    def insns(self) -> dict[str, float]:
        """Instructions per multiply-accumulate of each counted layer, per element of those without weights."""
        named = zip(self.lines("count"), self.counts, strict=True)
        return {name: count / int(macs) for (name, macs, _), count in named}


@functools.cache
def run_arm(board: Board, level: str, seed: int, cases: int) -> Run:
    """Builds and runs an image with the board's arm, once; fails unless it says that all is well."""
    with tempfile.TemporaryDirectory(prefix="hwcmp-") as name:
        _compile_both_arms(board, level, Path(name))
        end = board.ram.origin + board.ram.length
        values = [f"-DCASES={cases}", f"-DSEED={seed}U", f"-DRAM_END={end}U"]
        return _run_image(board, _link(board, level, Path(name), "arm_driver.c", *values))


def run_requantize_driver(board: Board, level: str) -> Run:
    """Builds and runs requantize_driver.c with the board's arm; fails unless it says that all is well."""
    with tempfile.TemporaryDirectory(prefix="hwcmp-") as name:
        files = [runtime_dir() / "src" / kernel_file(board.arm, op) for op in WEIGHTED]
        _compile(board, level, Path(name), "-c", *files)
        return _run_image(board, _link(board, level, Path(name), "requantize_driver.c"), counts=False)


def _compile(board: Board, level: str, folder: Path, *arguments: object) -> None:
    runtime = runtime_dir()
    includes = ["include", "src", "port", "port/cortex-m", "port/qemu", "tests"]
    command = [
        ARM_CC, *board.flags, *WARNINGS, level, "-ffreestanding", "-ffunction-sections",
        *(f"-I{runtime / name}" for name in includes), *map(str, arguments),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def _compile_both_arms(board: Board, level: str, folder: Path) -> None:
    src = runtime_dir() / "src"
    for op in OPS:
        names = (f"hwcmp_{op}_s8", f"hwcmp_{op}_s8_scratch_bytes")
        prefixed = [f"-D{name}=ref_{name}" for name in names]
        _compile(board, level, folder, *prefixed, "-c", src / "ref" / f"{op}.c", "-o", f"ref_{op}.o")
        _compile(board, level, folder, "-c", src / kernel_file(board.arm, op), "-o", f"arm_{op}.o")


def _link(board: Board, level: str, folder: Path, driver: str, *values: str) -> Path:
    """The image of a driver with the objects in the folder."""
    runtime = runtime_dir()
    _compile(board, level, folder, *values, "-c", runtime / "tests" / driver)
    _compile(board, level, folder, "-c", *sorted((runtime / "port" / "cortex-m").glob("*.c")))
    script = folder / "link.ld"
    script.write_text(templates().get_template("link.ld.j2").render(board=board, stack_bytes=8192), encoding="ascii")
    objects = [path.name for path in sorted(folder.glob("*.o"))]
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-T", script]
    _compile(board, level, folder, *link, *objects, "-o", "image.elf")
    return folder / "image.elf"


def _run_image(board: Board, image: Path, counts: bool = True) -> Run:
    command = [
        "qemu-system-arm", "-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-kernel", str(image),
    ]  # fmt: skip
    if counts:
        plugin = build_shared("libinsn_count", [runtime_dir() / "port" / "qemu" / "insn_count.c"], ["-O2"])
        command += ["-plugin", f"{plugin},out=insns.txt"]
    done = subprocess.run(
        command, cwd=image.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0 and SENTINEL in text, "\n".join(text.splitlines()[-4:])
    lines = (image.parent / "insns.txt").read_text(encoding="ascii").split() if counts else []
    return Run(board.arm, text, [int(line.removeprefix("insns=")) for line in lines])


# ---- what test files check about runs -----------------------------------------------------------------------


def check_equal(run: Run, cases: int) -> None:
    """The driver has compared at least that many layers of every kind, all equal."""
    assert run.text.rstrip().endswith(SENTINEL) and "FAILED" not in run.text
    drawn = [line[0] for line in run.lines("layer")]
    assert all(drawn.count(str(op)) >= cases for op in range(len(WEIGHTED)))


def check_scratch(run: Run) -> None:
    """The planner's formulas and the kernels' functions give the same bytes, for every kind of layer and weights."""
    seen = set()
    for line in run.lines("layer"):
        numbers = [int(number) for number in line]
        kind, tile_rows, *_, of_ref, of_arm = numbers[1:]
        layer = _layer_of(numbers)
        received = [scratch_bytes(layer, KINDS[kind], arm, tile_rows) for arm in ("ref", run.arm)]
        assert received == [of_ref, of_arm], numbers
        seen.add((layer.op, kind))
    assert len(seen) == len(WEIGHTED) * len(KINDS)


def check_limits(run: Run, limits: Mapping[str, float]) -> None:
    """Every counted layer has a limit and keeps it."""
    assert all(run.counts), "the emulator counted nothing"
    received = run.insns()
    assert received.keys() == limits.keys()
    slow = {name: round(value, 3) for name, value in received.items() if value > limits[name]}
    assert not slow, f"instructions per MAC above the limits: {slow}"


def check_refused(arm: str, core: str, folder: Path) -> None:
    """The arm does not compile for a core that lacks its instructions, and says so."""
    source = runtime_dir() / "src" / arm / "conv2d.c"
    command = [ARM_CC, f"-mcpu={core}", "-mthumb", f"-I{runtime_dir() / 'include'}", "-c", source]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and f"#error \"the {arm.upper()} arm needs" in done.stderr


def _layer_of(numbers: list[int]) -> Layer:
    """The layer that the driver describes; weights and constants are of no interest here."""
    op, _, _, rows, length, in_h, in_w, in_c, out_h, out_w, k_h, k_w, s_h, s_w, d_h, d_w, top, left, _, _ = numbers
    weights = Weights(0, np.zeros((rows, length), np.int8))
    channels = Channels(np.zeros(rows, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int8))
    bounds = (0, 0, -128, 127)
    if WEIGHTED[op] == "fully_connected":
        return FullyConnected("fully_connected", "y", (0,), (1,), weights, channels, 1, length, *bounds)
    return Conv(
        WEIGHTED[op], "y", (0,), (1,), weights, channels, (in_h, in_w, in_c), (out_h, out_w, rows), (k_h, k_w), (s_h, s_w),
        (d_h, d_w), (top, left), *bounds,
    )  # fmt: skip
