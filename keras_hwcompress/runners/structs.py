"""The structs of `hwcmp.h` for ctypes, and prepared layers written as them.

The field names are those of the header; tests/test_runtime_build.py compares every offset with the C compiler's.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int8, c_int16, c_int32, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite import layers
from keras_hwcompress.tflite.layers import Layer

_Four = c_int32 * 4
_DEFAULT_TILE_ROWS = 8


def _struct(c_name: str, *groups: tuple[type, str]) -> type[ctypes.Structure]:
    """A Structure from (type, "names of fields") pairs, in the order of the header."""
    fields = [(name, kind) for kind, names in groups for name in names.split()]
    return type(c_name, (ctypes.Structure,), {"_fields_": fields, "__module__": __name__})


Dims = _struct("hwcmp_dims", (c_int16, "h w c"))
Weights = _struct(
    "hwcmp_weights",
    (c_void_p, "ops payload"),
    (c_uint32, "payload_bytes row_length"),
    (c_uint16, "rows"),
    (c_uint8, "layout param"),
)
Scratch = _struct("hwcmp_scratch", (c_void_p, "buf"), (c_size_t, "bytes"))
Channels = _struct("hwcmp_channels", (c_void_p, "bias multiplier shift"), (c_uint8, "channel_step"))
_OUTPUT = "input_zero_point output_zero_point activation_min activation_max"
ConvParams = _struct(
    "hwcmp_conv_params",
    (Dims, "input output"),
    (c_int16, "kernel_h kernel_w stride_h stride_w dilation_h dilation_w pad_top pad_left tile_rows " + _OUTPUT),
)
FullyConnectedParams = _struct(
    "hwcmp_fully_connected_params", (c_int32, "batch input_length"), (c_int16, "tile_rows " + _OUTPUT)
)
BinaryParams = _struct(
    "hwcmp_binary_params",
    (_Four, "shape a_stride b_stride"),
    (c_int32, "a_multiplier b_multiplier output_multiplier"),
    (c_int8, "a_shift b_shift output_shift left_shift"),
    (c_int16, "a_zero_point b_zero_point output_zero_point activation_min activation_max"),
    (c_int32, "affine_a affine_b affine_c"),
    (c_int8, "affine_shift"),
)
ConcatParams = _struct("hwcmp_concat_params", (c_int32, "outer count"), (c_void_p, "inner"))
PadParams = _struct("hwcmp_pad_params", (_Four, "shape before after"), (c_int8, "value"))
SliceParams = _struct("hwcmp_slice_params", (_Four, "shape stride"), (c_int32, "offset"))
PoolParams = _struct(
    "hwcmp_pool_params",
    (Dims, "input output"),
    (c_int16, "filter_h filter_w stride_h stride_w pad_top pad_left activation_min activation_max"),
)
ReduceParams = _struct(
    "hwcmp_reduce_params",
    (_Four, "shape"),
    (c_int32, "multiplier"),
    (c_int8, "shift"),
    (c_uint8, "reduce_mask"),
    (c_int16, "input_zero_point output_zero_point"),
)
SoftmaxParams = _struct("hwcmp_softmax_params", (c_int32, "rows depth multiplier shift diff_min"))
AffineParams = _struct("hwcmp_affine_params", (c_float, "scale"), (c_int32, "zero_point"))

STRUCTS: tuple[type[ctypes.Structure], ...] = (
    Dims, Weights, Scratch, Channels, ConvParams, FullyConnectedParams, BinaryParams, ConcatParams, PadParams,
    SliceParams, PoolParams, ReduceParams, SoftmaxParams, AffineParams,
)  # fmt: skip
PARAMS: dict[type[Layer], type[ctypes.Structure]] = {
    layers.Conv: ConvParams,
    layers.FullyConnected: FullyConnectedParams,
    layers.Binary: BinaryParams,
    layers.Concat: ConcatParams,
    layers.Pad: PadParams,
    layers.Slice: SliceParams,
    layers.Pool: PoolParams,
    layers.Reduce: ReduceParams,
    layers.Softmax: SoftmaxParams,
    layers.Affine: AffineParams,
}
_FUNCTIONS = {"dequantize_f32": "hwcmp_dequantize_s8_f32"}
# Fields that are elements of a (height, width) tuple of the layer: suffix -> index.
_PAIRS = {"_h": 0, "_w": 1, "_top": 0, "_left": 1}


@dataclass(frozen=True, slots=True)
class CLayer:
    """A layer as arguments of its C function.

    function: its name. params: the struct, None for a lut. channels: with weights only. keep: the arrays that the
    structs point into, or the table of a lut; they live as long as this object.
    """

    function: str
    layer: Layer
    params: ctypes.Structure | None
    channels: ctypes.Structure | None
    keep: tuple[np.ndarray, ...]


def to_c(layer: Layer, tile_rows: int = _DEFAULT_TILE_ROWS) -> CLayer:
    """Writes a layer as the structs of its C function.

    Args:
        layer: any prepared layer but Reshape, which has no function.
        tile_rows: output channels unpacked at a time, for layers with weights.

    Raises:
        UnsupportedModelError: a value does not fit the field of the struct.
        ValueError: a Reshape layer.
    """
    function = _FUNCTIONS.get(layer.op, f"hwcmp_{layer.op}_s8")
    if isinstance(layer, layers.Reshape):
        raise ValueError(f"a reshape moves no bytes, so it has no C function. Received: {layer.name!r}")
    if isinstance(layer, layers.Lut):
        return CLayer(function, layer, None, None, (np.ascontiguousarray(layer.table, np.int8),))
    if isinstance(layer, layers.Concat):
        inner = np.array(layer.inner, np.int32)
        extra = {"count": len(layer.inner), "inner": inner.ctypes.data}
        return CLayer(function, layer, _params(layer, extra), None, (inner,))
    params = _params(layer, {"tile_rows": tile_rows})
    if not isinstance(layer, (layers.Conv, layers.FullyConnected)):
        return CLayer(function, layer, params, None, ())
    return CLayer(function, layer, params, *channels_to_c(layer.channels))


def channels_to_c(channels: layers.Channels) -> tuple[ctypes.Structure, tuple[np.ndarray, ...]]:
    """The struct of per-channel constants and the arrays it points into."""
    arrays = (
        np.ascontiguousarray(channels.bias, np.int32),
        np.ascontiguousarray(channels.multiplier, np.int32),
        np.ascontiguousarray(channels.shift, np.int8),
    )
    per_channel = channels.multiplier.size == channels.bias.size
    return Channels(*(array.ctypes.data for array in arrays), int(per_channel)), arrays


def _params(layer: Layer, extra: dict[str, int]) -> ctypes.Structure:
    kind = PARAMS[type(layer)]
    return kind(*(_field(layer, name, field, extra) for name, field in kind._fields_))


def _field(layer: Layer, name: str, kind: Any, extra: dict[str, int]) -> Any:
    if name in extra:
        return _checked(layer, name, kind, extra[name])
    for suffix, index in _PAIRS.items():
        base = name.removesuffix(suffix)
        if base != name and hasattr(layer, base):
            return _checked(layer, name, kind, getattr(layer, base)[index])
    value = getattr(layer, name)
    if kind is Dims:
        return Dims(*(_checked(layer, name, c_int16, extent) for extent in value))
    if kind is _Four:
        return _Four(*(_checked(layer, name, c_int32, extent) for extent in value))
    return _checked(layer, name, kind, value)


def _checked(layer: Layer, name: str, kind: Any, value: Any) -> Any:
    """ctypes cuts integers silently; this does not."""
    if kind in (c_float, c_void_p):
        return value
    if kind(int(value)).value != value:
        raise UnsupportedModelError(
            f"layer {layer.name!r}: {name} must fit {8 * ctypes.sizeof(kind)} bits. Received: {value}"
        )
    return int(value)
