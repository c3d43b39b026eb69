"""Cells of the kernel benchmark that the project promises: most instructions per MAC, and most bytes of scratch.

A cell is (core, case, format, levels), its figure instructions per MAC of the whole layer call, per output for layers
without weights. Cases that end in "_relu" have a fused ReLU.
"""

from __future__ import annotations

Cell = tuple[str, str, str, str]

# Odd layers may take twice what the nearest regular one does.
ODD_FACTOR = 2.0
NEAREST = {
    "conv1x7_16to32_16x16": "conv3x3_16to32_16x16",
    "conv3x3_16to32_16x16_dilation2": "conv3x3_16to32_16x16",
    "conv3x3_16to32_33x33_stride3": "conv3x3_16to32_16x16",
    "conv3x3_16to32_32x32_stride2": "conv3x3_16to32_16x16",
    "conv3x3_16to32_13x13": "conv3x3_16to32_16x16",
    "conv3x3_16to32_16x16_left_shifts": "conv3x3_16to32_16x16",
    "conv3x3_18to30_15x11": "conv3x3_16to32_16x16",
    "conv3x3_5to16_16x16": "conv3x3_3to16_32x32",
    "dw3x3_8x2_16x16": "dw3x3_64_25x5",
}


def _both(core: str, case: str, name: str, levels: str, general: float, relu: float | None = None) -> dict[Cell, float]:
    """The same cell without and with a fused ReLU."""
    return {(core, case, name, levels): general, (core, f"{case}_relu", name, levels): general if relu is None else relu}


def _of_conv(case: str, slack: float) -> dict[Cell, float]:
    goals = _both("cortex-m4", case, "dense8", "int8", 1.00 * slack)
    for levels in ("3 35%", "4", "16"):
        goals |= _both("cortex-m4", case, "nary", levels, 1.05 * slack)
    for levels, general, relu in (("3 35%", 0.42, 0.37), ("3 20%", 0.33, 0.29), ("5 60%", 0.65, 0.65)):
        goals |= _both("cortex-m4", case, "runs", levels, general * slack, relu * slack)
    return {cell: round(goal, 4) for cell, goal in goals.items()}


GOALS: dict[Cell, float] = {
    **_of_conv("conv3x3_16to32_16x16", 1.0),
    **_of_conv("conv3x3_32to32_16x16", 1.0),
    **_of_conv("conv3x3_64to64_8x8", 1.15),
    **_both("cortex-m4", "conv3x3_3to16_32x32", "dense8", "int8", 2.5),
    **_both("cortex-m4", "conv1x1_64to64_25x5", "dense8", "int8", 1.05),
    **_both("cortex-m4", "conv1x1_64to64_25x5", "runs", "3 35%", 0.53, 0.43),
    **_both("cortex-m4", "dw3x3_64_25x5", "dense8", "int8", 2.8),
    **_both("cortex-m4", "fc_640to128", "dense8", "int8", 1.05),
    **_both("cortex-m4", "fc_640to128", "nary", "16", 1.10),
    **_both("cortex-m4", "fc_640to128", "nary", "4", 1.20),
    ("cortex-m4", "add_16x16x32", "", ""): 8.0,
    **_both("cortex-m0", "conv3x3_16to32_16x16", "dense8", "int8", 3.5),
    **_both("cortex-m0", "conv3x3_16to32_16x16", "runs", "3 35%", 1.05, 0.85),
    **_both("cortex-m55", "conv3x3_16to32_16x16", "dense8", "int8", 0.25),
    **_both("cortex-m55", "conv3x3_16to32_16x16", "nary", "16", 0.26),
    **_both("cortex-m55", "conv3x3_16to32_16x16", "runs", "3 20%", 0.17),
}

_NARY_SCRATCH = 4096
# As stored, 1.6 bits a weight, three levels are unpacked; those of 32 to 32 channels want 4,768 bytes for it. In the core's
# layout, 2 bits a weight, they run as they are.
_FAST = {
    ("cortex-m4", f"{case}_fast", "nary", "3 35%"): 1.05 for case in ("conv3x3_16to32_16x16", "conv3x3_32to32_16x16")
}  # fmt: skip
GOALS |= _FAST
SCRATCH_GOALS: dict[Cell, int] = {
    ("cortex-m4", case + suffix, "nary", levels): _NARY_SCRATCH
    for case, some in (("conv3x3_16to32_16x16", ("3 35%", "4", "16")), ("conv3x3_32to32_16x16", ("4", "16")))
    for suffix in ("", "_relu")
    for levels in some
} | dict.fromkeys(_FAST, _NARY_SCRATCH)
