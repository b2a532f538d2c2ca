"""A small ViTDet trains: from random weights it overfits four images."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramidConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.preprocessing import InputConfig
from tests.ground_truth import MASK_SIDE, batch_of
from tests.tiny_model import tiny_config

SIDE, STEPS = 96, 200
BOXES = [[(8, 10, 56, 50), (40, 54, 90, 92)], [(20, 20, 70, 84)], [(4, 50, 50, 94), (50, 6, 92, 60)], [(30, 8, 80, 44)]]


def ellipse(height: int, width: int) -> np.ndarray:
    y, x = (np.arange(n) + 0.5 - n / 2 for n in (height, width))
    return (y[:, None] / (height / 2)) ** 2 + (x / (width / 2)) ** 2 <= 1


def scenes() -> tuple[list[np.ndarray], list[list[dict]]]:
    """Ellipses of two colors, a class each, on gray noise."""
    rng = np.random.default_rng(0)
    images, objects = [], []
    for boxes in BOXES:
        image = rng.integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        items = []
        for number, (y1, x1, y2, x2) in enumerate(boxes):
            image[y1:y2, x1:x2][ellipse(y2 - y1, x2 - x1)] = [(230, 40, 40), (40, 60, 230)][number]
            mask = ellipse(MASK_SIDE, MASK_SIDE).astype(np.uint8)
            items.append({"box": (y1, x1, y2, x2), "class_id": number + 1, "mask": mask})
        images.append(image)
        objects.append(items)
    return images, objects


def small_vitdet() -> MaskRCNN:
    norm = {"conv_norm": "ln", "norm_epsilon": 1e-6}
    config = dataclasses.replace(
        tiny_config(),
        backbone=ViTConfig(
            depth=3, width=64, num_heads=2, window=4, grid=6, position_grid=3, global_blocks=(2,), drop_path=0.05
        ),
        neck=SimpleFeaturePyramidConfig(channels=32),
        roi_sampler=RoiSamplerConfig(num_rois=32, positive_fraction=0.5),
        box_head=BoxHeadConfig(conv_dims=(32,), fc_dims=(128,), max_detections=20, **norm),
        heads=(MaskHeadConfig(num_foreground=16, conv_dims=(32, 32), deconv_dim=32, **norm),),
        input=InputConfig(SIDE, SIDE, canvas="square"),
    )
    return MaskRCNN(config, ["red", "blue"])


@pytest.mark.slow
def test_four_images_are_overfit():
    keras.utils.set_random_seed(0)
    model, (images, objects) = small_vitdet(), scenes()
    batch = batch_of(images, objects, canvas=(SIDE, SIDE))
    schedule = keras.optimizers.schedules.CosineDecay(0.0, STEPS - 15, warmup_target=2e-3, warmup_steps=15)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=5.0))
    step = tf.function(model.train_step, autograph=False)
    for number in range(STEPS):
        model.reset_metrics()
        step({**batch, "seed": batch["seed"] + number})
    right, wrong = [], [0.0]
    for items, result in zip(objects, mrcnn.detect(model, images), strict=True):
        left = list(range(len(result)))
        for item in items:
            fits = [
                i for i in left if result.class_ids[i] == item["class_id"] and overlap(item, result.masks[i]) >= 0.75
            ]
            assert fits, f"{item['box']} is not found"
            right.append(result.scores[fits[0]])  # detections are ordered by their score
            left.remove(fits[0])
        wrong += [result.scores[i] for i in left]
    assert min(right) > max(wrong)  # so that the mask AP50 is 1, whatever else is found


def overlap(item: dict, other: np.ndarray) -> float:
    """IoU of an object's mask and another one."""
    y1, x1, y2, x2 = item["box"]
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y1:y2, x1:x2] = ellipse(y2 - y1, x2 - x1)
    other = np.asarray(other)
    return (mask & other).sum() / (mask | other).sum()
