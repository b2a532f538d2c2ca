"""Exports give the same answers whatever instructions the CPU has, those of bfloat16 among them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mrcnn.export.compare import compare
from mrcnn.export.errors import ExportError
from mrcnn.export.openvino import compile_options, load_openvino
from mrcnn.inference import detect
from tests.tiny_model import noise_images

openvino = pytest.importorskip("openvino")

ROOT = Path(__file__).parents[2]
MACHINES = ("AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "")
"""Values of oneDNN's variable, which TensorFlow and OpenVINO obey; the last: whatever this machine has."""


@pytest.fixture(scope="module")
def exported(exported_file):
    return exported_file("openvino")


@pytest.fixture
def bfloat16_by_default(monkeypatch):
    """OpenVINO as it is on a CPU with instructions for bfloat16."""
    real = openvino.Core

    def core():
        made = real()
        made.set_property("CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
        return made

    monkeypatch.setattr(openvino, "Core", core)


@pytest.mark.slow
def test_openvino_computes_in_float32_whatever_it_would_take(model, exported, bfloat16_by_default, monkeypatch):
    compiled = []
    compile_model = openvino.Core().__class__.compile_model

    def spy(self, *args):
        compiled.append(compile_model(self, *args))
        return compiled[-1]

    monkeypatch.setattr(openvino.Core().__class__, "compile_model", spy)
    images = noise_images(3)
    loaded = load_openvino(exported)
    (one,) = compiled
    assert one.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    difference = compare(detect(model, images, score_threshold=None), detect(loaded, images, score_threshold=None))
    assert difference.detections > 10
    assert difference.unmatched == 0.0
    assert difference.scores < 1e-4


def test_a_precision_is_one_that_has_a_name():
    assert compile_options("bfloat16", threads=3) == {
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": "PERFORMANCE",
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": 3,
    }
    with pytest.raises(ValueError, match="precision: expected one of float32, bfloat16, float16, got 'f32'"):
        compile_options("f32")


def test_a_precision_the_device_does_not_have_is_refused(exported):
    """The CPU plugin takes float32 or bfloat16 when it is asked for what the machine has no instructions for."""
    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes in float16")
    with pytest.raises(ExportError, match=r"model\.xml: (CPU does not compute in float16|OpenVINO cannot load it)"):
        load_openvino(exported, precision="float16")


@pytest.mark.slow
def test_all_machines_agree(tmp_path):
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    answers = {}
    for machine in MACHINES:
        folder = tmp_path / (machine or "own")
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("ONEDNN_MAX_CPU_ISA", None)
        if machine:
            environment["ONEDNN_MAX_CPU_ISA"] = machine
        command = [sys.executable, "-m", "tests.export.machine", str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{machine}: {done.stderr[-2000:]}"
        with np.load(folder / "answers.npz") as stored:
            answers[machine] = dict(stored)
    expected = answers["AVX2"]
    assert sum(len(value) for key, value in expected.items() if key.endswith("scores")) > 3 * 10
    for machine, result in answers.items():
        for key, value in result.items():
            reference = expected["model/" + key.partition("/")[2]]
            if key.endswith("masks"):
                assert np.bitwise_count(value ^ reference).sum() <= 1e-3 * np.bitwise_count(reference).sum(), key
            else:
                np.testing.assert_allclose(value, reference, rtol=0, atol=1e-2 if key.endswith("boxes") else 1e-4,
                                           err_msg=f"{machine} {key}")  # fmt: skip
