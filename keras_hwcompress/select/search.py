"""From a graph and bounds to one format per layer: the knapsack of `choose`, with RAM checked on the real plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from keras_hwcompress.codegen.model import CompiledModel
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.select.candidates import code_parts, compiled_with, predicted, problem_of
from keras_hwcompress.select.choose import Bounds, Candidate, Cut, InfeasibleError, Problem, check_objective, choose, too_little, total
from keras_hwcompress.targets.boards import Board
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Layer
from keras_hwcompress.tflite.weights import WeightGroup

_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The best of the formats that a layer did not get. code_bytes: of what it needs and no other layer has."""

    candidate: Candidate
    code_bytes: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen formats.

    packed: the graph with them. compiled: the same, compiled for the board. picked: by weights; runners_up: the best
    of the others for the objective, where there is one. insns: (layer, predicted instructions) in execution order.
    code_bytes: kernels and decoders that the choice needs; 0 where the scope does not count them.
    """

    packed: Graph
    compiled: CompiledModel
    picked: Mapping[WeightGroup, Candidate]
    runners_up: Mapping[WeightGroup, RunnerUp]
    insns: tuple[tuple[Layer, int], ...]
    code_bytes: int = 0

    @property
    def latency(self) -> int:
        """Predicted instructions of one inference."""
        return sum(insns for _, insns in self.insns)

    @property
    def flash(self) -> int:
        """What a bound on flash is compared with."""
        return self.compiled.model_bytes + self.code_bytes


def select_formats(graph: Graph, board: Board, bounds: Bounds = Bounds(), objective: str = "flash", scope: str = "image") -> Selection:
    """Chooses a weight format for every layer that can be packed.

    Args:
        graph: a plain graph. board: whose kernels, and whose instructions. bounds: see `Bounds`.
        objective: "flash" or "latency". scope: what counts as flash, see `problem_of`.

    Raises:
        HwcmpError: unknown objective, or bounds that no choice meets; the message names the smallest feasible value.
    """
    check_objective(objective)
    search = _Search(graph, board, bounds, problem_of(graph, board, scope))
    for _ in range(_ROUNDS):
        try:
            picked = choose(search.problem, search.tightened(), objective, search.cuts)
        except InfeasibleError as error:
            return search.last_resort(error)
        found = search.planned(picked, objective)
        if found is not None and search.is_within(found):
            return search.better(found, objective)
    raise HwcmpError(f"no choice of weight formats was found within {bounds} after {_ROUNDS} rounds")


def _runners_up(problem: Problem, picked: Mapping[WeightGroup, Candidate], objective: str) -> dict[WeightGroup, RunnerUp]:
    def rank(other: RunnerUp) -> tuple[int, int]:
        size, insns = other.candidate.bytes + other.code_bytes, other.candidate.insns
        return (size, insns) if objective == "flash" else (insns, size)

    found = {}
    for group, rows in problem.options.items():
        there = {part for neighbour, row in picked.items() if neighbour != group for part in row.code}
        others = [RunnerUp(row, problem.code_of(set(row.code) - there)) for row in rows if row.name != picked[group].name]
        if others:
            found[group] = min(others, key=rank)
    return found


@dataclass(slots=True)
class _Search:
    """The candidates that are left, and the combinations that do not fit the RAM.

    slack: by bound, what earlier plans took beyond the sum of their candidates, whose tiles, stripes and layouts are
    those of a model with one format throughout.
    """

    graph: Graph
    board: Board
    bounds: Bounds
    problem: Problem
    cuts: list[Cut] = field(default_factory=list)
    slack: dict[str, int] = field(default_factory=lambda: {"flash": 0, "latency": 0})

    def tightened(self) -> Bounds:
        """The bounds less the slack."""
        return replace(self.bounds, **{name: max(1, bound - self.slack[name]) for name, bound in self._bounds().items()})

    def planned(self, picked: Mapping[WeightGroup, Candidate], objective: str) -> Selection | None:
        """The choice with its plan; None, and excluded from now on, where that needs too much RAM."""
        model = self.compiled(picked)
        if self.bounds.ram is not None and model.plan.arena_bytes > self.bounds.ram:
            self.exclude(picked)
            return None
        insns = tuple(predicted(model, self.board))
        code = self.problem.code_of(code_parts(model))
        return Selection(model.graph, model, picked, _runners_up(self.problem, picked, objective), insns, code)

    def is_within(self, found: Selection) -> bool:
        """Whether the plan meets the bounds; where it does not, the slack grows."""
        missed = [name for name, bound in self._bounds().items() if getattr(found, name) > bound]
        for name in missed:
            self.slack[name] = max(self.slack[name], getattr(found, name) - total(self.problem, found.picked, name))
        return not missed

    def better(self, found: Selection, objective: str) -> Selection:
        """The choice, or the best for the other objective where its plan is within the bounds and less.

        Candidates with layouts of their own may share less code in the plan than their sums say.
        """
        other = self._least("latency" if objective == "flash" else "flash", objective)
        within = all(getattr(other, name) <= bound for name, bound in self._bounds().items())
        return other if within and getattr(other, objective) < getattr(found, objective) else found

    def last_resort(self, error: InfeasibleError) -> Selection:
        """The sums of the candidates leave no choice: takes what is least in a bounded respect, if its plan will do.

        Raises:
            InfeasibleError: it will not; the message names what the plan takes, where one bound alone is too small.
        """
        for name, bound in self._bounds().items():
            least = self._least(name, name)
            if all(getattr(least, other) <= limit for other, limit in self._bounds().items()):
                return least
            if getattr(least, name) > bound:
                raise InfeasibleError(too_little(name, self.bounds, getattr(least, name))) from None
        raise error

    def _least(self, least: str, objective: str) -> Selection:
        for _ in range(_ROUNDS):
            found = self.planned(choose(self.problem, Bounds(), least, self.cuts), objective)
            if found is not None:
                return found
        raise HwcmpError(f"no choice of weight formats was found within {self.bounds} after {_ROUNDS} rounds")

    def _bounds(self) -> dict[str, int]:
        pairs = {"flash": self.bounds.flash, "latency": self.bounds.latency}
        return {name: bound for name, bound in pairs.items() if bound is not None}

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
