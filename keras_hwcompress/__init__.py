"""keras_hwcompress: train Keras networks into a compressible shape and run them, bit for bit, on Cortex-M."""

__version__ = "0.1.0"
