"""Which Dense layers the TFLite converter would scale column by column, from the data flow of the Keras graph.

Measured with TensorFlow 2.21: a multiplication or addition with a constant vector (a BatchNormalization, a Rescaling
with vectors, `x * constant`) directly before a fully connected layer, or separated from it only by reshapes, dropout
and linear activations, is folded into the columns of its weights, which destroys every grid. Poolings, non-linear
activations, concatenation and sums of two tensors stop it. Convolutions are never folded into from the front.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_hwcompress.training.kernels import kernels_of
from keras_hwcompress.training.models import is_graph
from keras_hwcompress.training.wrapper import CompressedLayer

L = keras.layers

# Layers that disappear at inference or only move values: what comes in goes out.
_TRANSPARENT = (
    L.Flatten, L.Reshape, L.Permute, L.RepeatVector, L.Identity, L.ActivityRegularization,
    L.Dropout, L.SpatialDropout1D, L.SpatialDropout2D, L.GaussianDropout, L.GaussianNoise, L.AlphaDropout,
)  # fmt: skip

# Layers whose output is no multiplication or addition with a constant.
_OPAQUE = (
    L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.Softmax, L.Embedding,
    L.MaxPooling1D, L.MaxPooling2D, L.AveragePooling1D, L.AveragePooling2D,
    L.GlobalMaxPooling1D, L.GlobalMaxPooling2D, L.GlobalAveragePooling1D, L.GlobalAveragePooling2D,
    L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate, L.Dot,
    L.LSTM, L.GRU, L.SimpleRNN, L.Bidirectional, L.InputLayer,
)  # fmt: skip


def folded_dense(model: keras.Model) -> set[int]:
    """Ids of the wrapped Dense layers with a foldable constant before them in at least one place of the graph.

    Layers that are not known here count as foldable constants: rewriting a Dense needlessly costs two reshapes, not
    rewriting it costs the grid.

    Args:
        model: a wrapped Sequential or functional model.
    """
    found: set[int] = set()
    _flow(model, [False] * len(model.inputs), found)
    return found


def _flow(model: keras.Model, inputs: list[bool], found: set[int]) -> list[bool]:
    """Whether each output of the model ends in a foldable constant, given the same of its inputs."""
    if isinstance(model, keras.Sequential):
        marks = inputs
        for layer in model.layers:
            marks = _through(layer, marks, found)
        return marks
    return _FunctionalFlow(model, inputs, found).outputs()


def _through(operation: Any, inputs: list[bool], found: set[int]) -> list[bool]:
    """The same for one layer or operation; every output of a layer gets the same mark."""
    if is_graph(operation):
        return _flow(operation, inputs, found)
    if isinstance(operation, CompressedLayer) and type(operation.layer) is L.Dense and any(inputs):
        found.add(id(operation))
    return [_marks(operation, any(inputs))]


def _marks(operation: Any, incoming: bool) -> bool:
    if isinstance(operation, _TRANSPARENT):
        return incoming
    if isinstance(operation, L.Activation):
        return incoming and operation.activation is keras.activations.linear
    if isinstance(operation, L.Rescaling) and _is_scalar(operation.scale) and _is_scalar(operation.offset):
        return incoming
    known = isinstance(operation, (CompressedLayer, *_OPAQUE)) or (
        isinstance(operation, keras.layers.Layer) and bool(kernels_of(operation))
    )
    return not known


def _is_scalar(value: Any) -> bool:
    return not hasattr(value, "__len__") and getattr(value, "shape", ()) == ()


class _FunctionalFlow:
    """The data flow of a functional model, read from its configuration: the public description of its graph.

    A subclass may configure itself in its own way, so a plain model over the same graph is asked.
    """

    def __init__(self, model: keras.Model, inputs: list[bool], found: set[int]) -> None:
        config = keras.Model(model.inputs, model.outputs).get_config()
        self._operations = {operation.name: operation for operation in model.operations}
        self._nodes = {entry["name"]: entry["inbound_nodes"] for entry in config["layers"]}
        self._outputs = [self._output(key) for key in _keys(config["output_layers"])]
        self._found = found
        self._marks = {key[:2]: [mark] for key, mark in zip(_keys(config["input_layers"]), inputs, strict=True)}

    def outputs(self) -> list[bool]:
        """One mark per output, computed with an explicit stack because graphs are deeper than Python's."""
        pending = [key[:2] for key in self._outputs]
        while pending:
            node = pending[-1]
            missing = [key[:2] for key in self._inputs_of(node) if key[:2] not in self._marks]
            if node in self._marks or not missing:
                pending.pop()
                self._visit(node)
            else:
                pending.extend(missing)
        return [self._mark(key) for key in self._outputs]

    def _output(self, key: tuple[str, int, int]) -> tuple[str, int, int]:
        """Keras counts the calls of a nested functional model from 1 in the list of outputs, elsewhere from 0."""
        name, node, tensor = key
        return name, node - int(isinstance(self._operations[name], keras.Function)), tensor

    def _inputs_of(self, node: tuple[str, int]) -> list[tuple[str, int, int]]:
        return [] if node in self._marks else _histories(self._nodes[node[0]][node[1]])

    def _visit(self, node: tuple[str, int]) -> None:
        if node not in self._marks:
            incoming = [self._mark(key) for key in self._inputs_of(node)]
            self._marks[node] = _through(self._operations[node[0]], incoming, self._found)

    def _mark(self, key: tuple[str, int, int]) -> bool:
        marks = self._marks[key[:2]]
        return marks[key[2]] if key[2] < len(marks) else marks[0]


def _keys(tree: Any) -> list[tuple[str, int, int]]:
    """The [name, node, tensor] leaves of a nest of lists and dicts, in order."""
    if isinstance(tree, dict):
        return [key for value in tree.values() for key in _keys(value)]
    if len(tree) == 3 and isinstance(tree[0], str) and isinstance(tree[1], int):
        return [(tree[0], tree[1], tree[2])]
    return [key for value in tree for key in _keys(value)]


def _histories(tree: Any) -> list[tuple[str, int, int]]:
    """The tensors among the arguments of a node, in order."""
    if isinstance(tree, dict):
        if "keras_history" in tree:
            return _keys(tree["keras_history"])
        return [key for value in tree.values() for key in _histories(value)]
    return [key for value in tree for key in _histories(value)] if isinstance(tree, (list, tuple)) else []
