from __future__ import annotations

import hashlib
import json

import pytest

import mrcnn
from tests.cli.runner import invoke, refused
from tests.conftest import ASSETS
from tests.golden.case import Golden


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


@pytest.mark.parametrize("name", ["runner", "published"])
def test_a_checkpoint_of_mmengine_that_is_no_detector_is_named(name):
    message = refused("weights", ASSETS / "mmengine" / f"mm_container_{name}.pth")
    assert "written by mmengine 0.10.7, with classes cell, crack, leaf; expected a Mask, Faster or Keypoint" in message


@pytest.mark.slow
def test_a_checkpoint_of_mmdetection(tmp_path, monkeypatch):
    """Whose it is, which network, its classes, its license and published AP, whatever the file is called."""
    source = Golden("mm_mask_r50_fpn").write_checkpoint(tmp_path)
    row = {
        "name": "mmdetection/ours",
        "family": "mmdetection",
        "url": "https://example.org/other_name.pth",
        "license": "Apache-2.0",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "ap": {"box": 38.2, "mask": 34.7},
    }
    (tmp_path / "zoo.json").write_text(json.dumps([row]))
    without = invoke("weights", source)
    assert "published" not in without.stdout and "license" not in without.stdout
    monkeypatch.setenv("MRCNN_ZOO", str(tmp_path / "zoo.json"))
    described = invoke("weights", source)
    assert described.exit_code == 0, described.output
    for part in (
        "mmdetection R-50-FPN, 80 classes, box + mask",
        "written as  torch, 360 arrays, 44.4 million values",
        "classes     person, bicycle, car, motorcycle, airplane, bus, ... (80 in all)",
        "published   mmdetection/ours, AP box 38.2 / mask 34.7",
        "license     Apache-2.0",
        "pixels RGB, divided by ImageNet's deviation",
    ):
        assert part in described.stdout, described.stdout
    converted = tmp_path / "ours.safetensors"
    result = invoke("convert", source, converted, "--half")
    assert result.exit_code == 0 and "mmdetection, 80 classes" in result.output, result.output
    model = mrcnn.load_model(converted)
    assert model.class_names[0] == "person" and model.config.profile == "mmdetection"
