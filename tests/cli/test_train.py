from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

import mrcnn
from mrcnn.cli.train import load_initial_weights
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.preprocessing import InputConfig
from tests.cli.runner import DATA, LITE, NARROW, NUCLEI, invoke, refused, train


def test_a_broken_annotation_names_file_record_and_reason(tmp_path):
    content = json.loads(DATA.read_text())
    content["annotations"][1]["category_id"] = 99
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(content))
    images = NUCLEI / "images"
    line = refused("train", "--recipe", LITE, "--train", file, "--train-images", images, "--out", tmp_path, "--strict")
    number = content["annotations"][1]["id"]
    assert str(file) in line and f"annotation {number}" in line and "category 99" in line


def test_a_run_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "holds a run already" in refused("train", "--recipe", LITE, "--train", DATA, "--out", tmp_path)


def test_train_leaves_a_whole_run(run):
    names = {path.name for path in run.iterdir()}
    files = {"model.safetensors", "best.safetensors", "recipe.yaml", "run.json", "history.csv", "curves.png"}
    assert names == files | {"checkpoints", "events"}
    kept = mrcnn.recipes.get(run / "recipe.yaml")
    assert kept.train.images == 2 and kept.model.neck.channels == 32
    assert mrcnn.load_model(run).class_names == ("nucleus",)


@pytest.mark.slow
def test_the_size_of_training_is_that_of_validation_and_detection(tmp_path, monkeypatch):
    """`--set data.short_sides=[256] --set data.long_side=352`, keys of earlier versions, set the model's input."""
    sizes, content_size = [], InputConfig.content_size

    def recorded(config, *args, **kwargs):
        sizes.append(content_size(config, *args, **kwargs))
        return sizes[-1]

    monkeypatch.setattr(InputConfig, "content_size", recorded)
    base = ["train", "--recipe", LITE, "--train", DATA, "--train-images", NUCLEI / "images", "--weights", "none"]
    base += ["--val", DATA, "--val-images", NUCLEI / "images", "--out", tmp_path / "run"]
    result = invoke(*base, *NARROW, "--set", "data.short_sides=[256]", "--set", "data.long_side=352")
    assert result.exit_code == 0, result.output
    assert "set model.input.long_side=352, model.input.short_side=256" in result.stderr
    assert sizes and all(min(size) == 256 or max(size) == 352 for size in sizes)
    model, recipe = mrcnn.load_model(tmp_path / "run"), mrcnn.recipes.get(tmp_path / "run" / "recipe.yaml")
    assert recipe.data.short_sides == ()
    assert model.config.input == recipe.model.input
    assert (model.config.input.short_side, model.config.input.long_side) == (256, 352)
    sizes.clear()
    image = np.zeros((100, 110, 3), np.uint8)
    mrcnn.detect(model, image)
    assert sizes == [(256, 282)]


@pytest.mark.slow
def test_training_starts_from_a_checkpoint_and_says_what_fitted(run, tmp_path):
    result = train(tmp_path / "run", NUCLEI / "images", "--weights", run)
    assert result.exit_code == 0, result.output
    assert re.search(r"\d+ loaded, 0 skipped for their shape, 0 missing, 0 unused", result.output)


def test_a_damaged_image_met_while_training_is_named(tmp_path):
    for path in (NUCLEI / "images").glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:5000])
    result = train(tmp_path / "run", tmp_path)
    assert result.exit_code == 2, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("mrcnn: ") and ".png" in line and "damaged or cut off" in line
    assert re.search(r"image id '?(21|369)", line)


def test_imagenet_weights_that_cannot_be_had_bring_what_else_weights_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path))
    backbone = KerasApplicationsConfig(name="MobileNetV3Small")
    model = SimpleNamespace(backbone=None, roi_stage=None, config=SimpleNamespace(backbone=backbone))
    with pytest.raises(mrcnn.WeightsError, match=r"no_top_v2\.h5 .* --weights takes a name or a file .*, or none"):
        load_initial_weights(model, "imagenet")
