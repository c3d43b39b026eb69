"""The cost model: instructions of a layer, predicted from what `features` counts.

insns = sum over the counts of coefficient * count. The coefficients, one table per core, are least-squares fits to
whole layers counted in QEMU (`benchmarks/fit_cost.py` writes `cost.json`, with the errors it found on layers left out
of the fit). A prediction is an estimate: the benchmark's CSV has the measured figures.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.targets.boards import Board
from keras_hwcompress.targets.features import Features, Stored, layer_features
from keras_hwcompress.tflite.layers import Layer

# For kernels and formats that nobody has measured on a core: so slow that nothing takes them for speed.
_UNKNOWN = {"macs": 16.0, "weights": 32.0, "elements": 64.0}
# The count that is there for unknown kernels only. The others say the same in greater detail.
NOT_FITTED = "macs"


@dataclass(frozen=True, slots=True)
class CostModel:
    """Coefficients of one core, by name of the count.

    median_error, worst_error: relative, over layers that were left out of the fit. cases: layers it was fitted to.
    code_bytes: compiled size of the kernels ("conv2d") and decoders ("unpack nary").
    """

    core: str
    arm: str
    coefficients: Mapping[str, float]
    median_error: float = math.nan
    worst_error: float = math.nan
    cases: int = 0
    code_bytes: Mapping[str, int] = field(default_factory=dict)
    paths: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", frozenset(name.rpartition("/")[0] for name in self.coefficients))

    def predict(self, features: Features) -> float:
        """Instructions of a layer with these counts; never negative."""
        total = 0.0
        for name, count in features.items():
            path, _, what = name.rpartition("/")
            known = path if path in self.paths else _nearest(path, self.paths)
            coefficient = _UNKNOWN.get(what, 0.0) if known is None else self.coefficients.get(f"{known}/{what}", 0.0)
            total += coefficient * count
        return total


def cost_model(board: Board) -> CostModel:
    """The model of a board's core, or of another core with the same kernels where it has not been measured.

    Raises:
        HwcmpError: no core with these kernels has been measured.
    """
    models = _models()
    found = models.get(board.core) or next((model for model in models.values() if model.arm == board.arm), None)
    if found is None:
        raise HwcmpError(f"no instructions have been measured for {board.core}: run benchmarks/kernels.py and benchmarks/fit_cost.py")
    return found


def predict_layer(board: Board, layer: Layer, stored: Stored | None = None) -> int:
    """Instructions of a prepared layer on a board; `stored` for layers with weights."""
    return round(cost_model(board).predict(layer_features(layer, board.arm, stored)))


@functools.cache
def _models() -> dict[str, CostModel]:
    text = (resources.files("keras_hwcompress.targets") / "cost.json").read_text(encoding="utf-8")
    return {core: CostModel(core, **row) for core, row in json.loads(text).items()}


def _nearest(path: str, known: frozenset[str]) -> str | None:
    """The same path in another loop, else another path of the same kernel; the first in alphabetical order."""
    kernel, _, name = path.split("/")
    same = sorted(item for item in known if item.split("/")[0] == kernel)
    return next((item for item in same if item.split("/")[2] == name), same[0] if same else None)
