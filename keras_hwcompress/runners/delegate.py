"""The external delegate: compiled on first use, loaded by the stock interpreters, runs our kernels inside them."""

from __future__ import annotations

import ctypes
from pathlib import Path

from keras_hwcompress.runners.tools import build_shared
from keras_hwcompress.runtime_files import runtime_dir
from keras_hwcompress.tflite.options import PACKED_KINDS

WARNINGS = (
    "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wcast-qual", "-Wstrict-prototypes",
    "-Wmissing-prototypes", "-Wdouble-promotion",
)  # fmt: skip
_FLAGS = ("-std=c11", "-O3", "-fvisibility=hidden", *WARNINGS)
_KERNELS = ("conv2d", "depthwise_conv2d", "fully_connected")


def delegate_sources() -> list[Path]:
    """The C files of the delegate: its own and those of the runtime that it calls."""
    root = runtime_dir()
    own, common = (sorted((root / folder).glob("*.c")) for folder in ("delegate", "src"))
    return [*own, *common, *(root / "src" / "ref" / f"{name}.c" for name in _KERNELS)]


def delegate_includes() -> list[Path]:
    """The include folders that `delegate_sources` need."""
    return [runtime_dir() / folder for folder in ("delegate", "include", "src")]


def delegate_library() -> Path:
    """The compiled delegate, from the cache if it was built before.

    Returns:
        A path for `load_delegate` of ai-edge-litert or tf.lite. Use one `load_delegate` per interpreter.

    Raises:
        ToolError: there is no C compiler, or it failed.
    """
    return build_shared("delegate", delegate_sources(), _FLAGS, delegate_includes())


def invocations() -> dict[str, int]:
    """How often each kernel of the delegate has run in this process: "HwcmpConv2D" ... -> count.

    A builtin FULLY_CONNECTED counts as "HwcmpFullyConnected".

    Raises:
        ToolError: as `delegate_library`.
    """
    counter = ctypes.CDLL(str(delegate_library())).hwcmp_delegate_invocations
    counter.argtypes, counter.restype = [ctypes.c_int32], ctypes.c_uint64
    return {name: counter(op) for op, name in enumerate(PACKED_KINDS.values())}
