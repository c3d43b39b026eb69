"""Bytes in, bytes out: compresses an int8 .tflite that somebody else trained, within bounds, for a target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_hwcompress.codegen.model import Blob
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.report.conversion import ConversionReport, LayerRow, Promised
from keras_hwcompress.select import Bounds, RunnerUp, Selection, select_formats
from keras_hwcompress.targets import BOARDS, Board
from keras_hwcompress.tflite import compress as _tflite
from keras_hwcompress.tflite import regrid as _regrid
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.layers import weighted
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.simplify import simplify
from keras_hwcompress.tflite.writer import write_model

_CORES = {board.core: board for board in reversed(BOARDS.values())}


def compress_tflite(
    data: bytes,
    *,
    target: str = "cortex-m4",
    flash: int | None = None,
    latency: int | None = None,
    ram: int | None = None,
    objective: str = "flash",
    scope: str = "image",
    regrid: bool = False,
    choice: Mapping[int, str] | None = None,
) -> bytes:
    """Compresses the weights of an int8 model, without changing any of them unless `regrid` is asked for.

    Args:
        data: a .tflite file with full int8 quantization; one that is compressed already is expanded first.
        target: a core ("cortex-m4") or a board of `targets.BOARDS`, whose kernels the choice of formats counts on.
        flash: most bytes of flash, counted as `scope` says, or None.
        latency: most instructions of an inference, as predicted for the target, or None.
        ram: most bytes for activations and scratch on the target, or None.
        objective: "flash" (fewest bytes) or "latency" (fewest instructions) within the bounds.
        scope: what counts as flash: "image": weights, bias and requantization, and the code of the kernels and decoders
            that the choice needs, once each; or "weights": no code, as if the decoders were there already.
        regrid: also write weights that lie on a uniform grid as its exact multiples (see `tflite.regrid`).
        choice: operator index -> weight format or "builtin" instead of a choice within bounds (see `tflite.pack`).

    Returns:
        The same model with its compressible layers as custom operators; `expand_tflite` undoes it.

    Raises:
        HwcmpError: the bytes are no model that can be compressed, or no choice of formats meets the bounds; the
            message names the smallest feasible value.
    """
    if choice is not None:
        return _tflite.compress_tflite(data, regrid=regrid, choice=choice)
    return compress_with_report(data, target, Bounds(flash, latency, ram), objective, scope=scope, regrid=regrid)[0]


def compress_with_report(
    data: bytes, target: str, bounds: Bounds, objective: str, *, scope: str = "image", regrid: bool = False
) -> tuple[bytes, ConversionReport]:
    """`compress_tflite`, and what was chosen with the next best format of each layer."""
    board = board_of(target)
    graph = simplify(expand(read_model(data)))
    check_compilable(graph)
    if regrid:
        graph = _regrid.regrid(graph)
    selection = select_formats(graph, board, bounds, objective, scope)
    packed = write_model(selection.packed)
    return packed, report_of(selection, target, objective, len(packed))


def board_of(target: str) -> Board:
    """The board of a target: itself, or the first with that core.

    Raises:
        HwcmpError: neither a board nor a core.
    """
    board = BOARDS.get(target) or _CORES.get(target)
    if board is None:
        raise HwcmpError(f"target must be one of {', '.join([*_CORES, *BOARDS])}. Received: {target!r}")
    return board


def report_of(
    selection: Selection,
    target: str,
    objective: str,
    tflite_bytes: int,
    promised: Mapping[int, Promised] | None = None,
    regrid_change: int = 0,
) -> ConversionReport:
    """The report of a selection; promised: weight tensor -> what a wrapper promised."""
    model = selection.compiled
    layers = {layer.weights.tensor: layer for layer in reversed(weighted(model.layers))}
    runners_up = {group.tensors[0]: row for group, row in selection.runners_up.items()}
    insns: dict[int, int] = {}
    for layer, count in selection.insns:
        if weighted([layer]):
            insns[layer.weights.tensor] = insns.get(layer.weights.tensor, 0) + count
    rows = [
        _row(layers[tensor], blob, insns[tensor], runners_up.get(tensor), (promised or {}).get(tensor))
        for tensor, blob in model.blobs.items()
    ]
    return ConversionReport(
        layers=tuple(rows),
        target=target,
        objective=objective,
        weight_bytes=model.weight_bytes,
        int8_weight_bytes=model.int8_weight_bytes,
        fp32_weight_bytes=4 * model.int8_weight_bytes,
        const_bytes=model.const_bytes,
        code_bytes=selection.code_bytes,
        arena_bytes=model.plan.arena_bytes,
        insns=selection.latency,
        regrid_change=regrid_change,
        tflite_bytes=tflite_bytes,
    )


def _row(layer, blob: Blob, insns: int, runner_up: RunnerUp | None, promised: Promised | None) -> LayerRow:
    values, channels = layer.weights.values, layer.channels
    promised = promised or Promised()
    return LayerRow(
        layer=promised.layer,
        op=layer.op,
        rows=values.shape[0],
        row_length=values.shape[1],
        promised_levels=promised.levels,
        promised_zeros=promised.zeros,
        lost=promised.lost,
        levels=max(len(np.unique(row)) for row in values),
        zeros=int(np.count_nonzero(values == 0)),
        int8_bytes=values.size,
        format=blob.format.name,
        weight_bytes=len(blob.data),
        insns=insns,
        runner_up="" if runner_up is None else _described(runner_up),
        const_bytes=channels.bias.nbytes + channels.multiplier.nbytes + channels.shift.nbytes,
    )


def _described(runner_up: RunnerUp) -> str:
    row = runner_up.candidate
    code = f" + {runner_up.code_bytes:,} B of code" if runner_up.code_bytes else ""
    return f"{row.format} {row.bytes:,} B{code} {row.insns:,} insns"
