"""Mask targets of rotated RoIs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mrcnn.ops.masks import crop_masks
from mrcnn.ops.rotated_masks import crop_rotated_masks
from tests.ops.test_masks import assert_equal_off_the_threshold, random_masks
from tests.rotated_model import sampled


def slow_crop(mask: np.ndarray, frame: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Cell by cell: its center turned with the box, taken to the grid of the object's own box, sampled."""
    center_y, center_x, height, width, angle = box.astype(np.float64)
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    result = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            down, right = ((i + 0.5) / side - 0.5) * height, ((j + 0.5) / side - 0.5) * width
            y, x = center_y + cosine * down - sine * right, center_x + sine * down + cosine * right
            if frame[0] <= y <= frame[2] and frame[1] <= x <= frame[3]:
                v = (y - frame[0]) / (frame[2] - frame[0]) * mask.shape[0] - 0.5
                u = (x - frame[1]) / (frame[3] - frame[1]) * mask.shape[1] - 0.5
                result[i, j] = sampled(mask, np.clip(v, 0, len(mask) - 1), np.clip(u, 0, len(mask) - 1))
    return result


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    masks = random_masks(rng, 6, 10).reshape(2, 3, 10, 10)
    frames = np.tile(np.array([[2, 3, 30, 25], [10.5, 0.2, 22.1, 40], [5, 5, 9, 9]], np.float32), (2, 1, 1))
    index = np.array([[0, 1, 2, 1], [2, 1, 0, 0]], np.int32)
    own = np.take_along_axis(frames, index[..., None], axis=1)
    center, sides = 0.5 * (own[..., :2] + own[..., 2:]), own[..., 2:] - own[..., :2]
    boxes = np.concatenate([center + rng.uniform(-2, 2, center.shape), sides, rng.uniform(-180, 180, (2, 4, 1))], -1)
    return masks, frames, index, boxes.astype(np.float32)


def test_crop_equals_the_slow_reference(rng: np.random.Generator) -> None:
    masks, frames, index, boxes = scene(rng)
    cropped = tf.function(crop_rotated_masks)(masks, frames, index, boxes, 7).numpy()
    assert cropped.shape == (2, 4, 7, 7) and set(np.unique(cropped)) == {0, 1}
    values = [
        [slow_crop(masks[b, index[b, s]], frames[b, index[b, s]], boxes[b, s], 7) for s in range(4)] for b in range(2)
    ]
    assert_equal_off_the_threshold(cropped, np.array(values))


def test_without_a_turn_it_is_the_crop_of_boxes(rng: np.random.Generator) -> None:
    masks, frames, index, boxes = scene(rng)
    boxes[..., 4] = 0
    upright = np.concatenate([boxes[..., :2] - boxes[..., 2:4] / 2, boxes[..., :2] + boxes[..., 2:4] / 2], -1)
    np.testing.assert_array_equal(
        crop_rotated_masks(masks, frames, index, boxes, 9), crop_masks(masks, frames, index, upright, 9)
    )


def test_empty_boxes_and_no_rois(rng: np.random.Generator) -> None:
    masks = random_masks(rng, 1, 6)[None]
    assert crop_rotated_masks(masks, [[[5.0, 5, 5, 9]]], [[0]], [[[5.0, 7, 4, 4, 10]]], 5).numpy().sum() == 0
    assert crop_rotated_masks(masks, [[[0.0, 0, 5, 9]]], np.zeros((1, 0), int), np.zeros((1, 0, 5)), 5).shape == (
        1,
        0,
        5,
        5,
    )
