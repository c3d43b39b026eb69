"""Which C kernel runs a layer: the operator's own, or one that reads a weight format as stored."""

from __future__ import annotations

from keras_hwcompress.formats.table import WeightFormat, table
from keras_hwcompress.runtime_files import runtime_dir


def kernel_of(op: str, stored: WeightFormat) -> str:
    """The kernel for an operator with weights; its C function is `hwcmp_<kernel>_s8`.

    Args:
        op: such as "conv2d". stored: the format of the layer's weights, or their layout.

    Returns:
        `<op>_<format>` where mcu_runtime/src/ref has a file of that name, otherwise `op`.
    """
    direct = f"{op}_{stored.name}"
    has_direct = stored.kind == "DIRECT" and (runtime_dir() / "src" / kernel_file("ref", direct)).is_file()
    return direct if has_direct else op


def kernel_files(arm: str, kernel: str) -> tuple[str, ...]:
    """The file of a kernel and those of the kernels that it calls.

    The reference arm runs layouts through the operator's own kernel: `conv2d` for `conv2d_dense8_nested`.
    """
    own = kernel_file(arm, kernel)
    layout = next((row.name for row in table().layouts if kernel.endswith(f"_{row.name}")), None)
    if layout is None or not own.startswith("ref/"):
        return (own,)
    return own, kernel_file(arm, kernel.removesuffix(f"_{layout}"))


def kernel_file(arm: str, kernel: str) -> str:
    """The file of a kernel below mcu_runtime/src: an arm holds only what it does better than the reference."""
    own = runtime_dir() / "src" / arm / f"{kernel}.c"
    return f"{arm}/{kernel}.c" if own.is_file() else f"ref/{kernel}.c"
