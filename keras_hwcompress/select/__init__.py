"""Which weight format each layer gets: exact bytes, predicted instructions, an exact choice within bounds."""

from keras_hwcompress.select.candidates import SCOPES, predicted, problem_of
from keras_hwcompress.select.choose import OBJECTIVES, Bounds, Candidate, Problem, choose
from keras_hwcompress.select.search import RunnerUp, Selection, select_formats

__all__ = [
    "OBJECTIVES", "SCOPES", "Bounds", "Candidate", "Problem", "RunnerUp", "Selection", "choose", "predicted", "problem_of", "select_formats",
]  # fmt: skip
