"""Runs a model as a host library: the generated C, compiled for this machine and called through ctypes."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_hwcompress.codegen.project import write_library_sources
from keras_hwcompress.errors import ToolError
from keras_hwcompress.formats.table import table
from keras_hwcompress.runners.records import pack_inputs, unpack_outputs
from keras_hwcompress.runners.tools import run_tool
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.reader import read_model

_FLAGS = ("-std=c11", "-O3", "-shared", "-fPIC")


class HostLibrary:
    """A model compiled for this machine.

    `run` may be called from several threads at once: each call has its own arena and the foreign call releases the
    interpreter lock.
    """

    def __init__(self, model: bytes | Graph) -> None:
        """Generates and compiles the model.

        Raises:
            HwcmpError: the model cannot be compiled. ToolError: no C compiler.
        """
        graph = model if isinstance(model, Graph) else read_model(model)
        with tempfile.TemporaryDirectory(prefix="hwcmp-") as folder:  # a loaded library outlives its file
            root = Path(folder) / "library"
            self.model = write_library_sources(root, graph)
            self._run = ctypes.CDLL(str(_build(root))).hwcmp_host_run
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs a batch.

        Args:
            inputs: per model input an array (count, *shape) in the input's dtype.

        Returns:
            Per model output an array (count, *shape).
        """
        records = pack_inputs(self.model.graph, inputs)
        arena = np.zeros(self.model.plan.arena_bytes + 16, np.uint8)
        aligned = -(-arena.ctypes.data // 16) * 16
        size = sum(tensor.size * tensor.dtype.itemsize for tensor in self.model.outputs)
        output = np.zeros(len(records) * size, np.uint8)
        status = self._run(aligned, self.model.plan.arena_bytes, b"".join(records), output.ctypes.data, len(records))
        if status != 0:
            raise ToolError(f"the host library failed: {table().statuses[status][1]}")
        return unpack_outputs(self.model.outputs, output.tobytes(), len(records))


def _build(root: Path) -> Path:
    common = sorted((root / "runtime" / "src").glob("*.c"))
    kernels = sorted((root / "runtime" / "src" / "ref").glob("*.c"))
    includes = [f"-I{root / folder}" for folder in ("model", "runtime/include", "runtime/src")]
    target = root / "model.so"
    sources = [root / "model" / "model.c", root / "app" / "batch.c", *common, *kernels]
    run_tool(["cc", *_FLAGS, *includes, *map(str, sources), "-o", str(target)])
    return target
