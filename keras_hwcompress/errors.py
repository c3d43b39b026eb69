"""The exceptions of the package: one line each, naming what was expected and what was received."""

from __future__ import annotations


class HwcmpError(ValueError):
    """Base of every error that a user's input can cause; the command line prints it as one line."""


class ModelFormatError(HwcmpError):
    """The bytes are not a TFLite flatbuffer that can be read (truncated, corrupt, inconsistent)."""


class UnsupportedModelError(HwcmpError):
    """The model is well formed but holds operators, types or shapes that cannot be compiled."""


class BlobError(HwcmpError):
    """A weight blob contradicts its header or the binary format."""


class ToolError(HwcmpError):
    """A compiler, emulator or other program is missing or failed."""


class BoardError(HwcmpError):
    """The image or its memory does not fit the board."""
