"""The C runtime as a compiler sees it: warnings, symbols, struct layouts, sanitizers."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_library import ARM_CC, CC, compile_c, sources

from keras_hwcompress.runners.structs import STRUCTS

HERE = Path(__file__).resolve().parent
CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
MEMORY = {"memcpy", "memset", "memmove"}
# Multiplication of 64-bit integers, division of 32-bit ones, shifts of 64-bit ones, jump tables of Thumb-1.
INTEGER_HELPER = re.compile(r"__aeabi_(lmul|u?idiv(mod)?|l[al]s[lr])\Z|__gnu_thumb1_case_\w+\Z")
FLOAT_HELPER = re.compile(r"__aeabi_(f(add|sub|mul|div|cmp\w\w|2iz)|i2f)\Z")
FLOAT_FILES = {"quantize_f32.o", "dequantize_f32.o"}

needs_gcc = pytest.mark.skipif(shutil.which(CC) is None, reason=f"{CC} is not installed")
needs_arm = pytest.mark.skipif(
    shutil.which(ARM_CC) is None and not os.environ.get("HWCMP_REQUIRE_QEMU"), reason=f"{ARM_CC} is not installed"
)


def undefined_symbols(folder: Path) -> dict[str, set[str]]:
    """object file -> symbols that it needs and that no object file in the folder defines."""
    done = subprocess.run(
        ["arm-none-eabi-nm", "-A", "-g", *sorted(path.name for path in folder.glob("*.o"))],
        cwd=folder, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    rows = [re.fullmatch(r"(\S+\.o):\s*\w* (\w) (\S+)", line).groups() for line in done.stdout.splitlines()]
    defined = {symbol for _, kind, symbol in rows if kind != "U"}
    needed: dict[str, set[str]] = {}
    for file, _, symbol in rows:
        if symbol not in defined:
            needed.setdefault(file, set()).add(symbol)
    return needed


@needs_arm
@pytest.mark.parametrize("core", CORES)
def test_the_runtime_compiles_without_a_warning_and_needs_nothing_but_memory_and_integer_helpers(
    tmp_path: Path, core: str
) -> None:
    compile_c(sources(), f"-mcpu={core}", "-mthumb", "-Os", "-c", cc=ARM_CC, cwd=tmp_path)
    needed = undefined_symbols(tmp_path)
    assert needed["conv2d.o"] >= {"memcpy", "memset"}
    for file, symbols in needed.items():
        alien = {name for name in symbols - MEMORY if not INTEGER_HELPER.match(name)}
        if file in FLOAT_FILES:
            alien = {name for name in alien if not FLOAT_HELPER.match(name)}
        assert not alien, f"{file} needs {sorted(alien)}"


@needs_gcc
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_the_runtime_compiles_for_the_host_without_a_warning(tmp_path: Path, level: str) -> None:
    compile_c(sources(), level, "-c", cwd=tmp_path)


def _paths(kind: type[ctypes.Structure]) -> Iterator[tuple[str, int, int]]:
    """(field, offset, size) of a Structure, with its whole size under the empty name."""
    yield "", 0, ctypes.sizeof(kind)
    for name, _ in kind._fields_:
        field = getattr(kind, name)
        yield name, field.offset, field.size


@needs_gcc
def test_every_struct_lies_in_memory_as_the_compiler_lays_it_out(tmp_path: Path) -> None:
    rows = [(kind.__name__, *row) for kind in STRUCTS for row in _paths(kind)]
    lines = []
    for struct, field, _, _ in rows:
        at = f"(size_t)0, sizeof({struct})"
        if field:
            at = f"offsetof({struct}, {field}), sizeof((({struct} *)0)->{field})"
        lines.append(f'    printf("%zu %zu\\n", {at});')
    source = tmp_path / "layout.c"
    source.write_text(
        "\n".join(["#include <stdio.h>", '#include "hwcmp/hwcmp.h"', "int main(void)", "{", *lines, "    return 0;", "}", ""]),
        encoding="ascii",
    )
    compile_c([source], "-o", str(tmp_path / "layout"))
    done = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True, timeout=60)
    compiled = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [(offset, size) for _, _, offset, size in rows] == compiled


def _preload() -> str:
    found = subprocess.run([CC, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True, timeout=60)
    path = found.stdout.strip()
    if not os.path.isabs(path):
        pytest.skip(f"{CC} has no address sanitizer")
    return path


@needs_gcc
def test_the_kernels_are_clean_under_the_address_and_undefined_behaviour_sanitizers() -> None:
    environment = {
        **os.environ,
        "LD_PRELOAD": _preload(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "HWCMP_SANITIZE": "1",
        "HWCMP_EXAMPLES": "12",
    }
    files = [HERE / "test_runtime_ops.py", HERE / "test_runtime_arguments.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, files)],
        env=environment, cwd=HERE.parent, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert re.search(r"^\d{2,} passed", done.stdout, re.MULTILINE), done.stdout[-500:]
