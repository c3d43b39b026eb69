"""Every kernel refuses bad arguments with the right status before it writes anything."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from runtime_cases import CASES
from runtime_library import CC, STATUS, Call, Guarded, kernels, prepare_call  # noqa: F401  (kernels is a fixture)

from keras_hwcompress.runners.kernels import Kernels

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"{CC} is not installed")
OK, ARGUMENT = STATUS["OK"], STATUS["ERR_ARGUMENT"]


class _Null:
    """Stands for an array whose address is null."""

    class ctypes:  # noqa: N801
        data = None


NULL = _Null()


def usable(kernels: Kernels, op: str) -> Call:
    """A call that succeeds as it is; a small one with weights that need scratch."""
    for seed in range(100):
        case = CASES[op](np.random.default_rng(seed))
        if not case.blobs:
            return prepare_call(kernels, case)
        if "nary" in dict(case.blobs) and case.layer.weights.values.shape[0] > 3:
            return prepare_call(kernels, case, dict(case.blobs)["nary"])
    raise LookupError(op)


def refused(kernels: Kernels, call: Call, status: int) -> None:
    assert call.run(kernels) == status
    assert call.output.is_untouched() and (call.scratch is None or call.scratch.is_untouched())


@pytest.mark.parametrize("op", CASES)
def test_a_null_activation_is_refused(kernels: Kernels, op: str) -> None:
    call = usable(kernels, op)
    for spoiled in range(len(call.inputs)):
        nulls = [NULL if index == spoiled else array for index, array in enumerate(call.inputs)]
        refused(kernels, replace(call, inputs=nulls), ARGUMENT)
    assert kernels.run(call.layer, call.inputs, NULL, call.weights, call.scratch.values) == ARGUMENT
    assert call.run(kernels) == OK


ACTIVATION_RANGE = {"activation_min": (-129, 128), "activation_max": (-129, 128)}
ZERO_POINTS = {"input_zero_point": (-129, 128), "output_zero_point": (-129, 128)}
CONV = {
    **dict.fromkeys("kernel_h kernel_w stride_h stride_w dilation_h dilation_w tile_rows".split(), (0, -1)),
    **dict.fromkeys(("pad_top", "pad_left"), (-1,)),
    **dict.fromkeys(("input", "output"), ("h", "w", "c")),
    **ACTIVATION_RANGE,
    **ZERO_POINTS,
}
BINARY = {
    "shape": (0, -1),
    **dict.fromkeys(("a_stride", "b_stride"), (-1, 2**31 - 1)),
    **dict.fromkeys(("a_shift", "b_shift", "output_shift"), (-32, 31)),
    "left_shift": (-1, 24),
    **dict.fromkeys(("a_zero_point", "b_zero_point", "output_zero_point"), (-129, 128)),
    **ACTIVATION_RANGE,
}
POOL = {
    **dict.fromkeys("filter_h filter_w stride_h stride_w".split(), (0, -1)),
    **dict.fromkeys(("pad_top", "pad_left"), (-1, 100)),
    **dict.fromkeys(("input", "output"), ("h", "w", "c")),
    **ACTIVATION_RANGE,
}
REDUCE = {"shape": (0, -1), "shift": (-32, 31), "reduce_mask": (16,), **ZERO_POINTS}
BAD_FIELDS = {
    "conv2d": CONV,
    "depthwise_conv2d": CONV,
    "fully_connected": {"batch": (0,), "input_length": (0,), "tile_rows": (0,), **ACTIVATION_RANGE, **ZERO_POINTS},
    "add": BINARY,
    "sub": BINARY,
    "mul": BINARY,
    "concat": {"outer": (0,), "count": (0,), "inner": (None,)},
    "pad": {"shape": (0, 2**31 - 1), "before": (-1, 2**31 - 1), "after": (-1, 2**31 - 1)},
    "slice": {"shape": (0, -1), "stride": (-(2**31), 2**31 - 1), "offset": (-1, 2**31 - 1)},
    "average_pool": POOL,
    "max_pool": POOL,
    "mean": REDUCE,
    "reduce_max": REDUCE,
    "softmax": {"rows": (0,), "depth": (0, 4097), "multiplier": (-1,), "shift": (-1, 32), "diff_min": (1,)},
    "quantize_f32": {"scale": (0.0, -1.0, float("nan")), "zero_point": (-129, 128)},
    "dequantize_f32": {"scale": (0.0, -1.0, float("nan")), "zero_point": (-129, 128)},
}


def spoiled_params(params: ctypes.Structure, name: str, bad: object) -> Iterator[ctypes.Structure]:
    """Copies of the params in which one scalar is bad; each axis in turn for arrays and dims."""
    if isinstance(bad, str):
        for extent in (0, -1):
            copy = type(params).from_buffer_copy(params)
            setattr(getattr(copy, name), bad, extent)
            yield copy
    elif isinstance(getattr(params, name), ctypes.Array):
        for axis in range(4):
            copy = type(params).from_buffer_copy(params)
            if copy.shape[axis] == 1 and name.endswith("stride") and (bad > 0 or name == "stride"):
                copy.shape[axis] = 3
            getattr(copy, name)[axis] = bad
            yield copy
    else:
        copy = type(params).from_buffer_copy(params)
        setattr(copy, name, bad)
        yield copy


@pytest.mark.parametrize("op", BAD_FIELDS)
def test_a_field_out_of_range_is_refused_before_anything_is_written(kernels: Kernels, op: str) -> None:
    call = usable(kernels, op)
    tried = 0
    for name, values in BAD_FIELDS[op].items():
        for bad in values:
            for params in spoiled_params(call.layer.params, name, bad):
                refused(kernels, replace(call, layer=replace(call.layer, params=params)), ARGUMENT)
                tried += 1
    assert tried >= len(BAD_FIELDS[op])
    assert call.run(kernels) == OK


WEIGHTED = ("conv2d", "depthwise_conv2d", "fully_connected")


def _misaligned(call: Call) -> None:
    memory = Guarded(call.scratch.values.size + 4)
    memory.values = memory.values[1:]
    call.scratch = memory


def _short(call: Call) -> None:
    call.scratch = Guarded(call.scratch.values.size - 1)


SPOILERS: dict[str, tuple[str, Callable[[Call], None]]] = {
    "another number of rows": ("ERR_SHAPE", lambda call: setattr(call.weights, "rows", call.weights.rows - 1)),
    "another row length": ("ERR_SHAPE", lambda call: setattr(call.weights, "row_length", call.weights.row_length + 1)),
    "no bias": ("ERR_ARGUMENT", lambda call: setattr(call.layer.channels, "bias", None)),
    "no multiplier": ("ERR_ARGUMENT", lambda call: setattr(call.layer.channels, "multiplier", None)),
    "no shift": ("ERR_ARGUMENT", lambda call: setattr(call.layer.channels, "shift", None)),
    "a channel step of two": ("ERR_ARGUMENT", lambda call: setattr(call.layer.channels, "channel_step", 2)),
    "a shift of 31": ("ERR_ARGUMENT", lambda call: call.layer.keep[2].__setitem__(-1, 31)),
    "a shift of -32": ("ERR_ARGUMENT", lambda call: call.layer.keep[2].__setitem__(-1, -32)),
    "no scratch": ("ERR_SCRATCH", lambda call: setattr(call, "scratch", None)),
    "one byte of scratch too few": ("ERR_SCRATCH", _short),
    "misaligned scratch": ("ERR_SCRATCH", _misaligned),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
@pytest.mark.parametrize("op", WEIGHTED)
def test_weights_constants_and_scratch_that_do_not_fit_are_refused(kernels: Kernels, op: str, spoiler: str) -> None:
    if (op, spoiler) == ("fully_connected", "another number of rows"):
        pytest.skip("the number of outputs of a fully connected layer is that of its rows")
    status, spoil = SPOILERS[spoiler]
    call = usable(kernels, op)
    assert call.scratch.values.size > 0
    spoil(call)
    refused(kernels, call, STATUS[status])


def test_a_depth_multiplier_that_is_not_whole_is_refused(kernels: Kernels) -> None:
    call = usable(kernels, "depthwise_conv2d")
    call.layer.params.input.c = call.layer.params.output.c + 1
    refused(kernels, call, STATUS["ERR_SHAPE"])


@pytest.mark.parametrize("op", ["average_pool", "max_pool"])
@pytest.mark.parametrize("axis", ["h", "w"])
def test_a_pool_window_that_holds_no_input_is_refused(kernels: Kernels, op: str, axis: str) -> None:
    before, after = usable(kernels, op), usable(kernels, op)
    pad = {"h": "pad_top", "w": "pad_left"}[axis]
    setattr(before.layer.params, pad, getattr(before.layer.params, f"filter_{axis}"))
    refused(kernels, before, ARGUMENT)
    setattr(after.layer.params, pad, 0)
    setattr(after.layer.params, f"stride_{axis}", getattr(after.layer.params.input, axis))
    setattr(after.layer.params.output, axis, 2)
    refused(kernels, after, ARGUMENT)


def test_plain_weights_inside_the_input_need_no_scratch(kernels: Kernels) -> None:
    case = CASES["fully_connected"](np.random.default_rng(1))
    call = prepare_call(kernels, case, dict(case.blobs)["dense8"])
    assert call.scratch.values.size == 0
    call.scratch = None
    assert call.run(kernels) == OK
