"""Whole scripts, as people wrote them for matterport/Mask_RCNN, from their first line to their last.

Each uses nothing but matterport's names (the first test holds them to that), so each would run there too. They run in
this process, one after the other, as `python script.py arguments` would.
"""

from __future__ import annotations

import ast
import csv
import re
import runpy
import sys
from pathlib import Path

import cv2
import keras
import matplotlib
import numpy as np
import pytest

import mrcnn.model as modellib
from mrcnn.config import Config
from tests.matterport import script_data

SCRIPTS = Path(__file__).parent / "scripts"
MATTERPORT = {
    "mrcnn.config": {"Config"},
    "mrcnn.model": {"MaskRCNN", "load_image_gt", "log", "mold_image", "parse_image_meta"},
    "mrcnn.utils": {"Dataset", "compute_ap", "compute_ap_range", "extract_bboxes"},
    "mrcnn.visualize": {
        "apply_mask", "display_differences", "display_instances", "display_top_masks", "plot_overlaps",
        "plot_precision_recall", "random_colors",
    },
}  # fmt: skip
"""The names of matterport's modules that the scripts use."""
MASK_RCNN = {
    "config", "detect", "epoch", "find_last", "keras_model", "load_weights", "log_dir", "model_dir", "train",
}  # fmt: skip
KERAS_MODEL = {"_make_predict_function", "get_weights", "history", "save_weights", "set_weights"}


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_uses_matterports_names_only(path):
    tree, modules, models = ast.parse(path.read_text()), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrcnn"):
            for name in node.names:
                if f"{node.module}.{name.name}" in MATTERPORT:
                    modules[name.asname or name.name] = f"{node.module}.{name.name}"
                else:
                    assert name.name in MATTERPORT[node.module]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("mrcnn"):
                    assert name.name in MATTERPORT
                    modules[name.asname] = name.name
        elif isinstance(node, ast.Assign) and "MaskRCNN(" in ast.unparse(node.value):
            models.add(ast.unparse(node.targets[0]))
    used = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = ast.unparse(node.value)
        if owner in modules:
            used += 1
            assert node.attr in MATTERPORT[modules[owner]], f"{owner}.{node.attr}"
        if owner in models:
            used += 1
            assert node.attr in MASK_RCNN, f"{owner}.{node.attr}"
        if owner in {f"{model}.keras_model" for model in models}:
            assert node.attr in KERAS_MODEL, f"{owner}.{node.attr}"
    assert used and models


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    script_data.write_all(root)
    return root


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """run(script, arguments...) -> what it printed; images are not shown."""
    matplotlib.use("Agg")

    def start(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        matplotlib.pyplot.close("all")
        return capsys.readouterr().out

    yield start
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
    """What training left behind, in matterport's layout."""

    class Trained(Config):
        NAME = "trained"
        NUM_CLASSES = 4
        BACKBONE = "resnet50"
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = 64
        RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
        TOP_DOWN_PYRAMID_SIZE = 32
        FPN_CLASSIF_FC_LAYERS_SIZE = 64

    path = tmp_path_factory.mktemp("weights") / "mask_rcnn_trained.h5"
    modellib.MaskRCNN("inference", Trained(), str(path.parent)).keras_model.save_weights(str(path))
    return path


@pytest.mark.slow
def test_via_one_class(run, data, tmp_path):
    out = run("via_one_class.py", "train", f"--dataset={data}/via", f"--logs={tmp_path}")
    assert "Configurations:" in out and "Training network heads" in out and "Starting at epoch 0. LR=0.001" in out
    (checkpoint,) = tmp_path.glob("balloon*/mask_rcnn_balloon_0001.h5")
    source = data / "via/val/3.png"
    out = run("via_one_class.py", "splash", "--weights=last", f"--image={source}", f"--logs={tmp_path}")
    assert f"Loading weights {checkpoint}" in out and "Re-starting from epoch 1" in out
    assert "Processing 1 images" in out and re.search(r"molded_images +shape: \(1, 64, 64, 3\)", out)
    splash, image = cv2.imread(str(tmp_path / "splash.png")), cv2.imread(str(source))
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    near = (np.abs(splash.astype(int) - image) <= 1).all(-1) | (np.abs(splash.astype(int) - gray) <= 1).all(-1)
    assert near.all()


@pytest.mark.slow
def test_via_several_classes(run, data, tmp_path):
    out = run("via_classes.py", data / "via/tools", tmp_path)
    assert "Image Count: 2" in out and "  3. tri" in out and "Selecting layers to train" in out
    kinds = ["mrcnn_bbox", "mrcnn_class", "mrcnn_mask", "rpn_bbox", "rpn_class"]
    losses = ["loss", *(f"{kind}_loss" for kind in kinds)]
    assert set(re.findall(r"HISTORY (\w+) 1", out)) == {*losses, *(f"val_{name}" for name in losses)}
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("parts_v2") and (folder / "mask_rcnn_parts_v2_0001.h5").is_file()


@pytest.mark.slow
def test_voc_boxes_and_molded_batches(run, data, tmp_path):
    out = run("voc_boxes.py", data / "voc", tmp_path)
    assert "Train: 4" in out and "Test: 2" in out
    labels = script_data.draw(0, 64, 96)[1]
    y, x = np.nonzero(labels == 1)
    assert f"Boxes: [[{y.min()}, {x.min()}, {y.max() + 1}, {x.max() + 1}]" in out
    assert 0 <= float(re.search(r"Test mAP: (.*)", out)[1]) <= 1


@pytest.mark.slow
def test_coco_json(run, data, tmp_path):
    out = run("coco_json.py", data / "coco/annotations.json", data / "coco/images", tmp_path)
    assert (tmp_path / "final.h5").is_file() and int(re.search(r"RESULTS (\d+)", out)[1]) > 0
    assert "Average Precision  (AP) @[ IoU=0.50:0.95" in out


@pytest.mark.slow
def test_run_lengths_in_csv(run, data, tmp_path):
    out = run("rle_csv.py", data / "rle", tmp_path)
    assert "Best Epoch: 1 1 True" in out
    with open(tmp_path / "submission.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ImageId", "EncodedPixels"] and {row[0] for row in rows[1:]} <= {
        "0.png", "1.png", "2.png", "sea.png",
    }  # fmt: skip
    runs = [np.array(row[1].split(), int) for row in rows[1:]]
    assert all(len(r) % 2 == 0 and r[-2] + r[-1] - 1 <= 64 * 64 for r in runs)


@pytest.mark.slow
def test_png_masks_and_crops(run, data, weights, tmp_path):
    out = run("png_masks.py", data / "png", tmp_path, weights)
    assert "CROP (64, 64, 3) (56, 56) [ 96 128   3]" in out
    assert re.findall(r"FOUND (.*)", out) == ["True bool True"] * 2


@pytest.mark.slow
def test_npz_masks_without_resizing(run, data, tmp_path):
    out = run("npz_masks.py", data / "npz", tmp_path)
    assert "Classes: ['BG', 'round', 'square'] 3" in out
    assert re.search(r"EXPERIMENT +fluorescence", out)
    assert re.search(r"WEIGHTS \d+ True", out) and "LABELS True" in out
    with np.load(tmp_path / "found.npz") as result:
        assert result["labels"].shape == (64, 64) and (np.diff(result["scores"]) <= 0).all()


@pytest.mark.slow
def test_one_and_four_channels(run, data, tmp_path):
    out = run("channels.py", data / "stack", tmp_path)
    assert "SHAPE gray [64, 64, 1]" in out and "SHAPE rgbd [64, 64, 4]" in out
    assert "FOUND gray (64, 64, 1) (64, 64) int32" in out and "FOUND rgbd (64, 64, 4) (64, 64) int32" in out


@pytest.mark.slow
def test_three_stages(run, data, tmp_path):
    out = run("three_stages.py", data / "via", tmp_path)
    assert re.findall(r"EPOCH (\d) (\w+) (\w+)", out) == [(str(n), "True", "True") for n in range(1, 5)]
    heads, upper, everything = (int(n) for n in re.findall(r"STAGE (\d+)", out))
    assert heads < upper < everything
    assert "from epoch 1" in out and "CHECKPOINTS " + str([f"mask_rcnn_stages_{n:04}.h5" for n in range(1, 5)]) in out


@pytest.mark.slow
def test_map_over_a_set(run, data, weights, tmp_path):
    out = run("map_over_set.py", data / "stack", tmp_path, weights)
    assert "PERFECT 1.000" in out and len(re.findall(r" +\d \d   AP: \d\.\d\d", out)) == 4
    assert 0 <= float(re.search(r"Mean AP over 4 images: (.*)", out)[1]) <= 1
    assert cv2.imread(str(tmp_path / "predictions.png")).std() > 1


@pytest.mark.slow
def test_splash_on_an_image_and_a_film(run, data, weights, tmp_path):
    out = run("splash_video.py", data / "via/train/0.png", data / "film.avi", tmp_path, weights)
    assert "MASKED True True" in out and re.search(r"Saved to .*splash.avi 3", out)
    film = cv2.VideoCapture(str(tmp_path / "splash.avi"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and film.read()[1].shape == (64, 96, 3)
    assert cv2.imread(str(tmp_path / "splash.png")).shape == (64, 64, 3)


@pytest.mark.slow
def test_two_models_behind_threads(run, data, weights, tmp_path):
    out = run("two_models_threads.py", data / "via/train", tmp_path, weights)
    assert re.search(r"SAME True FIRST [1-5] SECOND [12]\n", out)
