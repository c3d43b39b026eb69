"""Instructions that unpacking a weight takes, for every format and core, counted in QEMU.

    python benchmarks/unpack.py [--budget-minutes M] [--force]

Opens every blob on the emulated core, unpacks all rows, `rows at once` per call, and checks every value. The figures go
to results/unpack.csv; "insns" are all instructions of the calls, so those that a call costs by itself are spread over
the weights of its rows. Weights are drawn from seed 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from common import Budget, Results, add_common_options
from rich.console import Console
from rich.table import Table

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError
from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.unpacking import count_unpack
from keras_hwcompress.targets import get_board

BOARDS = ("mps2-an386", "mps2-an385-m0", "mps2-an385", "mps3-an547")
SHAPE = (64, 288)
AT_ONCE = (64, 8)
SEED = 0
KEYS = ("core", "weights", "format", "rows_at_once")
VALUES = ("rows", "row_length", "seed", "blob_bytes", "bits_per_weight", "insns", "insns_per_weight")


def ternary(density: float) -> np.ndarray:
    """int8 in {-127, 0, 127}, shape SHAPE."""
    return np.random.default_rng(SEED).choice([-127, 0, 127], SHAPE, p=[density / 2, 1 - density, density / 2]).astype(np.int8)


def grid(levels: int) -> np.ndarray:
    """Evenly spread levels, all as frequent."""
    steps = np.round(-127 + 254 * np.arange(levels) / (levels - 1))
    return steps[np.random.default_rng(SEED).integers(0, levels, SHAPE)].astype(np.int8)


def normal(scale: float, density: float) -> np.ndarray:
    """Normally distributed, a share of them set to zero."""
    rng = np.random.default_rng(SEED)
    return (np.clip(np.round(rng.normal(0, scale, SHAPE)), -127, 127) * (rng.random(SHAPE) < density)).astype(np.int8)


def groups(zeros: float) -> np.ndarray:
    """Groups of four, a share of them zero, the others sums of four numbers from -16 to 16."""
    rng = np.random.default_rng(SEED)
    values = rng.integers(-16, 17, (SHAPE[0], SHAPE[1] // 4, 4, 4)).sum(axis=3)
    return (values * (rng.random((*values.shape[:2], 1)) >= zeros)).reshape(SHAPE).astype(np.int8)


def cases() -> dict[str, np.ndarray]:
    """Name -> int8 weights."""
    quinary = np.random.default_rng(SEED).choice([-127, -64, 0, 64, 127], SHAPE, p=[0.1, 0.2, 0.4, 0.2, 0.1]).astype(np.int8)
    found = {f"ternary {round(100 * density)} %": ternary(density) for density in (0.5, 0.35, 0.2, 0.1, 0.05)}
    found |= {f"{levels} levels": grid(levels) for levels in (2, 3, 4, 5, 6, 7, 8, 16)}
    found |= {"5 levels 60 %": quinary, "normal": normal(20, 1), "normal 30 %": normal(20, 0.3), "80 % zero groups of 4": groups(0.8)}
    return found


def blobs(values: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Name and blob of every admissible format."""
    for row in table().formats:
        try:
            yield row.name, formats.encode(row.name, values)
        except BlobError:
            continue


def measure(board: str, results: Results) -> None:
    """All missing rows of a board, in one image."""
    core, items, rows = get_board(board).core, [], []
    for name, values in cases().items():
        for kind, blob in blobs(values):
            for at_once in AT_ONCE:
                keys = {"core": core, "weights": name, "format": kind, "rows_at_once": at_once}
                if not results.has(**keys):
                    items.append((blob, at_once))
                    bits = round(8 * len(blob) / values.size, 4)
                    size = {"rows": SHAPE[0], "row_length": SHAPE[1], "blob_bytes": len(blob), "bits_per_weight": bits}
                    rows.append(keys | size | {"seed": SEED})
    if items:
        insns = count_unpack(items, board).insns
        results.add(*(row | {"insns": count, "insns_per_weight": round(count / (SHAPE[0] * SHAPE[1]), 3)} for row, count in zip(rows, insns, strict=True)))


def show(results: Results) -> None:
    """Instructions per weight, a column for each core."""
    cores = [get_board(board).core for board in BOARDS]
    found = {tuple(row[key] for key in KEYS): row for row in results.rows}
    lines = Table("weights", "format", "bits per weight", "rows at once", *cores, title=f"insns per weight, {SHAPE[0]} rows of {SHAPE[1]}")
    for _, name, kind, at_once in dict.fromkeys((cores[0], *keys[1:]) for keys in found):
        measured = [found.get((core, name, kind, at_once)) for core in cores]
        bits = next(row["bits_per_weight"] for row in measured if row)
        lines.add_row(name, kind, f"{float(bits):.3f}", at_once, *(f"{float(row['insns_per_weight']):.2f}" if row else "not run" for row in measured))
    Console(width=110).print(lines)


def main() -> None:
    """Measures what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_options(parser)
    options = parser.parse_args()
    budget = Budget(options.budget_minutes)
    results = Results("unpack.csv", KEYS, VALUES, refresh=options.force)
    for board in BOARDS:
        if not budget.is_spent:
            measure(board, results)
    show(results)


if __name__ == "__main__":
    main()
