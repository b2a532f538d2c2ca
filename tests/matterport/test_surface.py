"""Every name that third-party scripts take from matterport/Mask_RCNN, how often, and the test that uses it.

`surface.json` holds the names in use in 267 scripts of 74 public repositories, with the number of repositories and
files, the difficulty (E easy, M with care, H by design, X not unchanged) and the test that uses the name as scripts do.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from mrcnn.matterport import native_config, training
from tests.matterport.small import SmallConfig, small_dataset

ROWS = json.loads((Path(__file__).parent / "surface.json").read_text())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    class Deep(SmallConfig):
        BACKBONE = "resnet101"

    made = modellib.MaskRCNN("training", Deep(), str(tmp_path_factory.mktemp("logs")))
    made.get_anchors(made.config.IMAGE_SHAPE)
    return made


def _is_served(row, model) -> bool:
    place, name = row["place"], row["name"]
    if place.startswith("mrcnn."):
        return hasattr(importlib.import_module(place), name)
    if place == "argument load_weights":
        return name in model.load_weights.__code__.co_varnames
    if place == "layers":
        return name in modellib.LAYERS
    if place == "output":
        return model.keras_model.get_layer(name).output.shape[0] is None
    if place == "Dataset":
        return hasattr(small_dataset(), name)
    owner = {"MaskRCNN": model, "keras_model": model.keras_model, "Config": Config()}[place]
    return hasattr(owner, name)


def test_the_names_in_use_are_served(model, capsys):
    here = Path(__file__).parent
    known = {
        f"{path.name}::{node.name}"
        for path in here.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    served = {(row["table"], row["place"], row["name"]): bool(row["test"]) and _is_served(row, model) for row in ROWS}
    untested = [row["name"] for row in ROWS if row["test"] and row["test"] not in known]
    assert not untested

    def share(rows, weigh) -> float:
        total = sum(weigh(row) for row in rows)
        return sum(weigh(row) for row in rows if served[row["table"], row["place"], row["name"]]) / total

    easy = [row for row in ROWS if row["difficulty"] in "EM"]
    missing = [row["name"] for row in ROWS if not served[row["table"], row["place"], row["name"]]]
    uses = share(ROWS, lambda row: row["repos"])
    with capsys.disabled():
        print(
            f"\nnames of matterport/Mask_RCNN in use: {len(ROWS)}, served: {len(ROWS) - len(missing)}; weighted by "
            f"repositories {uses:.2%} of all, {share(easy, lambda row: row['repos'] or 0.5):.0%} of E and M; "
            f"missing: {', '.join(missing)}"
        )
    assert share(easy, lambda row: 1) == 1.0
    assert uses >= 0.95
    assert set(missing) <= {"loss", "metrics_tensors", "_losses", "_per_input_losses", "inner_model"}


def test_names_of_parts_are_patterns_of_layers(model):
    names = [layer.name for layer in model.get_trainable_layers()]

    def chosen(layers):
        return {name for name in names if re.fullmatch(modellib.LAYERS.get(layers, layers), name)}

    heads = {name for name in names if name.startswith(("mrcnn_", "rpn_", "fpn_"))}
    assert chosen("heads") == heads and len(heads) == 27
    assert chosen("all") == set(names)
    assert chosen("4+") - heads == {n for n in names if n.startswith(("res4", "bn4", "res5", "bn5"))}
    assert chosen("3+") - chosen("4+") == {n for n in names if n.startswith(("res3", "bn3"))}
    assert chosen(r"(mrcnn\_.*)|(conv1)") - heads == {"conv1"}


def test_where_imagenet_weights_come_from(model, monkeypatch):
    seen = {}

    def get_file(name, origin, cache_subdir, md5_hash):
        seen.update(name=name, origin=origin)
        return f"/models/{name}"

    monkeypatch.setattr("keras.utils.get_file", get_file)
    assert model.get_imagenet_weights().endswith("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5")
    assert seen["origin"].startswith("https://github.com/fchollet/") and seen["origin"].endswith(seen["name"])


def test_the_keras_model_as_scripts_use_it(model, tmp_path, capsys):
    keras_model = model.keras_model
    keras_model.summary()
    assert "Total params" in capsys.readouterr().out
    assert len(keras_model.layers) > 3 and all(hasattr(layer, "name") for layer in keras_model.layers)
    assert [tuple(t.shape)[1:] for t in keras_model.outputs[:4]] == [(10, 6), (20, 3), (20, 3, 4), (10, 28, 28, 3)]
    keras_model.metrics_tensors = []
    assert keras_model.metrics_tensors == [] and keras_model.losses == []
    model.compile(0.001, 0.9)
    assert "loss" in keras_model.metrics_names and keras_model.trainable_weights
    weights = keras_model.get_weights()
    keras_model.set_weights([(a + a) / 2 for a in weights])
    keras_model.save(str(tmp_path / "whole.h5"))
    kernel = keras_model.get_layer("conv1").weights[0]
    kernel.assign(kernel * 0)
    keras_model.load_weights(str(tmp_path / "whole.h5"), by_name=True)
    for a, b in zip(weights, keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert json.loads(keras_model.to_json())["class_name"] == "KerasModel"


@pytest.mark.slow
def test_a_folder_gets_a_saved_model_that_answers_as_the_model(model, tmp_path):
    model.keras_model.save(str(tmp_path / "served" / "3"))  # compared with the model before it is kept
    assert (tmp_path / "served/3/saved_model.pb").is_file()


def test_small_functions_of_utils():
    image = np.array([[0, 100], [100, 200]], np.uint8)[..., None].repeat(3, 2)
    larger = utils.resize(image, (4, 4), preserve_range=True)
    assert larger.shape == (4, 4, 3) and larger[1, 1, 0] == pytest.approx(50, abs=1)  # 0.25 of the way along each axis
    assert utils.resize(image, (2, 2)).max() == pytest.approx(200 / 255)
    assert utils.mold_mask(image, SmallConfig()) is None


def _at(tree, path):
    for step in path.split("."):
        tree = tree[int(step)] if step.isdigit() else getattr(tree, step)
    return tree


# Attribute, its value, where it is found in the config of the run, and what it is there.
ATTRIBUTES = [
    ("IMAGES_PER_GPU", 4, "train.batch_size", 4),
    ("GPU_COUNT", 3, "train.batch_size", 3),
    ("NUM_CLASSES", 5, "model.num_classes", 4),
    ("DETECTION_MIN_CONFIDENCE", 0.9, "model.box_head.score_threshold", 0.9),
    ("IMAGE_MAX_DIM", 128, "model.input.long_side", 128),
    ("IMAGE_MIN_DIM", 48, "model.input.short_side", 48),
    ("RPN_ANCHOR_SCALES", (4, 8, 16, 32, 64), "model.rpn.anchors.sizes.0.0", 4),
    ("TRAIN_ROIS_PER_IMAGE", 100, "model.roi_sampler.num_rois", 100),
    ("BACKBONE", "resnet101", "model.backbone.depth", 101),
    ("MAX_GT_INSTANCES", 7, "data.max_instances", 7),
    ("LEARNING_RATE", 0.01, "train.learning_rate", 0.01 * 16),
    ("DETECTION_NMS_THRESHOLD", 0.2, "model.box_head.nms_iou", 0.2),
    ("USE_MINI_MASK", False, "data.mask_side", 112),
    ("IMAGE_RESIZE_MODE", "pad64", "model.input.canvas", "divisor"),
    ("DETECTION_MAX_INSTANCES", 9, "model.box_head.max_detections", 9),
    ("RPN_TRAIN_ANCHORS_PER_IMAGE", 64, "model.rpn.batch_per_image", 64),
    ("MEAN_PIXEL", np.array([1.0, 2.0, 3.0]), "model.backbone.pixel_norm.mean", (1.0, 2.0, 3.0)),
    ("POST_NMS_ROIS_INFERENCE", 11, "model.rpn.post_nms_test", 11),
    ("POST_NMS_ROIS_TRAINING", 12, "model.rpn.post_nms_train", 12),
    ("RPN_NMS_THRESHOLD", 0.9, "model.rpn.nms_iou", 0.9),
    ("MINI_MASK_SHAPE", (28, 28), "data.mask_side", 28),
    ("LOSS_WEIGHTS", {"rpn_bbox_loss": 2.0}, "model.rpn.box_loss_weight", 2.0),
    ("RPN_ANCHOR_RATIOS", [1, 3], "model.rpn.anchors.ratios", (1.0, 3.0)),
    ("TOP_DOWN_PYRAMID_SIZE", 32, "model.neck.channels", 32),
    ("GRADIENT_CLIP_NORM", 2.0, "train.clip_norm", 2.0),
    ("FPN_CLASSIF_FC_LAYERS_SIZE", 64, "model.box_head.fc_dims", (64, 64)),
    ("IMAGE_CHANNEL_COUNT", 1, "model.backbone.pixel_norm.mean", (5.0,)),
    ("BBOX_STD_DEV", np.array([0.2, 0.2, 0.4, 0.4]), "model.box_head.delta_weights", (5.0, 5.0, 2.5, 2.5)),
    ("RPN_BBOX_STD_DEV", np.array([0.2, 0.2, 0.4, 0.4]), "model.rpn.delta_weights", (5.0, 5.0, 2.5, 2.5)),
    ("LEARNING_MOMENTUM", 0.5, "train.momentum", 0.5),
    ("MASK_POOL_SIZE", 7, "model.heads.0.pool.size", 7),
    ("POOL_SIZE", 5, "model.box_head.pool.size", 5),
    ("PRE_NMS_LIMIT", 33, "model.rpn.pre_nms_test", 33),
    ("ROI_POSITIVE_RATIO", 0.5, "model.roi_sampler.positive_fraction", 0.5),
    ("TRAIN_BN", True, "model.backbone.norm", "bn"),
]


@pytest.mark.parametrize("name, value, path, expected", ATTRIBUTES, ids=[row[0] for row in ATTRIBUTES])
def test_an_attribute_of_config(name, value, path, expected):
    own = {name: value} | ({"MEAN_PIXEL": np.array([5.0])} if name == "IMAGE_CHANNEL_COUNT" else {})
    config = type("Own", (SmallConfig,), own)()
    recipe = native_config.recipe(config, config.LEARNING_RATE)
    result = _at(recipe, path)
    assert result == (pytest.approx(expected) if isinstance(expected, float) else expected)
    if name not in ("USE_MINI_MASK",):
        assert _at(native_config.recipe(SmallConfig(), SmallConfig.LEARNING_RATE), path) != result


def test_every_attribute_of_config_counts(model, monkeypatch, tmp_path):
    class Own(SmallConfig):
        NAME = "Socket-1"
        STEPS_PER_EPOCH = 7
        VALIDATION_STEPS = 3.9
        BATCH_SIZE = IMAGE_META_SIZE = 99
        IMAGE_SHAPE = (1, 2, 3)
        IMAGE_RESIZE_MODE = "pad64"
        IMAGE_MIN_SCALE = 3.0
        WEIGHT_DECAY = 0.125
        PAPER = True

    config = Own()
    assert (config.BATCH_SIZE, config.IMAGE_META_SIZE, config.IMAGE_SHAPE.tolist()) == (1, 15, [64, 64, 3])
    assert modellib.load_image_gt(small_dataset(), config, 0)[1][11] == 3.0
    assert native_config.recipe(config, 0.1).train.weight_decay == 0.125
    stub = object.__new__(modellib.MaskRCNN)
    stub.mode, stub.config, stub.model_dir, stub.keras_model = "training", config, str(tmp_path), model.keras_model
    config.PAPER, config.IMAGE_RESIZE_MODE = False, "square"
    stub.set_log_dir()
    assert Path(stub.log_dir).name.startswith("socket-1")
    seen = {}
    monkeypatch.setattr(model.keras_model, "fit", lambda batches, **kwargs: seen.update(kwargs))
    stub.train(small_dataset(), small_dataset(), config.LEARNING_RATE, 1, "heads")
    assert (seen["steps_per_epoch"], seen["validation_steps"], seen["epochs"]) == (7, 3, 1)

    config.BACKBONE, config.COMPUTE_BACKBONE_SHAPE = (lambda image, **_: image), (lambda shape: [[1, 1]])
    assert modellib.compute_backbone_shapes(config, (64, 64, 3)) == [[1, 1]]
    config.BACKBONE, config.MASK_SHAPE, config.BACKBONE_STRIDES = "resnet50", [14, 14], [4, 8, 16, 32, 64]
    boxes, rois = np.array([[8, 8, 40, 40]], np.int32), np.array([[8, 8, 40, 40], [50, 50, 60, 60]], np.int32)
    masks = np.ones((56, 56, 1), bool)
    assert modellib.build_detection_targets(rois, np.array([1]), boxes, masks, config)[3].shape == (9, 14, 14, 3)
    config.RPN_ANCHOR_STRIDE = 2
    with pytest.raises(ValueError, match="RPN_ANCHOR_STRIDE"):
        native_config.model_config(config)
    config.RPN_ANCHOR_STRIDE, config.USE_RPN_ROIS = 1, False
    with pytest.raises(ValueError, match="USE_RPN_ROIS"):
        training.train(SimpleNamespace(config=config, keras_model=None), None, None, 0.1, 1, ".*", None, [])
    named = {row[0] for row in ATTRIBUTES} | {
        "NAME", "STEPS_PER_EPOCH", "VALIDATION_STEPS", "BATCH_SIZE", "IMAGE_META_SIZE", "IMAGE_SHAPE", "WEIGHT_DECAY",
        "IMAGE_MIN_SCALE", "COMPUTE_BACKBONE_SHAPE", "MASK_SHAPE", "BACKBONE_STRIDES", "RPN_ANCHOR_STRIDE",
        "USE_RPN_ROIS", "display",
    }  # fmt: skip
    assert {row["name"] for row in ROWS if row["table"] == "3.6"} == named
