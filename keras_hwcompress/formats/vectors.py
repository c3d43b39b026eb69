"""Golden vectors: small blobs of every format, for tests in any language.

`python -m keras_hwcompress.formats.vectors DEST` writes `<case>.<format>.hwb` for every case and every format or layout that
admits it, and SHA256SUMS. The dense8 blob of a case holds the values that the other blobs of that case must decode
to, so a C test needs nothing else. The values come from integer arithmetic written out here, not from a random
number generator whose stream a library could change.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from keras_hwcompress.formats import admissible, layouts

SUFFIX = ".hwb"
SUMS = "SHA256SUMS"


def cases() -> dict[str, np.ndarray]:
    """Case name -> int8 array, shape (rows, row_length): the shapes and values where packing goes wrong."""
    shapes = {"one_row": (1, 31), "one_column": (17, 1), "odd": (3, 5), "prime": (7, 13), "whole_bytes": (2, 40)}
    found = {
        "one_by_one": np.array([[7]], np.int8),
        "all_zero": np.zeros((4, 4), np.int8),
        "all_equal": np.full((2, 9), -5, np.int8),
        "extremes": np.where(_noise((2, 6), 2) & 1, 127, -128).astype(np.int8),
        "every_value": np.arange(-128, 128).astype(np.int8).reshape(4, 64),
        "seventeen_levels": _grid(17, (2, 19)),
        "per_channel": _grid(3, (4, 40)) // np.int8(127) * np.array([[1], [20], [90], [127]], np.int8),
        "ragged_channels": _ragged((6, 33)),
        "one_channel_constant": _grid(4, (3, 21)) * np.array([[1], [0], [1]], np.int8),
        **{name: _grid(3, shape) for name, shape in shapes.items()},
        **{f"levels_{count}": _grid(count, (3, 17)) for count in range(2, 17)},
    }
    return dict(sorted(found.items()))


def blobs() -> dict[str, bytes]:
    """File name -> blob, in the order of the names."""
    found = {}
    for case, values in cases().items():
        for name, blob in (admissible(values) | layouts(values)).items():
            found[f"{case}.{name}{SUFFIX}"] = blob
    return dict(sorted(found.items()))


def write(folder: Path) -> None:
    """Writes all blobs and SHA256SUMS into `folder`; blobs of cases that no longer exist are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"*{SUFFIX}"):
        old.unlink()
    lines = []
    for name, blob in blobs().items():
        (folder / name).write_bytes(blob)
        lines.append(f"{hashlib.sha256(blob).hexdigest()}  {name}\n")
    (folder / SUMS).write_text("".join(lines), encoding="ascii")


def _noise(shape: tuple[int, int], seed: int) -> np.ndarray:
    """uint32 array: a multiplicative hash of the position."""
    value = np.arange(1, 1 + shape[0] * shape[1], dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed)
    value ^= value >> np.uint32(15)
    value *= np.uint32(2246822519)
    value ^= value >> np.uint32(13)
    return value.reshape(shape)


def _grid(levels: int, shape: tuple[int, int]) -> np.ndarray:
    """int8 values on `levels` evenly spread levels from -127 to 127, every level used."""
    grid = -127 + 254 * np.arange(levels) // (levels - 1)
    codes = _noise(shape, levels) % np.uint32(levels)
    count = min(levels, codes.size)
    codes.reshape(-1)[:count] = np.arange(count)
    return grid[codes].astype(np.int8)


def _ragged(shape: tuple[int, int]) -> np.ndarray:
    """Rows with 1, 4, 7, ... distinct values of their own: tables per channel that must be filled up."""
    values = np.full(shape, -128, np.int8)
    for row in range(1, shape[0]):
        values[row] = _grid(1 + 3 * row, (1, shape[1]))[0] // np.int8(row) + np.int8(row)
    return values


if __name__ == "__main__":
    write(Path(sys.argv[1]))
