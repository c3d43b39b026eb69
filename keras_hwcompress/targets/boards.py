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

    arm: which optimised kernels the core runs ("swar", "dsp" or "mve"). machine: QEMU's -M name. flash and ram are
    linked against, so an image that the real part cannot hold does not link. insns_per_tick: instructions per
    SysTick tick under `-icount shift=0`, the fallback when the counting plugin does not load.
    pyocd: target name for the `flash` build target, empty for boards that exist only in the emulator.
    stack_bytes: set apart from ram. vectors: where the vector table lies if that is not the beginning of flash.
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
    stack_bytes: int = 4096
    vectors: Region | None = None


_M0 = ("-mcpu=cortex-m0", "-mthumb", "-mfloat-abi=soft")
_M3 = ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft")
_M4F = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
_M7 = ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")
_M33 = ("-mcpu=cortex-m33", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")
_M55 = ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")

# mps2-an385-m0 is no part of its own: Armv6-M code runs on the Cortex-M3 as well, and there it finds the RAM that
# measurements of large layers need.
_ROWS = (
    Board("microbit", "BBC micro:bit (nRF51822, Cortex-M0)", "cortex-m0", _M0, "swar", "microbit",
          Region(0x0, 256 << 10), Region(0x20000000, 16 << 10), 62.5, pyocd="nrf51", stack_bytes=2048),
    Board("mps2-an385-m0", "Cortex-M0 code on an Arm MPS2 AN385", "cortex-m0", _M0, "swar", "mps2-an385",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("mps2-an385", "Arm MPS2 AN385 (Cortex-M3)", "cortex-m3", _M3, "swar", "mps2-an385",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("mps2-an386", "Arm MPS2 AN386 (Cortex-M4F)", "cortex-m4", _M4F, "dsp", "mps2-an386",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("mps2-an500", "Arm MPS2 AN500 (Cortex-M7)", "cortex-m7", _M7, "dsp", "mps2-an500",
          Region(0x0, 4 << 20), Region(0x20000000, 4 << 20)),
    Board("mps2-an505", "Arm MPS2 AN505 (Cortex-M33)", "cortex-m33", _M33, "dsp", "mps2-an505",
          Region(0x10000000, 4 << 20), Region(0x38000000, 4 << 20), 50.0),
    Board("mps3-an547", "Arm MPS3 AN547 (Cortex-M55)", "cortex-m55", _M55, "mve", "mps3-an547",
          Region(0x11000000, 2 << 20), Region(0x31000000, 4 << 20), 31.25, vectors=Region(0x10000000, 1 << 10)),
    Board("netduinoplus2", "Netduino Plus 2 (STM32F405, Cortex-M4F)", "cortex-m4", _M4F, "dsp", "netduinoplus2",
          Region(0x08000000, 1 << 20), Region(0x20000000, 128 << 10), pyocd="stm32f405rg"),
)  # fmt: skip

BOARDS: dict[str, Board] = {board.name: board for board in _ROWS}


def get_board(name: str) -> Board:
    """The board of that name; ValueError listing the known boards otherwise."""
    if name not in BOARDS:
        raise ValueError(f"unknown board. Expected one of: {', '.join(BOARDS)}. Received: {name!r}")
    return BOARDS[name]
