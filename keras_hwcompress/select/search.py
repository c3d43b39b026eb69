"""From a graph and bounds to one format per layer: the knapsack of `choose`, with RAM checked on the real plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from keras_hwcompress.codegen.model import CompiledModel
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.select.candidates import compiled_with, predicted, problem_of
from keras_hwcompress.select.choose import Bounds, Candidate, Cut, Problem, check_objective, choose
from keras_hwcompress.targets.boards import Board
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Layer
from keras_hwcompress.tflite.weights import WeightGroup

_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen formats.

    packed: the graph with them. compiled: the same, compiled for the board. picked: by weights; runners_up: the best
    of the others for the objective, where there is one. insns: (layer, predicted instructions) in execution order.
    """

    packed: Graph
    compiled: CompiledModel
    picked: Mapping[WeightGroup, Candidate]
    runners_up: Mapping[WeightGroup, Candidate]
    insns: tuple[tuple[Layer, int], ...]

    @property
    def latency(self) -> int:
        """Predicted instructions of one inference."""
        return sum(insns for _, insns in self.insns)


def select_formats(graph: Graph, board: Board, bounds: Bounds = Bounds(), objective: str = "flash", scope: str = "weights") -> Selection:
    """Chooses a weight format for every layer that can be packed.

    Args:
        graph: a plain graph. board: whose kernels, and whose instructions. bounds: see `Bounds`.
        objective: "flash" or "latency". scope: what counts as flash, see `problem_of`.

    Raises:
        HwcmpError: unknown objective, or bounds that no choice meets; the message names the smallest feasible value.
    """
    check_objective(objective)
    search = _Search(graph, board, bounds, problem_of(graph, board, scope))
    slack = 0  # what the plan took beyond the sum of its layers, in earlier rounds
    for _ in range(_ROUNDS):
        wanted = bounds if bounds.latency is None else replace(bounds, latency=max(1, bounds.latency - slack))
        picked = choose(search.problem, wanted, objective, search.cuts)
        model = search.compiled(picked)
        if bounds.ram is not None and model.plan.arena_bytes > bounds.ram:
            search.exclude(picked)
            continue
        insns = tuple(predicted(model, board))
        excess = sum(count for _, count in insns) - (bounds.latency or 0)
        if bounds.latency is not None and excess > 0:
            slack += excess
            continue
        return Selection(model.graph, model, picked, _runners_up(search.problem, picked, objective), insns)
    raise HwcmpError(f"no choice of weight formats was found within {bounds} after {_ROUNDS} rounds")


def _runners_up(problem: Problem, picked: Mapping[WeightGroup, Candidate], objective: str) -> dict[WeightGroup, Candidate]:
    def rank(row: Candidate) -> tuple[int, int]:
        return (row.bytes, row.insns) if objective == "flash" else (row.insns, row.bytes)

    rest = {group: [row for row in rows if row != picked[group]] for group, rows in problem.options.items()}
    return {group: min(rows, key=rank) for group, rows in rest.items() if rows}


@dataclass(slots=True)
class _Search:
    """The candidates that are left, and the combinations that do not fit the RAM."""

    graph: Graph
    board: Board
    bounds: Bounds
    problem: Problem
    cuts: list[Cut] = field(default_factory=list)

    def compiled(self, picked: Mapping[WeightGroup, Candidate]) -> CompiledModel:
        return compiled_with(self.graph, {group: row.name for group, row in picked.items()}, self.board)

    def arena_bytes(self, picked: Mapping[WeightGroup, Candidate]) -> int:
        return self.compiled(picked).plan.arena_bytes

    def exclude(self, picked: Mapping[WeightGroup, Candidate]) -> None:
        """Rules out a choice that needs too much RAM, and with it as many others as can be proven to.

        Scratch lives while its layer runs, so a plan is smallest if every layer has the format with the least. A
        candidate that is too much even among such neighbours is struck out. Where none is, those of the choice that
        are not the thriftiest are too much together, whatever the other layers take.
        """
        thrifty = {group: min(rows, key=lambda row: (row.scratch, row.bytes)) for group, rows in self.problem.options.items()}
        self._check_feasible(thrifty)
        greedy = {group: row for group, row in picked.items() if row.scratch > thrifty[group].scratch}
        struck = {group: row for group, row in greedy.items() if self.arena_bytes(thrifty | {group: row}) > self.bounds.ram}
        if struck:
            rest = {group: tuple(row for row in rows if struck.get(group) != row) for group, rows in self.problem.options.items()}
            self.problem = replace(self.problem, options=rest)
        else:
            self.cuts.append(greedy or dict(picked))

    def _check_feasible(self, thrifty: Mapping[WeightGroup, Candidate]) -> None:
        least = self.arena_bytes(thrifty)
        if least > self.bounds.ram:
            raise HwcmpError(
                f"ram={self.bounds.ram:,} bytes is too little: activations and scratch need at least {least:,} bytes on {self.board.name}"
            )
