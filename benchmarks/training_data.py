"""What training steps are timed on: noise with boxes, the same for every program."""

from __future__ import annotations

from typing import Any

import numpy as np

Draw = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(shape: tuple[int, int], num: int, objects: int, classes: int) -> Draw:
    """Images u8[num, H, W, 3], boxes f32[num, objects, 4] of (y1, x1, y2, x2), class ids i32[num, objects] from 1."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, *shape, 3), dtype=np.uint8)
    corner = rng.uniform(0, 0.5, (num, objects, 2))
    size = rng.uniform(0.15, 0.45, (num, objects, 2))
    boxes = (np.concatenate([corner, corner + size], -1) * (*shape, *shape)).astype(np.float32)
    return images, boxes, rng.integers(1, classes + 1, (num, objects)).astype(np.int32)


def make_batch(drawn: Draw, mask_side: int, num_joints: int = 0) -> dict[str, Any]:
    """The batch of our model: every mask fills its box, every joint lies in the middle of it."""
    import tensorflow as tf

    images, boxes, class_ids = drawn
    num, objects = class_ids.shape
    batch = {
        "image": images,
        "image_id": np.arange(num),
        "original_shape": np.full((num, 2), images.shape[1:3], np.int32),
        "content_shape": np.full((num, 2), images.shape[1:3], np.int32),
        "gt_boxes": boxes,
        "gt_class_ids": class_ids,
        "gt_masks": np.ones((num, objects, mask_side, mask_side), np.uint8),
        "gt_crowd": np.zeros((num, objects), bool),
        "gt_valid": np.ones((num, objects), bool),
        "seed": np.arange(2 * num, dtype=np.int32).reshape(num, 2),
    }
    if num_joints:
        middle = (boxes[..., None, :2] + boxes[..., None, 2:]) / 2
        points = np.concatenate([middle[..., ::-1], np.full((num, objects, 1, 1), 2.0)], -1)
        batch["gt_keypoints"] = np.repeat(points, num_joints, 2).astype(np.float32)
    return {key: tf.constant(value) for key, value in batch.items()}


def fill_masks(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """u8[n, height, width]: every mask fills its box, cut to whole pixels."""
    masks = np.zeros((len(boxes), *shape), np.uint8)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks
