"""Files of one small model in every format, each exported once however many test modules look at it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from mrcnn.export.onnx import export_onnx
from mrcnn.export.openvino import export_openvino
from mrcnn.export.tflite import export_tflite
from tests.tiny_model import tiny_model

FORMATS = {
    "onnx": (export_onnx, "model.onnx", ("onnx", "onnxruntime", "tf2onnx")),
    "openvino": (export_openvino, "model.xml", ("openvino",)),
    "tflite": (export_tflite, "model.tflite", ("ai_edge_litert",)),
}


@pytest.fixture(scope="session")
def model():
    """The model the files were made of; not to be changed."""
    return tiny_model()


@pytest.fixture(scope="session")
def exported_file(model, tmp_path_factory) -> Callable[[str], Path]:
    """The file in a format; the test is skipped where its packages are not installed."""

    @functools.cache
    def export(name: str) -> Path:
        write, file, packages = FORMATS[name]
        for package in packages:
            pytest.importorskip(package)
        path = tmp_path_factory.mktemp(name) / file
        said: list[str] = []
        assert write(model, path, log=said.append) == path
        assert len(said) == 1
        assert "detections in 3 images: scores differ by at most" in said[0]
        return path

    return export
