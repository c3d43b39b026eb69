"""What the tests of the delegate run: random packed models, and damaged ones with the input of delegate_driver.c."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from build import GraphBuilder, window_output

from keras_hwcompress import formats
from keras_hwcompress.tflite.graph import NO_TENSOR, Graph, Op, Tensor
from keras_hwcompress.tflite.options import PACKED_KINDS
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.weights import to_rows

BUILTIN_CODES = {"FULLY_CONNECTED": 9, "CUSTOM": 32}
TYPES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9}
STORED, COMPUTED = 1, 2


def n_ary(rng: np.random.Generator, shape: Sequence[int], levels: int) -> np.ndarray:
    """Weights with that many distinct values."""
    return rng.choice(np.linspace(-127, 127, levels).astype(np.int8), tuple(shape))


def random_model(seed: int) -> Graph:
    """Convolutions of every geometry, depthwise, fully connected; every result is an output. Plain, not packed."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder(seed)
    h, w, c = (int(value) for value in rng.integers((7, 6, 2), (12, 11, 6)))
    x = builder.input((1, h, w, c), zp=int(rng.integers(-128, 128)))
    outputs = []
    for number in range(3):
        x = _convolution(builder, rng, x, number)
        outputs.append(x)
    outputs += _fully_connected_layers(builder, rng, x)
    return builder.build(outputs)


def _convolution(builder: GraphBuilder, rng: np.random.Generator, x: int, number: int) -> int:
    _, *size, depth = builder.tensors[x].shape
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, top, 2)) for top in (4, 3, 3))
    window = {"kernel": kernel, "stride": stride if number else (1, 2), "dilation": dilation if number else (1, 1)}
    fits = min(window_output(size, kernel, window["stride"], "valid", window["dilation"])) > 0
    common = {
        **window,
        "padding": str(rng.choice(["same", "valid"])) if number and fits else "same",
        "activation": str(rng.choice(["none", "relu", "relu6", "relu_n1_to_1"])),
        "per_channel": bool(rng.integers(2)),
        "bias": bool(rng.integers(2)),
        "zp": int(rng.integers(-128, 128)),
    }
    levels, channels = int(rng.integers(2, 17)), int(rng.integers(3, 9))
    if number == 1:
        multiplier = int(rng.integers(1, 4))
        weights = n_ary(rng, (1, *kernel, depth * multiplier), levels)
        return builder.depthwise(x, multiplier, weights=weights, **common)
    return builder.conv2d(x, channels, weights=n_ary(rng, (channels, *kernel, depth), levels), **common)


def _fully_connected_layers(builder: GraphBuilder, rng: np.random.Generator, x: int) -> list[int]:
    size, depth = builder.tensors[x].size, builder.tensors[x].shape[3]
    dense = builder.fully_connected(x, 9, "relu", weights=n_ary(rng, (9, size), 3))
    rows = builder.fully_connected(x, 5, per_channel=False, bias=False, length=depth)
    kept = builder.fully_connected(x, 6, weights=n_ary(rng, (6, depth), 4), length=depth)
    keep_dimensions(builder)
    one_channel = builder.fully_connected(dense, 1)
    return [dense, rows, kept, one_channel]


def keep_dimensions(builder: GraphBuilder) -> None:
    """Sets keepNumDims in the last operator, a fully connected one."""
    last = builder.ops[-1]
    source, target = builder.tensors[last.inputs[0]], builder.tensors[last.outputs[0]]
    builder.ops[-1] = replace(last, options={**last.options, "keepNumDims": True})
    builder.tensors[last.outputs[0]] = replace(target, shape=(*source.shape[:-1], target.shape[-1]))


def shared_weights_model() -> Graph:
    """Two convolutions and two fully connected layers that share their weights, with input scales of their own."""
    builder = GraphBuilder(5)
    rng = np.random.default_rng(5)
    x = builder.input((1, 6, 6, 4), 0.05, -3)
    y = builder.conv2d(x, 4, weights=n_ary(rng, (4, 3, 3, 4), 3))
    z = _again(builder, y)
    a = builder.fully_connected(z, 144, weights=n_ary(rng, (144, 144), 5))
    b = _again(builder, a)
    return builder.build([y, z, a, b])


def _again(builder: GraphBuilder, x: int) -> int:
    """The last operator once more, on `x`."""
    last = builder.ops[-1]
    tensor = builder.tensors[last.outputs[0]]
    bias = builder.constant(np.arange(tensor.shape[-1]) * 100 - 300, 0.001, dtype=np.int32)
    inputs = (x, last.inputs[1], bias)
    return builder.op(last.kind, inputs, tensor.shape, 9.0, 4, last.options_type, last.options, version=last.version)


def packed(graph: Graph, leave: Sequence[int] = (), format_name: str = "", turn: int = 0) -> Graph:
    """Every operator with weights packed; `leave` lists operators left alone. Without a name formats take turns."""
    choice = dict.fromkeys(leave, "builtin")
    for number, op in enumerate(graph.ops):
        if op.kind in PACKED_KINDS and number not in choice:
            names = list(formats.admissible(to_rows(op.kind, graph.tensors[op.inputs[1]].data)))
            first = [other for other in range(number) if graph.ops[other].inputs[1] == op.inputs[1]]
            choice[number] = choice[first[0]] if first else format_name or names[(turn + len(choice)) % len(names)]
    return pack(graph, choice)


def one_operator_models() -> dict[str, Graph]:
    """One small packed model per custom operator, and plain fully connected ones; the name says which."""
    graphs = {}
    levels = 3
    for name in (row.name for row in formats.table().formats):
        rng = np.random.default_rng(1)
        builder = GraphBuilder(1)
        x = builder.input((1, 5, 4, 3))
        y = builder.conv2d(x, 4, (3, 2), (2, 1), activation="relu", weights=n_ary(rng, (4, 3, 2, 3), levels))
        graphs[f"conv2d {name}"] = packed(builder.build([y]), format_name=name)
        builder = GraphBuilder(2)
        x = builder.input((1, 5, 4, 3))
        y = builder.depthwise(x, 2, (2, 3), dilation=(2, 1), padding="valid", weights=n_ary(rng, (1, 2, 3, 6), levels))
        graphs[f"depthwise {name}"] = packed(builder.build([y]), format_name=name)
        builder = GraphBuilder(3)
        y = builder.fully_connected(builder.input((2, 7)), 7, per_channel=False, weights=n_ary(rng, (7, 7), levels))
        graphs[f"fully connected {name}"] = packed(builder.build([y]), format_name=name)
        builder = GraphBuilder(3)
        y = builder.fully_connected(builder.input((2, 3, 7)), 5, weights=n_ary(rng, (5, 7), levels), length=7)
        keep_dimensions(builder)
        graphs[f"fully connected keeping dimensions {name}"] = packed(builder.build([y]), format_name=name)
    for per_channel in (False, True):
        builder = GraphBuilder(4)
        y = builder.fully_connected(builder.input((2, 7)), 7, "relu6", per_channel)
        graphs[f"builtin per_channel={per_channel}"] = builder.build([y])
    return graphs


# ---- damage ---------------------------------------------------------------------------------------------------------


def damaged(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """The graph of one operator with one thing changed: some changes are harmless, most are not."""
    op = graph.ops[0]
    if op.is_custom:
        yield from _damaged_options(graph)
        yield from _damaged_blobs(graph)
    else:
        yield from _damaged_builtin(graph)
    for position in range(len(op.inputs)):
        yield f"input {position} absent", _with_op(graph, inputs=_replaced(op.inputs, position, NO_TENSOR))
        yield f"inputs end before {position}", _with_op(graph, inputs=op.inputs[:position])
        for other in set(op.inputs) - {op.inputs[position]}:
            yield f"input {position} is tensor {other}", _with_op(graph, inputs=_replaced(op.inputs, position, other))
    yield "one input more", _with_op(graph, inputs=(*op.inputs, op.inputs[-1]))
    yield "the output is the input", _with_op(graph, outputs=op.inputs[:1])
    yield "the output is the weights", _with_op(graph, outputs=op.inputs[1:2])
    yield "no output", _with_op(graph, outputs=())
    yield "two outputs", _with_op(graph, outputs=op.outputs * 2)
    yield from _damaged_tensors(graph)


def _damaged_options(graph: Graph) -> Iterator[tuple[str, Graph]]:
    options = graph.ops[0].options["custom"]
    for offset, value in itertools.product(range(len(options)), (0, 1, 2, 3, 5, 127, 128, 255)):
        changed = options[:offset] + bytes([value]) + options[offset + 1 :]
        yield f"option byte {offset} = {value}", _with_op(graph, options=_custom(changed))
    for length in (0, 1, len(options) - 1):
        yield f"{length} option bytes", _with_op(graph, options=_custom(options[:length]))
    yield "an option byte more", _with_op(graph, options=_custom(options + b"\0"))


def _damaged_blobs(graph: Graph) -> Iterator[tuple[str, Graph]]:
    blob = graph.tensors[graph.ops[0].inputs[1]].data.tobytes()
    for offset, value in itertools.product(range(min(len(blob), 28)), (0, 1, 4, 127, 255)):
        changed = blob[:offset] + bytes([value]) + blob[offset + 1 :]
        yield f"blob byte {offset} = {value}", _with_data(graph, 1, np.frombuffer(changed, np.uint8))
    for length in range(0, len(blob), 3):
        yield f"{length} blob bytes", _with_data(graph, 1, np.frombuffer(blob[:length], np.uint8))
    yield "blob and zeros", _with_data(graph, 1, np.frombuffer(blob + bytes(4), np.uint8))
    for position in (2, 3, 4):
        yield from _damaged_constant(graph, position)


def _damaged_constant(graph: Graph, position: int) -> Iterator[tuple[str, Graph]]:
    values = graph.tensors[graph.ops[0].inputs[position]].data
    limits = np.iinfo(values.dtype)
    for value in (limits.min, limits.min + 1, -32, -31, -1, 0, 1, 30, 31, limits.max):
        changed = values.copy()
        changed.flat[-1] = value
        yield f"constant {position} ends with {value}", _with_data(graph, position, changed)
    yield f"constant {position} one shorter", _with_data(graph, position, values.ravel()[:-1])
    yield f"constant {position} one longer", _with_data(graph, position, np.append(values, values.ravel()[:1]))
    yield f"constant {position} of one", _with_data(graph, position, values.ravel()[:1])


def _damaged_builtin(graph: Graph) -> Iterator[tuple[str, Graph]]:
    op = graph.ops[0]
    for name, value in itertools.product(("fusedActivationFunction", "weightsFormat"), (0, 1, 2, 3, 4, 99)):
        yield f"{name} = {value}", _with_op(graph, options={**op.options, name: value})
    yield "no bias", _with_op(graph, inputs=op.inputs[:2])
    for index, scale in itertools.product((op.inputs[0], op.inputs[1], op.outputs[0]), (1e-38, 1e-30, 1e30, 1e38)):
        scales = graph.tensors[index].quantization.scale.copy()
        scales[-1] = scale
        yield f"scale of tensor {index} {scale}", _with_quantization(graph, index, scale=scales)
    for index, point in itertools.product((op.inputs[0], op.inputs[1], op.outputs[0]), (-129, -128, 0, 127, 128)):
        points = np.full_like(graph.tensors[index].quantization.zero_point, point)
        yield f"zero point of tensor {index} {point}", _with_quantization(graph, index, zero_point=points)
    yield from _damaged_constant(graph, 2)


def _damaged_tensors(graph: Graph) -> Iterator[tuple[str, Graph]]:
    op = graph.ops[0]
    shape = graph.tensors[op.inputs[0]].shape
    for axis, size in itertools.product(range(len(shape)), (1, 2, 3, 7, 40000)):
        yield f"input axis {axis} = {size}", _with_tensor(graph, op.inputs[0], shape=_replaced(shape, axis, size))
    for other in (shape[1:], shape[::-1], (1, *shape), ()):
        yield f"input shape {other}", _with_tensor(graph, op.inputs[0], shape=other)
    for index, dtype in itertools.product((*op.inputs, *op.outputs), (np.int8, np.uint8, np.int32, np.int16)):
        tensor = graph.tensors[index]
        data = None if tensor.data is None else tensor.data.astype(dtype)
        yield f"tensor {index} is {np.dtype(dtype)}", _with_tensor(graph, index, dtype=np.dtype(dtype), data=data)
    for index in op.inputs[1:]:
        yield f"tensor {index} is computed", _with_tensor(graph, index, data=None)


def _custom(data: bytes) -> Mapping[str, bytes]:
    return MappingProxyType({"custom": data})


def _replaced(values: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])


def _with_op(graph: Graph, **fields: object) -> Graph:
    return replace(graph, ops=(replace(graph.ops[0], **fields), *graph.ops[1:]))


def _with_tensor(graph: Graph, index: int, **fields: object) -> Graph:
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **fields)
    return replace(graph, tensors=tuple(tensors))


def _with_data(graph: Graph, position: int, data: np.ndarray) -> Graph:
    return _with_tensor(graph, graph.ops[0].inputs[position], data=data, shape=data.shape)


def _with_quantization(graph: Graph, index: int, **fields: np.ndarray) -> Graph:
    return _with_tensor(graph, index, quantization=replace(graph.tensors[index].quantization, **fields))


# ---- cases for delegate_driver.c ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """What the driver printed: shape and int8 values of the output, or the message of an error."""

    shape: tuple[int, ...] = ()
    values: bytes = b""
    error: str = ""


def encode_case(graph: Graph, x: np.ndarray, layout: int = 0) -> bytes:
    """The first operator of a graph and the values of its input as a case of the driver."""
    op = graph.ops[0]
    code = BUILTIN_CODES["CUSTOM" if op.is_custom else op.kind]
    name = (op.kind if op.is_custom else "").encode() + b"\0"
    tensors = [_tensor(tensor, x if index in graph.inputs else None) for index, tensor in enumerate(graph.tensors)]
    parts = [_words(layout, len(tensors)), *tensors, _words(code), _bytes(name)]
    return b"".join([*parts, _ints(op.inputs), _ints(op.outputs), _bytes(_options(op))])


def parse_result(line: str) -> Result:
    """One line of the driver."""
    word, _, rest = line.partition(" ")
    if word == "error":
        return Result(error=rest or "without a message")
    shape, _, values = rest.partition(" ")
    return Result(tuple(int(size) for size in shape.split("x")), bytes.fromhex(values))


def _tensor(tensor: Tensor, x: np.ndarray | None) -> bytes:
    count = int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize
    data = tensor.data.tobytes() if tensor.data is not None else b"" if x is None else x.tobytes()
    quantization = tensor.quantization
    scales = np.zeros(0) if quantization is None else quantization.scale
    one = len(scales) == 1
    return b"".join((
        _words(TYPES[tensor.dtype.name], COMPUTED if tensor.data is None else STORED),
        _words(int(quantization.zero_point[0]) if one else 0),
        struct.pack("<f", scales[0] if one else 0.0),
        _words(0 if quantization is None else quantization.axis),
        _ints(tensor.shape),
        _words(len(scales)) + scales.astype("<f4").tobytes(),
        _words(len(scales)) + (b"" if quantization is None else quantization.zero_point.astype("<i4").tobytes()),
        _bytes(data[:count].ljust(count, b"\0")),
    ))  # fmt: skip


def _options(op: Op) -> bytes:
    if op.is_custom:
        return op.options["custom"]
    names = ("fusedActivationFunction", "weightsFormat", "keepNumDims", "asymmetricQuantizeInputs")
    return struct.pack("<iiBBxx", *(int(op.options.get(name, 0)) for name in names))


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def _ints(values: Sequence[int]) -> bytes:
    return _words(len(values), *values)


def _bytes(data: bytes) -> bytes:
    return _words(len(data)) + data
