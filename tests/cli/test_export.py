from __future__ import annotations

import pytest

import mrcnn
from tests.cli.runner import NUCLEI, invoke, refused


@pytest.mark.slow
def test_export_writes_a_saved_model(run, tmp_path):
    images = sorted((NUCLEI / "images").glob("*.png"))[0]
    result = invoke("export", "--model", run, "--out", tmp_path / "served", "--images", images, "--masks", "packed")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "served/1/saved_model.pb").is_file()
    assert "scores differ by at most" in result.output or "no detections" in result.output
    (tmp_path / "notes.txt").touch()
    assert "nothing but versions" in refused("export", "--model", run, "--out", tmp_path)


def test_export_knows_its_formats(run, tmp_path):
    assert "no exporter 'caffe', there are onnx, openvino, ovms, savedmodel, tflite, triton" in refused(
        "export", "--model", run, "--out", tmp_path, "--format", "caffe"
    )
    onnx = ("export", "--model", run, "--out", tmp_path, "--format", "onnx")
    assert "onnx has no option --height" in refused(*onnx, "--height", 64)
    assert "onnx has no option --masks, --frozen/--variables" in refused(*onnx, "--masks", "full", "--variables")
    assert "onnx has no option --int8" in refused(*onnx, "--int8")
    assert "int8 without calibration" in refused(*onnx[:-1], "openvino", "--int8")
    images = ("--calibrate", NUCLEI / "images")
    assert "calibration without int8" in refused(*onnx[:-1], "openvino", *images)
    assert "onnx has no option --int8, --calibrate" in refused(*onnx, "--int8", *images)
    assert "no_such" in refused(*onnx[:-1], "openvino", "--int8", "--calibrate", "no_such.png")
    assert "--for and --format exclude each other" in refused(*onnx, "--for", "triton")
    assert "has no field 'level'" in refused(*onnx, "--set", "level=3")
    assert "masks: expected one of 'small'" in refused("export", "--model", run, "--out", tmp_path, "--masks", "large")


def test_export_takes_exporters_of_other_modules(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes_exporter.py").write_text(
        "import dataclasses, mrcnn\n"
        "from mrcnn.export import Exporter, ExportOptions\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Options(ExportOptions):\n"
        "    word: str = ''\n"
        "class Shapes(Exporter):\n"
        "    name, suffix, options = 'shapes', '.txt', Options\n"
        "    def write(self, model, path, options):\n"
        "        path.write_text(options.word)\n"
        "        type(self).model = model\n"
        "    def load(self, path):\n"
        "        return self.model\n"
    )
    command = ("export", "--model", run, "--out", tmp_path / "out", "--format", "shapes", "--import", "shapes_exporter")
    result = invoke(*command, "--set", "word=hello")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "model.txt").read_text() == "hello"
    assert "exists; choose another name, or pass --overwrite" in refused(*command)


@pytest.mark.slow
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
