from __future__ import annotations

import mrcnn
from tests.cli.runner import invoke, refused


def test_weights_and_convert(run, tmp_path):
    """`run` is a folder with a checkpoint."""
    described = invoke("weights", run)
    assert described.exit_code == 0, described.output
    assert "mrcnn EfficientNetLite" in described.stdout
    converted = tmp_path / "half.safetensors"
    result = invoke("convert", run, converted, "--half")
    assert result.exit_code == 0, result.output
    assert converted.stat().st_size < 0.6 * (run / "model.safetensors").stat().st_size
    assert mrcnn.load_model(converted).class_names == mrcnn.load_model(run).class_names
    assert "ends in .safetensors" in refused("convert", run, tmp_path / "half.pth")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>Not here</html>")
    assert "a web page" in refused("weights", tmp_path / "page.pth")


def test_converting_replaces_neither_the_source_nor_another_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"source")
    (tmp_path / "b.safetensors").write_bytes(b"mine")
    source = tmp_path / "model.safetensors"
    for file in (source, tmp_path):
        assert "is the input" in refused("convert", file, source, "--overwrite")
    assert "exists" in refused("convert", source, tmp_path / "b.safetensors")
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"mine", b"source"]
