"""Layers made by Python, run by a kernel of one arm in QEMU: outputs compared on the target, instructions counted.

The image holds the kernels, mcu_runtime/tests/case_driver.c and the cases as C (cases.h).
"""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runtime_cases import Case
from runtime_library import ARM_CC, WARNINGS

from keras_hwcompress.codegen.emit import c_array, templates
from keras_hwcompress.codegen.kernels import kernel_file
from keras_hwcompress.runners.structs import to_c
from keras_hwcompress.runners.tools import build_shared
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.targets import Board

SENTINEL = "HWCMP-TEST-OK"


@dataclass(frozen=True)
class ArmCase:
    """name: a word. case: one layer with weights. blob: its weights. is_counted: report instructions."""

    name: str
    case: Case
    blob: bytes
    is_counted: bool = False


@dataclass(frozen=True)
class ArmRun:
    """scratch: name -> bytes that the kernel asked for. insns: name -> instructions, of the counted cases."""

    scratch: dict[str, int]
    insns: dict[str, int]
    stack_bytes: int
    flash_bytes: int


def run_cases(board: Board, kernels: dict[str, str], cases: list[ArmCase], folder: Path, level: str = "-O2") -> ArmRun:
    """Builds and runs an image; an AssertionError shows what the target printed if any output is wrong.

    Args:
        board: its arm is the one that is tested, where it has a file for the kernel.
        kernels: op -> kernel, for the ops "conv2d" and "fully_connected".
        cases: layers of those ops.
        folder: where to build.
    """
    (folder / "cases.h").write_text(_header(cases), encoding="ascii")
    image = _build(board, kernels, folder, level)
    text, counts = _emulate(board, image)
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("case ")]
    counted = [line[0] for line in lines if line[-1] == "counted"]
    assert len(counts) == len(counted) and all(counts)
    stack = int(text.split("stack ")[1].split()[0])
    size = subprocess.run(["arm-none-eabi-size", image], capture_output=True, text=True, check=True).stdout
    flash = int(size.splitlines()[1].split()[0])
    return ArmRun({line[0]: int(line[1]) for line in lines}, dict(zip(counted, counts, strict=True)), stack, flash)


def _build(board: Board, kernels: dict[str, str], folder: Path, level: str) -> Path:
    runtime, src = runtime_dir(), runtime_dir() / "src"
    includes = [runtime / name for name in ("include", "src", "port", "port/cortex-m", "port/qemu", "tests")]
    names = {op: f"hwcmp_{kernel}_s8" for op, kernel in kernels.items()}
    values = [f"-D{op.upper()}={name}" for op, name in names.items()]
    files = [src / kernel_file(board.arm, kernel) for kernel in kernels.values()]
    files += [src / "weights.c", src / "status.c", *sorted(src.glob("unpack_*.c")), runtime / "tests" / "case_driver.c"]
    script = folder / "link.ld"
    script.write_text(templates().get_template("link.ld.j2").render(board=board, stack_bytes=8192), encoding="ascii")
    command = [
        ARM_CC, *board.flags, *WARNINGS, level, "-ffreestanding", "-ffunction-sections", *values,
        f"-DRAM_END={board.ram.origin + board.ram.length}U", f"-I{folder}", *(f"-I{path}" for path in includes), *files,
        *sorted((runtime / "port" / "cortex-m").glob("*.c")), "-nostartfiles", "--specs=nano.specs",
        "-Wl,--gc-sections", "-T", script, "-o", folder / "image.elf",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "image.elf"


def _emulate(board: Board, image: Path) -> tuple[str, list[int]]:
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
    return text, [int(line.removeprefix("insns=")) for line in lines]


def _header(cases: list[ArmCase]) -> str:
    rows = ",\n".join(f"    {_row(number, item)}" for number, item in enumerate(cases))
    most = max(int(np.prod(item.case.output_shape)) for item in cases), max(len(item.blob) for item in cases)
    text = "\n".join(_constants(number, item) for number, item in enumerate(cases))
    sizes = f"#define MOST_OUTPUT_BYTES {most[0]}\n#define MOST_BLOB_BYTES {most[1]}\n"
    return f"{sizes}{text}\nstatic const test_case cases[] = {{\n{rows},\n}};\n"


def _row(number: int, item: ArmCase) -> str:
    params = f"&params_{number}"
    pair = f"{params}, NULL" if item.case.layer.op == "conv2d" else f"NULL, {params}"
    sized = ", ".join(f"{name}_{number}, sizeof {name}_{number}" for name in ("blob", "input", "expected"))
    return f'{{"{item.name}", {pair}, &channels_{number}, {sized}, {str(item.is_counted).lower()}}}'


def _constants(number: int, item: ArmCase) -> str:
    layer, channels = to_c(item.case.layer), item.case.layer.channels
    arrays = {
        "_Alignas(4) const uint8_t blob": np.frombuffer(item.blob, np.uint8),
        "const int8_t input": item.case.inputs[0],
        "const int8_t expected": item.case.expected(),
        "const int32_t bias": channels.bias,
        "const int32_t multiplier": channels.multiplier,
        "const int8_t shift": channels.shift,
    }
    lines = [f"static {name}_{number}[] = {_integers(values)};" for name, values in arrays.items()]
    step = int(channels.multiplier.size == channels.bias.size)
    pointers = f"bias_{number}, multiplier_{number}, shift_{number}"
    lines.append(f"static const hwcmp_channels channels_{number} = {{{pointers}, {step}}};")
    lines.append(f"static const {type(layer.params).__name__} params_{number} = {_initializer(layer.params)};")
    return "\n".join(lines)


def _integers(values: np.ndarray) -> str:
    return c_array(values).replace("-2147483648", "INT32_MIN")


def _initializer(value: ctypes.Structure | int) -> str:
    if isinstance(value, ctypes.Structure):
        fields = ", ".join(f".{name} = {_initializer(getattr(value, name))}" for name, _ in value._fields_)
        return "{" + fields + "}"
    return str(value)
