"""A file becomes a model: this package's own, and, as fine-tuning begins, torchvision's."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.data.formats.coco import load_coco
from mrcnn.inference import detect
from mrcnn.training.fit import train
from mrcnn.weights.checkpoint import save_checkpoint
from mrcnn.weights.pretrained import describe_weights, load_pretrained, load_weights
from mrcnn.weights.report import WeightsError, named_variables
from mrcnn.weights.zoo import ZooError
from tests.golden.case import Golden
from tests.tiny_model import tiny_model
from tests.weights.file_server import Behavior, serve


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A checkpoint of this package and the model it was made from."""
    model = tiny_model()
    return model, save_checkpoint(model, tmp_path_factory.mktemp("own") / "model.safetensors")


def test_own_checkpoint_with_other_config(own):
    model, path = own
    sizes = {"short_side": 64, "long_side": 100, "square_pad": 128}
    again = load_pretrained(path, **sizes, score_threshold=0.3, **{"rpn.post_nms_test": 50})
    assert (again.config.input.short_side, again.config.input.long_side) == (64, 100)
    assert again.config.input.canvas_size(64, 100) == (128, 128)
    assert (again.config.box_head.score_threshold, again.config.rpn.post_nms_test) == (0.3, 50)
    assert again.class_names == ("thing", "other")
    assert again.category_ids == (3, 8)
    assert again.load_report.is_complete
    assert again.config.profile == "mrcnn"
    for (name, mine), theirs in zip(named_variables(again).items(), named_variables(model).values(), strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


def test_another_number_of_classes_starts_the_last_layers_anew(own):
    _, path = own
    model = load_pretrained(path, num_classes=3, class_names=["a", "b", "c"])
    assert (model.config.num_classes, model.class_names) == (3, ("a", "b", "c"))
    skipped = {name for name, *_ in model.load_report.shape_skipped}
    layers = ("box_head/class_logits", "box_head/deltas", "mask_head/mask_logits")
    assert skipped == {f"{layer}/{leaf}" for layer in layers for leaf in ("kernel", "bias")}
    assert not model.load_report.missing
    assert not model.load_report.unused


def test_faulty_config_and_names_are_refused(own):
    model, path = own
    with pytest.raises(ConfigError, match="no field 'shrot_side'"):
        load_pretrained(path, shrot_side=64)
    with pytest.raises(ConfigError, match=r"score_threshold: expected float"):
        load_pretrained(path, score_threshold="high")
    with pytest.raises(ValueError, match="class_names: expected 2 entries"):
        load_pretrained(path, class_names=["one"])
    with pytest.raises(WeightsError, match="weights for 2 classes and a model for 2, expected 7"):
        load_weights(model, path, num_classes=7)
    assert load_weights(model, path, num_classes=2).is_complete


def test_names_and_addresses_stand_for_the_file(own, tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "cache"))
    model, path = own
    with serve(Behavior(path.read_bytes())) as server:
        rows = [{"name": "lab/cells", "family": "lab", "url": server.url, "license": "CC0"}]
        (tmp_path / "zoo.json").write_text(json.dumps(rows))
        monkeypatch.setenv("MRCNN_ZOO", str(tmp_path / "zoo.json"))
        assert str(describe_weights("lab/cells"))
        loaded = load_pretrained("lab/cells")
        assert not load_weights(model, server.url).missing
        assert len(server.requests) == 1
    for name, variable in named_variables(model).items():
        np.testing.assert_array_equal(named_variables(loaded)[name].numpy(), variable.numpy())
    with pytest.raises(ZooError, match="nearest: lab/cells"):
        load_pretrained("lab/cell")


def test_description_of_an_own_checkpoint(own):
    description = describe_weights(own[1])
    assert (description.container, description.family) == ("mrcnn", "mrcnn")
    assert description.class_names == ("thing", "other")
    text = str(description)
    assert "mrcnn EfficientNetLite lite0, 2 classes, box + mask" in text
    assert "thing, other" in text


@pytest.mark.slow
def test_a_torchvision_checkpoint_is_fine_tuned_on_two_classes(tmp_path, data_dir, caplog):
    golden = Golden("tv_mask_r50_fpn")
    path = golden.write_checkpoint(tmp_path)
    assert "torchvision R-50-FPN, 90 classes, box + mask" in str(describe_weights(path))

    annotations = json.loads((data_dir / "nuts3/annotations.json").read_text())
    annotations["categories"] = annotations["categories"][:2]
    kept = {category["id"] for category in annotations["categories"]}
    annotations["annotations"] = [a for a in annotations["annotations"] if a["category_id"] in kept]
    (tmp_path / "two.json").write_text(json.dumps(annotations))
    images = load_coco(tmp_path / "two.json", data_dir / "nuts3")

    recipe = recipes.get("mask_rcnn_r50_fpn").override(
        {
            "model.input.short_side": 192,
            "model.input.long_side": 256,
            "train.images": 12,
            "train.warmup_images": 0,
            "train.learning_rate": 0.005,
        }
    )
    class_layers = ("box_head/class_logits", "box_head/deltas", "mask_head/mask_logits")
    expected = {f"{layer}/{leaf}" for layer in class_layers for leaf in ("kernel", "bias")}

    # into a model of the paper's recipe, whose first layers expect the same pixels
    model = recipe.build_model(images.class_names, images.category_ids)
    report = load_weights(model, path, num_classes=2)
    assert {name for name, *_ in report.shape_skipped} == expected
    assert not report.missing
    assert not report.unused
    assert "other values" not in caplog.text

    # or by torchvision's conventions
    model = load_pretrained(
        path,
        num_classes=2,
        class_names=images.class_names,
        short_side=192,
        long_side=256,
        **{"rpn.post_nms_train": 200},
    )
    assert {name for name, *_ in model.load_report.shape_skipped} == expected
    before = {name: np.array(v) for name, v in named_variables(model).items() if v.trainable}
    history = train(model, images, recipe=recipe, progress=False).history
    assert np.isfinite(history["loss"]).all()
    moved = {name for name, v in named_variables(model).items() if name in before and np.any(before[name] != v)}
    assert {"box_head/class_logits/kernel", "mask_head/mask_logits/kernel", "rpn/conv/kernel"} <= moved
    assert not any(name.startswith(("backbone/stem", "backbone/stage2")) for name in moved)


@pytest.mark.slow
def test_fine_tuning_at_rate_zero_changes_no_detection(tmp_path, data_dir, caplog):
    """Training, validation and detection see the same input, and a run's file is the model that was trained."""
    golden = Golden("tv_mask_r50_fpn")
    images = load_coco(data_dir / "nuts3/annotations.json", data_dir / "nuts3")
    overrides = {"score_threshold": 0.05, "short_side": 160, "long_side": 256, "num_classes": images.num_classes}
    model = load_pretrained(golden.write_checkpoint(tmp_path), class_names=images.class_names, **overrides)
    pixels = images.load_image(0)
    (before,) = detect(model, pixels, score_threshold=None)
    assert len(before)
    recipe = recipes.get("mask_rcnn_r50_fpn").override({"train.images": 2, "data.flip_horizontal": 0.0})
    train(
        model, images, images, recipe=recipe, out=tmp_path / "run", optimizer=keras.optimizers.SGD(0.0), progress=False
    )
    assert "the model resizes images to 160 (at most 256) pixels" in caplog.text
    for fine_tuned in (model, load_pretrained(tmp_path / "run")):
        assert fine_tuned.config.input == model.config.input
        (after,) = detect(fine_tuned, pixels, score_threshold=None)
        for name in ("boxes", "scores", "class_ids", "masks"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
