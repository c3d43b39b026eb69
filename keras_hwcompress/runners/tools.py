"""External programs: found by name with a clear message, run with a timeout, built once into a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from keras_hwcompress.errors import BoardError, ToolError

_PACKAGES = {
    "cc": "gcc",
    "cmake": "cmake",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}


def find_tool(name: str) -> str:
    """The path of a program.

    Raises:
        ToolError: it is not on PATH; the message names the Debian packages to install.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is missing: install it, on Debian with: apt-get install {_PACKAGES.get(name, name)}")
    return path


def run_tool(command: Sequence[str], *, cwd: Path | None = None, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns it with its output; a non-zero exit is a ToolError with the last lines."""
    try:
        done = subprocess.run(
            [find_tool(command[0]), *command[1:]], cwd=cwd, timeout=timeout, capture_output=True, text=True,
            errors="replace", stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{command[0]} did not finish within {timeout:g} s") from error
    if done.returncode != 0:
        raise _failure(command[0], done)
    return done


def _failure(name: str, done: subprocess.CompletedProcess[str]) -> ToolError | BoardError:
    text = (done.stdout + done.stderr).strip()
    overflows = [line for line in text.splitlines() if "overflowed by" in line]
    if overflows:
        return BoardError("the image does not fit the board: " + "; ".join(line.split(": ")[-1] for line in overflows))
    return ToolError(f"{name} failed with exit code {done.returncode}: " + " | ".join(text.splitlines()[-6:]))


def cache_dir() -> Path:
    """The folder for built helpers: $HWCMP_CACHE, else the user's cache folder."""
    base = os.environ.get("HWCMP_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "keras_hwcompress")
    path = Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


def build_shared(name: str, sources: Sequence[Path], flags: Sequence[str], includes: Sequence[Path] = ()) -> Path:
    """Compiles C sources to a shared library in the cache, once per content, compiler and flags."""
    compiler = find_tool("cc")
    digest = hashlib.sha256()
    headers = [header for folder in includes for header in sorted(folder.rglob("*.[hd]*"))]
    for path in [*sources, *headers]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(repr((compiler, list(flags))).encode())
    target = cache_dir() / f"{name}-{digest.hexdigest()[:16]}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            built = Path(folder) / target.name
            include_flags = [f"-I{folder}" for folder in includes]
            run_tool(["cc", "-shared", "-fPIC", *flags, *include_flags, *map(str, sources), "-o", str(built)])
            built.rename(target)
    return target
