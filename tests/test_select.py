"""The choice of formats: exact against brute force, bounds that hold on the real plan, and a cost model that is sane."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from graphs import small_cnn

from keras_hwcompress.codegen.model import compile_model
from keras_hwcompress.compress import compress_tflite, compress_with_report
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.formats.table import table
from keras_hwcompress.select import Bounds, Candidate, Problem, choose, predicted, problem_of, select_formats
from keras_hwcompress.select.candidates import code_parts, compiled_with
from keras_hwcompress.targets import BOARDS, get_board
from keras_hwcompress.targets import cost as cost_module
from keras_hwcompress.targets.cost import CostModel, cost_model
from keras_hwcompress.tflite.compress import expand_tflite
from keras_hwcompress.tflite.synthetic import GraphBuilder
from keras_hwcompress.tflite.writer import write_model

BOARD = get_board("mps2-an386")


# ---- the knapsack -----------------------------------------------------------------------------------------------


def random_problem(rng):
    """Few layers and formats, figures as large as real ones, some of them equal."""
    parts = ["a", "b", "c"]
    options = {}
    for layer in range(rng.integers(1, 5)):
        rows = []
        for number in range(rng.integers(1, 5)):
            size, insns = int(rng.integers(1, 9)) * 1000 + int(rng.integers(0, 3)), int(rng.integers(1, 10)) * 1_000_003
            rows.append(Candidate(f"f{number}", size, insns, 0, tuple(part for part in parts if rng.random() < 0.4)))
        options[layer] = tuple(rows)
    code = {part: int(rng.integers(0, 4000)) for part in parts} if rng.random() < 0.5 else {}
    return Problem(options, int(rng.integers(0, 500)), int(rng.integers(0, 500)), code)


def random_cuts(rng, problem):
    """Pairs of candidates that must not be taken together."""
    cuts = []
    for _ in range(rng.integers(0, 3)):
        layers = rng.permutation(len(problem.options))[:2]
        cuts.append({int(layer): problem.options[int(layer)][int(rng.integers(len(problem.options[int(layer)])))] for layer in layers})
    return cuts


def totals(problem, rows):
    code = sum(problem.code_bytes.get(part, 0) for part in {part for row in rows for part in row.code})
    return problem.fixed_bytes + code + sum(row.bytes for row in rows), problem.fixed_insns + sum(row.insns for row in rows)


def feasible(problem, bounds, cuts):
    """(bytes, insns) of every choice that is allowed, by trying them all."""
    found = []
    for rows in itertools.product(*problem.options.values()):
        taken = dict(zip(problem.options, rows, strict=True))
        size, insns = totals(problem, rows)
        allowed = not any(all(taken[layer] == row for layer, row in cut.items()) for cut in cuts)
        if allowed and size <= (bounds.flash or 1 << 62) and insns <= (bounds.latency or 1 << 62):
            found.append((size, insns))
    return found


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("objective", ["flash", "latency"])
def test_the_choice_is_as_good_as_the_best_of_all(seed, objective):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    cuts = random_cuts(rng, problem)
    some = totals(problem, [rows[int(rng.integers(len(rows)))] for rows in problem.options.values()])
    # Bounds that some choice meets with equality: one byte or instruction less would forbid it.
    bounds = Bounds(some[0] if rng.random() < 0.6 else None, some[1] if rng.random() < 0.6 else None)
    allowed = feasible(problem, bounds, cuts)
    if not allowed:
        with pytest.raises(HwcmpError):
            choose(problem, bounds, objective, cuts)
        return
    picked = choose(problem, bounds, objective, cuts)
    key = 0 if objective == "flash" else 1
    got = totals(problem, [picked[layer] for layer in problem.options])
    assert got in allowed and got[key] == min(pair[key] for pair in allowed)
    assert got[1 - key] == min(pair[1 - key] for pair in allowed if pair[key] == got[key])


def test_infeasible_bounds_name_the_smallest_feasible_value():
    small, fast = Candidate("small", 100, 9000), Candidate("fast", 300, 1000)
    problem = Problem({"a": (small, fast), "b": (small, fast)}, 10, 20)
    with pytest.raises(HwcmpError, match="flash=209 bytes is too little: the smallest possible is 210 bytes"):
        choose(problem, Bounds(flash=209))
    with pytest.raises(HwcmpError, match="latency=2,019 instructions is too little: the smallest possible is 2,020 instructions"):
        choose(problem, Bounds(latency=2019))
    with pytest.raises(HwcmpError, match="too little together: with this latency the smallest possible flash is 410 bytes.*latency is 18,020 instructions"):
        choose(problem, Bounds(flash=409, latency=10_020))
    assert choose(problem, Bounds(flash=410, latency=10_020))
    with pytest.raises(HwcmpError, match="objective must be one of"):
        choose(problem, Bounds(), "size")


def test_code_counts_once_and_can_turn_the_choice_around():
    dense, packed = Candidate("dense", 1000, 10, code=("plain",)), Candidate("packed", 400, 20, code=("decoder",))
    layers = {"a": (dense, packed), "b": (dense, packed)}
    assert {row.name for row in choose(Problem(layers, code_bytes={"decoder": 1100}), Bounds()).values()} == {"packed"}
    assert {row.name for row in choose(Problem(layers, code_bytes={"decoder": 1300}), Bounds()).values()} == {"dense"}


@pytest.mark.parametrize("bounds", [{"flash": 0}, {"latency": -5}, {"ram": 1.5}, {"flash": True}])
def test_bounds_are_positive_integers(bounds):
    with pytest.raises(HwcmpError, match="must be a positive number of (bytes|instructions) or None. Received"):
        Bounds(**bounds)


# ---- candidates and plans ---------------------------------------------------------------------------------------


def test_candidates_have_exact_bytes_and_the_formats_that_the_weights_admit():
    graph = small_cnn(ternary=True)
    problem = problem_of(graph, BOARD)
    for rows in problem.options.values():
        assert "builtin" in {row.name for row in rows} and "nary" in {row.name for row in rows}
        assert [row.bytes for row in rows] == sorted(row.bytes for row in rows)
    for objective in ("flash", "latency"):
        selection = select_formats(graph, BOARD, objective=objective)
        assert selection.compiled.model_bytes == problem.fixed_bytes + sum(row.bytes for row in selection.picked.values())
        assert all(selection.runners_up[group].candidate != row for group, row in selection.picked.items())


def test_layouts_of_an_arm_are_candidates_and_count_the_code_that_the_plan_has():
    builder = GraphBuilder(3)
    x = builder.conv2d(builder.input((1, 6, 6, 16)), 16, weights=np.random.default_rng(3).choice(np.array([-50, 0, 50], np.int8), (16, 3, 3, 16)))
    graph = builder.build([builder.conv2d(x, 16)])
    problem = problem_of(graph, BOARD)
    first, second = problem.options.values()
    for rows in (first, second):
        assert {row.code for row in rows if row.name == "builtin"} == {("conv2d_dense8_nested", "unpack dense8_nested"), ("conv2d", "unpack dense8")}
    assert all(problem.code_bytes[part] > 0 for row in (*first, *second) for part in row.code)
    fast = select_formats(graph, BOARD, objective="latency", scope="image")
    whole = select_formats(graph, BOARD, Bounds(flash=fast.flash), "latency")
    assert whole.flash == fast.flash == fast.compiled.model_bytes + fast.code_bytes
    parts = {"conv2d", "unpack dense8", "unpack nary"}
    mixed = compiled_with(graph, {next(iter(problem.options)): "nary"}, BOARD)
    assert code_parts(mixed) == parts and code_parts(compiled_with(graph, {}, BOARD)) == {"conv2d_dense8_nested", "unpack dense8_nested"}


def wide_model():
    """Two layers, of which the first has most activations and the second a long row: scratch decides its plan."""
    builder = GraphBuilder(3)
    values = np.random.default_rng(3).choice(np.array([-50, 0, 50], np.int8), (48, 3, 3, 48))
    x = builder.conv2d(builder.input((1, 6, 6, 48)), 48, weights=values)
    x = builder.conv2d(x, 48, weights=values[::-1])
    return builder.build([x])


def test_a_ram_bound_is_met_by_the_plan_of_the_choice_and_the_smallest_one_is_named():
    graph = wide_model()
    free = select_formats(graph, BOARD)
    with pytest.raises(HwcmpError, match="ram=100 bytes is too little: .* need at least ([0-9,]+) bytes") as caught:
        select_formats(graph, BOARD, Bounds(ram=100))
    least = int(str(caught.value).split("at least ")[1].split(" ")[0].replace(",", ""))
    arms = sorted({"ref", BOARD.arm})
    names = [row.name for row in table().formats]
    by_format = {name: select_formats_all(graph, name, arms) for name in names}
    assert least <= min(size for size in by_format.values() if size is not None)
    for ram in (least, (least + free.compiled.plan.arena_bytes) // 2, free.compiled.plan.arena_bytes):
        selection = select_formats(graph, BOARD, Bounds(ram=ram))
        assert selection.compiled.plan.arena_bytes <= ram
        assert selection.compiled.model_bytes >= free.compiled.model_bytes


def select_formats_all(graph, name, arms):
    """Arena bytes with every layer in one format, None where the weights do not admit it."""
    from keras_hwcompress.tflite.pack import pack

    try:
        return compile_model(pack(graph, {0: name, 1: name}), "model", arms).plan.arena_bytes
    except HwcmpError:
        return None


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_formats_that_fit_alone_but_not_together_are_cut(monkeypatch, allowed):
    """A plan that overflows as soon as more than `allowed` layers have another format than the thriftiest."""
    from keras_hwcompress.select import search as search_module

    graph = small_cnn(ternary=True)
    options = problem_of(graph, BOARD).options
    thrifty = {group: min(rows, key=lambda row: (row.scratch, row.bytes)).scratch for group, rows in options.items()}
    scratch = {(group, row.name): row.scratch for group, rows in options.items() for row in rows}
    honest = search_module.compiled_with

    def greedy(choice):
        return sum(scratch[group, name] > thrifty[group] for group, name in choice.items())

    def compiled_with(graph, choice, board, *, grow=True):
        model = honest(graph, choice, board, grow=grow)
        return replace(model, plan=replace(model.plan, arena_bytes=1000 + max(0, greedy(choice) - allowed)))

    assert greedy({group: row.name for group, row in select_formats(graph, BOARD, scope="weights").picked.items()}) > allowed
    monkeypatch.setattr(search_module, "compiled_with", compiled_with)
    selection = select_formats(graph, BOARD, Bounds(ram=1000), scope="weights")
    assert greedy({group: row.name for group, row in selection.picked.items()}) == allowed


@pytest.mark.parametrize("scope", ["weights", "image"])
@pytest.mark.parametrize("name", ["flash", "latency"])
def test_the_smallest_value_that_an_error_names_is_the_smallest_that_is_feasible(name, scope):
    graph = small_cnn(ternary=True)
    with pytest.raises(HwcmpError, match=f"{name}=1 .* is too little: the smallest possible is ([0-9,]+) ") as caught:
        select_formats(graph, BOARD, Bounds(**{name: 1}), scope=scope)
    least = int(str(caught.value).split("possible is ")[1].split(" ")[0].replace(",", ""))
    objective = "latency" if name == "flash" else "flash"
    assert getattr(select_formats(graph, BOARD, Bounds(**{name: least}), objective, scope), name) == least
    with pytest.raises(HwcmpError, match=f"the smallest possible is {least:,} "):
        select_formats(graph, BOARD, Bounds(**{name: least - 1}), objective, scope)


@pytest.mark.parametrize("scope", ["weights", "image"])
def test_a_plan_that_takes_more_than_its_layers_did_alone_still_meets_the_bounds(scope):
    graph = small_cnn(ternary=True)
    ends = [select_formats(graph, BOARD, objective=objective, scope=scope) for objective in ("latency", "flash")]
    for latency in np.linspace(ends[0].latency, ends[1].latency, 7).astype(int):
        found = select_formats(graph, BOARD, Bounds(latency=int(latency)), scope=scope)
        assert found.latency <= latency and found.flash >= ends[1].flash
    for flash in np.linspace(ends[1].flash, ends[0].flash, 7).astype(int):
        found = select_formats(graph, BOARD, Bounds(flash=int(flash)), "latency", scope)
        assert found.flash <= flash and found.latency >= ends[0].latency


def test_a_runner_up_is_charged_with_the_code_that_it_alone_would_need():
    """Three layers of ternary weights: a first one in another format would pull in its decoder."""
    report = compress_with_report(write_model(small_cnn(ternary=True)), "cortex-m4", Bounds(), "flash")[1]
    without = compress_with_report(write_model(small_cnn(ternary=True)), "cortex-m4", Bounds(), "flash", scope="weights")[1]
    assert report.code_bytes > 0 and without.code_bytes == 0
    assert report.model_bytes > without.model_bytes
    assert any("B of code" in row.runner_up for row in report.layers) and not any("of code" in row.runner_up for row in without.layers)
    assert f"kernels and decoders that the choice needs {report.code_bytes:,}" in str(report) and "decoders" not in str(without)


def test_foreign_models_are_compressed_within_bounds_and_losslessly():
    data = write_model(small_cnn(ternary=True))
    small, report = compress_with_report(data, "cortex-m4", Bounds(), "flash")
    fast = compress_tflite(data, target="mps2-an386", objective="latency")
    assert expand_tflite(small) == expand_tflite(fast) == expand_tflite(data) and small != fast
    bounded = compress_tflite(data, latency=report.insns - 1)
    assert bounded != small and expand_tflite(bounded) == expand_tflite(data)
    with pytest.raises(HwcmpError, match="smallest possible is"):
        compress_tflite(data, flash=200)
    with pytest.raises(HwcmpError, match="target must be one of"):
        compress_tflite(data, target="6502")
    with pytest.raises(HwcmpError, match="scope must be one of"):
        compress_tflite(data, scope="everything")


# ---- the cost model ---------------------------------------------------------------------------------------------


def test_every_board_has_a_cost_model_with_its_errors():
    for board in BOARDS.values():
        model = cost_model(board)
        assert model.arm == board.arm and model.cases > 100 and 0 <= model.median_error < 0.1
        assert all(value > 0 for value in model.coefficients.values())


def test_a_core_that_nobody_measured_takes_the_figures_of_its_arm_and_an_unknown_arm_is_an_error():
    assert cost_model(replace(BOARD, core="cortex-m85")).arm == BOARD.arm
    with pytest.raises(HwcmpError, match="no instructions have been measured for cortex-x"):
        cost_model(replace(BOARD, core="cortex-x", arm="quantum"))


def test_kernels_that_nobody_measured_take_the_nearest_path_or_count_as_slow():
    model = CostModel("core", "arm", {"conv2d/-/groups/macs": 2.0, "conv2d/-/groups/call": 10.0, "unpack runs/narrow/-/bytes": 3.0})
    assert model.predict({"conv2d/-/groups/macs": 5.0, "conv2d/-/groups/call": 1.0, "conv2d/-/groups/columns": 9.0}) == 20.0
    assert model.predict({"conv2d/-/one tap/macs": 5.0}) == 10.0
    assert model.predict({"unpack runs/wide/-/bytes": 2.0}) == 6.0
    assert model.predict({"unpack new/-/-/weights": 10.0}) == 320.0


def test_predictions_grow_with_the_work(monkeypatch):
    def insns(size, channels):
        builder = GraphBuilder(1)
        x = builder.conv2d(builder.input((1, size, size, 16)), channels)
        model = compile_model(builder.build([x]), "model", ["dsp", "ref"])
        return sum(count for _, count in predicted(model, BOARD))

    base = insns(16, 32)
    assert 0.5 < base / (16 * 16 * 144 * 32) < 3.0
    assert insns(24, 32) > 1.8 * base and insns(16, 64) > 1.7 * base


def test_the_table_of_coefficients_is_canonical_json():
    path = cost_module.resources.files("keras_hwcompress.targets") / "cost.json"
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
