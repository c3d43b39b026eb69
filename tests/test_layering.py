"""The arrows of the layout point one way, and the parts that must be light stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "keras_hwcompress"

# part -> what it may import from the package; the shared leaves (errors, runtime_files) are free for all.
ALLOWED = {
    "formats": set(),
    "tflite": {"formats"},
    "targets": {"formats", "tflite"},
    "codegen": {"formats", "tflite", "targets"},
    "runners": {"formats", "tflite", "targets", "codegen"},
    "select": {"formats", "tflite", "targets", "codegen"},
    "training": {"formats"},
    "report": {"formats", "tflite", "targets", "codegen", "runners"},
    "compress": {"formats", "tflite", "targets", "codegen", "select", "report"},
    "converter": {"compress", "formats", "tflite", "targets", "codegen", "select", "training", "report"},
    "search": {"formats", "tflite", "targets", "codegen", "runners", "select", "training", "report", "compress", "converter"},
}
LEAVES = {"errors", "runtime_files", "__version__"}
KERAS_PARTS = {"training", "search", "converter", "demo", "digits"}


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layering"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path):
    part = _part(path)
    for name in _imports(path):
        pieces = name.split(".")
        if pieces[0] == "tensorflow" or pieces[0] == "tf_keras":
            assert part in {"converter", "tflite", "runners"} and pieces[0] == "tensorflow", f"{path} imports {name}"
        if pieces[0] == "keras":
            assert part in KERAS_PARTS, f"{path} imports {name}"
        if pieces[0] != "keras_hwcompress" or part not in ALLOWED or pieces[1] in LEAVES or pieces[1] == part:
            continue
        assert pieces[1] in ALLOWED[part], f"{path} ({part}) imports {name}"


@pytest.mark.parametrize("module", ["keras_hwcompress", "keras_hwcompress.formats", "keras_hwcompress.tflite.reader", "keras_hwcompress.codegen.project", "keras_hwcompress.cli"])
def test_light_parts_import_neither_keras_nor_tensorflow(module):
    code = f"import sys, {module}; print(sorted({{m.split('.')[0] for m in sys.modules}} & {{'keras', 'tensorflow', 'tf_keras', 'jax', 'torch'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
