"""Bits that a weight takes in every format, beside the entropy: whole blobs, with headers, tables, index and padding.

    python benchmarks/storage.py

Writes results/storage.csv. Weights are drawn independently, from seed 0; the entropy is that of the frequencies in the
tensor (zero order).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from common import Results
from rich.console import Console
from rich.table import Table

from keras_hwcompress import formats
from keras_hwcompress.formats.table import table

SHAPES = ((16, 27), (64, 9), (32, 144), (32, 288), (64, 288), (64, 576), (128, 640))
LEVELS = (2, 3, 4, 5, 7, 8, 16)
DENSITIES = (0.5, 0.35, 0.2, 0.1)
SEED = 0
KEYS = ("weights", "rows", "row_length", "format")
VALUES = ("seed", "blob_bytes", "bits_per_weight", "entropy_bits")


def cases(shape: tuple[int, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and int8 weights: n levels, all as frequent; ternary ones by the share of non-zeros."""
    for levels in LEVELS:
        steps = np.round(-127 + 254 * np.arange(levels) / (levels - 1))
        yield f"{levels} levels", steps[np.random.default_rng(SEED).integers(0, levels, shape)].astype(np.int8)
    for density in DENSITIES:
        shares = [density / 2, 1 - density, density / 2]
        yield f"ternary {round(100 * density)} %", np.random.default_rng(SEED).choice([-127, 0, 127], shape, p=shares).astype(np.int8)


def entropy_bits(values: np.ndarray) -> float:
    """Zero-order entropy in bits per weight."""
    shares = np.unique(values, return_counts=True)[1] / values.size
    return float(-(shares * np.log2(shares)).sum())


def measure(results: Results) -> None:
    """Encodes every case in every format that admits it; rows are replaced."""
    rows = []
    for shape in SHAPES:
        for name, values in cases(shape):
            entropy = round(entropy_bits(values), 4)
            for kind, blob in formats.admissible(values).items():
                size = {"blob_bytes": len(blob), "bits_per_weight": round(8 * len(blob) / values.size, 4), "entropy_bits": entropy}
                rows.append({"weights": name, "rows": shape[0], "row_length": shape[1], "format": kind, "seed": SEED} | size)
    results.add(*rows)


def show(results: Results) -> None:
    """A table for each shape; the smallest format of a row is bold."""
    names = [row.name for row in table().formats]
    for rows, row_length in SHAPES:
        lines = Table("weights", "entropy", *names, "entropy format above", title=f"bits per weight, {rows} rows of {row_length}")
        here = [row for row in results.rows if (row["rows"], row["row_length"]) == (str(rows), str(row_length))]
        for name in dict.fromkeys(row["weights"] for row in here):
            found = {row["format"]: row for row in here if row["weights"] == name}
            entropy = float(next(iter(found.values()))["entropy_bits"])
            bits = {kind: float(row["bits_per_weight"]) for kind, row in found.items()}
            cells = ["-" if kind not in bits else f"[bold]{bits[kind]:.3f}[/]" if bits[kind] == min(bits.values()) else f"{bits[kind]:.3f}" for kind in names]
            lines.add_row(name, f"{entropy:.3f}", *cells, f"{bits['entropy'] / entropy - 1:+.1%}")
        Console(width=140).print(lines)


def main() -> None:
    """Writes the rows and prints the tables."""
    results = Results("storage.csv", KEYS, VALUES)
    measure(results)
    show(results)


if __name__ == "__main__":
    main()
