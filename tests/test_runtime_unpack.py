"""Unpacking on emulated cores: every format gives what Python decodes, at the cost that the benchmark found."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from test_formats import encoded

from keras_hwcompress import formats
from keras_hwcompress.runners.unpacking import count_unpack

pytestmark = pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")) and not os.environ.get("HWCMP_REQUIRE_QEMU"),
    reason="the Arm compiler or QEMU is not installed",
)

# Instructions per weight on Cortex-M4 and M0, all rows of 64 x 288 at once: a little above benchmarks/results/unpack.csv.
LIMITS = {
    ("ternary 35 %", "nary"): (6.3, 7.9),
    ("ternary 35 %", "entropy"): (6.9, 9.4),
    ("ternary 20 %", "entropy"): (4.6, 6.3),
    ("ternary 10 %", "entropy"): (3.1, 4.2),
    ("7 levels", "entropy"): (17.5, 24.0),
    ("7 levels", "nary"): (5.8, 7.9),
    ("normal 30 %", "entropy"): (11.0, 16.5),
    ("ternary 35 %", "bitmap"): (6.1, 7.3),
    ("ternary 20 %", "bitmap"): (4.8, 6.2),
    ("normal 30 %", "bitmap"): (5.2, 5.8),
}


def _weights() -> dict[str, np.ndarray]:
    rng, shape = np.random.default_rng(0), (64, 288)
    found = {f"ternary {share} %": rng.choice([-127, 0, 127], shape, p=[share / 200, 1 - share / 100, share / 200]) for share in (35, 20, 10)}
    found["7 levels"] = 42 * rng.integers(-3, 4, shape)
    found["normal 30 %"] = np.round(rng.normal(0, 20, shape)) * (rng.random(shape) < 0.3)
    return {name: np.clip(values, -128, 127).astype(np.int8) for name, values in found.items()}


@pytest.mark.parametrize(("board", "core"), [("mps2-an386", 0), ("mps2-an385-m0", 1)])
def test_unpacking_takes_no_more_instructions_than_measured(board: str, core: int) -> None:
    blobs = [(formats.encode(name, _weights()[weights]), 64) for weights, name in LIMITS]
    counted = count_unpack(blobs, board)
    found = {key: insns / (64 * 288) for key, insns in zip(LIMITS, counted.insns, strict=True)}
    assert {key: cost for key, cost in found.items() if cost > LIMITS[key][core]} == {}
    assert counted.stack_bytes < 1200


@pytest.mark.parametrize("board", ["mps2-an385-m0", "mps2-an386", "mps3-an547"])
@pytest.mark.parametrize("flags", ["-Os", "-O3"])
def test_every_format_and_variant_unpacks_on_the_core_as_python_decodes(board: str, flags: str) -> None:
    rng = np.random.default_rng(5)
    odd = rng.integers(-128, 128, (13, 77)) * (rng.random((13, 77)) < 0.4)
    few = rng.integers(-2, 3, (11, 45)) * 50
    sparse = rng.choice([-5, 0, 5], (9, 131), p=[0.05, 0.9, 0.05])
    blobs = [(blob, at_once) for values in (odd, few, sparse) for blob in encoded(values.astype(np.int8)).values() for at_once in (1, 3)]
    assert len(count_unpack(blobs, board, (flags,)).insns) == len(blobs) > 40
