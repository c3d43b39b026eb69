"""Packing weights into custom operators and getting the plain model back, bit for bit."""

from __future__ import annotations

import doctest
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from build import GraphBuilder, quantized
from flatbuffer import hand_made
from graphs import every_op_graph, small_cnn, ternary_weights
from oracles import builtin_ref, random_inputs

from keras_hwcompress import formats
from keras_hwcompress.errors import BlobError, HwcmpError, ModelFormatError, UnsupportedModelError
from keras_hwcompress.formats.table import parse_table, table, table_path
from keras_hwcompress.tflite import options as options_module
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.compare import difference
from keras_hwcompress.tflite.compress import compress_tflite, expand_tflite, inspect
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.expand_info import METADATA_NAME
from keras_hwcompress.tflite.graph import Graph, Signature
from keras_hwcompress.tflite.options import PackedOptions, pack_options, unpack_options
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.writer import write_model


def from_file(graph: Graph) -> Graph:
    return read_model(write_model(graph))


def assert_lossless(plain: Graph, packed: Graph) -> None:
    """expand gives the plain graph back, from memory and from the file, and the plain file byte for byte."""
    assert difference(expand(packed), plain) is None, difference(expand(packed), plain)
    data = write_model(packed)
    assert difference(read_model(data), packed) is None
    again = expand(read_model(data))
    assert difference(again, plain) is None, difference(again, plain)
    assert write_model(again) == write_model(plain)


def packed_kinds(graph: Graph) -> list[str]:
    return [op.kind.removeprefix("Hwcmp") for op in graph.ops if op.is_custom]


def changed_tensor(graph: Graph, index: int, **fields) -> Graph:
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], **fields)
    return replace(graph, tensors=tuple(tensors))


def changed_op(graph: Graph, number: int, **fields) -> Graph:
    ops = list(graph.ops)
    ops[number] = replace(ops[number], **fields)
    return replace(graph, ops=tuple(ops))


def test_a_packed_operator_holds_the_numbers_computed_by_hand():
    """x: scale 0.5, zero point -1; w: scale 0.25; y: scale 2, zero point 3, ReLU; see flatbuffer.hand_made."""
    plain = read_model(hand_made())
    packed = pack(plain, {0: "dense8"})
    (op,) = packed.ops
    assert (op.kind, op.is_custom, op.version, op.outputs) == ("HwcmpFullyConnected", True, 1, (2,))
    assert op.inputs == (0, 1, 3, 4, 5)
    blob, bias, multiplier, shift = (packed.tensors[index] for index in op.inputs[1:])
    # Header: dense8 (0x80), version 1, 2 rows, layout 0, param 0, row_length 4, 8 payload bytes; then the rows.
    assert bytes(blob.data).hex() == "80010000" "02000000" "04000000" "08000000" "01008105" "007f03fe"
    assert (blob.name, blob.dtype, blob.quantization) == ("w", np.uint8, None)
    # No bias: 0 - (-1) * sum(row). sum(1, 0, -127, 5) = -121, sum(0, 127, 3, -2) = 128.
    assert (bias.data.tolist(), bias.dtype) == ([-121, 128], np.int32)
    # 0.5 * 0.25 / 2 = 1/16 = (2**30 / 2**31) * 2**-3, one scale for both channels.
    assert (multiplier.data.tolist(), multiplier.dtype) == ([2**30], np.int32)
    assert (shift.data.tolist(), shift.dtype) == ([-3], np.int8)
    # version 1, op 2, padding 0, ReLU 1 | no flags, bias type 0, operator version 4 | no geometry |
    # input zero point -1, output zero point 3 = activation minimum, activation maximum 127.
    assert op.options["custom"].hex() == "01020001" "00000400" + 14 * "00" + "ffff" "0300" "0300" "7f00"
    assert_lossless(plain, packed)


def test_depthwise_weights_become_one_row_per_output_channel():
    """(1, h, w, channels * multiplier): channel 0 takes every fourth value, in height-width order."""
    builder = GraphBuilder()
    x = builder.input((1, 4, 4, 2))
    x = builder.depthwise(x, 2, (2, 3), weights=np.arange(24))
    plain = builder.build([x])
    packed = pack(plain, {0: "dense8"})
    blob = packed.tensors[packed.ops[0].inputs[1]].data
    assert formats.decode(blob.tobytes()).tolist() == [list(range(channel, 24, 4)) for channel in range(4)]
    assert_lossless(plain, packed)


@pytest.mark.parametrize("make", [lambda: small_cnn(ternary=True), every_op_graph, small_cnn])
def test_expanding_gives_back_every_tensor_and_operator(make):
    plain = from_file(make())
    packed = pack(plain)
    assert_lossless(plain, packed)
    everything = pack(plain, {i: "dense8" for i, op in enumerate(plain.ops) if op.kind in options_module.PACKED_KINDS})
    assert len(packed_kinds(everything)) >= 4
    assert_lossless(plain, everything)
    for index, tensor in enumerate(plain.tensors):
        assert everything.tensors[index].name == tensor.name


def test_packed_and_plain_models_compute_the_same():
    plain = from_file(every_op_graph())
    packed = pack(plain, {i: "dense8" for i, op in enumerate(plain.ops) if op.kind in options_module.PACKED_KINDS})
    inputs = random_inputs(plain, np.random.default_rng(4))
    for got, expected in zip(reference.run(packed, inputs), reference.run(plain, inputs), strict=True):
        assert np.array_equal(got, expected)


def test_an_expanded_file_runs_in_the_stock_interpreter():
    plain = small_cnn(ternary=True)
    inputs = random_inputs(plain, np.random.default_rng(4))
    expanded = read_model(expand_tflite(compress_tflite(write_model(plain))))
    assert np.array_equal(builtin_ref(expanded, inputs), builtin_ref(plain, inputs))


ACTIVATIONS = ["none", "relu", "relu6", "relu_n1_to_1"]
GEOMETRY = list(itertools.product(["same", "valid"], [(1, 1), (2, 3)], [(1, 1), (3, 2)], ACTIVATIONS))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_every_option_of_the_builtin_operators_is_restored(bias, per_channel):
    builder = GraphBuilder(2)
    x = builder.input((1, 9, 8, 3))
    outputs = []
    for padding, stride, dilation, activation in GEOMETRY:
        common = (stride, padding, dilation, activation, per_channel)
        outputs.append(builder.conv2d(x, 2, (3, 2), *common, bias=bias))
        outputs.append(builder.depthwise(x, 1 + len(outputs) % 3, (2, 3), *common, bias=bias))
    rows = builder.input((2, 6))
    for keep, asymmetric, activation in itertools.product([False, True], [False, True], ["none", "relu"]):
        outputs.append(builder.fully_connected(rows, 3, activation, per_channel, bias=bias))
        op = builder.ops[-1]
        flags = {"keepNumDims": keep, "asymmetricQuantizeInputs": asymmetric, "quantizedBiasType": 2}
        builder.ops[-1] = replace(op, options={**op.options, **flags}, version=300)
    plain = from_file(builder.build(outputs))
    packed = pack(plain, dict.fromkeys(range(len(plain.ops)), "dense8"))
    assert len(packed_kinds(packed)) == len(plain.ops) == 72
    assert_lossless(plain, packed)


def test_a_missing_bias_is_restored_as_it_was_written():
    for inputs in ((0, 1), (0, 1, -1)):
        plain = changed_op(read_model(hand_made()), 0, inputs=inputs)
        assert_lossless(plain, pack(plain, {0: "dense8"}))


def test_the_default_packs_exactly_the_layers_that_become_smaller():
    builder = GraphBuilder(3)
    x = builder.input((1, 6, 6, 8))
    outputs = [
        builder.conv2d(x, 8, weights=ternary_weights((8, 3, 3, 8))),
        builder.conv2d(x, 8),
        builder.conv2d(x, 2, (1, 1), weights=ternary_weights((2, 1, 1, 8))),
    ]
    packed = pack(builder.build(outputs))
    assert [op.kind for op in packed.ops] == ["HwcmpConv2D", "CONV_2D", "CONV_2D"]
    # 576 ternary weights, 72 a row. nary: 15 bytes of 5 codes a row, table of 3 padded to 4, header 16; others are smaller.
    sizes = {name: len(blob) for name, blob in formats.admissible(ternary_weights((8, 72))).items()}
    assert sizes["nary"] == 16 + 4 + 8 * 15
    assert packed.tensors[packed.ops[0].inputs[1]].size == min(sizes.values()) < sizes["nary"]
    dense = builder.build(outputs[1:2])
    dense = replace(dense, ops=dense.ops[1:2])
    assert pack(dense) is dense and expand(dense) is dense


@pytest.mark.parametrize("levels, limit, stored", [(3, 0.22, "nary"), (5, 0.32, "entropy"), (7, 0.37, "entropy")])
def test_small_alphabets_take_their_share_of_int8(levels, limit, stored):
    rng = np.random.default_rng(0)
    values = np.round(rng.integers(-(levels // 2), levels // 2 + 1, (32, 3, 3, 32)) * 127 / (levels // 2))
    builder = GraphBuilder()
    builder.conv2d(builder.input((1, 8, 8, 32)), 32, weights=values)
    (row,) = inspect(pack(builder.build([builder.ops[-1].outputs[0]])))
    assert (row.row_values, row.stored, row.int8_bytes) == (levels, stored, 9216)
    assert row.stored_bytes <= limit * row.int8_bytes


def shared_weights(second_bias: bool) -> Graph:
    """Two convolutions with one weight tensor; the second may have the bias of the first."""
    builder = GraphBuilder(7)
    a, b = builder.input((1, 5, 5, 4), 0.05, -3), builder.input((1, 5, 5, 4), 0.05, 9)
    first = builder.conv2d(a, 6, weights=ternary_weights((6, 3, 3, 4)))
    op = builder.ops[-1]
    inputs = (b, *op.inputs[1 : 3 if second_bias else 2])
    second = builder.op("CONV_2D", inputs, (1, 5, 5, 6), 0.3, 0, "Conv2DOptions", op.options, version=3)
    return builder.build([first, second])


@pytest.mark.parametrize("second_bias", [True, False])
def test_weights_of_several_operators_are_stored_once(second_bias):
    plain = shared_weights(second_bias)
    packed = pack(plain)
    first, second = packed.ops
    assert packed_kinds(packed) == ["Conv2D", "Conv2D"] and first.inputs[1] == second.inputs[1]
    # Their input zero points differ, so the folded biases do; a bias that both read stays where it was.
    assert first.inputs[2] != second.inputs[2]
    kept = plain.ops[0].inputs[2]
    assert (first.inputs[2] == kept) == (not second_bias)
    assert_lossless(plain, packed)
    blob = packed.tensors[first.inputs[1]].data.tobytes()
    assert write_model(packed).count(blob) == 1


def test_equal_constants_of_repeated_operators_are_stored_once():
    plain = shared_weights(True)
    ops = (plain.ops[0], replace(plain.ops[0], outputs=plain.ops[1].outputs))
    tensors = (*plain.tensors[:-1], replace(plain.tensors[plain.ops[0].outputs[0]], name="second"))
    plain = replace(plain, ops=ops, tensors=tensors)
    packed = pack(plain)
    assert packed.ops[0].inputs[1:] == packed.ops[1].inputs[1:]
    assert len(packed.tensors) == len(plain.tensors) + 3
    assert_lossless(plain, packed)


def test_tensors_over_one_buffer_share_one_blob():
    plain = shared_weights(True)
    twin = len(plain.tensors)
    weights = plain.ops[0].inputs[1]
    plain = replace(plain, tensors=(*plain.tensors, replace(plain.tensors[weights], name="twin")))
    plain = changed_op(plain, 1, inputs=(plain.ops[1].inputs[0], twin, *plain.ops[1].inputs[2:]))
    packed = pack(plain)
    assert packed.tensors[weights].data is packed.tensors[twin].data
    assert packed_kinds(packed) == ["Conv2D", "Conv2D"]
    assert_lossless(plain, packed)


def _used_by_another_kind(plain: Graph) -> Graph:
    """(1, 1, 1, 64) is one output channel of a convolution and 64 of a depthwise one."""
    builder = GraphBuilder(1)
    x = builder.input((1, 3, 3, 64))
    a = builder.conv2d(x, 1, (1, 1), weights=ternary_weights((1, 1, 1, 64)), per_channel=False, bias=False)
    b = builder.depthwise(x, 1, (1, 1), per_channel=False, bias=False)
    builder.ops[1] = replace(builder.ops[1], inputs=(x, builder.ops[0].inputs[1]))
    return builder.build([a, b])


def _is_an_output(plain: Graph) -> Graph:
    return replace(plain, outputs=(*plain.outputs, plain.ops[0].inputs[1]))


def _is_in_a_signature(plain: Graph) -> Graph:
    signature = Signature("s", (), (("weights", plain.ops[0].inputs[1]),))
    return replace(plain, signatures=(signature,))


def _has_a_view_of_another_shape(plain: Graph) -> Graph:
    weights = plain.tensors[plain.ops[0].inputs[1]]
    flat = replace(weights, name="flat", shape=(weights.size,), data=weights.data.reshape(-1), quantization=None)
    return replace(plain, tensors=(*plain.tensors, flat))


def _has_a_zero_point(plain: Graph) -> Graph:
    weights = plain.ops[0].inputs[1]
    scale = plain.tensors[weights].quantization.scale
    return changed_tensor(plain, weights, quantization=quantized(scale, 1))


def _has_other_padding(plain: Graph) -> Graph:
    for number in range(2):
        plain = changed_op(plain, number, options={**plain.ops[number].options, "padding": 2})
    return plain


def _is_float(plain: Graph) -> Graph:
    return changed_tensor(plain, plain.inputs[0], dtype=np.dtype(np.float32), quantization=None)


@pytest.mark.parametrize(
    "change",
    [_used_by_another_kind, _is_an_output, _is_in_a_signature, _has_a_view_of_another_shape, _has_a_zero_point,
     _has_other_padding, _is_float],
)  # fmt: skip
def test_weights_that_cannot_be_replaced_without_loss_are_left_alone(change):
    plain = change(shared_weights(True))
    assert pack(plain) is plain
    with pytest.raises(UnsupportedModelError, match="operator 0|no weights"):
        pack(plain, {0: "dense8"})


def test_a_choice_that_does_not_fit_is_refused_with_the_operator():
    plain = shared_weights(True)
    with pytest.raises(UnsupportedModelError, match=r"operators \[0, 1\] share"):
        pack(plain, {0: "nary", 1: "builtin"})
    with pytest.raises(UnsupportedModelError, match="2: 'nary'"):
        pack(plain, {2: "nary"})
    with pytest.raises(UnsupportedModelError, match="'ternary'"):
        pack(plain, {0: "ternary"})
    with pytest.raises(UnsupportedModelError, match="packed already"):
        pack(pack(plain))
    cnn = small_cnn()
    with pytest.raises(BlobError, match=r"operator 0 \(CONV_2D\)"):
        pack(cnn, {0: "nary"})
    with pytest.raises(UnsupportedModelError, match=r"operator 3 \(ADD\)"):
        pack(cnn, {3: "dense8"})
    assert pack(plain, {0: "builtin"}) is plain
    assert packed_kinds(pack(plain, {1: "dense8"})) == ["Conv2D", "Conv2D"]


def _metadata(change):
    def tampered(packed: Graph) -> Graph:
        ((name, data),) = packed.metadata
        content = json.loads(data)
        change(content)
        return replace(packed, metadata=((name, json.dumps(content).encode()),))

    return tampered


def _constant(position, change):
    def tampered(packed: Graph) -> Graph:
        index = packed.ops[0].inputs[position]
        data = packed.tensors[index].data.copy()
        change(data)
        return changed_tensor(packed, index, data=data)

    return tampered


def _custom(offset, value):
    def tampered(packed: Graph) -> Graph:
        custom = bytearray(packed.ops[0].options["custom"])
        custom[offset] = value
        return changed_op(packed, 0, options={"custom": bytes(custom)})

    return tampered


def _add_one(data):
    data[0] += 1


TAMPERED = {
    "a multiplier": _constant(3, _add_one),
    "a shift": _constant(4, _add_one),
    "a bias beyond int32": _constant(2, lambda data: data.__setitem__(0, -(2**31))),
    "a blob byte": _constant(1, lambda data: data.__setitem__(0, 0)),
    "an input zero point": _custom(22, 5),
    "an activation range": _custom(26, 100),
    "a stride": _custom(12, 2),
    "a kernel": _custom(8, 9),
    "a kind": _custom(1, 1),
    "a flag": _custom(4, 5),
    "an option version": _custom(0, 2),
    "fewer inputs": lambda g: changed_op(g, 0, inputs=g.ops[0].inputs[:4]),
    "inputs in another order": lambda g: changed_op(g, 0, inputs=(*g.ops[0].inputs[:2], *g.ops[0].inputs[:1:-1])),
    "another kind": lambda g: changed_op(g, 0, kind="HwcmpFullyConnected"),
    "no metadata": lambda g: replace(g, metadata=()),
    "metadata twice": lambda g: replace(g, metadata=g.metadata * 2),
    "metadata without operators": lambda g: replace(small_cnn(), metadata=g.metadata),
    "metadata that are not JSON": lambda g: replace(g, metadata=((METADATA_NAME, b"\xff{"),)),
    "metadata nested without end": lambda g: replace(g, metadata=((METADATA_NAME, b"[" * 100_000),)),
    "another version": _metadata(lambda m: m.update(version=2)),
    "more tensors": _metadata(lambda m: m.update(tensors=10_000)),
    "fewer tensors": _metadata(lambda m: m.update(tensors=3)),
    "another shape": _metadata(lambda m: m["weights"][0].update(shape=[10, 3, 27, 1])),
    "a shape that overflows": _metadata(lambda m: m["weights"][0].update(shape=[10, 2**30, 2**30, 2**30])),
    "a swapped kernel": _metadata(lambda m: m["weights"][0].update(shape=[27, 3, 3, 10])),
    "another scale": _metadata(lambda m: m["weights"][0].update(scale="AACAPw==")),
    "half a scale": _metadata(lambda m: m["weights"][0].update(scale="AAA=")),
    "another axis": _metadata(lambda m: m["weights"][0].update(axis=3)),
    "another bias": _metadata(lambda m: m["ops"][0].__setitem__(1, 0)),
    "no bias": _metadata(lambda m: m["ops"][0].__setitem__(1, None)),
    "a bias that is true": _metadata(lambda m: m["ops"][0].__setitem__(1, True)),
    "an operator twice": _metadata(lambda m: m["ops"].append(m["ops"][0])),
    "another operator": _metadata(lambda m: m["ops"][0].__setitem__(0, 4)),
    "no weights": _metadata(lambda m: m.update(weights=[])),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_packed_model_that_contradicts_itself_is_not_expanded(what):
    packed = pack(small_cnn(ternary=True))
    assert packed.ops[0].is_custom
    with pytest.raises(HwcmpError):
        expand(TAMPERED[what](packed))


def test_custom_options_are_read_back_and_checked():
    assert doctest.testmod(options_module).failed == 0
    options = PackedOptions(1, 1, 3, 1, 0, 5, -128, 127, -128, 100, 3, 300, 1, 2, 4, 32767, 8)
    data = pack_options(options)
    # Low byte first: 300 = 0x012c, -128 = 0xff80.
    assert data.hex() == "01010103" "01000500" "03002c01" "01000200" "0400ff7f" "0800" "80ff7f00" "80ff6400"
    assert unpack_options(data) == options
    for damaged in (b"", data[:-1], data + b"\0", b"\x02" + data[1:], data[:1] + b"\x03" + data[2:]):
        with pytest.raises(ModelFormatError):
            unpack_options(damaged)
    for field, value in {"padding": 2, "flags": 8, "stride_h": 0, "kernel_w": 32768, "input_zero_point": 128}.items():
        with pytest.raises(ModelFormatError, match=field):
            pack_options(replace(options, **{field: value}))
    with pytest.raises(ModelFormatError, match="depth_multiplier"):
        pack_options(replace(options, op=0))
    with pytest.raises(ModelFormatError, match="does not fit"):
        pack_options(replace(options, op_version=65536))


@pytest.mark.parametrize(
    "old, new",
    [
        ("HWCMP_OPTION_FIELD(1, u8, op)", "HWCMP_OPTION_FIELD(1, u64, op)"),
        ("HWCMP_OPTION_FIELD(1, u8, op)", "HWCMP_OPTION_FIELD(1, u16, op)"),
        ("HWCMP_OPTION_FIELD(1, u8, op)", "HWCMP_OPTION_FIELD(1, u8)"),
        ("HWCMP_OPTION_FIELD(1, u8, op)", ""),
        ("HWCMP_CONSTANT(OPTION_BYTES, 30)", "HWCMP_CONSTANT(OPTION_BYTES, 32)"),
    ],
)
def test_option_rows_that_do_not_fill_the_struct_are_refused(old, new):
    text = table_path().read_text(encoding="ascii")
    assert parse_table(text).options == table().options and old in text
    with pytest.raises(ValueError, match="hwcmp_format.def"):
        parse_table(text.replace(old, new))


def test_compressing_bytes_is_repeatable_and_can_be_undone():
    plain = write_model(small_cnn(ternary=True))
    compressed = compress_tflite(plain)
    assert compressed != plain and compress_tflite(compressed) == compressed == compress_tflite(plain)
    assert expand_tflite(compressed) == plain == expand_tflite(plain)
    assert packed_kinds(read_model(compress_tflite(plain, choice={2: "builtin", 6: "dense8"}))) == [
        "Conv2D", "FullyConnected"
    ]  # fmt: skip


def test_the_summary_counts_values_zeros_and_bytes():
    builder = GraphBuilder()
    x = builder.input((1, 4, 6, 2))
    weights = np.array([[5, 0, 0, -5], [7, 7, 7, 7]] * 8).reshape(16, 1, 2, 2)
    y = builder.conv2d(x, 16, (1, 2), (2, 2), "same", weights=weights)
    z = builder.add(y, y)
    plain = builder.build([z])
    convolution, add = inspect(plain)
    # 4 x 6 with stride 2 gives 2 x 3 outputs, each channel 4 products.
    assert (convolution.macs, convolution.int8_bytes) == (2 * 3 * 16 * 4, 64)
    assert (convolution.row_values, convolution.tensor_values, convolution.zero_share) == (3, 4, 0.25)
    assert (convolution.input_shape, convolution.output_shape) == ((1, 4, 6, 2), (1, 2, 3, 16))
    assert (convolution.stored, convolution.stored_bytes, convolution.shared) == ("int8", 64, 1)
    # Four levels: 4 codes of 2 bits a byte, table of 4, header 16.
    assert (convolution.best, convolution.best_bytes) == ("nary", 16 + 4 + 16)
    assert (add.kind, add.macs, add.best) == ("ADD", 0, "")
    packed, _ = inspect(pack(plain))
    expected = replace(convolution, kind="HwcmpConv2D", stored="nary", stored_bytes=36)
    assert packed == expected
