"""A compiled model: layers with their blobs, scratch and arena offsets: everything that emission writes down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_hwcompress import formats
from keras_hwcompress.codegen.fold import fold_pads
from keras_hwcompress.codegen.kernels import kernel_of
from keras_hwcompress.codegen.layouts import with_layouts
from keras_hwcompress.codegen.memory import lay_out
from keras_hwcompress.codegen.names import check_model_name
from keras_hwcompress.codegen.plan import Plan
from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.formats.table import WeightFormat, table
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.graph import Graph, Tensor
from keras_hwcompress.tflite.layers import Conv, FullyConnected, Layer, Reshape, weighted
from keras_hwcompress.tflite.prepare import prepare


@dataclass(frozen=True, slots=True)
class Blob:
    """The weights of one or several layers as stored in flash. stored: the format, or a layout of it."""

    tensor: int
    data: bytes
    format: WeightFormat
    stored: WeightFormat


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A model ready to be written as C.

    blobs: weight tensor index -> blob, in order of first use. tile_rows, stripe_rows: by output tensor, see `memory`.
    """

    name: str
    graph: Graph
    layers: tuple[Layer, ...]
    blobs: dict[int, Blob]
    tile_rows: dict[int, int]
    stripe_rows: dict[int, int]
    plan: Plan

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The model's input tensors."""
        return tuple(self.graph.tensors[i] for i in self.graph.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The model's output tensors."""
        return tuple(self.graph.tensors[i] for i in self.graph.outputs)

    @property
    def weight_bytes(self) -> int:
        """Blobs with headers, tables and padding."""
        return sum(len(blob.data) for blob in self.blobs.values())

    @property
    def int8_weight_bytes(self) -> int:
        """One byte per weight: what `weight_bytes` is compared with."""
        sizes = {layer.weights.tensor: layer.weights.values.size for layer in weighted(self.layers)}
        return sum(sizes.values())

    @property
    def const_bytes(self) -> int:
        """Bias, multiplier and shift of every layer with weights; equal arrays are stored, and counted, once."""
        channels = [layer.channels for layer in weighted(self.layers)]
        arrays = [array for c in channels for array in (c.bias, c.multiplier, c.shift)]
        return sum({(array.dtype, array.tobytes()): array.nbytes for array in arrays}.values())

    @property
    def model_bytes(self) -> int:
        """weight_bytes + const_bytes."""
        return self.weight_bytes + self.const_bytes

    def kernel(self, layer: Conv | FullyConnected) -> str:
        """The name of the kernel that runs a layer with weights, see `kernels.kernel_of`."""
        return kernel_of(layer.op, self.blobs[layer.weights.tensor].stored)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, padding taps counted."""
        return sum(layer.macs for layer in weighted(self.layers))


def compile_model(
    graph: Graph, name: str, arms: Sequence[str], *, grow: bool = True, layouts: str = "same"
) -> CompiledModel:
    """Prepares the layers, encodes the weights and plans the memory.

    Args:
        graph: an int8 model, with or without custom ops.
        name: prefix of the generated C symbols.
        arms: kernel arms that the image may be built with; scratch is planned for the hungriest.
        grow: make tiles and stripes larger where that costs no memory; without, every layer has the least scratch.
        layouts: "canonical", "same" or "fast": which weights get an arm's own layout, see `layouts.with_layouts`.

    Raises:
        UnsupportedModelError: the graph cannot be compiled.
        ValueError: `name` is no identifier.
    """
    check_model_name(name)
    check_compilable(graph)
    layers = _needed(graph, fold_pads(prepare(graph)))
    if all(isinstance(layer, Reshape) for layer in layers):
        raise UnsupportedModelError("the model computes nothing: expected at least one operator other than a reshape")
    _check_inputs_outputs(graph)
    blobs = with_layouts(layers, _encode(layers), arms, layouts)
    memory = lay_out(graph, layers, {tensor: blob.stored for tensor, blob in blobs.items()}, arms, grow=grow)
    return CompiledModel(name, graph, memory.layers, blobs, memory.tile_rows, memory.stripe_rows, memory.plan)


def _needed(graph: Graph, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers whose results something reads."""
    read, kept = set(graph.outputs), []
    for layer in reversed(layers):
        if not read.isdisjoint(layer.outputs):
            read.update(layer.inputs)
            kept.append(layer)
    return tuple(reversed(kept))


def _check_inputs_outputs(graph: Graph) -> None:
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if tensor.is_constant:
            raise UnsupportedModelError(f"an input or output must be computed. Received: constant tensor {tensor.name!r}")
        if tensor.dtype not in (np.int8, np.uint8, np.float32):
            raise UnsupportedModelError(
                f"inputs and outputs must be int8, uint8 or float32. Received: {tensor.dtype} for {tensor.name!r}"
            )


def _encode(layers: Sequence[Layer]) -> dict[int, Blob]:
    blobs: dict[int, Blob] = {}
    for layer in weighted(layers):
        weights = layer.weights
        if weights.tensor not in blobs:
            data = weights.blob if weights.blob is not None else formats.encode("dense8", weights.values)
            row = next(row for row in table().formats if row.id == data[0])
            blobs[weights.tensor] = Blob(weights.tensor, data, row, row)
    return blobs
