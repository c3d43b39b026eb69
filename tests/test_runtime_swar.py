"""The SWAR arm on emulated Cortex-M0 and M3: equal to the reference arm, within its scratch, as fast as promised.

Cortex-M0 code runs on the Cortex-M3 machine, whose RAM holds the driver's layers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from arm_image import check_equal, check_limits, check_refused, check_scratch, in_qemu, run_arm

from keras_hwcompress.targets import BOARDS, Board

CASES, SEED = 250, 2026
M0, M3 = BOARDS["mps2-an385-m0"], BOARDS["mps2-an385"]
# Unoptimised and small code place functions and constants elsewhere.
BUILDS = [
    pytest.param(M0, "-O2", id="M0 -O2"),
    pytest.param(M0, "-O0", id="M0 -O0", marks=pytest.mark.slow),
    pytest.param(M0, "-Os", id="M0 -Os", marks=pytest.mark.slow),
    pytest.param(M3, "-O2", id="M3 -O2", marks=pytest.mark.slow),
    pytest.param(M3, "-Os", id="M3 -Os", marks=pytest.mark.slow),
]

# Instructions per multiply-accumulate (per element of add and pooling) of Cortex-M0 and M3 code: a little above what was
# measured.
LIMITS = {
    "conv3x3_16to32_16x16": (3.28, 1.95),
    "conv3x3_32to32_16x16": (3.21, 1.93),
    "conv3x3_16to16_32x32": (3.45, 2.08),
    "conv3x3_64to64_8x8": (3.13, 1.90),
    "conv3x3_3to16_32x32": (5.54, 3.59),
    "conv3x3s2_16to32_32x32": (3.27, 1.94),
    "conv5x5_8to16_16x16": (3.64, 2.24),
    "conv1x1_64to64_25x5": (3.76, 2.21),
    "conv1x1_128to128_6x6": (3.31, 1.96),
    "conv1x1_8to16_24x24": (9.74, 5.72),
    "conv1x1_640to128_1x1": (3.83, 2.54),
    "depthwise3x3_64_25x5": (11.2, 6.72),
    "depthwise3x3_16_24x24": (9.49, 5.58),
    "depthwise3x3s2_16_24x24": (16.9, 10.1),
    "depthwise5x5_16_24x24": (5.98, 3.73),
    "fully_connected_640to128": (3.83, 2.54),
    "fully_connected_128to128": (4.58, 2.98),
    "fully_connected_64to10": (6.97, 4.50),
    "fully_connected_490to30": (4.16, 2.75),
    "add": (24.2, 18.9),
    "add_clamped": (24.0, 16.5),
    "add_without_affine_form": (74.8, 37.9),
    "average_pool8x8_64_8x8": (13.6, 8.3),
    "max_pool2x2_16_32x32": (20.0, 13.0),
    "mean3x3_256": (22.9, 15.5),
}

pytestmark = in_qemu


@pytest.mark.parametrize(("board", "level"), BUILDS)
def test_the_arm_computes_what_the_reference_arm_computes(board: Board, level: str) -> None:
    check_equal(run_arm(board, level, SEED, CASES), CASES)


@pytest.mark.parametrize(("board", "level"), BUILDS)
def test_the_planner_and_the_kernels_agree_on_scratch(board: Board, level: str) -> None:
    check_scratch(run_arm(board, level, SEED, CASES))


@pytest.mark.parametrize("core", [pytest.param(0, id="M0"), pytest.param(1, id="M3", marks=pytest.mark.slow)])
def test_the_kernels_execute_no_more_instructions_than_promised(core: int) -> None:
    run = run_arm((M0, M3)[core], "-O2", SEED, CASES)
    check_limits(run, {name: limits[core] for name, limits in LIMITS.items()})


def test_a_core_that_is_no_microcontroller_is_refused(tmp_path: Path) -> None:
    check_refused("swar", "cortex-a9", tmp_path)
