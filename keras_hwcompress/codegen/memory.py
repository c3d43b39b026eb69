"""What the memory of a model is traded against: fused additions, rows per tile, rows per stripe, and the plan of all.

Fusing saves activations. Tiles (rows of weights unpacked at a time) and stripes (output rows of a fused convolution
at a time) cost scratch and save instructions. So additions are fused where that makes the arena smaller; tiles and
stripes start small and then grow, layer by layer, as far as the arena does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keras_hwcompress.codegen.fuse import fuse_residual_adds
from keras_hwcompress.codegen.kernels import kernel_of
from keras_hwcompress.codegen.plan import Plan, plan_memory
from keras_hwcompress.codegen.scratch import scratch_bytes, striped_scratch_bytes
from keras_hwcompress.formats.table import WeightFormat
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import ConvAdd, Layer, weighted

# Every tile gathers the activations again. This one keeps a 3 x 3 convolution of 16 to 32 channels in n-ary weights at
# 1.04 instructions per multiplication on Cortex-M4 with less than 4 KB of scratch; half of it costs 0.15 more.
_TILE_BYTES = 2304


@dataclass(slots=True)
class Memory:
    """Layers in execution order, some fused, with their plan.

    tile_rows, stripe_rows: by output tensor, for layers with weights and for fused layers.
    """

    layers: tuple[Layer, ...]
    plan: Plan
    tile_rows: dict[int, int] = field(default_factory=dict)
    stripe_rows: dict[int, int] = field(default_factory=dict)


def lay_out(graph: Graph, layers: Sequence[Layer], formats: dict[int, WeightFormat], arms: Sequence[str], *, grow: bool = True) -> Memory:
    """Decides fusion, tiles and stripes, and plans the arena.

    Args:
        graph: the model. layers: its prepared layers. formats: weight tensor -> format or layout.
        arms: kernel arms that the image may be built with; the hungriest counts.
        grow: make tiles and stripes larger where that costs no memory.
    """
    planner = _Planner(graph, formats, tuple(arms))
    fused = fuse_residual_adds(graph, layers, lambda candidate: planner.start(candidate).plan.arena_bytes)
    memory = planner.start(fused)
    return planner.grow(memory) if grow else memory


@dataclass(frozen=True, slots=True)
class _Planner:
    graph: Graph
    formats: dict[int, WeightFormat]
    arms: tuple[str, ...]

    def start(self, layers: Sequence[Layer]) -> Memory:
        """The smallest tiles and stripes."""
        tile_rows = {layer.outputs[0]: self._first_tile(layer) for layer in weighted(layers)}
        stripe_rows = {layer.outputs[0]: 1 for layer in layers if isinstance(layer, ConvAdd)}
        return self._plan(tuple(layers), tile_rows, stripe_rows)

    def grow(self, memory: Memory) -> Memory:
        """Larger tiles and stripes where they are free."""
        for layer in weighted(memory.layers):
            if self._is_tiled(layer):
                memory = self._grow(memory, "tile_rows", layer.outputs[0], len(layer.weights.values))
            if isinstance(layer, ConvAdd):
                memory = self._grow(memory, "stripe_rows", layer.outputs[0], layer.conv.output[0])
        return memory

    def _grow(self, memory: Memory, what: str, output: int, limit: int) -> Memory:
        for rows in _larger(limit, getattr(memory, what)[output]):
            sizes = {"tile_rows": memory.tile_rows, "stripe_rows": memory.stripe_rows}
            sizes[what] = sizes[what] | {output: rows}
            candidate = self._plan(memory.layers, **sizes)
            if candidate.plan.arena_bytes <= memory.plan.arena_bytes:
                return candidate
        return memory

    def _is_tiled(self, layer: Layer) -> bool:
        """Whether the number of rows per tile matters. Layouts are unpacked on the host only, where speed does not."""
        stored = self.formats[layer.weights.tensor]
        return stored.kind != "PLAIN" and stored.layout == 0

    def _first_tile(self, layer: Layer) -> int:
        rows, row_length = layer.weights.values.shape
        return max(1, min(rows, _TILE_BYTES // row_length)) if self.formats[layer.weights.tensor].layout == 0 else 1

    def _plan(self, layers: tuple[Layer, ...], tile_rows: dict[int, int], stripe_rows: dict[int, int]) -> Memory:
        def need(number: int) -> int:
            layer = layers[number]
            return max(self._scratch(layer, arm, tile_rows.get(layer.outputs[0], 1), stripe_rows.get(layer.outputs[0], 1)) for arm in self.arms)

        return Memory(layers, plan_memory(self.graph, layers, need), tile_rows, stripe_rows)

    def _scratch(self, layer: Layer, arm: str, tile_rows: int, stripe_rows: int) -> int:
        if not weighted([layer]):
            return scratch_bytes(layer, "PLAIN", arm, tile_rows)
        stored = self.formats[layer.weights.tensor]
        if isinstance(layer, ConvAdd):
            kernel = kernel_of(layer.conv.op, stored)
            return striped_scratch_bytes(layer, stored.kind, arm, tile_rows, stripe_rows, kernel)
        return scratch_bytes(layer, stored.kind, arm, tile_rows, kernel_of(layer.op, stored))


def _larger(limit: int, start: int) -> list[int]:
    """Sizes above `start`, largest first: those that split `limit` into equal parts."""
    parts = range(1, -(-limit // start))
    return list(dict.fromkeys(-(-limit // count) for count in parts if -(-limit // count) > start))
