"""The hwcmp command as a user meets it: figures on success, one line and a non-zero exit on failure."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from graphs import small_cnn

from keras_hwcompress.cli import main
from keras_hwcompress.tflite.compress import expand_tflite
from keras_hwcompress.tflite.writer import write_model


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(write_model(small_cnn(ternary=True)))
    return path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_inspect_shows_every_operator_and_json_holds_the_same(capsys, model):
    code, out, _ = run(capsys, "inspect", model)
    assert code == 0 and out.count("CONV_2D") == 3 and "nary" in out and "total" in out
    code, out, _ = run(capsys, "inspect", model, "--json")
    layers = json.loads(out)["layers"]
    first = layers[0]
    assert code == 0 and first["kind"] == "CONV_2D" and first["macs"] == 9 * 7 * 270 and first["int8_bytes"] == 270
    assert first["best_bytes"] < 90 and first["row_values"] == 3 and 0 < first["zero_share"] < 1


def test_compress_is_lossless_and_reports_its_bytes(capsys, model, tmp_path):
    target = tmp_path / "small.tflite"
    code, out, _ = run(capsys, "compress", model, "-o", target, "--json", "--scope", "weights")
    figures = json.loads(out)
    assert code == 0 and figures["output_bytes"] == target.stat().st_size
    assert figures["weight_bytes"] < 0.5 * figures["int8_weight_bytes"]
    assert expand_tflite(target.read_bytes()) == expand_tflite(model.read_bytes())


def test_compress_replaces_a_file_only_when_told(capsys, model, tmp_path):
    target = tmp_path / "small.tflite"
    target.write_text("precious")
    code, _, err = run(capsys, "compress", model, "-o", target)
    assert code == 1 and "--force" in err and target.read_text() == "precious"
    assert run(capsys, "compress", model, "-o", target, "--force")[0] == 0 and target.read_bytes()[4:8] == b"TFL3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite", "small.tflite"]


def test_project_writes_a_folder_and_says_how_to_build_it(capsys, model, tmp_path):
    code, out, _ = run(capsys, "project", model, "-o", tmp_path / "firmware", "--name", "digits", "--board", "netduinoplus2")
    assert code == 0 and "cmake --preset netduinoplus2" in out and (tmp_path / "firmware" / "model" / "digits.h").is_file()


def test_run_prints_the_verdict_and_writes_outputs(capsys, model, tmp_path):
    np.savez(tmp_path / "in.npz", input_0=np.full((5, 1, 9, 7, 3), 7, np.int8))
    code, out, _ = run(capsys, "run", model, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", "--oracle", "tflm")
    assert code == 0 and "0 mismatches of 35 outputs (host against tflm, 5 inputs)" in out
    assert np.load(tmp_path / "out.npz")["output_0"].shape == (5, 1, 7)


def test_run_on_qemu_counts_instructions(capsys, model):
    code, out, _ = run(capsys, "run", model, "--on", "qemu", "--count", "2", "--json")
    figures = json.loads(out)
    assert code == 0 and figures["mismatches"] == 0 and figures["outputs"] == 14 and figures["insns"] > figures["macs"] / 4


def test_run_fails_when_an_output_differs(capsys, model, monkeypatch):
    from keras_hwcompress.runners import oracle

    monkeypatch.setitem(oracle._MAKERS, "reference", lambda graph: lambda row: [np.full((1, 7), 99, np.int8)])
    code, out, _ = run(capsys, "run", model, "--count", "3")
    assert code == 1 and "0 mismatches" not in out and "mismatches of 21 outputs" in out


@pytest.mark.parametrize("command", ["inspect", "compress", "project", "run"])
@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x1c\x00\x00\x00TFL3" + bytes(40)])
def test_a_bad_model_file_is_one_line_and_leaves_nothing_behind(capsys, tmp_path, command, content):
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    extra = ["-o", tmp_path / "out"] if command in ("compress", "project") else []
    code, _, err = run(capsys, command, path, *extra)
    assert code == 1 and err.startswith("hwcmp: ") and err.count("\n") == 1
    assert [item.name for item in tmp_path.iterdir()] == ([] if content is None else ["bad.tflite"])


def test_bad_inputs_of_run_are_one_line(capsys, model, tmp_path):
    np.savez(tmp_path / "in.npz", x=np.zeros(3))
    for arguments in (["--inputs", tmp_path / "in.npz"], ["--count", "0"], ["--on", "qemu", "--board", "arduino"], ["--inputs", model]):
        code, _, err = run(capsys, "run", model, *arguments)
        assert code == 1 and err.startswith("hwcmp: ") and err.count("\n") == 1


def test_an_unwritable_place_is_one_line(capsys, model, tmp_path):
    for command in ("compress", "project"):
        code, _, err = run(capsys, command, model, "-o", model / "below")
        assert code == 1 and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@pytest.mark.parametrize("arguments", [[], ["inspect"], ["run", "x", "--on", "moon"], ["frobnicate"]])
def test_a_wrong_command_line_exits_with_two(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["", "inspect", "compress", "project", "run", "demo"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0 and "usage: hwcmp" in capsys.readouterr().out


def test_the_module_runs_as_a_program(model):
    command = [sys.executable, "-m", "keras_hwcompress", "inspect", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0 and "CONV_2D" in done.stdout and "Traceback" not in done.stderr
