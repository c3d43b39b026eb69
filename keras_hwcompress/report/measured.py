"""README tables of the benchmarks, from their CSV files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keras_hwcompress.report.trained import constrained

_Row = Mapping[str, str]
NOT_RUN = "not run"

_REGULAR = (
    ("conv 3x3, 16 to 32, 16x16", "conv3x3_16to32_16x16"), ("conv 3x3, 32 to 32, 16x16", "conv3x3_32to32_16x16"),
    ("conv 3x3, 64 to 64, 8x8", "conv3x3_64to64_8x8"), ("conv 3x3, 3 to 16, 32x32", "conv3x3_3to16_32x32"),
    ("conv 1x1, 64 to 64, 25x5", "conv1x1_64to64_25x5"), ("depthwise 3x3, 64, 25x5", "dw3x3_64_25x5"),
    ("fully connected, 640 to 128", "fc_640to128"),
)  # fmt: skip
_COLUMNS = (
    ("`dense8`", "dense8", "int8"), ("`nary`, n = 3", "nary", "3 35%"), ("n = 4", "nary", "4"), ("n = 16", "nary", "16"),
    ("`runs`, ternary 50 %", "runs", "3 50%"), ("35 %", "runs", "3 35%"), ("20 %", "runs", "3 20%"), ("10 %", "runs", "3 10%"),
    ("5 levels, 60 %", "runs", "5 60%"), ("`bitmap`, ternary 20 %", "bitmap", "3 20%"), ("`entropy`, ternary 35 %", "entropy", "3 35%"),
)  # fmt: skip
_ODD_COLUMNS = (("`dense8`", "dense8", "int8"), ("`nary`, n = 3", "nary", "3 35%"), ("`runs`, ternary 35 %", "runs", "3 35%"))
_CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
_CORE_CASE = "conv3x3_16to32_16x16"
_STORAGE_SHAPE = ("64", "576")


def sections(results: Path) -> dict[str, str]:
    """The body of each section, by name; a CSV file that is missing gives "not run"."""
    makers: dict[str, tuple[str, Callable[[Sequence[_Row]], list[str]]]] = {
        "kernels": ("kernels.csv", kernels),
        "networks": ("networks.csv", networks),
        "constrained": ("constrained.csv", constrained),
        "storage": ("storage.csv", storage),
        "cost model": ("cost_model.csv", cost_model),
    }
    return {name: "\n".join(_made(results / file, make)) + "\n" for name, (file, make) in makers.items()}


def _made(path: Path, make: Callable[[Sequence[_Row]], list[str]]) -> list[str]:
    if not path.is_file():
        return [NOT_RUN]
    with path.open(newline="", encoding="utf-8") as file:
        return make(list(csv.DictReader(file)))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


# ---- kernels ------------------------------------------------------------------------------------------------------


def kernels(rows: Sequence[_Row]) -> list[str]:
    """Regular layers on Cortex-M4, one layer on every core, odd layers, and layers without weights."""
    found = {(row["core"], row["case"], row["format"], row["levels"]): row for row in rows}
    headings = [heading for heading, *_ in _COLUMNS]
    regular = [[title, *(_pair(found, "cortex-m4", case, *cell) for _, *cell in _COLUMNS)] for title, case in _REGULAR]
    cores = [[core, *(_pair(found, core, _CORE_CASE, *cell) for _, *cell in _COLUMNS)] for core in _CORES]
    lines = ["Cortex-M4, instructions per MAC of the whole layer call: any zero point / fused ReLU, scratch bytes below.", ""]
    lines += [*_table(["layer", *headings], regular), "", "Conv 3x3, 16 to 32, 16x16 on other cores:", ""]
    lines += [*_table(["core", *headings], cores), "", "Odd layers on Cortex-M4 (any zero point unless said):", ""]
    lines += _table(["layer", *(heading for heading, *_ in _ODD_COLUMNS)], _odd(rows, found))
    return [*lines, "", *_table(["layer without weights, Cortex-M4", "insns per output"], _unweighted(rows))]


def _pair(found: Mapping[tuple[str, ...], _Row], core: str, case: str, name: str, levels: str) -> str:
    pair = [found.get((core, case + suffix, name, levels)) for suffix in ("", "_relu")]
    if pair == [None, None]:
        return NOT_RUN
    values = " / ".join(NOT_RUN if row is None else f"{float(row['insns_per_mac']):.2f}" for row in pair)
    return f"{values}<br>{max(int(row['scratch_bytes']) for row in pair if row):,}"


def _odd(rows: Sequence[_Row], found: Mapping[tuple[str, ...], _Row]) -> list[list[str]]:
    regular = {case + suffix for _, case in _REGULAR for suffix in ("", "_relu")}
    weighted = (row["case"] for row in rows if row["core"] == "cortex-m4" and row["format"])
    names = [case for case in dict.fromkeys(weighted) if not case.startswith("random_") and case not in regular]
    lines = []
    for case in names:
        cells = [found.get(("cortex-m4", case, *cell)) for _, *cell in _ODD_COLUMNS]
        lines.append([case.replace("_", " "), *(NOT_RUN if row is None else f"{float(row['insns_per_mac']):.2f}<br>{int(row['scratch_bytes']):,}" for row in cells)])
    return lines


def _unweighted(rows: Sequence[_Row]) -> list[list[str]]:
    own = [row for row in rows if row["core"] == "cortex-m4" and not row["format"] and not row["case"].startswith("random_")]
    return [[row["case"].replace("_", " "), f"{float(row['insns_per_output']):.1f}"] for row in own]


# ---- networks, storage, cost model --------------------------------------------------------------------------------


def networks(rows: Sequence[_Row]) -> list[str]:
    """A line for each network and objective, then the caveats."""
    headings = ["network", "weights", "objective", "core", "MACs", "insns", "per MAC", "predicted", "arena + scratch", "stack", "flash_bytes", "weight_bytes", "mismatches"]
    lines = []
    for row in rows:
        objective = row["objective"] + (", code aside" if row["scope"] == "weights" else "") + (", small kernels" if row["kernels"] == "small" else "")
        error = f"{int(row['predicted_insns']) / int(row['insns']) - 1:+.1%}" if row["predicted_insns"] else "-"
        counts = [f"{int(row[key]):,}" for key in ("arena_bytes", "stack_bytes", "flash_bytes", "weight_bytes")]
        verdict = f"{row['mismatches']} of {int(row['outputs']):,}"
        per_mac = f"{float(row['insns_per_mac']):.3f}"
        lines.append([row["network"], row["weights"], objective, row["core"], f"{int(row['macs']):,}", f"{int(row['insns']):,}", per_mac, error, *counts, verdict])
    note = (
        "ResNet-8 is MLPerf Tiny's image classification network; \"ternary\" is rounded without training, for sizes and instructions only, its first "
        "convolution and last dense layer stay int8. The other networks have random weights. Small kernels: `--kernels small`, whose instructions are not "
        "predicted. Mismatches are against the tflite-micro wheel."
    )
    return [*_table(headings, lines), "", note]


def storage(rows: Sequence[_Row]) -> list[str]:
    """Bits per weight of whole blobs at one shape, beside the entropy."""
    own = [row for row in rows if (row["rows"], row["row_length"]) == _STORAGE_SHAPE]
    names = list(dict.fromkeys(row["format"] for row in rows))
    lines = []
    for weights in dict.fromkeys(row["weights"] for row in own):
        cells = {row["format"]: row for row in own if row["weights"] == weights}
        entropy = float(next(iter(cells.values()))["entropy_bits"])
        lines.append([weights, f"{entropy:.2f}", *(f"{float(cells[name]['bits_per_weight']):.2f}" if name in cells else "-" for name in names)])
    title = f"Bits per weight, whole blobs of {' x '.join(_STORAGE_SHAPE)} weights:"
    return [title, "", *_table(["weights", "entropy", *(f"`{name}`" for name in names)], lines)]


def cost_model(rows: Sequence[_Row]) -> list[str]:
    """Errors of the cost model on layers that were left out of the fit, layers with weights only."""
    headings = ["core", "operator", "format", "layers", "median error", "90 % below", "worst"]
    lines = []
    for row in rows:
        if row["format"]:
            shares = [f"{float(row[key]):.1%}" for key in ("median_error", "p90_error", "worst_error")]
            lines.append([row["core"], row["op"], f"`{row['format']}`", row["rows"], *shares])
    return _table(headings, lines)
