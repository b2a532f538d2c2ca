"""A small model of rotated boxes, and bars to find."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.rotated_box import RotatedBoxHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.rpn.rotated import RotatedAnchorConfig, RotatedRPNConfig
from mrcnn.structures.masks import crop_binary_mask
from mrcnn.structures.rotated import minimum_area_boxes
from tests.ground_truth import MASK_SIDE, batch_of
from tests.tiny_model import tiny_config


def rotated_config() -> MaskRCNNConfig:
    """The tiny model's config with rotated boxes."""
    tiny = tiny_config()
    numbers = {"pre_nms_train": 60, "post_nms_train": 60, "pre_nms_test": 60, "post_nms_test": 60}
    return dataclasses.replace(
        tiny,
        rpn=RotatedRPNConfig(channels=32, anchors=RotatedAnchorConfig(sizes=tiny.rpn.anchors.sizes), **numbers),
        box_head=RotatedBoxHeadConfig(fc_dims=(64,), max_detections=20),
        heads=(MaskHeadConfig(conv_dims=(16,), deconv_dim=16, pool=RoiPoolConfig(size=14, op="align_rotated")),),
    )


def inside(box: Any, height: int, width: int) -> np.ndarray:
    """bool[height, width]: pixels whose center lies in a rotated box."""
    center_y, center_x, sides_y, sides_x, angle = box
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    y, x = np.mgrid[:height, :width] + 0.5 - np.array([center_y, center_x])[:, None, None]
    return (np.abs(cosine * y + sine * x) <= sides_y / 2) & (np.abs(cosine * x - sine * y) <= sides_x / 2)


def bars_batch(boxes: Any, canvas: tuple[int, int] = (96, 128)) -> dict[str, tf.Tensor]:
    """A batch of images with bright bars.

    Args:
        boxes: per image, rotated boxes.
        canvas: height and width.
    """
    images, objects, rotated = [], [], np.zeros((len(boxes), 4, 5), np.float32)
    for i, of_image in enumerate(boxes):
        masks = np.array([inside(box, *canvas) for box in of_image]).reshape(-1, *canvas)
        images.append(np.where(masks.any(axis=0)[..., None], 220, 40).astype(np.uint8).repeat(3, axis=-1))
        bounds = [(*np.argwhere(mask).min(0), *(np.argwhere(mask).max(0) + 1)) for mask in masks]
        cut = [crop_binary_mask(mask, box, MASK_SIDE) for mask, box in zip(masks, bounds, strict=True)]
        objects.append([{"box": box, "mask": mask} for box, mask in zip(bounds, cut, strict=True)])
        rotated[i, : len(masks)] = minimum_area_boxes(masks)
    return batch_of(images, objects, canvas) | {"gt_rotated_boxes": tf.constant(rotated)}


def sampled(grid: np.ndarray, y: float, x: float) -> float:
    """A grid at a place in cells, linearly in between, zero outside; one loop over its cells."""
    value = 0.0
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            value += float(grid[i, j]) * max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(x - j))
    return value
