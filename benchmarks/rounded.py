"""A network with its weights rounded to n levels, without training: what the formats store, and that nothing changes.

    python benchmarks/rounded.py MODEL.tflite [--levels 3 5] [--count 200] [--qemu-count 3] [--board mps2-an386]

For each n: rounds the weights of every layer per output channel, packs, checks that expand gives every tensor back, and
compares host library and QEMU with the tflite-micro wheel on random inputs. Exits with 1 on any difference.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_hwcompress.runners.host import HostLibrary
from keras_hwcompress.runners.oracle import run_oracle
from keras_hwcompress.runners.qemu import run_qemu
from keras_hwcompress.tflite.compare import difference
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph
from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.weights import from_rows, to_rows, weight_groups
from keras_hwcompress.tflite.writer import write_model


def round_weights(graph: Graph, levels: int) -> Graph:
    """The graph with every weight replaced by the nearest of `levels` (odd) multiples of its channel's step."""
    tensors = list(graph.tensors)
    largest = levels // 2
    for group in weight_groups(graph):
        for index in group.tensors:
            rows = to_rows(group.kind, tensors[index].data).astype(float)
            step = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / largest, 1)
            values = (np.clip(np.round(rows / step), -largest, largest) * (127 // largest)).astype(np.int8)
            tensors[index] = replace(tensors[index], data=from_rows(group.kind, values, tensors[index].shape))
    return replace(graph, tensors=tuple(tensors))


def mismatches(got: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """The verdict of a comparison."""
    wrong = sum(int(np.count_nonzero(a.reshape(b.shape) != b)) for a, b in zip(got, expected, strict=True))
    return f"{wrong} mismatches of {sum(array.size for array in expected)} outputs"


def main() -> int:
    """Prints the table; the exit code tells whether everything agreed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="an int8 .tflite file")
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 5], help="odd numbers of levels (default: 3 5)")
    parser.add_argument("--count", type=int, default=200, help="random inputs on the host (default: 200)")
    parser.add_argument("--qemu-count", type=int, default=3, help="random inputs in QEMU (default: 3)")
    parser.add_argument("--board", default="mps2-an386", help="board to emulate (default: mps2-an386)")
    arguments = parser.parse_args()
    table = Table("levels", "weight_bytes", "of int8", "expand", "host", "QEMU", "insns", "flash_bytes", "arena")
    for levels in arguments.levels:
        plain = round_weights(expand(read_model(arguments.model.read_bytes())), levels)
        packed = read_model(write_model(pack(plain)))
        inputs = random_batch(plain, max(arguments.count, arguments.qemu_count))
        oracle = run_oracle(plain, inputs, "tflm")
        some = [array[: arguments.qemu_count] for array in inputs]
        emulated = run_qemu(packed, some, board=arguments.board)
        model = emulated.model
        verdicts = [
            difference(expand(packed), plain) or "equal",
            mismatches(HostLibrary(packed).run(inputs), oracle),
            mismatches(emulated.outputs, [array[: arguments.qemu_count] for array in oracle]),
        ]
        ratio = f"{model.weight_bytes / model.int8_weight_bytes:.3f}"
        sizes = [f"{value:,}" for value in (emulated.insns, emulated.flash_bytes, emulated.arena_bytes)]
        table.add_row(str(levels), f"{model.weight_bytes:,}", ratio, *verdicts, *sizes)
        if verdicts[0] != "equal" or any(not verdict.startswith("0 ") for verdict in verdicts[1:]):
            Console(width=160).print(table)
            return 1
    Console(width=160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
