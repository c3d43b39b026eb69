"""The DSP arm on emulated Cortex-M4, M7 and M33: equal to the reference arm, within its scratch, as fast as promised.

One image holds both arms (the reference under names prefixed by ref_) and dsp_driver.c, which draws random layers,
compares the outputs bit for bit and prints one line per layer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from runtime_library import ARM_CC, WARNINGS

from keras_hwcompress.codegen.emit import templates
from keras_hwcompress.codegen.scratch import scratch_bytes
from keras_hwcompress.runners.tools import build_shared
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.targets.boards import Region
from keras_hwcompress.tflite.layers import Channels, Conv, FullyConnected, Layer, Weights

SENTINEL = "HWCMP-TEST-OK"
OPS = ("conv2d", "depthwise_conv2d", "fully_connected", "add")
KINDS = ("PLAIN", "TILE")
CASES = 250

M4 = BOARDS["mps2-an386"]
M7 = BOARDS["mps2-an500"]
M33 = Board(
    "mps2-an505", "Arm MPS2 AN505 (Cortex-M33)", "cortex-m33", ("-mcpu=cortex-m33", "-mthumb", "-mfloat-abi=soft"),
    "dsp", "mps2-an505", Region(0x10000000, 4 << 20), Region(0x38000000, 4 << 20),
)  # fmt: skip
# Unoptimised and small code place functions and constants elsewhere.
BUILDS = [(M4, "-O2"), (M4, "-O0"), (M7, "-Os"), (M33, "-O2")]

# Instructions per multiply-accumulate (per element of add) on Cortex-M4: a little above what was measured.
LIMITS = {
    "conv3x3_16to32_16x16": 0.98,
    "conv3x3_32to32_16x16": 0.92,
    "conv3x3_16to16_32x32": 1.03,
    "conv3x3_64to64_8x8": 0.88,
    "conv3x3_3to16_32x32": 2.03,
    "conv3x3s2_16to32_32x32": 1.01,
    "conv5x5_8to16_16x16": 1.12,
    "conv1x1_64to64_25x5": 1.10,
    "conv1x1_128to128_6x6": 0.98,
    "conv1x1_8to16_24x24": 3.15,
    "conv1x1_640to128_1x1": 1.29,
    "depthwise3x3_64_25x5": 3.05,
    "depthwise3x3_16_24x24": 2.72,
    "depthwise3x3s2_16_24x24": 4.80,
    "depthwise5x5_16_24x24": 3.95,
    "fully_connected_640to128": 1.29,
    "fully_connected_128to128": 1.60,
    "fully_connected_64to10": 3.05,
    "fully_connected_490to30": 1.65,
    "add_one_operand_shifted": 19.4,
    "add_both_operands_shifted": 24.5,
}

pytestmark = pytest.mark.skipif(
    not (shutil.which(ARM_CC) and shutil.which("qemu-system-arm")) and not os.environ.get("HWCMP_REQUIRE_QEMU"),
    reason="the Arm compiler or QEMU is not installed",
)


@dataclass(frozen=True)
class Run:
    """What an image printed, and the counts that the plugin wrote."""

    text: str
    counts: list[int]

    def lines(self, word: str) -> list[list[str]]:
        return [line.split()[1:] for line in self.text.splitlines() if line.startswith(word + " ")]


def compile_arm(board: Board, level: str, folder: Path, *arguments: object) -> None:
    runtime = runtime_dir()
    includes = ["include", "src", "port", "port/cortex-m", "port/qemu", "tests"]
    command = [
        ARM_CC, *board.flags, *WARNINGS, level, "-ffreestanding", "-ffunction-sections",
        *(f"-I{runtime / name}" for name in includes), *map(str, arguments),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def build_image(board: Board, level: str, seed: int, folder: Path) -> Path:
    runtime = runtime_dir()
    for op in OPS:
        names = (f"hwcmp_{op}_s8", f"hwcmp_{op}_s8_scratch_bytes")
        prefixed = [f"-D{name}=ref_{name}" for name in names]
        compile_arm(board, level, folder, *prefixed, "-c", runtime / "src" / "ref" / f"{op}.c", "-o", f"ref_{op}.o")
        compile_arm(board, level, folder, "-c", runtime / "src" / "dsp" / f"{op}.c", "-o", f"dsp_{op}.o")
    end = board.ram.origin + board.ram.length
    values = [f"-DCASES={CASES}", f"-DSEED={seed}U", f"-DRAM_END={end}U"]
    compile_arm(board, level, folder, *values, "-c", runtime / "tests" / "dsp_driver.c")
    compile_arm(board, level, folder, "-c", *sorted((runtime / "port" / "cortex-m").glob("*.c")))
    script = folder / "link.ld"
    script.write_text(templates().get_template("link.ld.j2").render(board=board, stack_bytes=8192), encoding="ascii")
    objects = [path.name for path in sorted(folder.glob("*.o"))]
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-T", script]
    compile_arm(board, level, folder, *link, *objects, "-o", "image.elf")
    return folder / "image.elf"


def run_image(board: Board, image: Path) -> Run:
    plugin = build_shared("libinsn_count", [runtime_dir() / "port" / "qemu" / "insn_count.c"], ["-O2"])
    command = [
        "qemu-system-arm", "-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-plugin", f"{plugin},out=insns.txt", "-kernel", str(image),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=image.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0 and SENTINEL in text, "\n".join(text.splitlines()[-4:])
    lines = (image.parent / "insns.txt").read_text(encoding="ascii").split()
    return Run(text, [int(line.removeprefix("insns=")) for line in lines])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    """Every build's run; each with cases of its own."""
    made = {}
    for seed, (board, level) in enumerate(BUILDS, start=2024):
        folder = tmp_path_factory.mktemp(board.name)
        made[board.name, level] = run_image(board, build_image(board, level, seed, folder))
    return made


@pytest.mark.parametrize(("board", "level"), BUILDS, ids=lambda item: getattr(item, "core", item))
def test_the_dsp_arm_computes_what_the_reference_arm_computes(
    runs: dict[tuple[str, str], Run], board: Board, level: str
) -> None:
    run = runs[board.name, level]
    assert run.text.rstrip().endswith(SENTINEL) and "FAILED" not in run.text
    drawn = [line[0] for line in run.lines("layer")]
    assert all(drawn.count(op) >= CASES for op in "012")


def layer_of(numbers: list[int]) -> Layer:
    """The layer that the driver describes; weights and constants are of no interest here."""
    op, _, _, rows, length, in_h, in_w, in_c, out_h, out_w, k_h, k_w, s_h, s_w, d_h, d_w, top, left, _, _ = numbers
    weights = Weights(0, np.zeros((rows, length), np.int8))
    channels = Channels(np.zeros(rows, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int8))
    bounds = (0, 0, -128, 127)
    if OPS[op] == "fully_connected":
        return FullyConnected("fully_connected", "y", (0,), (1,), weights, channels, 1, length, *bounds)
    return Conv(
        OPS[op], "y", (0,), (1,), weights, channels, (in_h, in_w, in_c), (out_h, out_w, rows), (k_h, k_w), (s_h, s_w),
        (d_h, d_w), (top, left), *bounds,
    )  # fmt: skip


def test_the_planner_and_the_kernels_agree_on_scratch(runs: dict[tuple[str, str], Run]) -> None:
    seen = set()
    for run in runs.values():
        for line in run.lines("layer"):
            numbers = [int(number) for number in line]
            kind, tile_rows, *_, ref, dsp = numbers[1:]
            layer = layer_of(numbers)
            received = [scratch_bytes(layer, KINDS[kind], arm, tile_rows) for arm in ("ref", "dsp")]
            assert received == [ref, dsp], numbers
            seen.add((layer.op, kind))
    assert len(seen) == 6


def test_the_kernels_execute_no_more_instructions_than_promised(runs: dict[tuple[str, str], Run]) -> None:
    run = runs[M4.name, "-O2"]
    received = {}
    for (name, macs, _), count in zip(run.lines("count"), run.counts, strict=True):
        assert count > 0, "the emulator counted nothing"
        received[name] = count / int(macs)
    assert received.keys() == LIMITS.keys()
    slow = {name: round(value, 3) for name, value in received.items() if value > LIMITS[name]}
    assert not slow, f"instructions per MAC above the limits: {slow}"


def test_a_core_without_the_dsp_extension_is_refused(tmp_path: Path) -> None:
    source = runtime_dir() / "src" / "dsp" / "conv2d.c"
    command = [ARM_CC, "-mcpu=cortex-m3", "-mthumb", f"-I{runtime_dir() / 'include'}", "-c", source]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "choose the reference arm" in done.stderr
