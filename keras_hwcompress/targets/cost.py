"""Estimated instructions of weight formats, beyond those of dense int8 weights.

A TILE format unpacks each weight once per layer call; the dense kernel then does the same work as for int8. The
figures are instructions per weight of the unpack loop on Cortex-M4, measured in QEMU as the difference between whole
layers in the two formats (`benchmarks/unpack.py`).
"""

from __future__ import annotations

from keras_hwcompress.formats.blob import unpack_header
from keras_hwcompress.formats.table import table

_UNKNOWN = 6.0

# nary: number of levels -> instructions per weight. Bytes hold 8, 5, 4, 3, 3 and 2 codes.
_NARY = {2: 3.5, 3: 6.0, 4: 4.0, 5: 6.0, 6: 6.0}
_NARY_TWO_CODES = 5.5


def unpack_insns(blob: bytes, weights: int) -> int:
    """Instructions to unpack a blob of that many weights once; 0 for PLAIN formats."""
    header = unpack_header(blob)
    row = next(row for row in table().formats if row.id == header.format)
    if row.kind == "PLAIN":
        return 0
    if row.name != "nary":
        return round(weights * _UNKNOWN)
    levels = header.param & ~table().constants["NARY_PER_CHANNEL"]
    return round(weights * _NARY.get(levels, _NARY_TWO_CODES))
