"""custom_options of the packed operators: one small little-endian struct, its fields are rows of `hwcmp_format.def`."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from keras_hwcompress.errors import ModelFormatError
from keras_hwcompress.formats.table import table
from keras_hwcompress.tflite.arithmetic import INT8_MAX, INT8_MIN

# Builtin operator -> its packed form; the position is the value of the option field `op`.
PACKED_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "CONV_2D": "HwcmpConv2D",
        "DEPTHWISE_CONV_2D": "HwcmpDepthwiseConv2D",
        "FULLY_CONNECTED": "HwcmpFullyConnected",
    }
)
BUILTIN_KINDS: Mapping[str, str] = MappingProxyType({packed: builtin for builtin, packed in PACKED_KINDS.items()})
_MAX_DIMENSION = 2**15 - 1


@dataclass(frozen=True, slots=True)
class PackedOptions:
    """The fields of `HWCMP_OPTION_FIELD` under their names there; a fully connected operator has no geometry."""

    op: int
    padding: int
    activation: int
    flags: int
    bias_type: int
    op_version: int
    input_zero_point: int
    output_zero_point: int
    activation_min: int
    activation_max: int
    kernel_h: int = 0
    kernel_w: int = 0
    stride_h: int = 0
    stride_w: int = 0
    dilation_h: int = 0
    dilation_w: int = 0
    depth_multiplier: int = 0
    version: int = 1

    @property
    def builtin_kind(self) -> str:
        """The builtin operator that the packed one stands for."""
        return list(PACKED_KINDS)[self.op]

    def has(self, flag: str) -> bool:
        """Whether the flag of that name ("BIAS", "KEEP_NUM_DIMS", "ASYMMETRIC_INPUTS") is set."""
        return bool(self.flags & table().constants[f"FLAG_{flag}"])


def pack_options(options: PackedOptions) -> bytes:
    """The struct's bytes.

    Raises:
        ModelFormatError: a field is out of range.

    Example:
        >>> fc = PackedOptions(2, 0, 1, 1, 0, 4, input_zero_point=-128, output_zero_point=-1,
        ...                    activation_min=-1, activation_max=127)
        >>> pack_options(fc).hex(" ", 2)
        '0102 0001 0100 0400 0000 0000 0000 0000 0000 0000 0000 80ff ffff ffff 7f00'
    """
    _check(options)
    values = asdict(options)
    try:
        return _layout().pack(*(values[field.name] for field in table().options))
    except struct.error as error:
        raise ModelFormatError(f"an option of a packed operator does not fit its field: {error}") from error


def unpack_options(data: bytes) -> PackedOptions:
    """The fields of custom_options, checked.

    Raises:
        ModelFormatError: another length or version, or a field out of range.
    """
    layout = _layout()
    if len(data) != layout.size:
        raise ModelFormatError(f"a packed operator has {layout.size} bytes of options. Received: {len(data)}")
    values = layout.unpack(data)
    options = PackedOptions(**{field.name: value for field, value in zip(table().options, values)})
    _check(options)
    return options


@functools.cache
def _layout() -> struct.Struct:
    # The table's parser has checked that the fields follow each other without holes.
    return struct.Struct("<" + "".join(field.code for field in table().options))


def _check(options: PackedOptions) -> None:
    constants = table().constants
    if options.version != constants["OPTION_VERSION"]:
        raise ModelFormatError(
            f"the packed operator was written for version {options.version} of its options, "
            f"expected {constants['OPTION_VERSION']}"
        )
    flags = sum(value for name, value in constants.items() if name.startswith("FLAG_"))
    int8 = (INT8_MIN, INT8_MAX)
    ranges = {
        "op": (0, len(PACKED_KINDS) - 1),
        "padding": (constants["PADDING_SAME"], constants["PADDING_VALID"]),
        "flags": (0, flags),
        "input_zero_point": int8,
        "output_zero_point": int8,
        "activation_min": int8,
        "activation_max": int8,
        **_geometry_ranges(options.op),
    }
    for name, (low, high) in ranges.items():
        if not low <= getattr(options, name) <= high:
            raise ModelFormatError(f"option {name} must be in {low}..{high}. Received: {getattr(options, name)}")


def _geometry_ranges(op: int) -> dict[str, tuple[int, int]]:
    constants = table().constants
    size = (0, 0) if op == constants["OP_FULLY_CONNECTED"] else (1, _MAX_DIMENSION)
    names = ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
    multiplier = (1, _MAX_DIMENSION) if op == constants["OP_DEPTHWISE_CONV2D"] else (0, 0)
    return {**dict.fromkeys(names, size), "depth_multiplier": multiplier}
