"""What a conversion did: a row per layer with weights, and totals; as a table, a dict or JSON."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Promised:
    """What a wrapper promised of a layer: see the fields of `LayerRow`; the defaults are those of a layer without one."""

    layer: str = ""
    levels: int | None = None
    zeros: int | None = None
    lost: str = ""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer with weights.

    layer: path of the wrapped Keras layer, "" for layers that were not wrapped. op: operator of the converted model.
    rows, row_length: shape of the weights, one row per output channel. promised_levels, promised_zeros: what the
    wrapper promised, None without one. levels: most distinct int8 values of any row. zeros: int8 weights that are 0.
    lost: why the promise does not hold, "" if it does. int8_bytes: one byte per weight. format, weight_bytes: how
    the weights are stored and in how many bytes. insns: predicted for the whole layer on the target, all layers with
    these weights together. runner_up: the next best format for the objective, its bytes, those of the code that only
    it would need, and its instructions; or "".
    const_bytes: bias, multiplier and shift.
    """

    layer: str
    op: str
    rows: int
    row_length: int
    promised_levels: int | None
    promised_zeros: int | None
    levels: int
    zeros: int
    lost: str
    int8_bytes: int
    format: str
    weight_bytes: int
    insns: int
    runner_up: str
    const_bytes: int


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """Rows and totals of a conversion.

    regrid_change: largest difference, in int8 steps, between any output before and after regrid on the
    representative data looked at; 0 if no layer was regridded. arena_bytes: activations and scratch on the target.
    code_bytes: kernels and decoders that the choice needs, where the scope counts them as flash.
    insns: of one inference on the target, predicted by the cost model, layers without weights included.
    """

    layers: tuple[LayerRow, ...]
    target: str
    objective: str
    weight_bytes: int
    int8_weight_bytes: int
    fp32_weight_bytes: int
    const_bytes: int
    code_bytes: int
    arena_bytes: int
    insns: int
    regrid_change: int
    tflite_bytes: int

    @property
    def model_bytes(self) -> int:
        """weight_bytes + const_bytes."""
        return self.weight_bytes + self.const_bytes

    def _code(self) -> str:
        return f"kernels and decoders that the choice needs {self.code_bytes:,}, " if self.code_bytes else ""

    def to_dict(self) -> dict[str, Any]:
        """All fields, nested, of plain types."""
        return {**asdict(self), "model_bytes": self.model_bytes}

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def table(self) -> Table:
        """A rich table, one row per layer."""
        table = Table("layer", "operator", "weights", title=f"weights for {self.target}, objective {self.objective}")
        for heading in ("levels", "zeros", "int8 bytes", "format", "bytes", "of int8", "insns ~", "runner-up"):
            table.add_column(heading, justify="right")
        for row in self.layers:
            table.add_row(*_cells(row))
        table.add_section()
        ratio = f"{self.weight_bytes / max(self.int8_weight_bytes, 1):.3f}"
        table.add_row("total", "", "", "", "", f"{self.int8_weight_bytes:,}", "", f"{self.weight_bytes:,}", ratio, f"{self.insns:,}", "")
        return table

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=170)
        console.print(self.table())
        summary = (
            f"model_bytes {self.model_bytes:,} (weights {self.weight_bytes:,}, bias and requantization {self.const_bytes:,}), {self._code()}"
            f"arena + scratch {self.arena_bytes:,}, about {self.insns:,} instructions per inference (predicted); weights are {self.fp32_weight_bytes / max(self.weight_bytes, 1):.1f}x smaller than fp32, "
            f"{self.int8_weight_bytes / max(self.weight_bytes, 1):.1f}x smaller than int8"
        )
        return console.file.getvalue() + summary


def _cells(row: LayerRow) -> list[str]:
    name = row.layer or "-"
    levels = str(row.levels) if row.promised_levels is None else f"{row.levels} of {row.promised_levels}"
    size = row.rows * row.row_length
    cells = [f"{name} (promise lost)" if row.lost else name, row.op, f"{row.rows} x {row.row_length}", levels]
    ratio = f"{row.weight_bytes / row.int8_bytes:.3f}"
    return [*cells, f"{row.zeros / size:.0%}", f"{row.int8_bytes:,}", row.format, f"{row.weight_bytes:,}", ratio, f"{row.insns:,}", row.runner_up]
