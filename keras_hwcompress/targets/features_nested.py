"""What the instructions of the DSP arm's kernels for weights in the layout `nested` grow with.

They multiply four rows at a time with two columns (pairs of pixels) or with one. The three rows or less behind the last
group of dense8 take a loop of their own; codes have groups that are filled up.
"""

from __future__ import annotations

import numpy as np

from keras_hwcompress.formats import nested
from keras_hwcompress.formats.blob import unpack_header
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.layers import Conv, FullyConnected

# Output channels that convolutions prepare at a time.
_TABLE_ROWS = 64


Counts = dict[str, float]


def is_nested(blob: bytes) -> bool:
    """Whether weights are stored in the layout."""
    return unpack_header(blob).layout == table().constants["LAYOUT_NESTED"]


def counts(layer: Conv | FullyConnected, kernel: str, blob: bytes, inside: int) -> dict[tuple[str, str], Counts]:
    """(kernel, path) -> counts. A convolution of one pixel works like fully connected.

    Args:
        inside: outputs of a channel whose windows do not reach beyond the input, of a convolution.
    """
    if isinstance(layer, FullyConnected):
        return {(kernel, "one column"): _products(layer, blob, layer.batch, 1) | {"inputs": layer.batch * layer.input_length}}
    if layer.output[0] * layer.output[1] > 1:
        return {(kernel, "two columns"): _products(layer, blob, -(-layer.output[0] * layer.output[1] // 2), 2) | _columns(layer, inside)}
    length = layer.weights.values.shape[1]
    rows = {(kernel.replace(layer.op, "fully_connected"), "one column"): _products(layer, blob, 1, 1) | {"inputs": length}}
    return rows | {(kernel, "one column"): {"call": 1, "inputs": length, "taps": layer.kernel[0] * layer.kernel[1]}}


def _columns(layer: Conv, inside: int) -> Counts:
    """What preparing pairs of windows grows with; every table of channels has all of them prepared."""
    rows, length = layer.weights.values.shape
    pixels = layer.output[0] * layer.output[1]
    passes = -(-rows // _TABLE_ROWS)
    columns = passes * -(-pixels // 2)
    found = {"passes": passes, "columns": columns, "words": columns * nested.padded(length)}
    if layer.input[2] % 4:
        return {f"gathered {name}": count for name, count in (found | _gathered(layer, passes, inside)).items()}
    border, taps = columns * (1 - inside / pixels), layer.kernel[0] * layer.kernel[1]
    return found | {
        "lines": columns * layer.kernel[0],
        "taps": columns * taps,
        "border columns": border,
        "border words": border * nested.padded(length),
        "border taps": border * taps,
    }


def _gathered(layer: Conv, passes: int, inside: int) -> Counts:
    """Windows copied byte by byte: kernel row after kernel row, or in runs where they are dilated or reach beyond the input."""
    pixels, (height, width), depth = layer.output[0] * layer.output[1], layer.kernel, layer.input[2]
    quick = passes * inside if layer.dilation[1] == 1 else 0
    run = depth * (width if layer.dilation[1] == 1 else 1)
    runs = (passes * pixels - quick) * height * width * depth // run
    outside = pixels * height * width - _taps_inside(layer, 0) * _taps_inside(layer, 1)
    return {
        "lines": quick * height,
        "line words": quick * height * (width * depth // 4),
        "line rests": quick * height * (width * depth % 4),
        "runs": runs,
        "run words": runs * (run // 4),
        "run rests": runs * (run % 4),
        "padding": passes * outside * depth,
    }


def _taps_inside(layer: Conv, axis: int) -> int:
    """Taps of all windows along an axis that lie in the input."""
    first = np.arange(layer.output[axis])[:, None] * layer.stride[axis] - layer.pad[axis]
    at = first + np.arange(layer.kernel[axis]) * layer.dilation[axis]
    return int(np.count_nonzero((at >= 0) & (at < layer.input[axis])))


def _products(layer: Conv | FullyConnected, blob: bytes, blocks: int, columns: int) -> Counts:
    """Counts of passing over all rows `blocks` times, with `columns` columns each."""
    rows, row_length = layer.weights.values.shape
    header, constants = unpack_header(blob), table().constants
    whole = rows // nested.ROWS if blob[0] == table().format_by_name("dense8").id else nested.group_count(rows)
    length, rest = nested.padded(row_length), max(rows - whole * nested.ROWS, 0)
    slow = _slow_rows(layer, columns)
    clamps = layer.activation_min > -128 or layer.activation_max < 127
    codes = header.param & ~(constants["NARY_PER_CHANNEL"] | constants["NESTED_PARTS"])
    macs = blocks * columns * whole * nested.ROWS
    return {
        "call": 1,
        "channels": rows,
        "groups": blocks * whole,
        f"macs in groups, {codes} codes" if codes else "macs in groups": macs * length,
        "macs in groups, ragged": macs * (length % 8),
        "macs of the rest": blocks * columns * rest * length,
        "outputs": blocks * columns * rows,
        "outputs of the rest": blocks * columns * (rows % nested.ROWS),
        "outputs not finished at once": blocks * columns * (rows if header.param & constants["NESTED_PARTS"] else slow),
        "outputs not shifted right": blocks * columns * int(np.count_nonzero(_shifts(layer) >= 0)),
        "outputs clamped": blocks * columns * rows * clamps,
    }


def _shifts(layer: Conv | FullyConnected) -> np.ndarray:
    return np.broadcast_to(layer.channels.shift, (len(layer.weights.values),))


def _slow_rows(layer: Conv | FullyConnected, columns: int) -> int:
    """Rows that share a table with one that is not shifted right: the assembly leaves all of them to C."""
    if columns == 1:
        return 0
    tables = np.split(_shifts(layer), range(_TABLE_ROWS, len(layer.weights.values), _TABLE_ROWS))
    return sum(len(shifts) for shifts in tables if (shifts >= 0).any())
