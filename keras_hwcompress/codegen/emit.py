"""A compiled model as C source: one header and one source file per model, deterministic to the byte."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from keras_hwcompress.codegen.model import CompiledModel
from keras_hwcompress.codegen.share import Call, Constant, share_constants, share_functions
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.graph import Tensor
from keras_hwcompress.tflite.layers import (
    Affine,
    Binary,
    Concat,
    Conv,
    ConvAdd,
    FullyConnected,
    Layer,
    Lut,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    weighted,
)

_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "float32": "float"}
_LINE = 110

# What a describer returns: constants, C function, arguments before the activation pointers.
_Described = tuple["list[Constant]", str, "list[str]"]


@functools.cache
def templates() -> jinja2.Environment:
    """The templates of this package; a missing variable is an error."""
    folder = resources.files("keras_hwcompress.codegen") / "templates"
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(folder)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def emit_header(model: CompiledModel) -> str:
    """The text of `<name>.h`."""
    return templates().get_template("model.h.j2").render(**_context(model))


def emit_source(model: CompiledModel) -> str:
    """The text of `<name>.c`."""
    return templates().get_template("model.c.j2").render(
        **_context(model),
        blobs=[(blob.tensor, c_array(np.frombuffer(blob.data, np.uint8)), len(blob.data)) for blob in model.blobs.values()],
        tables=_constant_operands(model),
        calls=_calls(model),
    )


def c_array(values: np.ndarray | Iterable[int]) -> str:
    """The initialiser of an integer array, wrapped to readable lines."""
    lines, line = [], ""
    for value in np.asarray(values).reshape(-1).tolist():
        item = f"{value},"
        if len(line) + len(item) > _LINE:
            lines.append(line)
            line = ""
        line += item
    lines.append(line)
    return "{\n    " + "\n    ".join(lines) + "\n}"


def c_float(value: float) -> str:
    """A float32 as an exact hexadecimal literal."""
    return float(np.float32(value)).hex() + "f"


def c_struct(**fields: Any) -> str:
    """A designated initialiser; tuples become braces."""
    return "{" + ", ".join(f".{name} = {_c_value(value)}" for name, value in fields.items()) + "}"


def _c_value(value: Any) -> str:
    if isinstance(value, dict):
        return c_struct(**value)
    if isinstance(value, tuple):
        return "{" + ", ".join(_c_value(item) for item in value) + "}"
    if isinstance(value, float):
        return c_float(value)
    return "INT32_MIN" if value == -(2**31) else str(value)


def c_type(tensor: Tensor) -> str:
    """The C element type of an activation."""
    return _C_TYPES[tensor.dtype.name]


def _context(model: CompiledModel) -> dict[str, Any]:
    all_int8 = all(tensor.dtype == np.int8 for tensor in (*model.inputs, *model.outputs))
    return {
        "name": model.name,
        "NAME": model.name.upper(),
        "format_version": table().constants["FORMAT_VERSION"],
        "arena_bytes": max(model.plan.arena_bytes, 1),
        "io_type": "int8_t" if all_int8 else "void",
        "inputs": [_io(model, index) for index in model.graph.inputs],
        "outputs": [_io(model, index) for index in model.graph.outputs],
        "layer_count": sum(not isinstance(layer, Reshape) for layer in model.layers),
    }


def _io(model: CompiledModel, index: int) -> dict[str, Any]:
    tensor = model.graph.tensors[index]
    quantization = tensor.quantization
    return {
        "name": tensor.name.replace("*/", "* /"),
        "shape": " x ".join(str(extent) for extent in tensor.shape),
        "type": c_type(tensor),
        "bytes": tensor.size * tensor.dtype.itemsize,
        "offset": model.plan.offset(index),
        "scale": None if quantization is None else c_float(quantization.scale[0]),
        "zero_point": None if quantization is None else int(quantization.zero_point[0]),
    }


def _constant_operands(model: CompiledModel) -> list[tuple[int, str]]:
    """Constant tensors that layers read as operands (a tensor that is added, a part of a concatenation)."""
    used = sorted({tensor for layer in model.layers for tensor in layer.inputs if model.graph.tensors[tensor].is_constant})
    return [(tensor, c_array(model.graph.tensors[tensor].data)) for tensor in used]


def _calls(model: CompiledModel) -> list[Call]:
    calls = [_call(model, number, layer) for number, layer in enumerate(model.layers) if not isinstance(layer, Reshape)]
    return share_functions(share_constants(calls))


def _call(model: CompiledModel, number: int, layer: Layer) -> Call:
    describe = _DESCRIBE[type(layer)]
    constants, function, before = describe(model, number, layer)
    pointers = _pointers(model, layer)
    blob = layer.weights.tensor if weighted([layer]) else None
    comment = layer.name.replace("*/", "* /")
    return Call(number, comment, tuple(constants), blob, ", ".join([*before, *pointers]), function, number)


def _pointers(model: CompiledModel, layer: Layer) -> list[str]:
    inputs = [_read(model, tensor) for tensor in layer.inputs]
    if isinstance(layer, Concat):
        inputs = ["(const int8_t *const[]){" + ", ".join(inputs) + "}"]
    return [*inputs, _write(model, layer.outputs[0])]


def _cast(expression: str, tensor: Tensor, const: bool) -> str:
    """Arena addresses are int8_t; kernels of float tensors want float. Offsets are aligned, so the cast is safe."""
    if tensor.dtype == np.float32:
        return f"({'const ' if const else ''}float *)({'const ' if const else ''}void *)({expression})"
    return expression


def _read(model: CompiledModel, index: int) -> str:
    root, offset = _root(model, index)
    tensor = model.graph.tensors[root]
    if tensor.is_constant:
        return _part(f"constant_{root}", offset)
    if root in model.graph.inputs:
        pointer = f"model->in[{model.graph.inputs.index(root)}]"
        return _part(f"(const int8_t *){pointer}", offset) if offset else pointer
    return _cast(f"model->arena + {model.plan.offset(index)}", model.graph.tensors[index], True)


def _part(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer


def _write(model: CompiledModel, index: int) -> str:
    return _cast(f"model->arena + {model.plan.offset(index)}", model.graph.tensors[index], False)


def _root(model: CompiledModel, index: int) -> tuple[int, int]:
    """The tensor whose bytes this one is, directly or through reshapes, and where in them it begins."""
    producer = {layer.outputs[0]: layer for layer in model.layers if isinstance(layer, Reshape)}
    offset = 0
    while index in producer:
        offset += producer[index].offset
        index = producer[index].inputs[0]
    return index, offset


def _params(struct: str, number: int, **fields: Any) -> Constant:
    return Constant(f"hwcmp_{struct}_params params_{number}", c_struct(**fields))


def _channels(number: int, layer: Conv | FullyConnected | ConvAdd) -> list[Constant]:
    channels = layer.channels
    step = int(channels.multiplier.size == channels.bias.size and channels.bias.size > 1)
    return [
        Constant(f"int32_t bias_{number}[]", c_array(channels.bias)),
        Constant(f"int32_t multiplier_{number}[]", c_array(channels.multiplier)),
        Constant(f"int8_t shift_{number}[]", c_array(channels.shift)),
        Constant(f"hwcmp_channels channels_{number}", f"{{bias_{number}, multiplier_{number}, shift_{number}, {step}}}"),
    ]


def _weighted_call(model: CompiledModel, number: int, layer: Layer, params: Constant, function: str) -> _Described:
    scratch = model.plan.scratch.get(number)
    buffer = f"{{model->arena + {scratch.offset}, {scratch.bytes}}}" if scratch else "{NULL, 0}"
    before = [f"&(const hwcmp_scratch){buffer}", f"&params_{number}", "&weights", f"&channels_{number}"]
    return [*_channels(number, layer), params], function, before


def _output_fields(model: CompiledModel, output: int, layer: Conv | FullyConnected) -> dict[str, Any]:
    names = ("input_zero_point", "output_zero_point", "activation_min", "activation_max")
    return {"tile_rows": model.tile_rows[output]} | _fields(layer, *names)


def _conv_fields(model: CompiledModel, output: int, layer: Conv) -> dict[str, Any]:
    return {
        "input": layer.input, "output": layer.output, "kernel_h": layer.kernel[0], "kernel_w": layer.kernel[1],
        "stride_h": layer.stride[0], "stride_w": layer.stride[1], "dilation_h": layer.dilation[0],
        "dilation_w": layer.dilation[1], "pad_top": layer.pad[0], "pad_left": layer.pad[1],
    } | _output_fields(model, output, layer)  # fmt: skip


def _conv(model: CompiledModel, number: int, layer: Conv) -> _Described:
    params = _params("conv", number, **_conv_fields(model, layer.outputs[0], layer))
    return _weighted_call(model, number, layer, params, f"hwcmp_{model.kernel(layer)}_s8")


def _conv_add(model: CompiledModel, number: int, layer: ConvAdd) -> _Described:
    params = _params(
        "conv2d_add", number, conv=_conv_fields(model, layer.outputs[0], layer.conv), add=_binary_fields(layer.add),
        stripe_rows=model.stripe_rows[layer.outputs[0]], conv_is_b=int(layer.conv_is_b),
    )  # fmt: skip
    constants, function, before = _weighted_call(model, number, layer, params, "hwcmp_conv2d_add_s8")
    return constants, function, [f"hwcmp_{model.kernel(layer.conv)}_s8", *before]


def _fully_connected(model: CompiledModel, number: int, layer: FullyConnected) -> _Described:
    fields = {"batch": layer.batch, "input_length": layer.input_length} | _output_fields(model, layer.outputs[0], layer)
    params = _params("fully_connected", number, **fields)
    return _weighted_call(model, number, layer, params, f"hwcmp_{model.kernel(layer)}_s8")


def _fields(layer: Layer, *names: str) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in names}


def _binary_fields(layer: Binary) -> dict[str, Any]:
    return _fields(
        layer, "shape", "a_stride", "b_stride", "a_multiplier", "b_multiplier", "output_multiplier", "a_shift", "b_shift",
        "output_shift", "left_shift", "a_zero_point", "b_zero_point", "output_zero_point", "activation_min", "activation_max",
        "affine_a", "affine_b", "affine_c", "affine_shift",
    )  # fmt: skip


def _binary(_: CompiledModel, number: int, layer: Binary) -> _Described:
    return [_params("binary", number, **_binary_fields(layer))], f"hwcmp_{layer.op}_s8", [f"&params_{number}"]


def _lut(_: CompiledModel, number: int, layer: Lut) -> _Described:
    constant = Constant(f"int8_t table_{number}[256]", c_array(layer.table))
    return [constant], "hwcmp_lut_s8", [f"table_{number}", str(layer.count)]


def _concat(_: CompiledModel, number: int, layer: Concat) -> _Described:
    inner = Constant(f"int32_t inner_{number}[]", c_array(layer.inner))
    params = Constant(f"hwcmp_concat_params params_{number}", f"{{{layer.outer}, {len(layer.inner)}, inner_{number}}}")
    return [inner, params], "hwcmp_concat_s8", [f"&params_{number}"]


def _pad(_: CompiledModel, number: int, layer: Pad) -> _Described:
    return [_params("pad", number, **_fields(layer, "shape", "before", "after", "value"))], "hwcmp_pad_s8", [f"&params_{number}"]


def _slice(_: CompiledModel, number: int, layer: Slice) -> _Described:
    return [_params("slice", number, **_fields(layer, "shape", "stride", "offset"))], "hwcmp_slice_s8", [f"&params_{number}"]


def _pool(_: CompiledModel, number: int, layer: Pool) -> _Described:
    params = _params(
        "pool", number, input=layer.input, output=layer.output, filter_h=layer.filter[0], filter_w=layer.filter[1],
        stride_h=layer.stride[0], stride_w=layer.stride[1], pad_top=layer.pad[0], pad_left=layer.pad[1],
        activation_min=layer.activation_min, activation_max=layer.activation_max,
    )  # fmt: skip
    return [params], f"hwcmp_{layer.op}_s8", [f"&params_{number}"]


def _reduce(_: CompiledModel, number: int, layer: Reduce) -> _Described:
    fields = _fields(layer, "shape", "multiplier", "shift", "reduce_mask", "input_zero_point", "output_zero_point")
    return [_params("reduce", number, **fields)], f"hwcmp_{layer.op}_s8", [f"&params_{number}"]


def _softmax(_: CompiledModel, number: int, layer: Softmax) -> _Described:
    fields = _fields(layer, "rows", "depth", "multiplier", "shift", "diff_min")
    return [_params("softmax", number, **fields)], "hwcmp_softmax_s8", [f"&params_{number}"]


def _affine(_: CompiledModel, number: int, layer: Affine) -> _Described:
    function = "hwcmp_quantize_f32_s8" if layer.op == "quantize_f32" else "hwcmp_dequantize_s8_f32"
    params = _params("affine", number, scale=float(layer.scale), zero_point=layer.zero_point)
    return [params], function, [f"&params_{number}", str(layer.count)]


_DESCRIBE = {
    Conv: _conv,
    ConvAdd: _conv_add,
    FullyConnected: _fully_connected,
    Binary: _binary,
    Lut: _lut,
    Concat: _concat,
    Pad: _pad,
    Slice: _slice,
    Pool: _pool,
    Reduce: _reduce,
    Softmax: _softmax,
    Affine: _affine,
}
