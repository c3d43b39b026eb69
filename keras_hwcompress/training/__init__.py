"""Training into a compressible shape: wrap(model, rule), model.fit, strip(model). Any Keras 3 backend."""

from keras_hwcompress.training.batch_norm import reestimate_batch_norm
from keras_hwcompress.training.codebook import Codebook
from keras_hwcompress.training.models import compressed_layers, leaf_layers, set_strength, sync_state
from keras_hwcompress.training.rules import Nary, Rule, Sparse
from keras_hwcompress.training.strip import Promise, promised_rows, promises, strip
from keras_hwcompress.training.wrap import LayerReport, replace_rules, wrap, wrap_report
from keras_hwcompress.training.wrapper import CompressedLayer

__all__ = [
    "Codebook",
    "CompressedLayer",
    "LayerReport",
    "Nary",
    "Promise",
    "Rule",
    "Sparse",
    "compressed_layers",
    "leaf_layers",
    "promised_rows",
    "promises",
    "reestimate_batch_norm",
    "replace_rules",
    "set_strength",
    "strip",
    "sync_state",
    "wrap",
    "wrap_report",
]
