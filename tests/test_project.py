"""Generated projects: complete or not at all, deterministic, buildable by their own CMake presets."""

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from build import GraphBuilder
from graphs import every_op_graph, small_cnn

from keras_hwcompress.codegen.project import generate_project
from keras_hwcompress.errors import BoardError, HwcmpError, ToolError
from keras_hwcompress.runners import tools
from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.qemu import SENTINEL, build_project, run_qemu
from keras_hwcompress.targets import BOARDS
from keras_hwcompress.tflite import reference
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.writer import write_model


def _expected(graph, inputs):
    rows = [reference.run(graph, [column[i] for column in inputs]) for i in range(len(inputs[0]))]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


def _assert_same(got, expected):
    assert len(got) == len(expected)
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        wrong = np.flatnonzero(a.reshape(-1) != b.reshape(-1))
        assert wrong.size == 0, f"output {number}: {wrong.size} of {a.size} differ, first at {wrong[:5]}"


@pytest.fixture(scope="module")
def every_op():
    graph = pack(every_op_graph())
    inputs = random_batch(graph, 2)
    return graph, inputs, _expected(graph, inputs)


def test_every_operator_gives_the_same_integers_on_the_host(every_op):
    graph, inputs, expected = every_op
    assert {op.kind for op in graph.ops} >= {"HwcmpConv2D", "HwcmpFullyConnected", "CONV_2D"}
    _assert_same(HostLibrary(graph).run(inputs), expected)


@pytest.mark.parametrize("board", ["mps2-an386", "mps2-an385"])
def test_every_operator_gives_the_same_integers_on_cortex_m(every_op, board):
    graph, inputs, expected = every_op
    result = run_qemu(graph, inputs, board=board)
    _assert_same(result.outputs, expected)
    counts = [insns for _, _, insns in result.layer_insns]
    assert result.exact and min(counts) > 0 and 0 <= result.insns - sum(counts) < 100
    assert 0 < result.stack_bytes <= 4096


QUICK_BOARDS = ("microbit", "mps2-an386")


@pytest.mark.parametrize("board", [pytest.param(name, marks=() if name in QUICK_BOARDS else pytest.mark.slow) for name in BOARDS])
def test_every_board_runs_a_small_model(board):
    graph = pack(small_cnn(ternary=True))
    inputs = random_batch(graph, 2)
    result = run_qemu(graph, inputs, board=board)
    _assert_same(result.outputs, _expected(graph, inputs))
    assert result.exact and result.insns > 0 and 0 < result.stack_bytes <= BOARDS[board].stack_bytes


@pytest.mark.parametrize("board", ["microbit", "mps2-an386", "mps3-an547"])
def test_small_kernels_give_the_same_integers_in_a_smaller_image(board):
    graph = pack(small_cnn(ternary=True))
    inputs = random_batch(graph, 2)
    fast, small = (run_qemu(graph, inputs, board=board, kernels=kernels) for kernels in ("fast", "small"))
    _assert_same(small.outputs, _expected(graph, inputs))
    assert small.exact and small.flash_bytes < fast.flash_bytes - 2000 and small.insns > fast.insns
    with pytest.raises(ValueError, match="kernels must be one of"):
        run_qemu(graph, inputs, board=board, kernels="tiny")


def test_a_project_with_small_kernels_offers_every_board_and_carries_the_reference_kernels_alone(tmp_path):
    generate_project(write_model(pack(small_cnn(ternary=True))), tmp_path / "firmware", board="netduinoplus2", vectors=1, kernels="small")
    assert {path.name for path in (tmp_path / "firmware" / "runtime" / "src").iterdir() if path.is_dir()} == {"ref"}
    for preset in ("host", "netduinoplus2", "mps2-an385"):
        build_project(tmp_path / "firmware", preset)
        done = subprocess.run(
            ["cmake", "--build", "--preset", preset, "--target", "run"], cwd=tmp_path / "firmware", capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 and SENTINEL in done.stdout + done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("preset", ["host", "mps2-an386", "netduinoplus2"])
def test_a_project_builds_with_its_presets_and_replays_its_vectors(tmp_path, preset):
    data = write_model(pack(small_cnn(ternary=True)))
    generate_project(data, tmp_path / "firmware", board="netduinoplus2", name="digits", vectors=3)
    image = build_project(tmp_path / "firmware", preset)
    done = subprocess.run(
        ["cmake", "--build", "--preset", preset, "--target", "run"], cwd=tmp_path / "firmware", capture_output=True, text=True, timeout=120
    )
    text = done.stdout + done.stderr
    assert image.is_file() and done.returncode == 0, text
    assert "digits: 0 mismatches of 21 outputs" in text and SENTINEL in text


def test_the_replay_fails_when_an_output_is_wrong(tmp_path):
    """A test that cannot fail proves nothing: one flipped expectation must end in a non-zero exit."""
    generate_project(write_model(small_cnn()), tmp_path / "firmware", name="digits", vectors=1)
    vectors = tmp_path / "firmware" / "app" / "digits_vectors.h"
    head, tail = vectors.read_text().rsplit("{\n    ", 1)
    value, rest = tail.split(",", 1)
    vectors.write_text(f"{head}{{\n    {(int(value) + 1) % 256},{rest}")
    image = build_project(tmp_path / "firmware", "host")
    done = subprocess.run([image], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "1 mismatches of 7 outputs" in done.stdout and "HWCMP-TEST-FAILED" in done.stdout


def test_two_models_live_in_one_image(tmp_path):
    models = {"first": write_model(pack(small_cnn(1, ternary=True))), "second": write_model(small_cnn(2))}
    generate_project(models, tmp_path / "firmware", vectors=2)
    for preset in ("host", "mps2-an386"):
        build_project(tmp_path / "firmware", preset)
        done = subprocess.run(
            ["cmake", "--build", "--preset", preset, "--target", "run"], cwd=tmp_path / "firmware", capture_output=True, text=True, timeout=120
        )
        text = done.stdout + done.stderr
        assert "first: 0 mismatches of 14 outputs" in text and "second: 0 mismatches of 14 outputs" in text and SENTINEL in text


def test_a_project_carries_only_the_formats_and_operators_of_its_model(tmp_path):
    builder = GraphBuilder()
    x = builder.input((1, 4, 4, 2))
    generate_project(write_model(builder.build([builder.conv2d(x, 3)])), tmp_path / "firmware")
    sources = {path.name for path in (tmp_path / "firmware" / "runtime" / "src").rglob("*.c")}
    assert sources == {"status.c", "weights.c", "unpack_dense8.c", "conv2d.c"}
    headers = {path.name for path in (tmp_path / "firmware" / "runtime" / "src").rglob("*.h")}
    assert "hwcmp_internal.h" in headers and not headers & {"binary.h", "pool.h", "reduce.h"}


def test_the_same_model_gives_the_same_bytes(tmp_path):
    data = write_model(pack(small_cnn(ternary=True)))
    for name in ("a", "b"):
        generate_project(data, tmp_path / name, name="digits")
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")


def test_generated_c_compiles_without_warnings(tmp_path):
    generate_project(write_model(pack(every_op_graph())), tmp_path / "firmware", name="ops", vectors=1)
    flags = "-std=c11 -O1 -fsyntax-only -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-qual -Wundef -Wvla -Wstrict-prototypes -Werror".split()
    root = tmp_path / "firmware"
    includes = [f"-I{root / folder}" for folder in ("model", "app", "runtime/include", "runtime/src", "runtime/port")]
    for compiler in ("gcc", "arm-none-eabi-gcc"):
        sources = [root / "model" / "ops.c", root / "app" / "main.c"]
        done = subprocess.run([compiler, *flags, *includes, *sources], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["", "Digits", "2nd", "a-b", "int", "hwcmp_x", "x" * 40])
def test_a_name_that_is_no_identifier_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="C identifier"):
        generate_project(write_model(small_cnn()), tmp_path / "firmware", name=name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(HwcmpError, match="not empty|something else"):
            generate_project(write_model(small_cnn()), tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_generated_project_is_replaced_only_on_request(tmp_path):
    data = write_model(small_cnn())
    generate_project(data, tmp_path / "firmware", name="first")
    with pytest.raises(HwcmpError, match="not empty"):
        generate_project(data, tmp_path / "firmware", name="second")
    generate_project(data, tmp_path / "firmware", name="second", overwrite=True)
    assert (tmp_path / "firmware" / "model" / "second.c").exists() and not (tmp_path / "firmware" / "model" / "first.c").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["firmware"]


def test_an_unwritable_place_is_one_clear_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    for path in (blocker, blocker / "below"):
        with pytest.raises(HwcmpError, match="folder|cannot write"):
            generate_project(write_model(small_cnn()), path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_arena_larger_than_the_board_names_the_missing_bytes(tmp_path):
    builder = GraphBuilder()
    x = builder.input((1, 256, 256, 3))
    data = write_model(builder.build([builder.conv2d(x, 2, (1, 1))]))
    with pytest.raises(BoardError, match=r"131,072 bytes of RAM.*bytes are missing"):
        generate_project(data, tmp_path / "firmware", board="netduinoplus2")
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_for_the_smallest_board_names_the_missing_bytes(tmp_path):
    builder = GraphBuilder()
    x = builder.input((1, 32, 32, 8))
    data = write_model(builder.build([builder.conv2d(x, 8, (1, 1))]))
    with pytest.raises(BoardError, match=r"micro:bit.*16,384 bytes of RAM.*2,048 of stack\): [\d,]+ bytes are missing"):
        generate_project(data, tmp_path / "firmware", board="microbit")


def test_weights_larger_than_the_flash_name_the_missing_bytes(tmp_path):
    builder = GraphBuilder()
    x = builder.input((1, 1100))
    data = write_model(builder.build([builder.fully_connected(x, 1000)]))
    with pytest.raises(BoardError, match=r"1,048,576 bytes of flash.*bytes are missing"):
        generate_project(data, tmp_path / "firmware", board="netduinoplus2")


def test_an_image_that_does_not_link_for_want_of_flash_says_so(tmp_path):
    """The weights fit, code and weights do not: the linker's words become one line."""
    builder = GraphBuilder()
    x = builder.input((1, 1048))
    data = write_model(builder.build([builder.fully_connected(x, 990)]))
    generate_project(data, tmp_path / "firmware", board="netduinoplus2", vectors=1)
    with pytest.raises(BoardError, match=r"does not fit the board.*FLASH.*overflowed by \d+ bytes"):
        build_project(tmp_path / "firmware", "netduinoplus2")


@pytest.mark.parametrize("program", ["cmake", "arm-none-eabi-gcc", "qemu-system-arm"])
def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path, program):
    real = tools.shutil.which
    monkeypatch.setattr(tools.shutil, "which", lambda name: None if name == program else real(name))
    graph = small_cnn()
    with pytest.raises(ToolError, match=f"{program} is missing.*apt-get install"):
        run_qemu(graph, random_batch(graph, 1))


def test_an_unknown_board_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="mps2-an386.*netduinoplus2.*Received: 'arduino'"):
        generate_project(write_model(small_cnn()), tmp_path / "firmware", board="arduino")


def test_inputs_of_the_wrong_shape_or_type_are_named():
    library = HostLibrary(small_cnn())
    with pytest.raises(ValueError, match=r"expects int8 of shape \(count, 1, 9, 7, 3\). Received: int8 \(2, 9, 7, 4\)"):
        library.run([np.zeros((2, 9, 7, 4), np.int8)])
    with pytest.raises(ValueError, match="Received: float64"):
        library.run([np.zeros((2, 9, 7, 3))])


def test_threads_share_a_host_library():
    import concurrent.futures

    graph = small_cnn()
    inputs = random_batch(graph, 40)
    library = HostLibrary(graph)
    expected = library.run(inputs)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: library.run([inputs[0][i : i + 10]])[0], range(0, 40, 10)))
    assert np.array_equal(np.concatenate(parts), expected[0])


def test_the_emulator_is_stopped_after_its_time(monkeypatch):
    graph = small_cnn()
    with pytest.raises(ToolError, match="did not end within"):
        run_qemu(graph, random_batch(graph, 1), timeout=0.001)


def test_without_the_counting_plugin_the_estimate_is_marked(monkeypatch, tmp_path):
    from keras_hwcompress.runners import qemu

    broken = tmp_path / "broken.so"
    broken.write_bytes(os.urandom(64))
    graph = small_cnn()
    exact = run_qemu(graph, random_batch(graph, 1))
    monkeypatch.setattr(qemu, "_plugin", lambda: broken)
    estimate = run_qemu(graph, random_batch(graph, 1))
    assert exact.exact and not estimate.exact
    assert abs(estimate.insns - exact.insns) <= 0.05 * exact.insns + 2 * 40
