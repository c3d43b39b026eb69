"""Where the C runtime lies: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def runtime_dir() -> Path:
    """The folder `mcu_runtime` (sources, headers, board ports).

    Raises:
        FileNotFoundError: neither the checkout nor the installed package holds it.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "mcu_runtime", package.parent / "mcu_runtime"):
        if (candidate / "include" / "hwcmp" / "hwcmp.h").is_file():
            return candidate
    raise FileNotFoundError(f"the C runtime is missing: expected mcu_runtime in {package} or {package.parent}")
