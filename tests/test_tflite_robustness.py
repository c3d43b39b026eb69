"""Damaged .tflite files: an error of the package, or a graph that every later step handles without loss."""

from __future__ import annotations

import collections
import time

import numpy as np
import pytest
from build import GraphBuilder
from graphs import ternary_weights

from keras_hwcompress.errors import HwcmpError, ModelFormatError
from keras_hwcompress.tflite.check import check_compilable
from keras_hwcompress.tflite.compare import difference
from keras_hwcompress.tflite.compress import inspect
from keras_hwcompress.tflite.expand import expand
from keras_hwcompress.tflite.graph import Graph, Signature
from keras_hwcompress.tflite.pack import is_packed, pack
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.regrid import regrid
from keras_hwcompress.tflite.writer import write_model

# Numbers that lengths, offsets and indices do not expect.
EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)
SLOWEST_SECONDS = 5.0


def small_model() -> Graph:
    """Convolution, depthwise, add, pool, reshape, fully connected, softmax, a custom operator, signature, metadata."""
    builder = GraphBuilder(1)
    x = builder.input((1, 6, 6, 3))
    x = builder.conv2d(x, 8, stride=(2, 2), activation="relu", weights=ternary_weights((8, 3, 3, 3)))
    x = builder.add(x, builder.depthwise(x, weights=ternary_weights((1, 3, 3, 8), 1)))
    x = builder.reshape(builder.pool(x, filter=(1, 1), stride=(1, 1)), (1, 72))
    y = builder.fully_connected(x, 4, weights=ternary_weights((4, 72), 2))
    z = builder.softmax(y)
    signature = Signature("serving", (("in", 0),), (("out", z),))
    return builder.build([z, y], description="d", metadata=(("m", b"123"),), signatures=(signature,))


FILES = {"plain": write_model(small_model()), "packed": write_model(pack(small_model()))}


def process(data: bytes) -> None:
    """Every step between bytes and bytes; each must keep what it was given."""
    graph = read_model(data)
    again = read_model(write_model(graph))
    assert difference(again, graph) is None, difference(again, graph)
    inspect(graph)
    check_compilable(graph)
    plain = expand(graph)
    if is_packed(graph):
        assert difference(expand(pack(plain)), plain) is None
    regrid(plain)
    packed = pack(plain)
    assert difference(expand(packed), plain) is None, difference(expand(packed), plain)
    restored = expand(read_model(write_model(packed)))
    assert difference(restored, plain) is None, difference(restored, plain)


def damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A copy with one to four flipped bits, random bytes, a cut, or a word replaced by an extreme number."""
    changed = bytearray(data)
    kind = rng.choice(["flip", "bytes", "cut", "word"])
    if kind == "cut":
        return bytes(changed[: rng.integers(len(data))]), kind
    if kind == "word":
        start = int(rng.integers(len(data) // 4)) * 4
        number = rng.choice([*EXTREMES, len(data), rng.integers(len(data))])
        changed[start : start + 4] = int(number).to_bytes(4, "little")
        return bytes(changed), kind
    for position in rng.integers(len(data), size=rng.integers(1, 5)):
        changed[position] = changed[position] ^ 1 << rng.integers(8) if kind == "flip" else rng.integers(256)
    return bytes(changed), kind


def outcome(data: bytes, where: str) -> str:
    """The name of the error, or "accepted"; anything else fails the test."""
    start = time.perf_counter()
    try:
        process(data)
        result = "accepted"
    except HwcmpError as error:
        assert "\n" not in str(error), where
        result = type(error).__name__
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    assert time.perf_counter() - start < SLOWEST_SECONDS, where
    return result


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_files_pass(name):
    assert outcome(FILES[name], name) == "accepted"


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused_unless_it_cuts_only_padding(name):
    data = FILES[name]
    for length in range(len(data)):
        try:
            graph = read_model(data[:length])
        except HwcmpError:
            continue
        assert length > len(data) - 4 and not any(data[length:])
        assert difference(graph, read_model(data)) is None


def run_damaged(name: str, seed: int, count: int) -> collections.Counter:
    rng = np.random.default_rng(seed)
    outcomes: collections.Counter = collections.Counter()
    for number in range(count):
        data, kind = damaged(FILES[name], rng)
        outcomes[outcome(data, f"{name}, seed {seed}, number {number}, {kind}")] += 1
    return outcomes


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_give_an_error_of_the_package_or_a_lossless_model(name):
    outcomes = run_damaged(name, seed=1, count=900)
    # Both must happen often, or the test would not test anything.
    assert outcomes["accepted"] > 100 and outcomes["ModelFormatError"] > 200, outcomes


def test_bits_of_the_flatbuffer_structure_give_only_errors_of_the_package():
    """Every bit of the last 200 bytes and the first 80: root, vtables and the main tables."""
    data = FILES["packed"]
    for position in (*range(80), *range(len(data) - 200, len(data))):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        outcome(bytes(changed), f"bit {position % 8} of byte {position}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("name", FILES)
def test_many_more_damaged_files(name, seed):
    run_damaged(name, seed, 5000)


def test_a_file_with_an_identifier_and_nothing_else_is_refused():
    for size in range(8, 64, 4):
        with pytest.raises(ModelFormatError):
            read_model(b"\x08\0\0\0TFL3" + bytes(size - 8))
