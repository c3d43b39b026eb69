"""The C runtime for tests: compiler flags, a shared library with the reference arm, calls with guarded buffers.

HWCMP_SANITIZE=1 builds the library with sanitizers; test_runtime_build.py runs the other files that way.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from runtime_cases import Case

from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.kernels import Kernels, aligned
from keras_hwcompress.runners.structs import CLayer, to_c
from keras_hwcompress.runtime_files import runtime_dir

STATUS = {name: value for value, (name, _) in table().statuses.items()}
GUARD = 32
FILL = 0xA5

CC = os.environ.get("CC", "gcc")
ARM_CC = "arm-none-eabi-gcc"
WARNINGS = (
    "-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wcast-align=strict -Wundef "
    "-Wvla -Wstrict-prototypes -Wmissing-prototypes -Wdouble-promotion -Werror"
).split()
SANITIZERS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer".split()


def sources() -> list[Path]:
    """The common files, those of the formats in the table, and the reference arm."""
    src = runtime_dir() / "src"
    formats = {row.name for row in table().stored}
    common = [path for path in sorted(src.glob("*.c")) if "_" not in path.stem or path.stem.split("_", 1)[1] in formats]
    return [*common, *sorted((src / "ref").glob("*.c"))]


def compile_c(files: Iterable[Path], *flags: str, cc: str = CC, cwd: Path | None = None) -> None:
    """One compiler call with every warning an error."""
    include = runtime_dir() / "include"
    command = [cc, *WARNINGS, f"-I{include}", *flags, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} ... failed:\n{done.stderr}")


def build_library(output: Path, *flags: str) -> Path:
    """A shared library of the whole runtime."""
    compile_c(sources(), *flags, "-shared", "-fPIC", "-o", str(output))
    return output


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    flags = SANITIZERS if os.environ.get("HWCMP_SANITIZE") else ["-O2"]
    return Kernels(build_library(tmp_path_factory.mktemp("runtime") / "runtime.so", *flags))


class Guarded:
    """`count` elements between guard bytes, at an address that is a multiple of 16."""

    def __init__(self, count: int, dtype: type = np.uint8) -> None:
        size = count * np.dtype(dtype).itemsize
        self._memory = aligned(bytes([FILL]) * (size + 2 * GUARD))
        self._size = size
        self.values = self._memory[GUARD : GUARD + size].view(dtype)

    def check(self) -> None:
        around = np.delete(self._memory, np.s_[GUARD : GUARD + self._size])
        assert around.size == 2 * GUARD and (around == FILL).all(), "bytes around a buffer were written"

    def is_untouched(self) -> bool:
        return bool((self._memory == FILL).all())


@dataclass
class Call:
    """One call of a kernel, with everything a test may want to spoil."""

    layer: CLayer
    inputs: list[np.ndarray]
    output: Guarded
    scratch: Guarded | None
    weights: ctypes.Structure | None
    blob: np.ndarray | None

    def run(self, kernels: Kernels) -> int:
        scratch = None if self.scratch is None else self.scratch.values
        return kernels.run(self.layer, self.inputs, self.output.values, self.weights, scratch)


def prepare_call(kernels: Kernels, case: Case, blob: bytes | None = None, tile_rows: int = 3) -> Call:
    layer = to_c(case.layer, tile_rows)
    data = None if blob is None else aligned(blob)
    weights = None if data is None else kernels.open_weights(data)
    scratch = Guarded(kernels.scratch_bytes(layer, weights))
    output = Guarded(int(np.prod(case.output_shape)), case.dtype)
    return Call(layer, [array.copy() for array in case.inputs], output, scratch, weights, data)
