"""The MVE arm on an emulated Cortex-M55: equal to the reference arm, within its scratch, as fast as promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from arm_image import check_equal, check_limits, check_refused, check_scratch, in_qemu, run_arm

from keras_hwcompress.targets import BOARDS

CASES, SEED = 250, 2025
M55 = BOARDS["mps3-an547"]
# Unoptimised and small code place functions and constants elsewhere.
LEVELS = ["-O2", pytest.param("-O0", marks=pytest.mark.slow), pytest.param("-Os", marks=pytest.mark.slow)]

# Instructions per multiply-accumulate (per element of add and pooling): a little above what was measured.
LIMITS = {
    "conv3x3_16to32_16x16": 0.179,
    "conv3x3_32to32_16x16": 0.151,
    "conv3x3_16to16_32x32": 0.202,
    "conv3x3_64to64_8x8": 0.132,
    "conv3x3_3to16_32x32": 0.61,
    "conv3x3s2_16to32_32x32": 0.176,
    "conv5x5_8to16_16x16": 0.239,
    "conv1x1_64to64_25x5": 0.22,
    "conv1x1_128to128_6x6": 0.173,
    "conv1x1_8to16_24x24": 1.43,
    "conv1x1_640to128_1x1": 0.206,
    "depthwise3x3_64_25x5": 1.23,
    "depthwise3x3_16_24x24": 1.05,
    "depthwise3x3s2_16_24x24": 1.53,
    "depthwise5x5_16_24x24": 1.11,
    "fully_connected_640to128": 0.203,
    "fully_connected_128to128": 0.375,
    "fully_connected_64to10": 0.98,
    "fully_connected_490to30": 0.242,
    "add": 2.64,
    "add_clamped": 2.64,
    "add_without_affine_form": 5.25,
    "average_pool8x8_64_8x8": 1.93,
    "max_pool2x2_16_32x32": 1.77,
    "mean3x3_256": 3.55,
}

pytestmark = in_qemu


@pytest.mark.parametrize("level", LEVELS)
def test_the_arm_computes_what_the_reference_arm_computes(level: str) -> None:
    check_equal(run_arm(M55, level, SEED, CASES), CASES)


@pytest.mark.parametrize("level", LEVELS)
def test_the_planner_and_the_kernels_agree_on_scratch(level: str) -> None:
    check_scratch(run_arm(M55, level, SEED, CASES))


def test_the_kernels_execute_no_more_instructions_than_promised() -> None:
    check_limits(run_arm(M55, "-O2", SEED, CASES), LIMITS)


def test_a_core_without_the_vector_extension_is_refused(tmp_path: Path) -> None:
    check_refused("mve", "cortex-m33", tmp_path)
