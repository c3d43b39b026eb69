"""The delegate in the stock interpreters, under sanitizers, and `Interpreter` with and without it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from build import GraphBuilder
from delegate_cases import (
    damaged,
    encode_case,
    one_operator_models,
    packed,
    parse_result,
    random_model,
    shared_weights_model,
)
from graphs import every_op_graph
from oracles import builtin_ref, micro, random_inputs

from keras_hwcompress.errors import HwcmpError, ModelFormatError, ToolError
from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.delegate import (
    WARNINGS,
    delegate_includes,
    delegate_library,
    delegate_sources,
    invocations,
)
from keras_hwcompress.runners.executors import load_runtime
from keras_hwcompress.runners.interpreter import Interpreter
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.graph import Graph, Op
from keras_hwcompress.tflite.prepare import prepare
from keras_hwcompress.tflite.writer import write_model

TESTS = Path(__file__).resolve().parent
CLAIMED = {
    "CONV_2D": "", "DEPTHWISE_CONV_2D": "", "FULLY_CONNECTED": "HwcmpFullyConnected", "HwcmpConv2D": "HwcmpConv2D",
    "HwcmpDepthwiseConv2D": "HwcmpDepthwiseConv2D", "HwcmpFullyConnected": "HwcmpFullyConnected",
}  # fmt: skip
COUNT = 6
NAMES = [*(f"random {seed}" for seed in range(8)), "partly packed", "plain", "shared weights", "every operator"]
ONE_OPERATOR = list(one_operator_models())


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWCMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        delegate_library()
        yield


@functools.cache
def _models() -> dict[str, Graph]:
    plain = {f"random {seed}": random_model(seed) for seed in range(8)}
    models = {name: packed(graph, turn=turn) for turn, (name, graph) in enumerate(plain.items())}
    # The stock convolutions insist on a bias.
    with_bias = [number for number, op in enumerate(plain["random 1"].ops) if len(op.inputs) == 3]
    models["partly packed"] = packed(plain["random 1"], leave=with_bias[::2])
    models["plain"] = plain["random 2"]
    models["shared weights"] = packed(shared_weights_model())
    models["every operator"] = packed(every_op_graph())
    assert list(models) == NAMES
    return models


def _one(name: str) -> Graph:
    return one_operator_models()[name]


def _inputs(graph: Graph, count: int = COUNT) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [np.stack(column) for column in zip(*(random_inputs(graph, rng) for _ in range(count)))]


def _expected(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    layers = prepare(graph)
    rows = [reference.run(graph, list(row), layers) for row in zip(*inputs)]
    return [np.stack(column) for column in zip(*rows)]


def _claimed(graph: Graph) -> dict[str, int]:
    kinds = [CLAIMED.get(op.kind, "") for op in graph.ops]
    return {kind: kinds.count(kind) for kind in invocations()}


def _assert_equal(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.dtype == b.dtype and a.shape == b.shape, number
        np.testing.assert_array_equal(a, b, err_msg=f"output {number}")


# ---- right integers, in our kernels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_output_in_litert_equals_the_reference_and_our_kernels_computed_it(name):
    graph = _models()[name]
    interpreter = Interpreter(write_model(graph), runtime="litert", allow_fallback=False)
    assert interpreter.executor == "litert+delegate" and interpreter.fallback_reason is None
    before = invocations()
    inputs = _inputs(graph)
    got = interpreter.run(inputs)
    calls = {kind: number - before[kind] for kind, number in invocations().items()}
    assert calls == {kind: COUNT * number for kind, number in _claimed(graph).items()}
    assert sum(calls.values()) > 0
    _assert_equal(got, _expected(graph, inputs))


def test_the_models_hold_every_custom_operator_in_every_format_and_every_geometry():
    found = {
        (op.kind, int(graph.tensors[op.inputs[1]].data[0]))
        for graph in _models().values()
        for op in graph.ops
        if op.is_custom
    }
    assert found == {(kind, row.id) for kind in invocations() for row in table().formats}
    layers = [layer for graph in _models().values() for layer in prepare(graph) if layer.op == "conv2d"]
    both = {True, False}
    assert {layer.stride != (1, 1) for layer in layers} == both == {layer.dilation != (1, 1) for layer in layers}
    assert {layer.pad != (0, 0) for layer in layers} == both == {layer.channels.shift.size == 1 for layer in layers}


def test_tf_lite_gives_the_same_integers(tmp_path):
    arrays = {}
    for number, graph in enumerate(_models().values()):
        one_input = len(graph.inputs) == 1
        assert one_input
        inputs = _inputs(graph, 2)
        arrays |= {f"model_{number}": np.frombuffer(write_model(graph), np.uint8), f"input_{number}": inputs[0]}
        arrays |= {f"output_{number}_{k}": values for k, values in enumerate(_expected(graph, inputs))}
    lines = _run_process("tf", "equal", tmp_path, arrays)
    assert lines == [f"equal tf+delegate {2 * sum(_claimed(graph).values())}" for graph in _models().values()]


def _run_process(runtime: str, what: str, folder: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    path = folder / "models.npz"
    np.savez(path, **arrays)
    command = [sys.executable, str(TESTS / "delegate_process.py"), runtime, what, str(path)]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines and lines[-1] == "done", (done.returncode, lines[-9:], done.stderr[-999:])
    return lines[:-1]


def test_fully_connected_is_rounded_twice_like_on_the_device_where_the_stock_kernel_rounds_once():
    """Channel i adds the bias i and shifts by 8. A high product of 0.4 below a tie is rounded up to the tie by the
    first rounding and away from zero by the second, but down if there is only one."""
    builder = GraphBuilder(0)
    x = builder.input((1, 1), 1.0, 0)
    weights = builder.constant(np.ones((20000, 1), np.int8), 0.7 / 256)
    bias = builder.constant(np.arange(20000, dtype=np.int32), 0.7 / 256)
    options = {"fusedActivationFunction": 0}
    y = builder.op("FULLY_CONNECTED", (x, weights, bias), (1, 20000), 1.0, 0, "FullyConnectedOptions", options)
    graph = builder.build([y])
    value = np.int8([[-100]])
    once, twice = builtin_ref(graph, [value])[0], micro(graph, [value])[0]
    differing = np.flatnonzero(once != twice)
    assert 0 < differing.size < 200
    got = Interpreter(write_model(graph), runtime="litert").run([value])[0][0]
    np.testing.assert_array_equal(got.ravel(), twice.ravel())
    assert np.all(got.ravel()[differing] == once.ravel()[differing] + 1)


@pytest.mark.parametrize("channels", ["one scale", "a scale per channel"])
def test_multipliers_are_those_of_tensorflow_lite_to_the_last_bit(channels):
    """Each channel's bias is the integer just below or above a rounding boundary k + 1/2 of bias * multiplier, so a
    multiplier that is off by 2**-31 of its value shows in some channel."""
    builder = GraphBuilder(0)
    x = builder.input((1, 1), 0.1, 0)
    boundaries = np.arange(-118, 118).repeat(2) + 0.5
    count = len(boundaries)
    scales = np.float32(1.1e-6) * np.linspace(1, 1.02, 1 if channels == "one scale" else count, dtype=np.float32)
    below = np.floor(boundaries / (np.float64(np.float32(0.1)) * scales.astype(np.float64))).astype(np.int32)
    weights = builder.constant(np.ones((count, 1), np.int8), scales)
    bias = builder.constant(below + np.tile(np.int32([0, 1]), count // 2), np.float32(0.1) * scales)
    options = {"fusedActivationFunction": 0}
    y = builder.op("FULLY_CONNECTED", (x, weights, bias), (1, count), 1.0, 0, "FullyConnectedOptions", options)
    graph = builder.build([y])
    value = np.int8([[0]])
    got = Interpreter(write_model(graph), allow_fallback=False).run([value])[0][0]
    np.testing.assert_array_equal(got, micro(graph, [value])[0])


def test_two_interpreters_run_in_two_threads():
    graphs = [_models()["random 0"], _models()["every operator"]]
    inputs = [_inputs(graph, 30) for graph in graphs]
    results: list = [None, None]

    def work(number: int) -> None:
        results[number] = Interpreter(write_model(graphs[number])).run(inputs[number])

    before = sum(invocations().values())
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for number, graph in enumerate(graphs):
        _assert_equal(results[number], _expected(graph, inputs[number]))
    claimed = sum(sum(_claimed(graph).values()) for graph in graphs)
    assert sum(invocations().values()) - before == 30 * claimed


# ---- damaged files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The delegate and a stand-in for an interpreter, with sanitizers and every warning an error."""
    program = tmp_path_factory.mktemp("driver") / "driver"
    strict = [*WARNINGS, "-Wsign-conversion", "-Wundef", "-Wvla", "-Wcast-align=strict", "-Werror"]
    sanitizers = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    includes = [f"-I{folder}" for folder in delegate_includes()]
    sources = [runtime_dir() / "tests" / "delegate_driver.c", *delegate_sources()]
    command = ["cc", "-std=c11", *strict, *sanitizers, *includes, *map(str, sources), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    def run(cases: list[bytes]) -> list:
        path = program.parent / "cases"
        path.write_bytes(b"".join(cases))
        done = subprocess.run([str(program), str(path)], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[:3000]
        results = [parse_result(line) for line in done.stdout.splitlines()]
        assert len(results) == len(cases)
        return results

    return run


def _reference_output(graph: Graph, x: np.ndarray, shape: tuple[int, ...]) -> bytes | None:
    """What the reference computes if the output has that shape; None if it refuses the graph."""
    index = graph.ops[0].outputs[0]
    tensors = list(graph.tensors)
    tensors[index] = replace(tensors[index], shape=shape)
    changed = replace(graph, tensors=tuple(tensors))
    try:
        return reference.run(changed, [x])[0].tobytes()
    except HwcmpError:
        return None


# What the delegate refuses although Python's `prepare` lets it pass; neither `pack` nor a converter writes it.
STRICTER = ("have zero points", "the activation range", "inputs. Received", "with last dimension 7")


@pytest.mark.parametrize("name", ONE_OPERATOR)
def test_a_damaged_operator_is_refused_or_computed_like_the_reference(driver, name):
    graph = _one(name)
    variants = [("nothing", graph), *damaged(graph)]
    rng = np.random.default_rng(0)
    inputs = [random_inputs(variant, rng)[0] for _, variant in variants]
    results = driver([encode_case(variant, x) for (_, variant), x in zip(variants, inputs)])
    assert not results[0].error
    refused = 0
    for (what, variant), x, result in zip(variants, inputs, results):
        if result.error:
            refused += 1
            shape = variant.tensors[graph.ops[0].outputs[0]].shape
            same_output = variant.ops[0].outputs == graph.ops[0].outputs
            accepted = same_output and _reference_output(variant, x, shape) is not None
            assert not accepted or any(rule in result.error for rule in STRICTER), (what, result.error)
        else:
            assert result.values == _reference_output(variant, x, result.shape), what
    assert refused > 40 and refused < len(results)


def test_a_damaged_operator_is_a_python_exception_in_the_stock_interpreter(tmp_path):
    arrays = {}
    for graph in one_operator_models().values():
        for _, variant in list(damaged(graph))[::17]:
            try:
                data = write_model(variant)
            except HwcmpError:
                continue
            arrays[f"model_{len(arrays)}"] = np.frombuffer(data, np.uint8)
    lines = _run_process("litert", "refuse", tmp_path, arrays)
    refused = [line for line in lines if line.startswith("refused ")]
    assert len(lines) == len(arrays) and len(refused) > 60
    assert sum("Hwcmp" in line for line in refused) > 40, refused


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (0, "expected options of version 1. Received: 7"),
        (1, "the options are those of another operator .7."),
        (2, "unknown padding 7 or flags 1"),
        (8, "the weights do not fit the shape of the layer. Received: 4 x 18 for 7 x 2 x 3"),
        (24, "the tensors have zero points -3, 5, the options -3, 7"),
        (27, "a zero point or the activation range is not int8"),
    ],
)
def test_interpreter_names_the_operator_and_what_is_wrong_with_it(offset, message):
    graph = _one("conv2d nary")
    options = graph.ops[0].options["custom"]
    broken = options[:offset] + b"\x07" + options[offset + 1 :]
    graph = replace(graph, ops=(replace(graph.ops[0], options={"custom": broken}),))
    interpreter = Interpreter(write_model(graph), runtime="litert")
    name = graph.tensors[graph.ops[0].outputs[0]].name
    with pytest.raises(ModelFormatError, match=f"litert.delegate refuses the model: HwcmpConv2D '{name}': {message}"):
        interpreter.allocate_tensors()


def test_an_interpreter_with_other_structs_is_refused(driver):
    """Layouts of delegate_driver.c: context, longer tensors, flags, sizes, no pointer at an offset of the tensor."""
    graph = _one("conv2d nary")
    x = random_inputs(graph, np.random.default_rng(0))[0]
    layouts = [1, 2, 3, 4, *range(100, 100 + 112, 8)]
    for layout, result in zip(layouts, driver([encode_case(graph, x, layout) for layout in layouts]), strict=True):
        # With another context there is no function that could be trusted with a message.
        expected = "without a message" if layout == 1 else "the tensors of this interpreter have another layout"
        assert result.error.endswith(expected), layout


def test_a_tensor_that_two_operators_write_cannot_make_a_kernel_leave_its_buffer(tmp_path):
    """The second writer makes the tensor smaller after the convolution that reads it was prepared."""
    builder = GraphBuilder(3)
    x = builder.input((1, 8, 8, 4))
    middle = builder.conv2d(x, 4, weights=np.tile(np.int8([1, 0, -1]), (4, 3, 4, 1)).reshape(4, 3, 3, 4))
    y = builder.conv2d(middle, 3, weights=np.resize(np.int8([1, 0, -1]), (3, 3, 3, 4)))
    small = builder.conv2d(x, 1, (8, 8), padding="valid", weights=np.resize(np.int8([1, 0, -1]), (1, 8, 8, 4)))
    graph = packed(builder.build([y, small]))
    data = _written_unchecked(graph, (*graph.ops[:2], replace(graph.ops[2], outputs=(middle,))))
    (line,) = _run_process("litert", "refuse", tmp_path, {"model_0": np.frombuffer(data, np.uint8)})
    assert line.startswith("refused ") and "changed its size" in line


def _written_unchecked(graph: Graph, ops: tuple[Op, ...]) -> bytes:
    """A file that `write_model` would refuse to write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_hwcompress.tflite.writer.validate", lambda _: None)
        return write_model(replace(graph, ops=ops, outputs=graph.outputs[:1]))


# ---- without the delegate -------------------------------------------------------------------------------------------


@pytest.fixture
def _no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("micro_is_installed", [True, False])
@pytest.mark.parametrize("name", ["random 0", "partly packed", "plain"])
def test_without_a_compiler_the_integers_are_the_same(monkeypatch, name, micro_is_installed):
    graph = _models()[name]
    if not micro_is_installed:
        monkeypatch.setitem(sys.modules, "tflite_micro", None)
    interpreter = Interpreter(write_model(graph))
    assert interpreter.executor == ("tflm" if micro_is_installed else "reference")
    assert "cc is missing" in interpreter.fallback_reason
    inputs = _inputs(graph, 2)
    _assert_equal(interpreter.run(inputs), _expected(graph, inputs))


@pytest.mark.usefixtures("_no_compiler")
def test_without_a_compiler_and_without_fully_connected_the_stock_kernels_do():
    interpreter = Interpreter(write_model(_one("conv2d nary")), runtime="litert")
    assert interpreter.executor == "litert" and interpreter.fallback_reason
    graph = _one("conv2d nary")
    inputs = _inputs(graph)
    _assert_equal(interpreter.run(inputs), _expected(graph, inputs))


@pytest.mark.usefixtures("_no_compiler")
def test_a_relu6_of_its_own_does_not_run_in_the_micro_interpreter_which_gets_it_wrong():
    builder = GraphBuilder(0)
    x = builder.fully_connected(builder.input((1, 12)), 40)
    graph = builder.build([builder.op("RELU6", (x,), (1, 40), 0.03, -128)])
    interpreter = Interpreter(write_model(graph))
    assert interpreter.executor == "reference"
    inputs = _inputs(graph)
    _assert_equal(interpreter.run(inputs), _expected(graph, inputs))


def test_without_any_runtime_another_executor_steps_in_unless_one_was_asked_for(monkeypatch):
    packages = {"ai_edge_litert", "tensorflow"}
    for name in packages | {name for name in sys.modules if name.split(".")[0] in packages}:
        monkeypatch.setitem(sys.modules, name, None)
    for graph in (_models()["random 0"], _one("conv2d nary")):
        interpreter = Interpreter(write_model(graph))
        assert interpreter.executor == "tflm" and "needs the package" in interpreter.fallback_reason
        inputs = _inputs(graph, 2)
        _assert_equal(interpreter.run(inputs), _expected(graph, inputs))
        with pytest.raises(ToolError, match="needs the package ai-edge-litert"):
            Interpreter(write_model(graph), runtime="litert")


@pytest.mark.usefixtures("_no_compiler")
def test_the_fallback_can_be_forbidden():
    with pytest.raises(ToolError, match="cc is missing"):
        Interpreter(write_model(_models()["random 0"]), allow_fallback=False)


def test_a_compiler_that_fails_counts_as_none(monkeypatch, tmp_path):
    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    interpreter = Interpreter(write_model(_models()["random 0"]))
    assert interpreter.executor == "tflm" and "cc failed" in interpreter.fallback_reason


def test_a_model_without_packed_operators_and_fully_connected_needs_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    builder = GraphBuilder(1)
    graph = builder.build([builder.conv2d(builder.input((1, 5, 5, 3)), 4)])
    interpreter = Interpreter(write_model(graph), allow_fallback=False)
    assert interpreter.executor == "litert" and interpreter.fallback_reason is None
    inputs = _inputs(graph)
    _assert_equal(interpreter.run(inputs), _expected(graph, inputs))


# ---- the interface --------------------------------------------------------------------------------------------------


def test_the_usual_methods_work_on_every_executor(monkeypatch, tmp_path):
    graph = _models()["random 0"]
    path = tmp_path / "model.tflite"
    path.write_bytes(write_model(graph))
    x = random_inputs(graph, np.random.default_rng(2))[0]
    expected = reference.run(graph, [x])
    stock = Interpreter(path)
    monkeypatch.setenv("PATH", "")
    plain = Interpreter(str(path))
    for interpreter in (stock, plain):
        interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        _assert_equal([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()], expected)
    for ours, theirs in zip(
        plain.get_input_details() + plain.get_output_details(), stock.get_input_details() + stock.get_output_details()
    ):
        assert set(ours) == set(theirs)
        assert all(ours[key] == theirs[key] for key in ("name", "index", "dtype", "quantization"))
        np.testing.assert_array_equal(ours["shape"], theirs["shape"])
        for key, value in ours["quantization_parameters"].items():
            np.testing.assert_array_equal(value, theirs["quantization_parameters"][key])


def test_run_takes_arrays_with_or_without_the_batch_axis_and_names_a_wrong_one():
    graph = _models()["random 0"]
    interpreter = Interpreter(write_model(graph))
    (x,) = _inputs(graph, 3)
    _assert_equal(interpreter.run([x[:, 0]]), interpreter.run([x]))
    assert [len(result) for result in interpreter.run([x[:0]])] == [0] * len(graph.outputs)
    for wrong in ([], [x, x], [x.astype(np.int16)], [x[:, :, :-1]], [np.int8(1)]):
        with pytest.raises(ValueError, match="expect"):
            interpreter.run(wrong)
    with pytest.raises(ValueError, match="runtime must be one of auto, litert, tf"):
        Interpreter(write_model(graph), runtime="onnx")
    with pytest.raises(ModelFormatError):
        Interpreter(b"not a model")


def test_the_library_is_built_once_and_exports_only_what_is_asked_of_a_delegate():
    path = delegate_library()
    stamp = path.stat().st_mtime_ns
    assert delegate_library() == path and path.stat().st_mtime_ns == stamp
    names = subprocess.run(["nm", "-D", "--defined-only", str(path)], capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1] for line in names.splitlines()}
    assert exported == {"tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate", "hwcmp_delegate_invocations"}


def test_the_delegate_has_no_options():
    with pytest.raises(ValueError, match="no options"):
        load_runtime("litert").load_delegate(str(delegate_library()), {"threads": "4"})
