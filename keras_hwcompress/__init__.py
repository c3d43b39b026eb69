"""keras_hwcompress: train Keras networks into a compressible shape and run them, bit for bit, on Cortex-M.

    import keras_hwcompress as hwc

    model = hwc.wrap(model, hwc.Nary(levels=3))          # then compile and fit as usual
    converter = hwc.Converter.from_keras_model(model)
    converter.representative_dataset = x_train[:200]
    tflite = converter.convert()
    hwc.generate_project(tflite, "firmware", board="mps2-an386", name="digits")

Names are imported on first use, so that the parts that need neither Keras nor TensorFlow load neither. Where Keras is
imported already, the wrapper and the rules are registered with it, so that `keras.models.load_model` finds them.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Nary": "training",
    "Codebook": "training",
    "Sparse": "training",
    "wrap": "training",
    "wrap_report": "training",
    "strip": "training",
    "set_strength": "training",
    "compress_layerwise": "search",
    "layer_significance": "search",
    "Converter": "converter",
    "compress_tflite": "compress",
    "expand_tflite": "tflite.compress",
    "generate_project": "codegen.project",
    "HostLibrary": "runners.host",
    "run_qemu": "runners.qemu",
    "Interpreter": "runners.interpreter",
    "BOARDS": "targets.boards",
    "HwcmpError": "errors",
}
_SUBPACKAGES = ("training", "formats", "tflite", "codegen", "runners", "targets", "select", "search")
_MODULES = {"callbacks": "training.callbacks"}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"keras_hwcompress.{_PUBLIC[name]}"), name)
    if name in _SUBPACKAGES or name in _MODULES:
        return importlib.import_module(f"keras_hwcompress.{_MODULES.get(name, name)}")
    raise AttributeError(f"module 'keras_hwcompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, *_SUBPACKAGES, *_MODULES])


if "keras" in sys.modules:
    importlib.import_module("keras_hwcompress.training")
