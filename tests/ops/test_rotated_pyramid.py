"""RoIAlign of rotated RoIs on a pyramid."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mrcnn.ops.pyramid import LevelAssignment
from mrcnn.ops.rotated_pyramid import multilevel_rotated_roi_align
from mrcnn.ops.rotated_roi_align import rotated_roi_align

STRIDES = (4, 8, 16)
RULE = LevelAssignment(canonical_size=32.0, canonical_level=3)


def scene(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    maps = [rng.normal(size=(2, 64 // s, 96 // s, 3)).astype(np.float32) for s in STRIDES]
    box = np.float32([30, 40, 0, 0, 25])
    sides = np.float32([[8, 8], [16, 60], [30, 40], [64, 64], [3, 200]])
    return maps, np.tile(box + np.pad(sides, ((0, 0), (2, 1))), (2, 1, 1))


def test_each_roi_is_pooled_from_the_level_of_its_sides(rng: np.random.Generator) -> None:
    maps, boxes = scene(rng)
    pooled = multilevel_rotated_roi_align(maps, boxes, STRIDES, 5, 2, None, RULE)
    assert pooled.shape == (2, 5, 5, 5, 3)
    for i, level in enumerate([0, 0, 1, 2, 0]):  # sides of 8, 31, 35, 64 and 24 pixels
        own = rotated_roi_align(maps[level], boxes[:, i : i + 1], STRIDES[level], 5)
        np.testing.assert_allclose(pooled[:, i : i + 1], own, atol=1e-5)


def test_invalid_rois_are_zero_and_pass_no_gradient(rng: np.random.Generator) -> None:
    maps, boxes = scene(rng)
    boxes[0, 1] = np.nan
    valid = np.array([[True] * 5, [True, False, True, False, True]])
    features = [tf.constant(level) for level in maps]
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = multilevel_rotated_roi_align(features, boxes, STRIDES, 3, 2, valid, RULE)
        loss = tf.reduce_sum(pooled[1, 1] ** 2) + tf.reduce_sum(pooled[0, 1] ** 2)
    assert float(loss) == 0.0
    assert all(not np.any(g) for g in tape.gradient(loss, features))


def test_one_level_half_precision_and_no_rois(rng: np.random.Generator) -> None:
    maps, boxes = scene(rng)
    one = multilevel_rotated_roi_align([tf.cast(maps[2], tf.float16)], boxes, [16], (2, 3))
    assert one.dtype == tf.float16 and one.shape == (2, 5, 2, 3, 3)
    np.testing.assert_allclose(one, rotated_roi_align(maps[2], boxes, 16, (2, 3)), atol=5e-3)
    assert multilevel_rotated_roi_align(maps, boxes[:, :0], STRIDES, 7).shape == (2, 0, 7, 7, 3)
