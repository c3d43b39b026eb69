"""Training into a compressible shape: wrap(model, rule), model.fit, strip(model). Any Keras 3 backend."""

from keras_hwcompress.training.models import compressed_layers, set_strength, sync_state
from keras_hwcompress.training.rules import Nary, Rule
from keras_hwcompress.training.strip import Promise, promises, strip
from keras_hwcompress.training.wrap import LayerReport, wrap, wrap_report
from keras_hwcompress.training.wrapper import CompressedLayer

__all__ = [
    "CompressedLayer",
    "LayerReport",
    "Nary",
    "Promise",
    "Rule",
    "compressed_layers",
    "promises",
    "set_strength",
    "strip",
    "sync_state",
    "wrap",
    "wrap_report",
]
