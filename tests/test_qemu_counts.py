"""Counting in the emulator: every marker is seen, and models that share an image give what each gives alone."""

import numpy as np
import pytest
from graphs import small_cnn

from keras_hwcompress.codegen.project import write_stream_project
from keras_hwcompress.errors import ToolError
from keras_hwcompress.runners import qemu
from keras_hwcompress.runners.qemu import run_qemu, run_qemu_many
from keras_hwcompress.runners.records import pack_inputs
from keras_hwcompress.targets import get_board
from keras_hwcompress.tflite.samples import random_batch
from keras_hwcompress.tflite.synthetic import GraphBuilder

BOARD = "mps2-an386"


def dense(seed):
    builder = GraphBuilder(seed)
    return builder.build([builder.fully_connected(builder.input((1, 24)), 7)])


def test_models_that_share_an_image_give_the_outputs_and_counts_of_each_alone():
    graphs = [small_cnn(), dense(1), dense(2)]
    batches = [random_batch(graph, count, seed=count) for count, graph in enumerate(graphs, start=1)]
    together = run_qemu_many(list(zip(graphs, batches, strict=True)), board=BOARD)
    for graph, inputs, shared in zip(graphs, batches, together, strict=True):
        alone = run_qemu(graph, inputs, board=BOARD)
        assert all(np.array_equal(a, b) for a, b in zip(shared.outputs, alone.outputs, strict=True))
        assert [(op, insns) for _, op, insns in shared.layer_insns] == [(op, insns) for _, op, insns in alone.layer_insns]
        assert shared.arena_bytes == alone.arena_bytes


@pytest.mark.parametrize("offset", [1018, 1020, 1022])
def test_a_marker_at_the_end_of_a_page_is_counted(tmp_path, offset):
    """QEMU looks ahead at 1020: its plugin interface then gives the marker and the halfword behind it as one."""
    graph, board = dense(1), get_board(BOARD)
    inputs = pack_inputs(graph, random_batch(graph, 1))
    write_stream_project(tmp_path / "project", [graph], [1], board)
    main = tmp_path / "project" / "app" / "main.c"
    marked = (
        "__attribute__((naked, noinline, aligned(1024))) void marked(void)\n"
        f'{{ __asm__ volatile(".rept {offset // 2}\\n nop\\n .endr\\n .short 0x46db\\n nop\\n nop\\n bx lr"); }}\n\nint main(void)\n{{\n    marked();'
    )
    main.write_text(main.read_text().replace("int main(void)\n{", "void marked(void);\n" + marked))
    (tmp_path / "inputs.bin").write_bytes(b"".join(inputs))
    image = qemu.build_project(tmp_path / "project", BOARD)
    qemu.emulate(image, board, tmp_path, 60)
    layer_and_rest = 2
    assert len((tmp_path / "insns.txt").read_text().split()) == 1 + layer_and_rest


def test_a_lost_count_is_an_error_and_no_measurement(monkeypatch):
    monkeypatch.setattr(qemu, "read_counts", lambda path: [100])
    graph = dense(1)
    with pytest.raises(ToolError, match="counted 1 regions, expected 2"):
        run_qemu(graph, random_batch(graph, 1), board=BOARD)
