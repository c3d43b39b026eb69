"""Which files of the C runtime a project needs: the sources it compiles, the headers they include, the board ports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def needed_files(runtime: Path, sources: Iterable[str]) -> list[Path]:
    """Paths relative to `runtime`, sorted; the format table is left out, projects get their own.

    Args:
        runtime: the folder mcu_runtime.
        sources: files below mcu_runtime/src, such as "ref/add.c".
    """
    found = {Path("src") / source for source in sources} | {Path("include/hwcmp/hwcmp.h"), Path("port/qemu/count_markers.h")}
    found |= {path.relative_to(runtime) for folder in ("port", "port/cortex-m", "port/host") for path in (runtime / folder).glob("*.[ch]")}
    pending = list(found)
    while pending:
        for header in _included(runtime, pending.pop()) - found:
            found.add(header)
            pending.append(header)
    return sorted(path for path in found if path.suffix != ".def")


def _included(runtime: Path, file: Path) -> set[Path]:
    """The runtime's own files that a file includes, as the compiler would find them."""
    folders = (file.parent, Path("src"), Path("include"), Path("port"), Path("port/cortex-m"))
    found = set()
    for name in _INCLUDE.findall((runtime / file).read_text(encoding="utf-8")):
        candidates = ((runtime / folder / name).resolve() for folder in folders)
        target = next((path for path in candidates if path.is_file()), None)
        if target is None:
            raise FileNotFoundError(f"{file} includes {name!r}, which the runtime does not hold")
        found.add(target.relative_to(runtime.resolve()))
    return found
