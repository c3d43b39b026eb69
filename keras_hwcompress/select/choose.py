"""The choice of the weight format per layer as a multiple-choice knapsack, solved exactly by integer programming.

Every layer takes one of its admissible formats. Objective "flash": fewest bytes. Objective "latency": fewest
instructions, within `flash` bytes if given. Ours; bytes are exact, instructions come from `targets.cost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint, milp

from keras_hwcompress import formats
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.targets.cost import unpack_insns
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.match import group_rows
from keras_hwcompress.tflite.pack import BUILTIN
from keras_hwcompress.tflite.weights import WeightGroup, weight_groups

OBJECTIVES = ("flash", "latency")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One format for one layer. name: as `pack` takes it. bytes: the blob. insns: more than dense int8, estimated."""

    name: str
    bytes: int
    insns: int


def candidates(graph: Graph) -> dict[WeightGroup, tuple[Candidate, ...]]:
    """The admissible formats of each layer (layers that share weights count as one), smallest first.

    Dense int8 is always one of them: the operator stays a builtin one, the device stores a dense8 blob.
    """
    found = {}
    for group in weight_groups(graph):
        values = group_rows(graph, group)
        rows = [
            Candidate(BUILTIN if name == "dense8" else name, len(blob), len(group.ops) * unpack_insns(blob, values.size))
            for name, blob in formats.admissible(values).items()
        ]
        found[group] = tuple(sorted(rows, key=lambda row: (row.bytes, row.insns)))
    return found


def choose(
    options: dict[WeightGroup, tuple[Candidate, ...]], objective: str = "flash", flash: int | None = None
) -> dict[WeightGroup, Candidate]:
    """One candidate per layer.

    Args:
        options: of `candidates`.
        objective: "flash" (fewest bytes, then fewest instructions) or "latency" (fewest instructions, then bytes).
        flash: most bytes for all blobs together, None for no bound.

    Raises:
        HwcmpError: unknown objective, or a bound below the smallest possible size, which the message names.
    """
    if objective not in OBJECTIVES:
        raise HwcmpError(f"objective must be one of {OBJECTIVES}. Received: {objective!r}")
    smallest = sum(rows[0].bytes for rows in options.values())
    if flash is not None and flash < smallest:
        raise HwcmpError(f"the weights do not fit: at least {smallest:,} bytes are needed. Received: {max(flash, 0):,} bytes for them")
    flat = [(group, row) for group, rows in options.items() for row in rows]
    if not flat:
        return {}
    taken = _solve(list(options), flat, objective, flash)
    return {group: row for (group, row), chosen in zip(flat, taken, strict=True) if chosen}


def _solve(groups: Sequence[WeightGroup], flat: Sequence[tuple[WeightGroup, Candidate]], objective: str, flash: int | None) -> np.ndarray:
    size = np.array([row.bytes for _, row in flat], float)
    insns = np.array([row.insns for _, row in flat], float)
    first, second = (size, insns) if objective == "flash" else (insns, size)
    cost = first + second / (second.sum() + 1) * 0.5  # breaks ties: the values of `first` are integers
    one_each = np.array([[float(group is owner) for owner, _ in flat] for group in groups])
    constraints = [LinearConstraint(one_each, 1, 1)]
    if flash is not None:
        constraints.append(LinearConstraint(size[None, :], 0, flash))
    result = milp(cost, constraints=constraints, integrality=np.ones(len(flat)), bounds=(0, 1), options={"mip_rel_gap": 0})
    if result.x is None:
        raise HwcmpError(f"the choice of formats failed: {result.message}")
    return result.x > 0.5
