"""One builtin operator with weights <-> the constants and options of its packed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite import prepare_weighted
from keras_hwcompress.tflite.builtin_options import completed
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op
from keras_hwcompress.tflite.layers import Channels, Conv, FullyConnected
from keras_hwcompress.tflite.options import PACKED_KINDS, PackedOptions
from keras_hwcompress.tflite.opview import OpView
from keras_hwcompress.tflite.weights import BIAS

_OPTIONS_TYPES = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
}
_FLAG_OPTIONS = {"KEEP_NUM_DIMS": "keepNumDims", "ASYMMETRIC_INPUTS": "asymmetricQuantizeInputs"}


@dataclass(frozen=True, slots=True)
class PackedOp:
    """What a packed operator holds. values: int8 (rows, row_length), canonical; channels: integers per channel."""

    options: PackedOptions
    values: np.ndarray
    channels: Channels


def packed_op(graph: Graph, number: int) -> PackedOp:
    """Computes the packed form of a builtin operator.

    Raises:
        UnsupportedModelError: the operator is not of a kind that can be run packed, or has options that the packed
            form could not give back.
    """
    op = graph.ops[number]
    view = OpView(graph, op)
    layer = prepare_weighted.HANDLERS[op.kind](view)
    if not isinstance(layer, (Conv, FullyConnected)) or len(op.inputs) > BIAS + 1:
        raise UnsupportedModelError(f"operator {number} ({op.kind}) has more inputs than weights and bias")
    multiplier = layer.weights.values.shape[0] // layer.input[2] if op.kind == "DEPTHWISE_CONV_2D" else 0
    options = PackedOptions(
        op=list(PACKED_KINDS).index(op.kind),
        padding=int(op.options.get("padding", 0)),
        activation=int(op.options.get("fusedActivationFunction", 0)),
        flags=_flags(op, view.has_input(BIAS)),
        bias_type=int(op.options.get("quantizedBiasType", 0)),
        op_version=op.version,
        input_zero_point=layer.input_zero_point,
        output_zero_point=layer.output_zero_point,
        activation_min=layer.activation_min,
        activation_max=layer.activation_max,
        depth_multiplier=multiplier,
        **(_geometry(layer) if isinstance(layer, Conv) else {}),
    )
    _, options_type, restored = builtin_options(options)
    if options_type != op.options_type or restored != completed(op.options_type, op.options):
        raise UnsupportedModelError(f"operator {number} ({op.kind}) has options that its packed form cannot hold")
    return PackedOp(options, layer.weights.values, layer.channels)


def builtin_options(options: PackedOptions) -> tuple[str, str, dict[str, object]]:
    """(kind, options_type, options) of the builtin operator, as the reader gives them."""
    kind = options.builtin_kind
    fields: dict[str, object] = {"fusedActivationFunction": options.activation}
    if kind != "DEPTHWISE_CONV_2D":
        fields["quantizedBiasType"] = options.bias_type
    if kind == "FULLY_CONNECTED":
        fields |= {name: options.has(flag) for flag, name in _FLAG_OPTIONS.items()}
    else:
        fields |= {
            "padding": options.padding,
            "strideH": options.stride_h,
            "strideW": options.stride_w,
            "dilationHFactor": options.dilation_h,
            "dilationWFactor": options.dilation_w,
        }
    if kind == "DEPTHWISE_CONV_2D":
        fields["depthMultiplier"] = options.depth_multiplier
    options_type = _OPTIONS_TYPES[kind]
    return kind, options_type, completed(options_type, fields)


def bias_of(op: Op) -> int | None:
    """The tensor of the bias; -1 where the operator lists an absent one, None where it lists none."""
    return op.inputs[BIAS] if len(op.inputs) > BIAS else None


def inputs_of(x: int, weights: int, bias: int | None) -> tuple[int, ...]:
    """The inputs of the builtin operator; see `bias_of`."""
    return (x, weights) if bias is None else (x, weights, bias)


def _flags(op: Op, has_bias: bool) -> int:
    constants = table().constants
    flags = constants["FLAG_BIAS"] if has_bias else 0
    for flag, name in _FLAG_OPTIONS.items():
        flags |= constants[f"FLAG_{flag}"] if op.options.get(name, False) else 0
    return flags


def _geometry(layer: Conv) -> dict[str, int]:
    pairs = {"kernel": layer.kernel, "stride": layer.stride, "dilation": layer.dilation}
    return {f"{name}_{axis}": value for name, pair in pairs.items() for axis, value in zip("hw", pair)}


def has_bias(bias: int | None) -> bool:
    """Whether `bias_of` names a tensor."""
    return bias is not None and bias != NO_TENSOR
