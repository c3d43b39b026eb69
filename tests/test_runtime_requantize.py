"""Requantization in every arm: TensorFlow Lite's double rounding at every tie, for all shifts, and at its own bounds."""

from __future__ import annotations

import pytest
from arm_image import in_qemu, run_requantize_driver

from keras_hwcompress.targets import BOARDS

# One core with multipliers of each kind; the M3 shares its text with the M0, the others with the M4.
QUICK = ("mps2-an385-m0", "mps2-an386", "mps3-an547")
CORES = (*QUICK, "mps2-an385", "mps2-an505")

pytestmark = in_qemu


@pytest.mark.parametrize("board", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CORES])
def test_sums_beside_every_tie_and_bound_give_gemmlowps_integers(board: str) -> None:
    run = run_requantize_driver(BOARDS[board], "-O2")
    (compared,) = run.lines("compared")
    assert int(compared[0]) > 3_000_000
