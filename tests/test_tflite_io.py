"""Reading and writing .tflite files: lossless, deterministic, and closed against damaged input."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from build import GraphBuilder, quantized
from flatbuffer import edited, hand_made, load, save, schema
from graphs import every_op_graph, small_cnn

from keras_hwcompress.errors import ModelFormatError, UnsupportedModelError
from keras_hwcompress.tflite.compare import difference
from keras_hwcompress.tflite.graph import Graph, Op, Signature, Tensor
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.writer import BUFFER_ALIGNMENT, write_model


def rich_graph() -> Graph:
    """Two inputs and outputs, signature, metadata, a buffer shared by two tensors, a constant read by two operators."""
    builder = GraphBuilder(5)
    a, b = builder.input((1, 4, 4, 2)), builder.input((1, 4, 4, 2), 0.02, 7)
    table = builder.constant(np.arange(-4, 4).reshape(1, 1, 4, 2), 0.1, 1, dtype=np.int8)
    twin = builder._add(replace(builder.tensors[table], name="the same buffer"))
    view = builder.tensors[table].data.reshape(-1).view(np.uint8)
    flat = builder._add(Tensor("one axis", (8,), np.dtype(np.uint8), None, view))
    outputs = builder.add(builder.add(a, table), twin), builder.add(b, table)
    signature = Signature("serving", (("left", a), ("right", b)), (("sum", outputs[0]),))
    graph = builder.build(outputs, name="körper", description="ünicode", signatures=(signature, signature))
    assert flat == 4
    return replace(graph, metadata=(("min_runtime_version", b"1.5.0\0"), ("empty", b"")))


def every_op_from_file() -> Graph:
    """From a file, because options like alpha = 0.1 are float32 there."""
    return read_model(write_model(every_op_graph()))


@pytest.mark.parametrize("make", [rich_graph, small_cnn, every_op_from_file])
def test_a_graph_survives_writing_and_reading_bit_for_bit(make):
    graph = make()
    data = write_model(graph)
    again = read_model(data)
    assert difference(again, graph) is None
    assert write_model(again) == data


def test_difference_finds_every_kind_of_change():
    graph = rich_graph()
    flipped = graph.tensors[2].data.copy()
    flipped[0, 0, 0, 0] ^= 1
    changes = {
        "description": replace(graph, description="u"),
        r"tensors\[0\] .*quantization": _with_tensor(graph, 0, quantization=quantized(0.05, -4)),
        r"tensors\[2\] .*data": _with_tensor(graph, 2, data=flipped),
        "share": _with_tensor(graph, 3, data=graph.tensors[3].data.copy()),
        r"ops\[1\] options": _with_op(graph, 1, options={**graph.ops[1].options, "potScaleInt16": False}),
        r"ops\[2\] version": _with_op(graph, 2, version=2),
    }
    for pattern, changed in changes.items():
        assert difference(graph, changed) is not None
        pytest.raises(AssertionError, _assert_equal, graph, changed).match(pattern)


def _assert_equal(a, b):
    assert difference(a, b) is None, difference(a, b)


def _with_tensor(graph, index, **fields):
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **fields)
    return replace(graph, tensors=tuple(tensors))


def _with_op(graph, index, **fields):
    ops = list(graph.ops)
    ops[index] = replace(ops[index], **fields)
    return replace(graph, ops=tuple(ops))


def test_the_interpreter_finds_in_a_written_file_what_the_graph_says():
    graph = rich_graph()
    interpreter = Interpreter(
        model_content=write_model(graph), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for details in interpreter.get_tensor_details()[: len(graph.tensors)]:
        tensor = graph.tensors[details["index"]]
        assert (details["name"], tuple(details["shape"]), details["dtype"]) == (tensor.name, tensor.shape, tensor.dtype)
        if tensor.quantization is not None:
            assert np.array_equal(details["quantization_parameters"]["scales"], tensor.quantization.scale)
            assert np.array_equal(details["quantization_parameters"]["zero_points"], tensor.quantization.zero_point)
        if tensor.data is not None:
            assert np.array_equal(interpreter.get_tensor(details["index"]), tensor.data)
    assert interpreter.get_signature_list()["serving"] == {"inputs": ["left", "right"], "outputs": ["sum"]}


def test_a_buffer_read_by_several_tensors_is_stored_once_and_aligned():
    data = write_model(rich_graph())
    content = np.arange(-4, 4, dtype=np.int8).tobytes()
    assert data.count(content) == 1
    assert data.index(content) % BUFFER_ALIGNMENT == 0
    again = read_model(data)
    assert again.tensors[2].data is again.tensors[3].data
    assert np.shares_memory(again.tensors[2].data, again.tensors[4].data)
    assert not again.tensors[2].data.flags.writeable and not again.tensors[4].data.flags.writeable


def test_a_file_written_by_hand_is_read_field_by_field():
    graph = read_model(hand_made())
    assert [(t.name, t.shape, t.dtype, t.shape_signature) for t in graph.tensors] == [
        ("x", (1, 4), np.int8, ()), ("w", (2, 4), np.int8, ()), ("y", (1, 2), np.int8, ()),
    ]  # fmt: skip
    assert [float(t.quantization.scale[0]) for t in graph.tensors] == [0.5, 0.25, 2.0]
    assert [int(t.quantization.zero_point[0]) for t in graph.tensors] == [-1, 0, 3]
    assert graph.tensors[1].data.tolist() == [[1, 0, -127, 5], [0, 127, 3, -2]]
    (op,) = graph.ops
    assert (op.kind, op.inputs, op.outputs, op.version, op.is_custom) == ("FULLY_CONNECTED", (0, 1, -1), (2,), 4, False)
    assert op.options_type == "FullyConnectedOptions" and op.options["fusedActivationFunction"] == 1
    assert (graph.inputs, graph.outputs, graph.name, graph.description) == ((0,), (2,), "main", "by hand")


def test_files_with_only_the_deprecated_operator_code_are_read_and_stay_readable_for_old_interpreters():
    graph = read_model(hand_made(deprecated_only=True))
    assert graph.ops[0].kind == "FULLY_CONNECTED"
    code = load(write_model(graph)).operatorCodes[0]
    assert (code.deprecatedBuiltinCode, code.builtinCode) == (9, 9)


def test_operators_that_the_package_does_not_know_survive_with_their_options():
    builder = GraphBuilder()
    x = builder.input((1, 4, 4, 2))
    size = builder.constant([8, 8], dtype=np.int32)
    resize = {"alignCorners": True, "halfPixelCenters": False}
    x = builder.op("RESIZE_BILINEAR", (x, size), (1, 8, 8, 2), 0.05, 0, "ResizeBilinearOptions", resize, version=3)
    x = builder.op("GELU", (x,), (1, 8, 8, 2), options_type="GeluOptions", options={"approximate": True})
    x = builder.op("SQUEEZE", (x,), (8, 8, 2), options_type="SqueezeOptions", options={"squeezeDims": (0,)})
    stablehlo = "StablehloConcatenateOptions", {"dimension": 1}
    x = builder.op("STABLEHLO_CONCATENATE", (x, x), (8, 16, 2), 0.05, 0, *stablehlo)
    y = builder.activation((3,), 1.0, 0)
    builder.ops.append(Op("MyOp", (x,), (y,), {"custom": b"\x01\x00\xff"}, is_custom=True))
    graph = builder.build([y])
    data = write_model(graph)
    assert difference(read_model(data), graph) is None
    codes = [(c.deprecatedBuiltinCode, c.builtinCode, c.customCode) for c in load(data).operatorCodes]
    operators = schema.BuiltinOperator
    # Codes from 127 on do not fit the old int8 field, which then holds the placeholder.
    assert codes == [
        (operators.RESIZE_BILINEAR, operators.RESIZE_BILINEAR, None),
        (127, operators.GELU, None),
        (operators.SQUEEZE, operators.SQUEEZE, None),
        (127, operators.STABLEHLO_CONCATENATE, None),
        (operators.CUSTOM, operators.CUSTOM, b"MyOp"),
    ]


def test_an_unknown_first_dimension_is_kept():
    graph = small_cnn()
    graph = _with_tensor(graph, 0, shape_signature=(-1, 9, 7, 3))
    assert read_model(write_model(graph)).tensors[0].shape_signature == (-1, 9, 7, 3)


def test_names_that_are_not_utf8_are_read_with_replacement_characters():
    data = write_model(small_cnn())
    assert read_model(data.replace(b"input0", b"in\xff\xfe0\xc3")).tensors[0].name == "in\ufffd\ufffd0\ufffd"


def _graph_of(model):
    return model.subgraphs[0]


def _set(path, value):
    """An edit that assigns `value` at a dotted path below the model; numbers are positions in lists."""

    def change(model):
        *parents, last = path.split(".")
        target = model
        for name in parents:
            target = target[int(name)] if name.isdigit() else getattr(target, name)
        if last.isdigit():
            target[int(last)] = value
        else:
            setattr(target, last, value)

    change.__name__ = f"{path}={value}"
    return change


MAIN = "subgraphs.0"
INCONSISTENT = [
    _set(f"{MAIN}.inputs", [3]),
    _set(f"{MAIN}.inputs", [-1]),
    _set(f"{MAIN}.inputs", [0, 0]),
    _set(f"{MAIN}.inputs", [0, 1]),
    _set(f"{MAIN}.inputs", []),
    _set(f"{MAIN}.outputs", [7]),
    _set(f"{MAIN}.operators.0.inputs", [0, 3, -1]),
    _set(f"{MAIN}.operators.0.inputs", [0, -2, -1]),
    _set(f"{MAIN}.operators.0.inputs", [2, 1, -1]),
    _set(f"{MAIN}.operators.0.outputs", [-1]),
    _set(f"{MAIN}.operators.0.outputs", [1]),
    _set(f"{MAIN}.operators.0.outputs", [0]),
    _set(f"{MAIN}.operators.0.opcodeIndex", 1),
    _set(f"{MAIN}.operators.0.builtinOptionsType", 1),
    _set(f"{MAIN}.operators.0.builtinOptionsType", 0),
    _set(f"{MAIN}.operators.0.builtinOptionsType", 255),
    _set(f"{MAIN}.tensors.1.buffer", 2),
    _set(f"{MAIN}.tensors.1.shape", [2, 5]),
    _set(f"{MAIN}.tensors.1.shape", [-2, -4]),
    _set(f"{MAIN}.tensors.1.type", schema.TensorType.INT32),
    _set(f"{MAIN}.tensors.0.shape", [1, 2**31 - 1, 2**31 - 1]),
    _set(f"{MAIN}.tensors.0.shape", [1] * 9),
    _set(f"{MAIN}.tensors.0.shapeSignature", [-1, 5]),
    _set(f"{MAIN}.tensors.0.shapeSignature", [-1]),
    _set(f"{MAIN}.tensors.0.quantization.scale", [0.0]),
    _set(f"{MAIN}.tensors.0.quantization.scale", [float("nan")]),
    _set(f"{MAIN}.tensors.0.quantization.scale", [float("inf")]),
    _set(f"{MAIN}.tensors.0.quantization.scale", [-1.0]),
    _set(f"{MAIN}.tensors.1.quantization.scale", [1.0, 1.0, 1.0]),
    _set(f"{MAIN}.tensors.1.quantization.zeroPoint", [0, 0]),
    _set("operatorCodes.0.builtinCode", schema.BuiltinOperator.CUSTOM),
    _set("subgraphs.0.tensors", None),
    _set("operatorCodes", None),
    _set("buffers", None),
]


@pytest.mark.parametrize("change", INCONSISTENT, ids=lambda change: change.__name__)
def test_files_that_contradict_themselves_are_refused(change):
    with pytest.raises(ModelFormatError):
        read_model(edited(hand_made(), change))


def _twice(model):
    model.subgraphs = model.subgraphs * 2


def _outside(model):
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 4096, 8


def _sparse(model):
    _graph_of(model).tensors[1].sparsity = schema.SparsityParametersT(traversalOrder=[0, 1])


def _blockwise(model):
    quantization = _graph_of(model).tensors[1].quantization
    quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    quantization.details = schema.BlockwiseQuantizationT(scales=1)


UNSUPPORTED = {
    "one subgraph": _twice,
    "outside the flatbuffer": _outside,
    "sparse": _sparse,
    "blockwise": _blockwise,
    "variable": _set(f"{MAIN}.tensors.2.isVariable", True),
    "INT4": _set(f"{MAIN}.tensors.1.type", schema.TensorType.INT4),
    "STRING": _set(f"{MAIN}.tensors.0.type", schema.TensorType.STRING),
    "number 99": _set(f"{MAIN}.tensors.0.type", 99),
    "state": _set(f"{MAIN}.operators.0.mutatingVariableInputs", [True, False, False]),
    "intermediate": _set(f"{MAIN}.operators.0.intermediates", [0]),
    "operator 9999": _set("operatorCodes.0.builtinCode", 9999),
    "version 3": _set("version", 2),
}


@pytest.mark.parametrize("words", UNSUPPORTED)
def test_models_that_cannot_be_represented_are_refused_with_the_reason(words):
    with pytest.raises(UnsupportedModelError, match=words):
        read_model(edited(hand_made(), UNSUPPORTED[words]))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 64, b"\x1c\0\0\0TFL3", b"PK\x03\x04" + b"x" * 100])
def test_bytes_that_are_no_model_are_refused(data):
    with pytest.raises(ModelFormatError):
        read_model(data)


def test_an_invalid_graph_is_not_written():
    graph = small_cnn()
    with pytest.raises(ModelFormatError, match="data contradict"):
        write_model(_with_tensor(graph, 1, shape=(1, 2, 3)))
    with pytest.raises(ModelFormatError, match="before it is computed"):
        write_model(replace(graph, ops=graph.ops[::-1]))


class _Alias:
    """Packs a table once and gives out its offset many times."""

    def __init__(self, table):
        self.table, self.offset = table, None

    def Pack(self, builder):  # noqa: N802 - called by the generated classes
        if self.offset is None:
            self.offset = self.table.Pack(builder)
        return self.offset


def test_vectors_that_overlap_cannot_multiply_the_work():
    """20,000 operators that are all the same table, with 20,000 inputs: 4e8 elements in 200 kB."""
    count = 20_000

    def change(model):
        operator = _graph_of(model).operators[0]
        operator.inputs = np.zeros(count, np.int32)
        _graph_of(model).operators = [_Alias(operator)] * count

    data = edited(hand_made(), change)
    assert len(data) < 200_000
    start = time.perf_counter()
    with pytest.raises(ModelFormatError, match="overlap"):
        read_model(data)
    assert time.perf_counter() - start < 5


def test_a_vector_as_long_as_a_number_can_say_is_refused_at_once():
    model = load(hand_made())
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    data = bytearray(builder.Output())
    root = schema.Model.GetRootAs(bytes(data), 0)._tab
    position = root.Vector(root.Offset(8)) - 4
    data[position : position + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ModelFormatError, match="longer than the file"):
        read_model(bytes(data))


def test_reading_and_writing_import_neither_keras_nor_tensorflow():
    code = (
        "import sys, keras_hwcompress.tflite.reader as r, keras_hwcompress.tflite.compress;"
        "r.schema();"
        "sys.exit(any(name.split('.')[0] in ('keras', 'tensorflow') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_the_tensorflow_converter_keeps_its_outputs_and_most_of_its_fields():
    tf = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), batch_size=1)
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.Add()([keras.layers.DepthwiseConv2D(3, padding="same")(x), x])
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, x))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(3)
    converter.representative_dataset = lambda: ([rng.random((1, 8, 8, 3), np.float32)] for _ in range(8))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    original = converter.convert()
    written = write_model(read_model(original))
    before, after = load(original), load(written)
    for old, new in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        assert (old.name, list(old.shape), old.type) == (new.name, list(new.shape), new.type)
        contents = [model.buffers[tensor.buffer].data for model, tensor in ((before, old), (after, new))]
        assert np.array_equal(*(np.zeros(0) if values is None else values for values in contents))
    assert [m.name for m in before.metadata] == [m.name for m in after.metadata]
    assert [s.signatureKey for s in before.signatureDefs] == [s.signatureKey for s in after.signatureDefs]
    samples = rng.integers(-128, 128, (20, 1, 8, 8, 3)).astype(np.int8)
    assert np.array_equal(_outputs(original, samples), _outputs(written, samples))


def _outputs(data, samples):
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    results = []
    for sample in samples:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.array(results)
