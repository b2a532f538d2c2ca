"""Batches drawn at random, with the number of objects given image by image, and a small model to train on them."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import InputConfig, MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig

SIDE, MOST_OBJECTS, MASK_SIDE = 64, 4, 14


@dataclasses.dataclass(frozen=True)
class FewConvsConfig(BackboneConfig):
    """One convolution per stage."""

    width: int = 8

    @property
    def channels(self) -> dict[str, int]:
        return {f"c{stage}": self.width for stage in range(2, 6)}

    def build(self, name: str = "backbone") -> keras.Model:
        inputs = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(self.width, 3, 2, "same", activation="relu", name="stem_conv1")(inputs)
        levels = {}
        for stage in range(2, 6):
            x = keras.layers.Conv2D(self.width, 3, 2, "same", name=f"stage{stage}_conv1")(x)
            if self.norm != "none":
                x = keras.layers.BatchNormalization(
                    synchronized=self.norm == "sync_bn", momentum=0.9, name=f"stage{stage}_norm"
                )(x)
            x = levels[f"c{stage}"] = keras.layers.ReLU(name=f"stage{stage}_relu")(x)
        return keras.Model(inputs, levels, name=name)


def small_model(norm: str = "none", seed: int = 0) -> MaskRCNN:
    """Two classes, 64-pixel images; traces in seconds."""
    keras.utils.set_random_seed(seed)
    config = MaskRCNNConfig(
        num_classes=2,
        backbone=FewConvsConfig(norm=norm),
        neck=FPNConfig(channels=8),
        rpn=RPNConfig(
            channels=8,
            anchors=AnchorConfig(sizes=((8.0,), (16.0,), (24.0,), (32.0,), (64.0,))),
            batch_per_image=32,
            pre_nms_train=50,
            post_nms_train=50,
            pre_nms_test=50,
            post_nms_test=50,
        ),
        roi_sampler=RoiSamplerConfig(num_rois=16),
        box_head=BoxHeadConfig(pool=RoiPoolConfig(size=3), fc_dims=(16,), max_detections=8),
        heads=(MaskHeadConfig(pool=RoiPoolConfig(size=3), num_foreground=4, conv_dims=(8,), deconv_dim=8),),
        input=InputConfig(short_side=SIDE, long_side=SIDE),
    )
    return MaskRCNN(config, ["thing", "other"], [3, 8])


def draw_batch(counts: list[int], seed: int = 0) -> dict[str, tf.Tensor]:
    """A batch of len(counts) images with so many objects each."""
    rng = np.random.default_rng(seed)
    b = len(counts)
    batch = {
        "image": rng.integers(0, 60, (b, SIDE, SIDE, 3)).astype(np.uint8),
        "image_id": np.arange(100, 100 + b),
        "original_shape": np.full((b, 2), SIDE, np.int32),
        "content_shape": np.full((b, 2), SIDE, np.int32),
        "gt_boxes": np.zeros((b, MOST_OBJECTS, 4), np.float32),
        "gt_class_ids": np.zeros((b, MOST_OBJECTS), np.int32),
        "gt_masks": np.zeros((b, MOST_OBJECTS, MASK_SIDE, MASK_SIDE), np.uint8),
        "gt_crowd": np.zeros((b, MOST_OBJECTS), bool),
        "gt_valid": np.zeros((b, MOST_OBJECTS), bool),
        "seed": rng.integers(0, 2**31 - 1, (b, 2)).astype(np.int32),
    }
    for i, count in enumerate(counts):
        for entry in range(count):
            (y, x), (h, w) = rng.integers(0, SIDE // 2, 2), rng.integers(10, SIDE // 2, 2)
            class_id = int(rng.integers(1, 3))
            batch["image"][i, y : y + h, x : x + w, class_id] = 250
            batch["gt_boxes"][i, entry] = y, x, y + h, x + w
            batch["gt_class_ids"][i, entry] = class_id
            batch["gt_masks"][i, entry, 2:-2, 1:] = 1
            batch["gt_valid"][i, entry] = True
    return {key: tf.constant(value) for key, value in batch.items()}


def rows(batch: dict[str, tf.Tensor], start: int, stop: int) -> dict[str, tf.Tensor]:
    return {key: value[start:stop] for key, value in batch.items()}


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {w.path.removeprefix(f"{model.name}/"): w.numpy() for w in model.weights}
