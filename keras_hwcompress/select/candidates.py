"""What each layer can be stored as: exact bytes, predicted instructions of the whole layer, scratch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from keras_hwcompress import formats
from keras_hwcompress.codegen.model import CompiledModel, compile_model
from keras_hwcompress.errors import HwcmpError
from keras_hwcompress.formats.table import table
from keras_hwcompress.select.choose import Candidate, Problem
from keras_hwcompress.targets.boards import Board
from keras_hwcompress.targets.cost import cost_model, predict_layer
from keras_hwcompress.targets.features import Stored
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.layers import Conv, ConvAdd, FullyConnected, Layer, weighted
from keras_hwcompress.tflite.match import group_rows
from keras_hwcompress.tflite.pack import BUILTIN, pack
from keras_hwcompress.tflite.weights import WeightGroup, weight_groups

DENSE = "dense8"
SCOPES = ("weights", "image")


def problem_of(graph: Graph, board: Board, scope: str = "image") -> Problem:
    """The candidates of every layer (layers that share weights count as one), smallest first.

    A format that the board's kernels have a layout for is two of them: which one a layer gets, its neighbours decide too.

    Dense int8 is always one of them: the operator stays a builtin one, the device stores a dense8 blob. Instructions
    are those in a model that has the format wherever it can; scratch is that of the smallest tiles.

    Args:
        graph: a plain graph. board: whose kernels run the layers.
        scope: what counts as flash: "image": weights, bias and requantization, and the code of the kernels and decoders
            that the choice needs, once each; or "weights": no code.

    Raises:
        HwcmpError: unknown scope.
    """
    if scope not in SCOPES:
        raise HwcmpError(f"scope must be one of {SCOPES}. Received: {scope!r}")
    blobs = {group: formats.admissible(group_rows(graph, group)) for group in weight_groups(graph)}
    found: dict[WeightGroup, list[Candidate]] = {group: [] for group in blobs}
    for name in [row.name for row in table().formats]:
        choice = {group: BUILTIN if name == DENSE else name for group, admitted in blobs.items() if name in admitted}
        for layouts in ("same", "canonical"):
            if choice:
                _add_candidates(found, graph, choice, board, layouts)
    dense = compiled_with(graph, {}, board)
    chosen = {tensor for group in blobs for tensor in group.tensors}
    fixed_bytes = dense.const_bytes + sum(len(blob.data) for tensor, blob in dense.blobs.items() if tensor not in chosen)
    choosable = {number for group in blobs for number in group.ops}
    fixed_insns = sum(work for number, work in _insns_by_op(dense, graph, board).items() if number not in choosable)
    ordered = {group: tuple(sorted(rows, key=lambda row: (row.bytes, row.insns))) for group, rows in found.items()}
    parts = {part for rows in ordered.values() for row in rows for part in row.code}
    return Problem(ordered, fixed_bytes, fixed_insns, _code_bytes(board, parts) if scope == "image" else {})


def _code_bytes(board: Board, parts: Iterable[str]) -> dict[str, int]:
    """Sizes of parts of the runtime; of layouts that nobody has measured, those of the format itself."""
    measured = cost_model(board).code_bytes
    return {part: measured.get(part, measured.get(_without_layout(part), 0)) for part in parts}


def _without_layout(part: str) -> str:
    """Of `conv2d_dense8_nested` `conv2d`, of `unpack dense8_nested` `unpack dense8`."""
    row = next((row for row in table().layouts if part.endswith(row.name)), None)
    if row is None:
        return part
    before = part.removesuffix(row.name)
    plain = next(item.name for item in table().formats if item.id == row.id)
    return before.removesuffix("_") if before.endswith("_") else before + plain


def _add_candidates(
    found: dict[WeightGroup, list[Candidate]], graph: Graph, choice: Mapping[WeightGroup, str], board: Board, layouts: str
) -> None:
    """Adds what layers are in a model that has one format wherever it can, unless another layout has the same kernels."""
    model = compiled_with(graph, choice, board, layouts=layouts)
    insns = _insns_by_op(model, graph, board)
    scratch = _scratch_by_op(compiled_with(graph, choice, board, grow=False, layouts=layouts), graph)
    stored = _stored_by_op(model, graph)
    for group, name in choice.items():
        size, code = next((stored[number] for number in group.ops if number in stored), (0, ()))
        work = sum(insns.get(number, 0) for number in group.ops)
        room = max(scratch.get(number, 0) for number in group.ops)
        if all((row.name, row.code) != (name, code) for row in found[group]):
            found[group].append(Candidate(name, size, work, room, code))


def code_parts(model: CompiledModel) -> set[str]:
    """The parts of the runtime that run a model's layers with weights, as `CostModel.code_bytes` names them."""
    layers = [layer.conv if isinstance(layer, ConvAdd) else layer for layer in weighted(model.layers)]
    return {part for layer in layers for part in _parts(model, layer)}


def _parts(model: CompiledModel, layer: Conv | FullyConnected) -> tuple[str, ...]:
    return model.kernel(layer), f"unpack {model.blobs[layer.weights.tensor].stored.name}"


def packed_with(graph: Graph, choice: Mapping[WeightGroup, str]) -> Graph:
    """The graph with the named format for each layer; layers without an entry stay builtin operators."""
    by_op = {number: BUILTIN for group in weight_groups(graph) for number in group.ops}
    return pack(graph, by_op | {number: name for group, name in choice.items() for number in group.ops})


def compiled_with(
    graph: Graph, choice: Mapping[WeightGroup, str], board: Board, *, grow: bool = True, layouts: str = "same"
) -> CompiledModel:
    """`packed_with`, compiled for a board."""
    return compile_model(packed_with(graph, choice), "model", sorted({"ref", board.arm}), grow=grow, layouts=layouts)


def predicted(model: CompiledModel, board: Board) -> Iterator[tuple[Layer, int]]:
    """Every layer of a compiled model with its predicted instructions."""
    for layer in model.layers:
        yield layer, predict_layer(board, layer, _stored(model, layer))


def _stored(model: CompiledModel, layer: Layer) -> Stored | None:
    if not isinstance(layer, Conv | FullyConnected | ConvAdd):
        return None
    blob, output = model.blobs[layer.weights.tensor], layer.outputs[0]
    kernel = model.kernel(layer.conv if isinstance(layer, ConvAdd) else layer)
    return Stored(blob.format.name, blob.data, kernel, model.tile_rows[output], model.stripe_rows.get(output, 1))


def _insns_by_op(model: CompiledModel, graph: Graph, board: Board) -> dict[int, int]:
    """Predicted instructions by operator of the plain graph.

    A fused addition is two operators: the addition has what it takes alone, the convolution has the rest.
    """
    number_of = _producers(graph)
    insns: dict[int, int] = {}
    for layer, work in predicted(model, board):
        number = number_of[layer.outputs[0]]
        if isinstance(layer, ConvAdd):
            insns[number] = predict_layer(board, layer.add)
            work -= insns[number]
            number = number_of[layer.conv.outputs[0]]
        insns[number] = insns.get(number, 0) + work
    return insns


def _scratch_by_op(model: CompiledModel, graph: Graph) -> dict[int, int]:
    """Scratch by operator of the plain graph."""
    number_of = _producers(graph)
    layers = {index: layer.conv if isinstance(layer, ConvAdd) else layer for index, layer in enumerate(model.layers)}
    return {number_of[layers[index].outputs[0]]: buffer.bytes for index, buffer in model.plan.scratch.items()}


def _stored_by_op(model: CompiledModel, graph: Graph) -> dict[int, tuple[int, tuple[str, ...]]]:
    """Bytes of the weights, and the parts of the runtime that run them, by operator of the plain graph."""
    number_of = _producers(graph)
    layers = [layer.conv if isinstance(layer, ConvAdd) else layer for layer in weighted(model.layers)]
    return {number_of[layer.outputs[0]]: (len(model.blobs[layer.weights.tensor].data), _parts(model, layer)) for layer in layers}


def _producers(graph: Graph) -> dict[int, int]:
    """Tensor -> number of the operator that computes it."""
    return {output: number for number, op in enumerate(graph.ops) for output in op.outputs}
