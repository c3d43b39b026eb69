"""Geometry of sliding windows: output sizes and padding offsets of convolutions and pools, as TFLite computes them."""

from __future__ import annotations

from dataclasses import dataclass

from keras_hwcompress.errors import UnsupportedModelError
from keras_hwcompress.tflite.opview import MAX_DIMENSION, OpView


@dataclass(frozen=True, slots=True)
class Window:
    """All pairs are (height, width). same: padding SAME rather than VALID."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    same: bool

    def geometry(self, view: OpView, channels: int) -> dict[str, tuple[int, ...]]:
        """The geometry fields of a Conv layer; `channels` are the output's.

        Raises:
            UnsupportedModelError: sizes outside the runtime's int16, or an output of another shape.
        """
        for pair in (self.kernel, self.stride, self.dilation):
            if not all(1 <= value <= MAX_DIMENSION for value in pair):
                raise UnsupportedModelError(
                    f"kernel, stride and dilation must be in 1..{MAX_DIMENSION}. Received: {pair}"
                )
        source = view.image(view.input(0))
        output = tuple(self._output_size(axis, source[axis]) for axis in range(2))
        view.expect_shape((1, *output, channels))
        return {
            "input": source,
            "output": view.image(view.output),
            "kernel": self.kernel,
            "stride": self.stride,
            "dilation": self.dilation,
            "pad": tuple(self._pad_before(axis, source[axis], output[axis]) for axis in range(2)),
        }

    def _reach(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def _output_size(self, axis: int, size: int) -> int:
        """0 or less when the window does not fit."""
        stride = self.stride[axis]
        return (size + stride - 1) // stride if self.same else (size + stride - self._reach(axis)) // stride

    def _pad_before(self, axis: int, size: int, output: int) -> int:
        """Half of the total padding, rounded down: the odd row or column goes after. 0 for VALID."""
        return max((output - 1) * self.stride[axis] + self._reach(axis) - size, 0) // 2


def pair_option(view: OpView, name: str, default: int = 0) -> tuple[int, int]:
    """(height, width) of an option: strideH and strideW, dilationHFactor and dilationWFactor."""
    suffix = "Factor" if name == "dilation" else ""
    return int(view.option(f"{name}H{suffix}", default)), int(view.option(f"{name}W{suffix}", default))


def is_same(view: OpView) -> bool:
    """Whether the padding option is SAME (0) rather than VALID (1)."""
    padding = int(view.option("padding", 0))
    if padding not in (0, 1):
        raise UnsupportedModelError(f"expected padding SAME (0) or VALID (1). Received: {padding}")
    return padding == 0
