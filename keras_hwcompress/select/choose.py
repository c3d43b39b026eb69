"""The choice of the weight format per layer: a multiple-choice knapsack, solved exactly by integer programming.

Every layer takes one of its candidates. Objective "flash": fewest bytes; objective "latency": fewest instructions;
either within bounds of both. Which candidates may meet in one plan (RAM) is said by cuts. Ours.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from scipy.optimize import LinearConstraint, milp

from keras_hwcompress.errors import HwcmpError

OBJECTIVES = ("flash", "latency")
_UNITS = {"flash": "bytes", "latency": "instructions", "ram": "bytes"}
_Key = TypeVar("_Key", bound=Hashable)
# A set of candidates, by layer, that must not all be taken.
Cut = Mapping[_Key, "Candidate"]


class InfeasibleError(HwcmpError):
    """No choice of formats meets the bounds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One format for one layer.

    name: as `pack` takes it. bytes: of the blob, exact. insns: of the whole layer, predicted, all operators that share
    the weights together. scratch: bytes of scratch with the smallest tile. code: parts of the runtime that it needs.
    """

    name: str
    bytes: int
    insns: int
    scratch: int = 0
    code: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """The weight format on the device: builtin operators store dense int8."""
        return "dense8" if self.name == "builtin" else self.name


@dataclass(frozen=True, slots=True)
class Bounds:
    """flash: most bytes of weights, bias, requantization, and of code where the scope counts it. latency: most
    instructions per inference, predicted.

    ram: most bytes of activations and scratch. None: no bound.
    """

    flash: int | None = None
    latency: int | None = None
    ram: int | None = None

    def __post_init__(self) -> None:
        for name, unit in _UNITS.items():
            bound = getattr(self, name)
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or bound <= 0):
                raise HwcmpError(f"{name} must be a positive number of {unit} or None. Received: {bound!r}")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is chosen from.

    options: candidates of each layer. fixed_bytes, fixed_insns: of everything else. code_bytes: part of the runtime ->
    bytes that count as flash once if any candidate taken needs it; parts that are not named here count nothing.
    """

    options: Mapping[Hashable, Sequence[Candidate]]
    fixed_bytes: int = 0
    fixed_insns: int = 0
    code_bytes: Mapping[str, int] = field(default_factory=dict)

    def code_of(self, parts: Iterable[str]) -> int:
        """Bytes of these parts of the runtime, each once."""
        return sum(self.code_bytes.get(part, 0) for part in set(parts))


def choose(problem: Problem, bounds: Bounds, objective: str = "flash", cuts: Sequence[Cut] = ()) -> dict[Hashable, Candidate]:
    """One candidate per layer.

    Args:
        problem: the candidates; totals include its fixed parts.
        bounds: on flash and latency; `ram` is the caller's to turn into cuts.
        objective: "flash" (fewest bytes, then fewest instructions) or "latency" (fewest instructions, then bytes).
        cuts: sets of candidates that must not be taken together.

    Raises:
        InfeasibleError: bounds that no choice meets; the message names the smallest feasible value.
        HwcmpError: unknown objective.
    """
    check_objective(objective)
    if not problem.options:
        return {}
    taken = _solve(problem, bounds, objective, cuts)
    if taken is None:
        raise InfeasibleError(_infeasible(problem, bounds, cuts))
    return taken


def check_objective(objective: str) -> None:
    """Raises HwcmpError for anything that is no objective."""
    if objective not in OBJECTIVES:
        raise HwcmpError(f"objective must be one of {OBJECTIVES}. Received: {objective!r}")


def _infeasible(problem: Problem, bounds: Bounds, cuts: Sequence[Cut]) -> str:
    """Why no choice meets the bounds: one of them is too small by itself, or they are together."""
    within = _within_ram(bounds)
    least = {name: _least(problem, Bounds(), name, cuts) for name in OBJECTIVES}
    if None in least.values():
        return f"no choice of weight formats fits{within}"
    for name in OBJECTIVES:
        bound = getattr(bounds, name)
        if bound is not None and bound < least[name]:
            return too_little(name, bounds, least[name])
    flash = _least(problem, Bounds(latency=bounds.latency), "flash", cuts)
    latency = _least(problem, Bounds(flash=bounds.flash), "latency", cuts)
    return (
        f"flash={bounds.flash:,} bytes and latency={bounds.latency:,} instructions are too little together: with this latency the smallest "
        f"possible flash is {flash:,} bytes, with this flash the smallest possible latency is {latency:,} instructions{within}"
    )


def too_little(name: str, bounds: Bounds, least: int) -> str:
    """The message for a bound that is too small by itself."""
    unit = _UNITS[name]
    return f"{name}={getattr(bounds, name):,} {unit} is too little: the smallest possible is {least:,} {unit}{_within_ram(bounds)}"


def _within_ram(bounds: Bounds) -> str:
    return "" if bounds.ram is None else f" within ram={bounds.ram:,} bytes"


def _least(problem: Problem, bounds: Bounds, objective: str, cuts: Sequence[Cut]) -> int | None:
    """The best value of the objective within the bounds; None where there is no choice."""
    taken = _solve(problem, bounds, objective, cuts)
    if taken is None:
        return None
    return total(problem, taken, objective)


def total(problem: Problem, taken: Mapping[Hashable, Candidate], objective: str) -> int:
    """Bytes or instructions of a choice, those of its layers added up."""
    if objective == "flash":
        code = problem.code_of(part for row in taken.values() for part in row.code)
        return problem.fixed_bytes + code + sum(row.bytes for row in taken.values())
    return problem.fixed_insns + sum(row.insns for row in taken.values())


def _solve(problem: Problem, bounds: Bounds, objective: str, cuts: Sequence[Cut]) -> dict[Hashable, Candidate] | None:
    """Variables: for each candidate whether it is taken, then for each part of the runtime whether it is needed."""
    flat = [(key, row) for key, rows in problem.options.items() for row in rows]
    parts = sorted(problem.code_bytes)
    size = np.array([row.bytes for _, row in flat] + [problem.code_bytes[part] for part in parts], float)
    insns = np.array([row.insns for _, row in flat] + [0] * len(parts), float)
    limits = [(size, bounds.flash, problem.fixed_bytes), (insns, bounds.latency, problem.fixed_insns)]
    if any(bound is not None and bound < fixed for _, bound, fixed in limits):
        return None
    one_each = np.array([[float(key == owner) for owner, _ in flat] + [0.0] * len(parts) for key in problem.options])
    constraints = [LinearConstraint(one_each, 1, 1)]
    constraints += [LinearConstraint(values[None, :], 0, bound - fixed) for values, bound, fixed in limits if bound is not None]
    constraints += [_all_but_one(flat, cut, len(parts)) for cut in cuts]
    constraints += [_needed(flat, part, number, len(parts)) for number, part in enumerate(parts)]
    first, second = (size, insns) if objective == "flash" else (insns, size)
    cost = first + second / (second.sum() + 1) * 0.5  # breaks ties: the values of `first` are integers
    found = milp(cost, constraints=constraints, integrality=np.ones(len(cost)), bounds=(0, 1), options={"mip_rel_gap": 0})
    if found.x is None:
        return None
    return {key: row for (key, row), taken in zip(flat, found.x > 0.5, strict=False) if taken}


def _all_but_one(flat: Sequence[tuple[Hashable, Candidate]], cut: Cut, parts: int) -> LinearConstraint:
    members = [float(key in cut and cut[key] == row) for key, row in flat]
    return LinearConstraint(np.array([members + [0.0] * parts]), 0, len(cut) - 1)


def _needed(flat: Sequence[tuple[Hashable, Candidate]], part: str, number: int, parts: int) -> LinearConstraint:
    """A candidate is taken only if its part is there: taken <= needed, for each candidate that has the part."""
    users = [index for index, (_, row) in enumerate(flat) if part in row.code]
    rows = np.zeros((max(len(users), 1), len(flat) + parts))
    for line, index in enumerate(users):
        rows[line, index], rows[line, len(flat) + number] = 1.0, -1.0
    return LinearConstraint(rows, -np.inf, 0)
