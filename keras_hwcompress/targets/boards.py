"""The board table: core, compiler flags, memory of the real part, and the QEMU machine that stands in for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A memory region: origin address and length, both in bytes."""

    origin: int
    length: int


@dataclass(frozen=True, slots=True)
class Board:
    """One row of the table.

    arm: which optimised kernels the core runs ("ref" or "dsp"). machine: QEMU's -M name. flash and ram are
    linked against, so an image that the real part cannot hold does not link. insns_per_tick: instructions per
    SysTick tick under `-icount shift=0`, the fallback when the counting plugin does not load.
    pyocd: target name for the `flash` build target, empty for boards that exist only in the emulator.
    """

    name: str
    title: str
    core: str
    flags: tuple[str, ...]
    arm: str
    machine: str
    flash: Region
    ram: Region
    insns_per_tick: float = 40.0
    pyocd: str = ""


_M3 = ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft")
_M4F = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
_M7 = ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")

_ROWS = (
    Board("mps2-an385", "Arm MPS2 AN385 (Cortex-M3)", "cortex-m3", _M3, "ref", "mps2-an385",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("mps2-an386", "Arm MPS2 AN386 (Cortex-M4F)", "cortex-m4", _M4F, "dsp", "mps2-an386",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("mps2-an500", "Arm MPS2 AN500 (Cortex-M7)", "cortex-m7", _M7, "dsp", "mps2-an500",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("netduinoplus2", "Netduino Plus 2 (STM32F405, Cortex-M4F)", "cortex-m4", _M4F, "dsp", "netduinoplus2",
          Region(0x08000000, 1 << 20), Region(0x20000000, 128 << 10), pyocd="stm32f405rg"),
)  # fmt: skip

BOARDS: dict[str, Board] = {board.name: board for board in _ROWS}


def get_board(name: str) -> Board:
    """The board of that name; ValueError listing the known boards otherwise."""
    if name not in BOARDS:
        raise ValueError(f"unknown board. Expected one of: {', '.join(BOARDS)}. Received: {name!r}")
    return BOARDS[name]
