"""The benchmarks fail on wrong kernels, resume where they stopped, and their tables show what was measured."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import accuracy_plots  # noqa: E402
import cases  # noqa: E402
import common  # noqa: E402
import fit_cost  # noqa: E402
import kernels  # noqa: E402
import models  # noqa: E402
import plots  # noqa: E402
from goals import GOALS, NEAREST, SCRATCH_GOALS  # noqa: E402
from graphs import small_cnn  # noqa: E402

from keras_hwcompress.formats.table import table  # noqa: E402
from keras_hwcompress.report import measured  # noqa: E402
from keras_hwcompress.tflite.weights import to_rows, weight_groups  # noqa: E402

FORMATS = [row.name for row in table().formats]


def run_kernels(path, *more):
    return kernels.main(["--boards", "mps2-an386", "--cases", "fc_128to8", "--output", str(path), "--no-plots", *more])


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_case_is_measured_in_every_format_and_never_again(tmp_path, monkeypatch):
    path = tmp_path / "kernels.csv"
    assert run_kernels(path) == 0
    rows = read(path)
    assert {row["format"] for row in rows} == set(FORMATS)
    assert all(int(row["insns"]) > 500 and int(row["macs"]) == 1024 and row["git_sha"] and row["compiler"] for row in rows)
    dense = next(row for row in rows if row["format"] == "dense8")
    assert int(dense["weight_bytes"]) == 1024 + 16 and float(dense["insns_per_mac"]) == round(int(dense["insns"]) / 1024, 4)
    monkeypatch.setattr(kernels, "run_qemu_many", lambda *_, **__: pytest.fail("measured again"))
    assert run_kernels(path) == 0 and read(path) == rows


def test_a_fast_wrong_kernel_fails_and_gets_no_row(tmp_path, monkeypatch, capsys):
    honest = kernels.reference.run
    monkeypatch.setattr(kernels.reference, "run", lambda graph, inputs: [honest(graph, inputs)[0] ^ 1])
    assert run_kernels(tmp_path / "kernels.csv", "--formats", "dense8") == 1
    assert "FAILED mps2-an386 fc_128to8 dense8 int8: 16 outputs differ" in capsys.readouterr().out
    assert not (tmp_path / "kernels.csv").exists() or read(tmp_path / "kernels.csv") == []


def test_one_cell_that_cannot_be_built_does_not_take_the_others_down(monkeypatch):
    todo = list(cases.cells(iter([case for case in cases.named_cases() if case.name in ("fc_128to8", "fc_77to33")]), ["dense8"]))
    honest = kernels.run_qemu_many

    def broken(pairs, **options):
        if any(graph.tensors[graph.inputs[0]].size == 77 for graph, _ in pairs):
            raise kernels.HwcmpError("no such luck")
        return honest(pairs, **options)

    monkeypatch.setattr(kernels, "run_qemu_many", broken)
    found = {cell.case.name: (row is not None, text) for cell, row, text in kernels.measure(kernels.BOARDS["mps2-an386"], todo)}
    assert found == {"fc_128to8": (True, ""), "fc_77to33": (False, "no such luck")}


def test_rows_are_stale_when_sources_changed_or_were_dirty(tmp_path, monkeypatch):
    results = common.Results(tmp_path / "x.csv", ("name",), ("value",))
    results.add({"name": "a", "value": 1}, {"name": "b", "value": 2})
    results.add({"name": "a", "value": 3})
    again = common.Results(tmp_path / "x.csv", ("name",), ("value", "more"), refresh=True)
    assert [row["value"] for row in again.rows] == ["3", "2"] and not again.has(name="c")
    monkeypatch.setattr(common, "is_stale", lambda sha: False)
    assert again.has(name="a")
    monkeypatch.setattr(common, "is_stale", lambda sha: True)
    assert not again.has(name="a") and common.Results(tmp_path / "x.csv", ("name",), ("value",)).has(name="a")


def test_a_commit_is_stale_if_it_is_dirty_or_unknown():
    assert common.is_stale("abc1234+") and common.is_stale("0000000")


def test_cells_are_named_once_follow_from_their_names_and_cover_every_goal():
    cells = [*cases.cells(cases.named_cases(), FORMATS), *cases.cells(cases.random_cases(), FORMATS)]
    names = [tuple(cell.keys.values()) for cell in cells]
    assert len(set(names)) == len(names)
    assert {cell[1:] for cell in (*GOALS, *SCRATCH_GOALS)} <= set(names)
    assert {*NEAREST, *NEAREST.values()} <= {case.name for case in cases.named_cases()}
    some = [cell for cell in cells if cell.format == "nary"][::40]
    for cell, again in zip(some, [cell for cell in cells if cell.format == "nary"][::40], strict=True):
        a, b = cell.case.graph(cell.levels), again.case.graph(again.levels)
        assert all(np.array_equal(x.data, y.data) for x, y in zip(a.tensors, b.tensors, strict=True) if x.data is not None)


@pytest.mark.parametrize("name", list(cases.LEVELS))
def test_weights_have_the_levels_and_the_density_of_their_name(name):
    levels = cases.LEVELS[name]
    values = levels.draw((32, 144), np.random.default_rng(0))
    assert len(np.unique(values)) <= levels.count and values.min() >= -127
    if levels.density is not None:
        assert np.count_nonzero(values) == round(levels.density * values.size)


def test_rounding_to_ternary_keeps_the_largest_weights_and_both_ends_and_takes_one_grid():
    plain = small_cnn()
    rounded = models.ternary(plain, 0.35)
    groups = weight_groups(plain)
    for position, group in enumerate(groups):
        before, after = (to_rows(group.kind, graph.tensors[group.tensors[0]].data).astype(int) for graph in (plain, rounded))
        if position in (0, len(groups) - 1):
            assert np.array_equal(before, after)
            continue
        assert np.count_nonzero(after) == round(0.35 * after.size) and set(np.unique(np.abs(after))) == {0, 127}
        scale = plain.tensors[group.tensors[0]].quantization.scale[:, None] if plain.tensors[group.tensors[0]].quantization.scale.size > 1 else 1
        real = np.abs(before * scale)
        assert real[after != 0].min() >= real[after == 0].max() and (np.sign(after) == np.sign(before))[after != 0].all()


LAYERS = sum(case.op == "fully_connected" for case in cases.random_cases())


def fitted(tmp_path, insns_of, cores=("cortex-m4",)):
    """(rows of the errors, coefficients by core) after fitting random fully connected layers; a fourth of them on all cores."""
    path, model, rows = tmp_path / "kernels.csv", tmp_path / "cost.json", []
    for number, cell in enumerate(cases.cells((case for case in cases.random_cases() if case.op == "fully_connected"), ["dense8"])):
        for core in cores if number % 4 == 0 else cores[:1]:
            row = cell.keys | {"core": core, "board": "mps2-an386", "arm": "dsp", "op": cell.case.op, "kernel": cell.case.op, "tile_rows": 1}
            rows.append(row | {"insns": insns_of(core, fit_cost.features_of(cell.case, row))})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert fit_cost.main(["--input", str(path), "--output", str(model), "--errors", str(tmp_path / "errors.csv")]) == 0
    return read(tmp_path / "errors.csv"), {core: row["coefficients"] for core, row in json.loads(model.read_text()).items()}


def work(features):
    return 25 * features["rows/-/any/row turns"] + 30 * features.get("rows/-/any/row turns x 8", 0) + 1000


def test_the_fit_finds_coefficients_that_were_put_in(tmp_path):
    errors, coefficients = fitted(tmp_path, lambda core, features: work(features))
    assert [row["rows"] for row in errors] == [str(LAYERS)] and float(errors[0]["worst_error"]) < 0.01
    assert coefficients["cortex-m4"]["rows/-/any/row turns x 8"] == pytest.approx(30, rel=0.02)
    assert not any(name.endswith("/macs") for name in coefficients["cortex-m4"])


def test_what_a_core_does_not_say_is_taken_from_others_of_its_arm_but_never_its_errors(tmp_path):
    errors, coefficients = fitted(tmp_path, lambda core, features: work(features) * (1 if core == "cortex-m4" else 1.5), ("cortex-m4", "cortex-m7"))
    assert [(row["core"], row["rows"]) for row in errors] == [("cortex-m4", str(LAYERS)), ("cortex-m7", str(LAYERS // 4))]
    assert all(float(row["median_error"]) < 0.1 for row in errors)
    assert coefficients["cortex-m7"]["rows/-/any/row turns x 8"] == pytest.approx(45, rel=0.15)


def test_a_layer_that_is_left_out_is_left_out_on_all_cores():
    row = {"core": "cortex-m4", "case": "a", "op": "add", "arm": "dsp"}
    pairs = [(row | {"case": f"{name}", "insns": insns}, {"add/-/-/call": 1.0}) for name, insns in zip("abcdefghij", (99, *[1] * 9), strict=True)]
    both = [*pairs, *((other | {"core": "cortex-m7"}, features) for other, features in pairs)]
    for problem in (fit_cost._problem("cortex-m4", pairs), fit_cost._problem("cortex-m4", both)):
        assert fit_cost.held_out_errors(problem)[0] == pytest.approx(1 / 99 - 1)


def test_plots_are_drawn_from_measured_rows(tmp_path):
    row = {"case": "conv3x3_16to32_16x16", "core": "cortex-m4", "insns_per_mac": "0.5", "bits_per_weight": "2"}
    rows = [row | {"format": "dense8", "levels": "int8"}] + [row | {"format": "runs", "levels": f"3 {share}%"} for share in (35, 20, 10)]
    for path in plots.plot_kernels(rows, tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")


TRAINED = {
    "task": "fsdd_gru", "weight_bytes": "1000", "int8_weight_bytes": "8000", "zeros": "0.9", "insns": "2000000", "flash_bytes": "30000", "mismatches": "0",
}  # fmt: skip


def trained(arm, scores, size, **more):
    return [TRAINED | {"arm": arm, "fold": str(fold), "accuracy": str(score), "weight_bytes": str(size)} | more for fold, score in enumerate(scores)]


def trained_rows():
    rows = trained("float", (0.96, 0.94), 32000, insns="", flash_bytes="", mismatches="") + trained("int8", (0.96, 0.94), 8000)
    rows += trained("constrained-all-80", (0.955, 0.94), 1000) + trained("constrained-all-90", (0.955, 0.925), 500)
    rows += trained("ttq", (0.4, 0.4), 900)
    return rows + trained("constrained-all-95", (0.9, 0.9), 320) + trained("prune-80", (0.96,), 400) + trained("twn", (0.5, 0.5), 900)


def test_trained_networks_are_compared_in_pairs_and_one_point_decides():
    lines = measured.constrained(trained_rows())
    assert any(line.startswith("| FSDD, GRU(32) | int8 | 2 | 90% | 95.00% | +0.00 ± 0.00 | 8,000 | 1.000 | 4.0x |  | 2,000,000 |") for line in lines)
    assert any(line.startswith("| FSDD, GRU(32) | **constrained-all-90** | 2 | 90% | 94.00% | -1.00 ± 0.50 | 500 | 0.062 | 64.0x | 95x |") for line in lines)
    assert any("*breaks:* constrained-all-95 | 2 | 90% | 90.00% | -5.00 ± 1.00 | 320 | 0.040 | 100.0x |" in line for line in lines)
    assert not any(name in line for name in ("prune-80", "twn", "ttq", "constrained-all-80") for line in lines)
    unmeasured = [row | {"insns": "", "flash_bytes": "", "mismatches": ""} for row in trained_rows()]
    assert all(line.endswith("| - | - | - |") for line in measured.constrained(unmeasured)[2:-2])


def test_few_trained_networks_are_all_shown():
    rows = [row for row in trained_rows() if row["arm"] in ("float", "int8", "twn", "constrained-all-95")]
    assert [line.split(" | ")[1] for line in measured.constrained(rows)[2:-2]] == ["**int8**", "constrained-all-95", "*breaks:* twn"]


def test_accuracy_is_plotted_against_bytes(tmp_path):
    assert accuracy_plots.plot_accuracy(trained_rows(), tmp_path).read_bytes().startswith(b"\x89PNG")


def test_the_front_is_plotted_with_a_column_for_each_density(tmp_path):
    row = {"model": "net", "core": "cortex-m4", "density": "1.0", "choice": "dense8 dense8", "layers": "10 2000", "insns": "9", "predicted_insns": "10"}
    rows = [row | {"flash_bytes": "4000", "counted_flash": "3000"}, row | {"choice": "dense8 runs", "flash_bytes": "3000", "counted_flash": "2000"}]
    for number, some in enumerate((rows, [*rows, rows[1] | {"density": "0.35", "choice": "nary runs"}])):
        plots.plot_front(some, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


# ---- the README's tables ----------------------------------------------------------------------------------------


def test_sections_without_results_are_not_run(tmp_path):
    assert set(measured.sections(tmp_path).values()) == {"not run\n"}


def test_measured_cells_are_shown_and_missing_ones_are_not_run():
    row = {"core": "cortex-m4", "case": "conv3x3_16to32_16x16", "format": "runs", "levels": "3 35%", "insns_per_mac": "0.3941", "scratch_bytes": "3072"}
    odd = row | {"case": "conv1x7_16to32_16x16", "insns_per_mac": "0.7", "format": "dense8", "levels": "int8"}
    add = row | {"case": "add_16x16x32", "format": "", "levels": "", "insns_per_output": "7.04", "scratch_bytes": "0"}
    text = "\n".join(measured.kernels([row, row | {"case": row["case"] + "_relu", "insns_per_mac": "0.351"}, odd, add]))
    assert "0.39 / 0.35<br>3,072" in text and "| conv1x7 16to32 16x16 | 0.70<br>3,072 | not run | not run |" in text
    assert "| add 16x16x32 | 7.0 |" in text and text.count("cortex-m0 | not run") == 1


def test_networks_storage_and_errors_are_shown():
    network = {
        "network": "ResNet-8", "weights": "int8", "objective": "flash", "scope": "image", "kernels": "fast", "core": "cortex-m4", "macs": "12501632", "insns": "12797805",
        "insns_per_mac": "1.0237", "predicted_insns": "12694839", "arena_bytes": "34704", "stack_bytes": "400", "flash_bytes": "97260",
        "weight_bytes": "77520", "mismatches": "0", "outputs": "20",
    }  # fmt: skip
    assert "| ResNet-8 | int8 | flash | cortex-m4 | 12,501,632 | 12,797,805 | 1.024 | -0.8% | 34,704 | 400 | 97,260 | 77,520 | 0 of 20 |" in measured.networks([network])
    other = measured.networks([network | {"scope": "weights", "kernels": "small", "predicted_insns": ""}])[2]
    assert "| flash, code aside, small kernels | cortex-m4 | 12,501,632 | 12,797,805 | 1.024 | - | 34,704 |" in other
    blob = {"weights": "ternary 35 %", "rows": "64", "row_length": "576", "format": "nary", "bits_per_weight": "1.6502", "entropy_bits": "1.284"}
    assert measured.storage([blob, blob | {"weights": "16 levels", "format": "runs"}])[2:] == [
        "| weights | entropy | `nary` | `runs` |", "| --- | --- | --- | --- |", "| ternary 35 % | 1.28 | 1.65 | - |", "| 16 levels | 1.28 | - | 1.65 |",
    ]  # fmt: skip
    error = {"core": "cortex-m4", "op": "conv2d", "format": "runs", "rows": "200", "median_error": "0.011", "p90_error": "0.05", "worst_error": "0.14"}
    assert measured.cost_model([error])[-1] == "| cortex-m4 | conv2d | `runs` | 200 | 1.1% | 5.0% | 14.0% |"
