"""Settings and strategies of the property tests: the same examples in every run, few by default.

HWCMP_EXAMPLES=500 in the environment runs that many examples per test instead.
"""

from __future__ import annotations

import os

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

deterministic = settings(
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    max_examples=int(os.environ.get("HWCMP_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

seeds = st.integers(0, 2**32 - 1)
zero_points = st.one_of(st.sampled_from([-128, 127, 0]), st.integers(-128, 127))
paddings = st.sampled_from(["same", "valid"])
activations = st.sampled_from(["none", "relu", "relu6", "relu_n1_to_1"])


def scales(low: float = 1e-3, high: float = 1.0) -> st.SearchStrategy[float]:
    """float32 scales, uniform in the exponent: equal and very unequal ones meet."""
    exponents = st.floats(float(np.log(low)), float(np.log(high)))
    return exponents.map(lambda exponent: float(np.float32(np.exp(exponent))))


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    """(height, width) of a kernel, stride or dilation."""
    return st.tuples(st.integers(low, high), st.integers(low, high))
