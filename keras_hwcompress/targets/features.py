"""What the instructions of a layer grow with: counts that follow from its shape and its weights, nothing measured.

Every count has a name "<kernel>/<loop>/<path>/<count>". Kernels take different paths for different geometries, and
loops for different parameters of a format; each has coefficients of its own. Unpacking counts as a kernel
"unpack <format>" that all operators share. The counts follow the loops of the kernels' sources in mcu_runtime/src,
arm by arm; `cost.py` turns them into instructions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from keras_hwcompress.formats.table import table
from keras_hwcompress.targets import features_direct as direct
from keras_hwcompress.targets.features_conv import PIXELS, Tiles, conv2d, fully_connected
from keras_hwcompress.targets.features_depthwise import depthwise
from keras_hwcompress.targets.features_other import other_counts
from keras_hwcompress.targets.features_unpack import unpack_counts
from keras_hwcompress.tflite.layers import Binary, Conv, ConvAdd, FullyConnected, Layer

Features = dict[str, float]


@dataclass(frozen=True, slots=True)
class Stored:
    """Weights as stored. kernel: that runs them ("conv2d", "conv2d_runs"). tile_rows: channels unpacked at a time.

    stripe_rows: output rows at a time, of a convolution with a fused addition.
    """

    format: str
    blob: bytes
    kernel: str
    tile_rows: int
    stripe_rows: int = 1

    @property
    def kind(self) -> str:
        """The kind in the format table."""
        return table().format_by_name(self.format).kind

    @property
    def is_unpacked(self) -> bool:
        """Whether rows are unpacked into scratch, unless the kernel runs them as stored."""
        return self.kind != "PLAIN"


def layer_features(layer: Layer, arm: str, stored: Stored | None = None) -> Features:
    """The counts of a prepared layer.

    Args:
        layer: any but a reshape, which costs nothing and has no counts.
        arm: whose kernels run it, "dsp", "swar" or "mve".
        stored: how its weights are stored, for layers with weights.

    Raises:
        ValueError: the layer has weights and `stored` is None.
    """
    if isinstance(layer, Conv | FullyConnected | ConvAdd) and stored is None:
        raise ValueError(f"layer {layer.name!r} has weights: expected how they are stored")
    if isinstance(layer, ConvAdd):
        return _fused(layer, arm, stored)
    if isinstance(layer, Conv | FullyConnected):
        return _weighted(layer, arm, stored)
    counts = other_counts(layer, arm)
    return {} if counts is None else _named(layer.op, "-", *counts)


def _named(kernel: str, loop: str, path: str, counts: Features) -> Features:
    """With full names; counts of what several kernels share have theirs already."""
    return {name if "/" in name else f"{kernel}/{loop}/{path}/{name}": float(count) for name, count in counts.items() if count}


def _fused(layer: ConvAdd, arm: str, stored: Stored) -> Features:
    """A convolution and an addition for every stripe."""
    total: Counter[str] = Counter()
    for stripe in layer.stripes(stored.stripe_rows):
        total.update(_weighted(stripe, arm, stored))
        total.update(layer_features(_flat(layer.add, int(np.prod(stripe.output))), arm))
    return dict(total)


def _flat(add: Binary, count: int) -> Binary:
    return replace(add, shape=(1, 1, 1, count), a_stride=(0, 0, 0, 1), b_stride=(0, 0, 0, 1))


# ---- layers with weights ------------------------------------------------------------------------------------------

# Output channels whose constants conv2d prepares at a time where weights are not unpacked.
_PLAIN_ROWS = {"dsp": 64, "swar": 32, "mve": 64}
_TILED: dict[str, Callable[..., tuple[str, Features]]] = {
    "conv2d": conv2d,
    "depthwise_conv2d": depthwise,
    "fully_connected": fully_connected,
}
# Kernels that run weights as stored, whatever those may be.
_DIRECT: dict[str, Callable[..., tuple[str, Features]]] = {
    "conv2d_runs": direct.conv2d_runs,
    "fully_connected_runs": direct.fully_connected_runs,
    "conv2d_dense8_nested": direct.conv2d_nested,
    "conv2d_nary_nested": direct.conv2d_nested,
    "fully_connected_dense8_nested": direct.fully_connected_nested,
    "fully_connected_nary_nested": direct.fully_connected_nested,
}


def _weighted(layer: Conv | FullyConnected, arm: str, stored: Stored) -> Features:
    common = _common(layer)
    if stored.kernel in _DIRECT:
        path, counts = _DIRECT[stored.kernel](layer, stored.blob, arm)
        return _named(stored.kernel, "-", path, common | counts)
    path, counts = _TILED[layer.op](layer, _tiles(layer, arm, stored), arm)
    features = _named(stored.kernel, "-", path, common | counts)
    return features | unpack_features(layer.weights.values, stored) if stored.is_unpacked else features


def _common(layer: Conv | FullyConnected) -> Features:
    """Call, channels, and outputs that take a longer way."""
    rows = len(layer.weights.values)
    pixels = layer.batch if isinstance(layer, FullyConnected) else layer.output[0] * layer.output[1]
    shifts = np.broadcast_to(layer.channels.shift, (rows,))
    clamps = layer.activation_min > -128 or layer.activation_max < 127
    return {
        "call": 1,
        "macs": rows * pixels * layer.weights.values.shape[1],
        "channels": rows,
        "outputs not shifted right": pixels * int(np.count_nonzero(shifts >= 0)),
        "outputs clamped": rows * pixels * clamps,
    }


def _tiles(layer: Conv | FullyConnected, arm: str, stored: Stored) -> Tiles:
    rows, length = layer.weights.values.shape
    at_once = rows
    if stored.is_unpacked:
        at_once = min(rows, stored.tile_rows)
    elif layer.op == "conv2d" and layer.output[0] * layer.output[1] >= PIXELS:
        at_once = min(rows, _PLAIN_ROWS[arm])
    return Tiles(rows, length, at_once, stored.is_unpacked)


def unpack_features(values: np.ndarray, stored: Stored) -> Features:
    """The counts of unpacking all rows of a layer, int8 of shape (rows, row_length), `stored.tile_rows` per call."""
    loop, counts = unpack_counts(stored.format, stored.blob, values, stored.tile_rows)
    return _named(f"unpack {stored.format}", loop, "-", counts)
