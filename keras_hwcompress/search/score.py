"""How good a model is, as searches see it: one number, larger is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_hwcompress.errors import HwcmpError

Score = Callable[[keras.Model], float]


def as_score(validation_data: Any) -> Score:
    """A function from a model to its score.

    Args:
        validation_data: such a function already; or (inputs, labels): the score is the share of samples whose largest
            output is the label; labels are integers, shape (n,) or (n, 1), or one-hot rows.

    Raises:
        HwcmpError: neither; or, when called, a model whose outputs are not one row of classes per sample.
    """
    if callable(validation_data):
        return validation_data
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise HwcmpError(
            "validation_data must be (inputs, labels) or a function from a model to a score. "
            f"Received: {type(validation_data).__name__}"
        )
    inputs, labels = validation_data
    return lambda model: _accuracy(model, inputs, np.asarray(labels))


def _accuracy(model: keras.Model, inputs: Any, labels: np.ndarray) -> float:
    outputs = model.predict(inputs, verbose=0)
    if not isinstance(outputs, np.ndarray) or outputs.ndim != 2 or outputs.shape[1] < 2 or len(outputs) != len(labels):
        raise HwcmpError(
            "accuracy needs one row of two or more class scores for each label. For other outputs pass a function from a "
            f"model to a score. Received: outputs {getattr(outputs, 'shape', type(outputs).__name__)}, {len(labels)} labels"
        )
    one_hot = labels.ndim == 2 and labels.shape[1] > 1
    return float(np.mean(outputs.argmax(axis=1) == (labels.argmax(axis=1) if one_hot else labels.reshape(-1))))
