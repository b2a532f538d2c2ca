"""Masks pasted through the turn of their boxes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mrcnn.ops import rotated_boxes
from mrcnn.structures.masks import paste_masks
from mrcnn.structures.rotated_masks import RotatedBoxMasks, scale_rotated_boxes
from tests.ops.test_masks import assert_equal_off_the_threshold
from tests.ops.test_rotated_boxes import random_rotated
from tests.rotated_model import inside, sampled

HEIGHT, WIDTH = 50, 70


def slow_values(probs: np.ndarray, box: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Pixel by pixel: its center in the model's frame, turned back into the box, sampled."""
    center_y, center_x, height, width, angle = box.astype(np.float64)
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    values = np.zeros((HEIGHT, WIDTH))
    for i in range(HEIGHT):
        for j in range(WIDTH):
            y, x = (i + 0.5) / scale[0] - center_y, (j + 0.5) / scale[1] - center_x
            down, right = cosine * y + sine * x, cosine * x - sine * y
            if abs(down) < height and abs(right) < width:
                side = len(probs)
                values[i, j] = sampled(probs, (down / height + 0.5) * side - 0.5, (right / width + 0.5) * side - 0.5)
    return values


def test_equals_the_slow_reference(rng: np.random.Generator) -> None:
    boxes = np.array([[20, 30, 14, 40, 35], [4, 60, 20, 30, -120], [25, 30, 6, 30, 90]], np.float32)
    probs = rng.uniform(size=(3, 4, 4)).astype(np.float32)
    for scale in ((1.0, 1.0), (1.25, 0.8)):
        masks = RotatedBoxMasks(probs, boxes, HEIGHT, WIDTH, 0.5, scale)
        pasted = masks.paste()
        assert pasted.shape == masks.shape == (3, HEIGHT, WIDTH) and pasted.any(axis=(1, 2)).all()
        assert_equal_off_the_threshold(
            pasted, np.array([slow_values(p, b, scale) for p, b in zip(probs, boxes, strict=True)])
        )


def test_without_a_turn_they_are_pasted_as_in_boxes(rng: np.random.Generator) -> None:
    boxes = np.array([[20.3, 30.1, 14.2, 40, 0], [-3, 60, 20, 30.5, 0]], np.float32)
    upright = np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], axis=1)
    probs = rng.uniform(size=(2, 9, 9)).astype(np.float32)
    differ = RotatedBoxMasks(probs, boxes, HEIGHT, WIDTH).paste() != paste_masks(probs, upright, HEIGHT, WIDTH)
    assert differ.mean() < 1e-3  # where rounding decides


def test_a_full_mask_is_its_box() -> None:
    box = (25, 35, 14, 44, 30)
    pasted = RotatedBoxMasks(np.ones((1, 28, 28), np.float32), np.float32([box]), HEIGHT, WIDTH).paste()[0]
    assert (pasted ^ inside(box, HEIGHT, WIDTH)).mean() < 0.01


def test_nothing_of_empty_boxes_and_of_those_outside_or_not_finite() -> None:
    boxes = np.float32([[9, 9, 0, 5, 0], [9, 9, np.nan, 5, 0], [500, 9, 5, 5, 45], [9, 9, 5, -1, 0]])
    masks = RotatedBoxMasks(np.ones((4, 3, 3), np.float32), boxes, HEIGHT, WIDTH)
    assert not masks.paste().any()
    assert len(masks[:2]) == 2 and masks[np.array([False] * 4)].paste().shape == (0, HEIGHT, WIDTH)
    assert masks[:1] == RotatedBoxMasks(np.ones((1, 3, 3), np.float32), boxes[:1], HEIGHT, WIDTH)


def test_boxes_are_scaled_as_the_operator_scales_them(rng: np.random.Generator) -> None:
    boxes = random_rotated(rng, 20)
    ours = scale_rotated_boxes(boxes, np.array([1.5, 0.7]))
    theirs = rotated_boxes.scale_rotated_boxes(tf.constant(boxes), [1.5, 0.7]).numpy()
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], rtol=1e-4, atol=1e-3)
    assert (np.abs(np.sin(np.radians(ours[:, 4] - theirs[:, 4]))) < 1e-3).all()
    assert scale_rotated_boxes(boxes[:0], np.ones(2)).shape == (0, 5)
