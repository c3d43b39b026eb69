"""Which weight format each layer gets: exact bytes, estimated instructions, an exact choice."""

from keras_hwcompress.select.choose import Candidate, candidates, choose

__all__ = ["Candidate", "candidates", "choose"]
