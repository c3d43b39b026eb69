"""Models that several tests share."""

from __future__ import annotations

import numpy as np
from build import GraphBuilder

from keras_hwcompress.tflite.graph import Graph


def ternary_weights(shape, seed=0, density=0.35):
    """Weights in {-127, 0, 127}."""
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 0, 1], shape, p=[density / 2, 1 - density, density / 2]) * 127).astype(np.int8)


def small_cnn(seed: int = 0, ternary: bool = False) -> Graph:
    """conv - depthwise - conv + residual - pool - fully connected - softmax on 9 x 7 x 3; odd channel counts."""
    builder = GraphBuilder(seed)
    x = builder.input((1, 9, 7, 3))
    y = builder.conv2d(x, 10, activation="relu", weights=ternary_weights((10, 3, 3, 3)) if ternary else None)
    z = builder.depthwise(y, activation="relu6")
    z = builder.conv2d(z, 10, (1, 1), weights=ternary_weights((10, 1, 1, 10), 1) if ternary else None)
    y = builder.add(y, z, activation="relu")
    y = builder.pool(y, filter=(3, 2), stride=(3, 2))
    y = builder.reshape(y, (1, 90))
    y = builder.fully_connected(y, 7, weights=ternary_weights((7, 90), 2) if ternary else None)
    return builder.build([builder.softmax(y)])


def every_op_graph(seed: int = 0) -> Graph:
    """One model with every operator of the runtime; every intermediate int8 result is an output."""
    builder = GraphBuilder(seed)
    outputs = []

    def keep(index):
        outputs.append(index)
        return index

    x = builder.input((1, 11, 9, 5), 0.05, -7)
    same = builder._scale_of
    wide = keep(builder.conv2d(x, 7, (3, 3), (2, 1), "same", activation="relu", weights=ternary_weights((7, 3, 3, 5))))
    keep(builder.conv2d(x, 6, (3, 2), (1, 1), "valid", (2, 3), "relu6"))
    keep(builder.conv2d(x, 9, (1, 1), per_channel=False))
    keep(builder.conv2d(x, 3, (1, 7), (3, 3), bias=False))
    keep(builder.depthwise(x, 2, (3, 3), (1, 2), "same"))
    keep(builder.depthwise(x, 1, (2, 3), (1, 1), "valid", (2, 2), "relu"))
    flat = builder.reshape(wide, (1, 6 * 9 * 7))
    dense = keep(builder.fully_connected(flat, 13, activation="relu", weights=ternary_weights((13, 378), 3)))
    keep(builder.fully_connected(dense, 4, per_channel=False, bias=False))
    row = builder.constant(np.arange(-60, 65, 25).reshape(1, 1, 1, 5), 0.03, 4, dtype=np.int8)
    total = keep(builder.add(x, row, 0.07, 3))
    keep(builder.add(row, total, 0.06, -5, kind="SUB"))
    keep(builder.add(total, x, 0.02, 0, "relu", kind="MUL"))
    keep(builder.add(x, builder.constant(np.int8([[55]]), 0.01, 1), 0.03, 9, kind="MUL"))
    joined = builder.op("CONCATENATION", (x, x, x), (1, 11, 27, 5), *same(x), "ConcatenationOptions", {"axis": 2, "fusedActivationFunction": 0})
    keep(joined)
    edges = builder.constant([[0, 0], [1, 2], [3, 0], [0, 1]], dtype=np.int32)
    keep(builder.op("PAD", (x, edges), (1, 14, 12, 6), *same(x), "PadOptions"))
    keep(builder.pool(x, "AVERAGE_POOL_2D", (3, 3), (2, 2), "same"))
    keep(builder.pool(x, "MAX_POOL_2D", (2, 3), (1, 2), "same", "relu"))
    axes = builder.constant([1, 2], dtype=np.int32)
    keep(builder.op("MEAN", (x, axes), (1, 5), 0.04, 2, "ReducerOptions", {"keepDims": False}))
    last = builder.constant([3], dtype=np.int32)
    keep(builder.op("REDUCE_MAX", (x, last), (1, 11, 9, 1), *same(x), "ReducerOptions", {"keepDims": True}))
    keep(builder.softmax(dense))
    keep(builder.op("LOGISTIC", (x,), (1, 11, 9, 5), 1 / 256, -128))
    keep(builder.op("TANH", (x,), (1, 11, 9, 5), 1 / 128, 0))
    keep(builder.op("RELU", (x,), (1, 11, 9, 5), 0.02, -128))
    keep(builder.op("RELU6", (x,), (1, 11, 9, 5), 6 / 255, -128))
    keep(builder.op("LEAKY_RELU", (x,), (1, 11, 9, 5), 0.04, -20, "LeakyReluOptions", {"alpha": 0.1}))
    keep(builder.op("HARD_SWISH", (x,), (1, 11, 9, 5), 0.05, -100, "HardSwishOptions"))
    keep(builder.op("QUANTIZE", (x,), (1, 11, 9, 5), 0.08, 11, "QuantizeOptions"))
    for index in _slices(builder, x, wide):
        keep(index)
    return builder.build(outputs)


def _slices(builder: GraphBuilder, x: int, wide: int) -> list[int]:
    """Operators that pick elements, of x (1, 11, 9, 5) and of wide (1, 6, 9, 7), as copies and as views."""
    quant = builder._scale_of(x)
    axis = builder.constant(np.array(2, np.int32))
    thirds = builder.parts("SPLIT", (axis, x), [(1, 11, 3, 5)] * 3, quant, "SplitOptions", {"numSplits": 3})
    rows = builder.parts("UNPACK", (x,), [(1, 9, 5)] * 11, quant, "UnpackOptions", {"num": 11, "axis": 1})
    stacked = builder.op("PACK", (rows[3], rows[0]), (1, 9, 2, 5), *quant, "PackOptions", {"valuesCount": 2, "axis": 2})
    bounds = [builder.constant(np.array(values, np.int32)) for values in ([0, 9, -2, 0], [1, 0, 1, 5], [1, -3, -2, 2])]
    options = {"beginMask": 9, "endMask": 9}
    hops = builder.op("STRIDED_SLICE", (x, *bounds), (1, 3, 3, 3), *quant, "StridedSliceOptions", options)
    order = builder.constant(np.array([0, 3, 1, 2], np.int32))
    planes = builder.op("TRANSPOSE", (x, order), (1, 5, 11, 9), *quant, "TransposeOptions")
    axes = builder.constant(np.array([1, 2], np.int32))
    mirrored = builder.op("REVERSE_V2", (x, axes), (1, 11, 9, 5), *quant, "ReverseV2Options")
    flat = builder.reshape(wide, (1, 378))
    window = [builder.constant(np.array(values, np.int32)) for values in ([0, 64], [1, 50])]
    view = builder.op("SLICE", (flat, *window), (1, 50), *builder._scale_of(wide), "SliceOptions")
    return [*thirds[:2], stacked, hops, planes, mirrored, builder.op("TANH", (view,), (1, 50), 1 / 128, 0)]
