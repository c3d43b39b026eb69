"""The wheel is complete: it generates, builds and runs a model outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from graphs import small_cnn

from keras_hwcompress.tflite.pack import pack
from keras_hwcompress.tflite.writer import write_model

ROOT = Path(__file__).resolve().parent.parent

SMOKE = """
import sys
import keras_hwcompress as hwc
from keras_hwcompress.runners.qemu import build_project
from keras_hwcompress.tflite.reader import read_model
from keras_hwcompress.tflite.samples import random_batch
data = open("model.tflite", "rb").read()
hwc.generate_project(data, "firmware", name="digits")
build_project(__import__("pathlib").Path("firmware"), "mps2-an386")
inputs = random_batch(read_model(data), 2)
assert (hwc.run_qemu(data, inputs).outputs[0] == hwc.HostLibrary(data).run(inputs)[0]).all()
print("from", hwc.__file__)
"""


@pytest.mark.slow
def test_an_installed_wheel_works_outside_the_checkout(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "keras_hwcompress/mcu_runtime/include/hwcmp/hwcmp_format.def" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True, timeout=300)
    (tmp_path / "model.tflite").write_bytes(write_model(pack(small_cnn(ternary=True))))
    environment = {"PYTHONPATH": str(site), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SMOKE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"from {site}" in done.stdout
