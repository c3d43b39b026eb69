"""Folds PAD into the convolutions that read it.

A window that reaches beyond the input reads the input's zero point, which is what PAD writes there. So the padded copy,
an activation as large as its input and more, need not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keras_hwcompress.tflite.layers import Conv, Layer, Pad


def fold_pads(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers, convolutions reading what PAD reads where that is exact; PAD stays, perhaps without a reader."""
    pads = {layer.outputs[0]: layer for layer in layers if isinstance(layer, Pad)}
    return tuple(_folded(layer, pads) if isinstance(layer, Conv) else layer for layer in layers)


def _folded(conv: Conv, pads: dict[int, Pad]) -> Conv:
    pad = pads.get(conv.inputs[0])
    if pad is None or pad.value != conv.input_zero_point or not _is_spatial(pad):
        return conv
    wider = replace(
        conv,
        inputs=pad.inputs,
        input=(pad.shape[1], pad.shape[2], pad.shape[3]),
        pad=(conv.pad[0] + pad.before[1], conv.pad[1] + pad.before[2]),
    )
    return _folded(wider, pads) if _windows_begin_inside(wider) else conv


def _is_spatial(pad: Pad) -> bool:
    """Whether height and width alone grow."""
    return all(pad.before[axis] == pad.after[axis] == 0 for axis in (0, 3))


def _windows_begin_inside(conv: Conv) -> bool:
    """Whether no window begins behind the input, which the kernels that work in stripes rely on."""
    axes = zip(conv.output, conv.stride, conv.pad, conv.input[:2], strict=False)
    return all((outputs - 1) * stride - pad < extent for outputs, stride, pad, extent in axes)
