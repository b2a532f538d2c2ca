"""Backbones, necks and heads are config that combines: each combination trains, detects and survives a file."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.rotated_box import RotatedBoxHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramidConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.modeling.rpn.rotated import RotatedRPNConfig
from tests.families import BACKBONES, BOXES, HEADS, NUM_JOINTS, family_config, family_model
from tests.ground_truth import batch_of
from tests.tiny_model import noise_images


@pytest.fixture(autouse=True)
def _eagerly():
    """Tracing a network that is run once takes longer than running it."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def batch() -> dict[str, tf.Tensor]:
    """Two images with objects, masks and joints."""
    images = noise_images(2, sides=(56, 65))
    objects = [[{"box": (4, 6, 40, 44)}, {"box": (10, 20, 50, 56), "class_id": 2}], [{"box": (8, 8, 48, 40)}]]
    batch = batch_of(images, objects, canvas=(64, 64))
    joints = np.zeros((2, 4, NUM_JOINTS, 3), np.float32)
    joints[:] = [[20, 20, 2], [30, 25, 2]]  # (x, y, visible)
    return batch | {"gt_keypoints": tf.constant(joints)}


def expect_combined(config: MaskRCNNConfig, path) -> None:
    """One step changes weights by finite losses; the model detects; its file gives the same detections."""
    assert MaskRCNNConfig.from_dict(config.to_dict()) == config
    model = family_model(config)
    before = [v.numpy() for v in model.trainable_variables]
    model.compile("sgd")
    logs = model.train_step(batch())
    assert set(model.loss_names) <= set(logs)
    assert all(np.isfinite(float(value)) for value in logs.values())
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_variables, strict=True)]
    assert np.mean(moved) > 0.5
    images = noise_images(1, sides=(56, 65))
    (expected,) = mrcnn.detect(model, images, score_threshold=None)
    assert len(expected)
    mrcnn.save_checkpoint(model, path)
    again = mrcnn.load_model(path)
    assert again.config == config
    (result,) = mrcnn.detect(again, images, score_threshold=None)
    for field in ("boxes", "scores", "class_ids", "masks", "keypoints"):
        mine, theirs = getattr(result, field), getattr(expected, field)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_has_a_cascade_points_and_joints(backbone, tmp_path):
    expect_combined(family_config(backbone, "cascade", ("points", "joints")), tmp_path / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "box", "heads"),
    [
        ("vit", "box", ("points",)),
        ("vit", "cascade", ("cascade masks",)),
        ("mvit", "box", ("mask", "joints")),
        ("deformable", "cascade", ("mask",)),
    ],
)
def test_other_heads(backbone, box, heads, tmp_path):
    expect_combined(family_config(backbone, box, heads), tmp_path / "model.safetensors")


def test_every_combination_is_a_config_that_survives_a_file():
    for backbone, box, number in itertools.product(BACKBONES, BOXES, (1, 2)):
        for heads in itertools.permutations(("mask", "points", "joints"), number):
            if {"mask", "points"} <= set(heads):
                continue  # two mask heads need two names
            config = family_config(backbone, box, heads)
            assert MaskRCNNConfig.from_dict(config.to_dict()) == config


def test_two_kinds_of_masks_have_two_names(tmp_path):
    points = dataclasses.replace(HEADS["points"], name="fine")
    config = dataclasses.replace(family_config("regnet"), heads=(HEADS["mask"], points))
    names = [output.name for output in config.outputs]
    assert names == ["masks", "fine_masks"]
    with pytest.raises(ConfigError, match="heads: two of them have the layer 'mask_head'; give one of them another"):
        family_config("regnet", heads=("mask", "points"))


def on_res5() -> None:
    """RoIs of a map that pass a stage of the backbone before any head, as in a C4 model."""
    config = dataclasses.replace(HEADS["points"], pool=RoiPoolConfig(size=4, levels=("c4",)), point_levels=("c4",))
    config.build(2, RoiPooler(config.pool, {"c4": 16}, 8, keras.layers.Identity()))


VIT, SWIN = BACKBONES["vit"], BACKBONES["swin"]
REFUSED = {
    r"mask_head and roi_stage: PointRend samples maps itself, expected no roi_stage": on_res5,
    r"neck and backbone: c2, c3, c5; the backbone has c4": lambda: FPNConfig().build(VIT.channels, VIT.strides),
    r"neck.level: a simple feature pyramid needs a map of stride 16, c5 has 32": lambda: SimpleFeaturePyramidConfig(
        level="c5"
    ).build(SWIN.channels, SWIN.strides),
    r"heads.0: 3 stages, expected as many as box_head has: 1": lambda: family_config("vit", heads=("cascade masks",)),
    r"box_head.train_on_pred_boxes: a cascade hands on": lambda: CascadeBoxHeadConfig(train_on_pred_boxes=True),
    r"deformable.stages: \[3, 4, 5\] go beyond last_stage 4": lambda: ResNetConfig(
        last_stage=4, deformable=DeformableConfig()
    ),
    r"rpn and heads.0: RotatedRPNConfig proposes rotated boxes, which PointRendMaskHeadConfig cannot": lambda: (
        dataclasses.replace(
            family_config("regnet", heads=("points",)), rpn=RotatedRPNConfig(), box_head=RotatedBoxHeadConfig()
        )
    ),
    r"rpn and box_head: RotatedRPNConfig proposes rotated boxes, expected RotatedBoxHeadConfig": lambda: (
        dataclasses.replace(family_config("regnet", "cascade"), rpn=RotatedRPNConfig())
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(message):
    with pytest.raises(ConfigError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)
