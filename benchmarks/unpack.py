"""Instructions that unpacking a weight takes, for every format and core, counted in QEMU.

    python benchmarks/unpack.py [--budget-minutes M] [--force]

Opens every blob on the emulated core, unpacks all rows, `rows at once` per call, and checks every value. The figures go
to results/unpack.csv; "insns" are all instructions of the calls, so those that a call costs by itself are spread over
the weights of its rows. Weights are drawn from seed 0. `fit_cost.py` reads the CSV, too.
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

BOARDS = ("mps2-an386", "mps2-an385-m0", "mps2-an385", "mps2-an500", "mps2-an505", "mps3-an547")
SHAPES = ((64, 288), (24, 27), (10, 1200), (5, 18), (9, 10), (32, 4))
SEED = 0
KEYS = ("core", "rows", "row_length", "weights", "format", "rows_at_once")
VALUES = ("board", "arm", "seed", "blob_bytes", "bits_per_weight", "insns", "insns_per_weight")
Shape = tuple[int, int]


def ternary(shape: Shape, density: float) -> np.ndarray:
    """int8 in {-127, 0, 127}."""
    return np.random.default_rng(SEED).choice([-127, 0, 127], shape, p=[density / 2, 1 - density, density / 2]).astype(np.int8)


def grid(shape: Shape, levels: int) -> np.ndarray:
    """Evenly spread levels, all as frequent."""
    steps = np.round(-127 + 254 * np.arange(levels) / (levels - 1))
    return steps[np.random.default_rng(SEED).integers(0, levels, shape)].astype(np.int8)


def quinary(shape: Shape) -> np.ndarray:
    """Five levels, 60 % not zero, the small ones twice as frequent as the large ones."""
    return np.random.default_rng(SEED).choice([-127, -64, 0, 64, 127], shape, p=[0.1, 0.2, 0.4, 0.2, 0.1]).astype(np.int8)


def normal(shape: Shape, scale: float, density: float) -> np.ndarray:
    """Normally distributed, a share of them set to zero."""
    rng = np.random.default_rng(SEED)
    return (np.clip(np.round(rng.normal(0, scale, shape)), -127, 127) * (rng.random(shape) < density)).astype(np.int8)


def groups(shape: Shape, zeros: float) -> np.ndarray:
    """Groups of four, a share of them zero, the others sums of four numbers from -16 to 16; the last one cut off."""
    rng = np.random.default_rng(SEED)
    values = rng.integers(-16, 17, (shape[0], -(-shape[1] // 4), 4, 4)).sum(axis=3)
    return (values * (rng.random((*values.shape[:2], 1)) >= zeros)).reshape(shape[0], -1)[:, : shape[1]].astype(np.int8)


def cases(shape: Shape) -> dict[str, np.ndarray]:
    """Name -> int8 weights."""
    found = {f"ternary {round(100 * density)} %": ternary(shape, density) for density in (0.5, 0.35, 0.2, 0.1, 0.05)}
    found |= {f"{levels} levels": grid(shape, levels) for levels in (2, 3, 4, 5, 6, 7, 8, 16)}
    found |= {"5 levels 60 %": quinary(shape), "80 % zero groups of 4": groups(shape, 0.8)}
    return found | {"normal": normal(shape, 20, 1), "normal 30 %": normal(shape, 20, 0.3)}


def blobs(values: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Name and blob of every admissible format."""
    for row in table().formats:
        try:
            yield row.name, formats.encode(row.name, values)
        except BlobError:
            continue


def rows_at_once(shape: Shape) -> tuple[int, int]:
    """All, and about as many as the code generator begins with: 2,304 bytes, but not all."""
    return shape[0], min(max(1, 2304 // shape[1]), -(-shape[0] // 3))


def measure(board: str, results: Results) -> None:
    """All missing rows of a board, in one image."""
    items, rows = [], []
    fixed = {"core": get_board(board).core, "board": board, "arm": get_board(board).arm, "seed": SEED}
    for shape in SHAPES:
        for name, values in cases(shape).items():
            for kind, blob in blobs(values):
                for at_once in rows_at_once(shape):
                    row = fixed | {"rows": shape[0], "row_length": shape[1], "weights": name, "format": kind, "rows_at_once": at_once}
                    if not results.has(**row):
                        items.append((blob, at_once))
                        rows.append(row | {"blob_bytes": len(blob), "bits_per_weight": round(8 * len(blob) / values.size, 4)})
    if items:
        insns = count_unpack(items, board).insns
        sizes = (row["rows"] * row["row_length"] for row in rows)
        results.add(*(row | {"insns": n, "insns_per_weight": round(n / size, 3)} for row, n, size in zip(rows, insns, sizes, strict=True)))


def show(results: Results, shape: Shape) -> None:
    """Instructions per weight, a column for each core."""
    cores = [get_board(board).core for board in BOARDS]
    found = {(row["core"], row["weights"], row["format"], row["rows_at_once"]): row for row in results.rows if _shape(row) == shape}
    title = f"insns per weight, {shape[0]} rows of {shape[1]}"
    lines = Table("weights", "format", "bits per weight", "rows at once", *cores, title=title)
    for _, *keys in dict.fromkeys((cores[0], *key[1:]) for key in found):
        measured = [found.get((core, *keys)) for core in cores]
        bits = next(row["bits_per_weight"] for row in measured if row)
        figures = (f"{float(row['insns_per_weight']):.2f}" if row else "not run" for row in measured)
        lines.add_row(*keys[:2], f"{float(bits):.3f}", keys[2], *figures)
    Console(width=130).print(lines)


def _shape(row: dict[str, str]) -> Shape:
    return int(row["rows"]), int(row["row_length"])


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
    show(results, SHAPES[0])


if __name__ == "__main__":
    main()
