"""The DSP arm on emulated Cortex-M4, M7 and M33: equal to the reference arm, within its scratch, as fast as promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from arm_image import check_equal, check_limits, check_refused, check_scratch, in_qemu, run_arm

from keras_hwcompress.targets import BOARDS, Board

CASES, SEED = 250, 2024
M4, M7, M33 = BOARDS["mps2-an386"], BOARDS["mps2-an500"], BOARDS["mps2-an505"]
# Unoptimised and small code place functions and constants elsewhere.
BUILDS = [
    pytest.param(M4, "-O2", id="M4 -O2"),
    pytest.param(M4, "-O0", id="M4 -O0", marks=pytest.mark.slow),
    pytest.param(M7, "-Os", id="M7 -Os", marks=pytest.mark.slow),
    pytest.param(M33, "-O2", id="M33 -O2", marks=pytest.mark.slow),
]

# Instructions per multiply-accumulate (per element of add and pooling) on Cortex-M4: a little above what was measured.
LIMITS = {
    "conv3x3_16to32_16x16": 0.98,
    "conv3x3_32to32_16x16": 0.92,
    "conv3x3_16to16_32x32": 1.03,
    "conv3x3_64to64_8x8": 0.88,
    "conv3x3_3to16_32x32": 2.03,
    "conv3x3s2_16to32_32x32": 1.01,
    "conv5x5_8to16_16x16": 1.12,
    "conv1x1_64to64_25x5": 1.10,
    "conv1x1_128to128_6x6": 0.98,
    "conv1x1_8to16_24x24": 3.15,
    "conv1x1_640to128_1x1": 1.29,
    "depthwise3x3_64_25x5": 2.33,
    "depthwise3x3_16_24x24": 2.2,
    "depthwise3x3s2_16_24x24": 3.62,
    "depthwise5x5_16_24x24": 2.65,
    "fully_connected_640to128": 1.29,
    "fully_connected_128to128": 1.60,
    "fully_connected_64to10": 3.05,
    "fully_connected_490to30": 1.65,
    "add": 7.2,
    "add_clamped": 9.2,
    "add_without_affine_form": 15.3,
    "average_pool8x8_64_8x8": 1.81,
    "max_pool2x2_16_32x32": 5.3,
    "mean3x3_256": 6.1,
}

pytestmark = in_qemu


@pytest.mark.parametrize(("board", "level"), BUILDS)
def test_the_arm_computes_what_the_reference_arm_computes(board: Board, level: str) -> None:
    check_equal(run_arm(board, level, SEED, CASES), CASES)


@pytest.mark.parametrize(("board", "level"), BUILDS)
def test_the_planner_and_the_kernels_agree_on_scratch(board: Board, level: str) -> None:
    check_scratch(run_arm(board, level, SEED, CASES))


def test_the_kernels_execute_no_more_instructions_than_promised() -> None:
    check_limits(run_arm(M4, "-O2", SEED, CASES), LIMITS)


def test_a_core_without_the_dsp_extension_is_refused(tmp_path: Path) -> None:
    check_refused("dsp", "cortex-m3", tmp_path)
