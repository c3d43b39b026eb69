"""Inputs and outputs of a model as flat records of bytes, the form in which images and libraries take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_hwcompress.tflite.graph import Graph, Tensor


def pack_inputs(graph: Graph, inputs: Sequence[np.ndarray]) -> list[bytes]:
    """One record of bytes per inference.

    Args:
        graph: the model.
        inputs: per model input an array (count, *shape), with or without the batch axis of 1, in the input's dtype.

    Raises:
        ValueError: number of arrays, shape, dtype or count is wrong.
    """
    tensors = [graph.tensors[i] for i in graph.inputs]
    if len(inputs) != len(tensors):
        raise ValueError(f"expected {len(tensors)} input arrays. Received: {len(inputs)}")
    arrays = [np.asarray(array) for array in inputs]
    for array, tensor in zip(arrays, tensors, strict=True):
        _check(array, tensor, len(arrays[0]))
    return [b"".join(np.ascontiguousarray(array[i]).tobytes() for array in arrays) for i in range(len(arrays[0]))]


def unpack_outputs(outputs: Sequence[Tensor], data: bytes, count: int) -> list[np.ndarray]:
    """The arrays (count, *shape) of each output in `count` records."""
    sizes = [tensor.size * tensor.dtype.itemsize for tensor in outputs]
    rows = np.frombuffer(data, np.uint8).reshape(count, sum(sizes))
    columns = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
    return [
        np.ascontiguousarray(column).view(tensor.dtype).reshape(count, *tensor.shape)
        for column, tensor in zip(columns, outputs, strict=True)
    ]


def _check(array: np.ndarray, tensor: Tensor, count: int) -> None:
    shape = array.shape[1:]
    same_shape = shape == tensor.shape or (1, *shape) == tensor.shape
    if array.dtype != tensor.dtype or not same_shape or len(array) != count:
        expected = ", ".join(str(extent) for extent in tensor.shape)
        raise ValueError(
            f"input {tensor.name!r} expects {tensor.dtype} of shape (count, {expected}). Received: {array.dtype} {array.shape}"
        )
