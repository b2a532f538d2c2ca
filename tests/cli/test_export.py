from __future__ import annotations

import pytest

import mrcnn
from tests.cli.runner import NUCLEI, invoke, refused


def test_export_writes_a_saved_model(run, tmp_path):
    images = sorted((NUCLEI / "images").glob("*.png"))[0]
    result = invoke("export", "--model", run, "--out", tmp_path / "served", "--images", images, "--masks", "packed")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "served/1/saved_model.pb").is_file()
    assert "scores differ by at most" in result.output or "no detections" in result.output
    (tmp_path / "notes.txt").touch()
    assert "nothing but versions" in refused("export", "--model", run, "--out", tmp_path)


def test_export_knows_its_formats(run, tmp_path):
    assert "expected one of savedmodel, onnx, openvino, tflite, got 'caffe'" in refused(
        "export", "--model", run, "--out", tmp_path, "--format", "caffe"
    )
    onnx = ("export", "--model", run, "--out", tmp_path, "--format", "onnx")
    assert "only a SavedModel has --height" in refused(*onnx, "--height", 64)
    assert "only a SavedModel has --masks, --variables" in refused(*onnx, "--masks", "full", "--variables")
    assert "only tflite stores weights in 8 bits" in refused(*onnx, "--int8")


def test_export_writes_an_openvino_file(run, tmp_path):
    pytest.importorskip("openvino")
    result = invoke("export", "--model", run, "--out", tmp_path, "--format", "openvino")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert mrcnn.load_openvino(tmp_path / "model.xml").class_names == mrcnn.load_model(run).class_names


@pytest.mark.parametrize(
    "format, name", [("onnx", "model.onnx"), ("openvino", "model.bin"), ("tflite", "model.tflite")]
)
def test_an_export_replaces_no_file_unasked(tmp_path, format, name):
    (tmp_path / name).write_bytes(b"mine")
    line = refused("export", "--model", "absent", "--out", tmp_path, "--format", format)
    assert name in line and "--overwrite" in line
    assert (tmp_path / name).read_bytes() == b"mine"
    line = refused("export", "--model", "absent", "--out", tmp_path, "--format", format, "--overwrite")
    assert "absent" in line  # on to the model
