"""Which C kernel runs a layer: the operator's own, or one that reads a weight format as stored."""

from __future__ import annotations

from keras_hwcompress.formats.table import WeightFormat
from keras_hwcompress.runtime_files import runtime_dir


def kernel_of(op: str, stored: WeightFormat) -> str:
    """The kernel for an operator with weights; its C function is `hwcmp_<kernel>_s8`.

    Args:
        op: such as "conv2d". stored: the format of the layer's weights.

    Returns:
        `<op>_<format>` where mcu_runtime/src/ref has a file of that name, otherwise `op`.
    """
    direct = f"{op}_{stored.name}"
    has_direct = stored.kind == "DIRECT" and (runtime_dir() / "src" / kernel_file("ref", direct)).is_file()
    return direct if has_direct else op


def kernel_file(arm: str, kernel: str) -> str:
    """The file of a kernel below mcu_runtime/src: an arm holds only what it does better than the reference."""
    own = runtime_dir() / "src" / arm / f"{kernel}.c"
    return f"{arm}/{kernel}.c" if own.is_file() else f"ref/{kernel}.c"
