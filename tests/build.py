"""The builder of small graphs, under the short name that the tests use."""

from keras_hwcompress.tflite.synthetic import ACTIVATIONS, PADDINGS, GraphBuilder, quantized, window_output

__all__ = ["ACTIVATIONS", "PADDINGS", "GraphBuilder", "quantized", "window_output"]
