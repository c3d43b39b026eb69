"""Unpacks weight blobs on an emulated Cortex-M and counts the instructions: for benchmarks, tests and the cost model."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.codegen.emit import templates
from keras_hwcompress.errors import ToolError
from keras_hwcompress.runners.qemu import emulate, read_counts
from keras_hwcompress.runners.tools import run_tool
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.targets import Board, get_board

_STACK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Unpacking:
    """insns: of each blob, all rows. stack_bytes: most that the driver used, opening included."""

    insns: list[int]
    stack_bytes: int


def count_unpack(
    blobs: Sequence[tuple[bytes, int]], board: str = "mps2-an386", flags: Sequence[str] = ("-O2",)
) -> Unpacking:
    """Opens every blob, unpacks all its rows and compares them with `formats.decode`.

    Args:
        blobs: pairs of a blob and the number of rows to unpack at a time.
        board: a name from `targets.BOARDS`.
        flags: of the compiler, beside those of the board.

    Raises:
        ToolError: compiler or emulator missing or failed, instructions not counted, or a value differs.
    """
    target = get_board(board)
    with tempfile.TemporaryDirectory(prefix="hwcmp-") as name:
        folder = Path(name)
        image = _build(folder, target, flags)
        values = [formats.decode(blob) for blob, _ in blobs]
        (folder / "blobs.bin").write_bytes(
            b"".join(struct.pack("<III", len(blob), rows, array.size) + blob for (blob, rows), array in zip(blobs, values, strict=True))
        )
        text, exact = emulate(image, target, folder, 300)
        if not exact:
            raise ToolError("the counting plugin did not load: instructions of unpacking cannot be told")
        received = np.fromfile(folder / "values.bin", np.int8)
        insns = read_counts(folder / "insns.txt")
    expected = np.concatenate([array.reshape(-1) for array in values])
    if not np.array_equal(received, expected) or len(insns) != len(blobs):
        raise ToolError(f"{board} unpacks other values than formats.decode")
    return Unpacking(insns, int(re.findall(r"stack=(\d+)", text)[0]))


def _build(folder: Path, board: Board, flags: Sequence[str]) -> Path:
    runtime = runtime_dir()
    script = folder / "link.ld"
    script.write_text(templates().get_template("link.ld.j2").render(board=board, stack_bytes=_STACK_BYTES), encoding="ascii")
    sources = [
        runtime / "tests" / "unpack_driver.c", runtime / "src" / "weights.c", runtime / "src" / "status.c",
        *sorted((runtime / "src").glob("unpack_*.c")), *sorted((runtime / "port" / "cortex-m").glob("*.c")),
    ]  # fmt: skip
    includes = [f"-I{runtime / part}" for part in ("include", "src", "port", "port/cortex-m", "port/qemu")]
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-T", str(script)]
    run_tool(
        ["arm-none-eabi-gcc", *board.flags, "-std=c11", *flags, "-ffreestanding", "-ffunction-sections", *includes,
         *map(str, sources), *link, "-o", str(folder / "image.elf")]
    )  # fmt: skip
    return folder / "image.elf"
