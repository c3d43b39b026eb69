"""Scratch bytes of a layer, for the memory plan: the same formulas as the `..._scratch_bytes` functions in C.

Each arm keeps its formula beside its kernels (mcu_runtime/src/<arm>/<op>.c); tests/test_runtime_<arm>.py compares
the two languages. Only layers with weights need scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keras_hwcompress.codegen import scratch_mve, scratch_nested, scratch_swar
from keras_hwcompress.codegen.scratch_depthwise import depthwise_bytes
from keras_hwcompress.tflite.layers import Conv, ConvAdd, FullyConnected, Layer

ARMS = ("ref", "swar", "dsp", "mve")
KINDS = ("PLAIN", "TILE", "DIRECT")

# mcu_runtime/src/dsp: pixels that share one pass over a weight row, rows whose constants are prepared at a time for
# PLAIN formats, and bytes of the constants of one channel.
_DSP_PIXELS = 4
_DSP_TABLE_ROWS = 64
_DSP_CHANNEL_BYTES = 16
_DSP_LANES = 16
_DSP_FEW_PIXELS = 3


@dataclass(frozen=True, slots=True)
class _Rows:
    """How the kernel gets at the weights: `count` rows of `length` bytes, at most `tile` of them unpacked."""

    count: int
    length: int
    tile: int
    unpacked: bool


def scratch_bytes(layer: Layer, format_kind: str, arm: str, tile_rows: int, kernel: str = "") -> int:
    """Bytes that the layer's kernel needs in its scratch buffer.

    Args:
        layer: a prepared layer.
        format_kind: one of `KINDS`, from the table row of its weight format; ignored without weights.
        arm: one of `ARMS`.
        tile_rows: output channels that a TILE format unpacks at a time, at least 1.
        kernel: which kernel runs the layer, see `kernels.kernel_of`; the operator's own if empty.

    Raises:
        ValueError: unknown arm or kind, or tile_rows below 1.
    """
    if arm not in ARMS or format_kind not in KINDS or tile_rows < 1:
        raise ValueError(
            f"expected an arm of {ARMS}, a kind of {KINDS} and tile_rows >= 1. "
            f"Received: arm={arm!r}, format_kind={format_kind!r}, tile_rows={tile_rows}"
        )
    kernel = kernel or layer.op
    formula = _FORMULAS.get((arm, kernel)) or _FORMULAS.get(("ref", kernel))
    if formula is None:
        return 0
    count, length = layer.weights.values.shape
    return formula(layer, _Rows(count, length, min(tile_rows, count), format_kind != "PLAIN"))


def striped_scratch_bytes(
    layer: ConvAdd, format_kind: str, arm: str, tile_rows: int, stripe_rows: int, kernel: str = ""
) -> int:
    """Bytes that a fused convolution needs: a stripe of its result, and the hungriest of its stripes."""
    conv = layer.conv
    sums = _align4(min(stripe_rows, conv.output[0]) * conv.output[1] * conv.output[2])
    return sums + max(scratch_bytes(stripe, format_kind, arm, tile_rows, kernel) for stripe in layer.stripes(stripe_rows))


def _align4(size: int) -> int:
    return -(-size // 4) * 4


def _axis_inside(outputs: int, stride: int, pad: int, taps: int, dilation: int, extent: int) -> bool:
    last = (outputs - 1) * stride - pad + (taps - 1) * dilation
    return pad == 0 and (taps - 1) * dilation < extent and last < extent


def _windows_inside(layer: Conv) -> bool:
    """Whether no window reaches beyond the input."""
    axes = zip(layer.output, layer.stride, layer.pad, layer.kernel, layer.dilation, layer.input[:2], strict=False)
    return all(_axis_inside(*axis) for axis in axes)


def _unaligned_rows(rows: _Rows) -> int:
    """Unpacked rows, one behind the other."""
    return _align4(rows.tile * rows.length) if rows.unpacked else 0


def _ref_rows(layer: Layer, rows: _Rows) -> int:
    return _unaligned_rows(rows)


def _ref_conv2d(layer: Conv, rows: _Rows) -> int:
    neighbours = layer.dilation[1] == 1 or layer.kernel[1] == 1
    in_place = neighbours and _windows_inside(layer)
    return (0 if in_place else _align4(rows.length)) + _unaligned_rows(rows)


def _ref_conv2d_runs(layer: Conv, rows: _Rows) -> int:
    return 0 if layer.kernel == (1, 1) and _windows_inside(layer) else _align4(rows.length)


def _dsp_rows(rows: _Rows, at_once: int) -> int:
    """Rows, 4-byte aligned; of a PLAIN format only a copy of the last row if it ends within a word."""
    if rows.unpacked or rows.length == 1:
        return at_once * _align4(rows.length)
    return _align4(rows.length) if rows.length % 4 else 0


def _dsp_fully_connected(layer: FullyConnected, rows: _Rows) -> int:
    return 2 * _align4(rows.length) + _dsp_rows(rows, rows.tile if rows.unpacked else rows.count)


def _dsp_conv2d(layer: Conv, rows: _Rows) -> int:
    length, depth = _align4(rows.length), layer.input[2]
    blocks = layer.output[0] * layer.output[1] >= _DSP_PIXELS
    columns = 2 * length * (_DSP_PIXELS if blocks else 1)
    if rows.unpacked:
        at_once = rows.tile
    else:
        at_once = min(rows.count, _DSP_TABLE_ROWS) if blocks else rows.count
    table = _DSP_CHANNEL_BYTES * at_once if blocks else 0
    gathers = depth % 8 != 0 and layer.kernel != (1, 1)
    if gathers:
        window = length
    else:
        window = 0 if _windows_inside(layer) else _align4(depth)
    return columns + table + window + _dsp_rows(rows, at_once)


def _dsp_depthwise_conv2d(layer: Conv, rows: _Rows) -> int:
    return depthwise_bytes(layer) + _unaligned_rows(rows)


def _dsp_conv2d_runs(layer: Conv, rows: _Rows) -> int:
    """A tile of 16 pixels, constants, outputs where pixels are fewer, and kernel rows: one of padding, four gathered.

    One column where pixels are few.
    """
    if layer.output[0] * layer.output[1] <= _DSP_FEW_PIXELS:
        return _align4(rows.length)
    neighbours = layer.dilation[1] == 1 or layer.kernel[1] == 1
    kernel_row = 0 if neighbours and _windows_inside(layer) else _align4(layer.kernel[1] * layer.input[2])
    staged = _DSP_LANES * rows.count if layer.output[0] * layer.output[1] < _DSP_LANES else 0
    return _DSP_LANES * rows.length + _DSP_CHANNEL_BYTES * rows.count + staged + 5 * kernel_row


def _swar_conv2d(layer: Conv, rows: _Rows) -> int:
    return scratch_swar.conv2d_bytes(layer, rows.tile if rows.unpacked else None)


def _swar_depthwise_conv2d(layer: Conv, rows: _Rows) -> int:
    return scratch_swar.depthwise_bytes(layer) + _unaligned_rows(rows)


def _dsp_conv2d_dense8_nested(layer: Conv, rows: _Rows) -> int:
    return scratch_nested.conv2d_bytes(layer, False, _windows_inside(layer))


def _dsp_conv2d_nary_nested(layer: Conv, rows: _Rows) -> int:
    return scratch_nested.conv2d_bytes(layer, True, _windows_inside(layer))


def _dsp_fully_connected_nested(layer: FullyConnected, rows: _Rows) -> int:
    return 2 * _align4(rows.length)


def _mve_conv2d(layer: Conv, rows: _Rows) -> int:
    return scratch_mve.conv2d_bytes(layer, rows.tile if rows.unpacked else None) + _unaligned_rows(rows)


def _mve_depthwise_conv2d(layer: Conv, rows: _Rows) -> int:
    return scratch_mve.depthwise_bytes(layer, rows.tile if rows.unpacked else None) + _unaligned_rows(rows)


def _swar_conv2d_runs(layer: Conv, rows: _Rows) -> int:
    return _tile_or_column(layer, rows, 8)


def _mve_conv2d_runs(layer: Conv, rows: _Rows) -> int:
    return _tile_or_column(layer, rows, 16)


def _tile_or_column(layer: Conv, rows: _Rows, lanes: int) -> int:
    """A line of 16 bytes for each position of the window, constants, and outputs where pixels are fewer than lanes.

    The column of a single pixel.
    """
    pixels = layer.output[0] * layer.output[1]
    if pixels == 1:
        return _align4(rows.length)
    return 16 * rows.length + 16 * rows.count + (lanes * rows.count if pixels < lanes else 0)


_NESTED = ("dense8_nested", "nary_nested")
_FORMULAS: dict[tuple[str, str], Callable[..., int]] = {
    ("ref", "conv2d"): _ref_conv2d,
    ("ref", "depthwise_conv2d"): _ref_rows,
    ("ref", "fully_connected"): _ref_rows,
    ("ref", "conv2d_runs"): _ref_conv2d_runs,
    **{("ref", f"conv2d_{name}"): _ref_conv2d for name in _NESTED},
    **{("ref", f"fully_connected_{name}"): _ref_rows for name in _NESTED},
    ("dsp", "conv2d"): _dsp_conv2d,
    ("dsp", "depthwise_conv2d"): _dsp_depthwise_conv2d,
    ("dsp", "fully_connected"): _dsp_fully_connected,
    ("dsp", "conv2d_runs"): _dsp_conv2d_runs,
    ("dsp", "conv2d_dense8_nested"): _dsp_conv2d_dense8_nested,
    ("dsp", "conv2d_nary_nested"): _dsp_conv2d_nary_nested,
    **{("dsp", f"fully_connected_{name}"): _dsp_fully_connected_nested for name in _NESTED},
    ("swar", "conv2d_runs"): _swar_conv2d_runs,
    ("mve", "conv2d_runs"): _mve_conv2d_runs,
    ("swar", "conv2d"): _swar_conv2d,
    ("swar", "depthwise_conv2d"): _swar_depthwise_conv2d,
    ("swar", "fully_connected"): _ref_rows,
    ("mve", "conv2d"): _mve_conv2d,
    ("mve", "depthwise_conv2d"): _mve_depthwise_conv2d,
    ("mve", "fully_connected"): _ref_rows,
}
