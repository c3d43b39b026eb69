"""Searches over a model: which layers matter, and layer-wise constraint under an accuracy bound."""

from keras_hwcompress.search.layerwise import compress_layerwise
from keras_hwcompress.search.result import LayerwiseResult, LayerwiseStep
from keras_hwcompress.search.significance import LayerRow, Significance, layer_significance

__all__ = [
    "LayerRow",
    "LayerwiseResult",
    "LayerwiseStep",
    "Significance",
    "compress_layerwise",
    "layer_significance",
]
