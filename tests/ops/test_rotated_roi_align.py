from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.roi_align import roi_align
from mrcnn.ops.rotated_roi_align import MAX_SAMPLES, rotated_roi_align
from tests.ops.test_rotated_boxes import as_upright, random_rotated


def slow(features: np.ndarray, box: np.ndarray, stride: float, bins: tuple[int, int], ratio: int) -> np.ndarray:
    """f64[h, w, C]: sample by sample, in float64."""
    height, width, channels = features.shape
    center = box[:2] / stride - 0.5
    sides = box[2:4] / stride
    sine, cosine = np.sin(np.radians(box[4])), np.cos(np.radians(box[4]))
    numbers = [ratio or int(np.ceil(side / n)) for side, n in zip(sides, bins, strict=True)]
    pooled = np.zeros((*bins, channels))
    for i, j in np.ndindex(*bins):
        for k, m in np.ndindex(*numbers):
            v = -sides[0] / 2 + sides[0] / bins[0] * (i + (k + 0.5) / numbers[0])
            u = -sides[1] / 2 + sides[1] / bins[1] * (j + (m + 0.5) / numbers[1])
            y, x = center[0] + v * cosine - u * sine, center[1] + v * sine + u * cosine
            if not (-1 <= y <= height and -1 <= x <= width):
                continue
            y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            rows = (1 - y % 1) * features[y0] + (y % 1) * features[y1]
            pooled[i, j] += ((1 - x % 1) * rows[x0] + (x % 1) * rows[x1]) / np.prod(numbers)
    return pooled


@pytest.mark.parametrize("bins, ratio", [((3, 5), 2), ((2, 2), 0), ((4, 1), 1)])
def test_equals_a_loop_over_samples(rng: np.random.Generator, bins: tuple[int, int], ratio: int) -> None:
    features = rng.normal(size=(2, 9, 11, 3)).astype(np.float32)
    boxes = random_rotated(rng, 12, extent=40).reshape(2, 6, 5)
    pooled = rotated_roi_align(features, boxes, 4, bins, ratio)
    expected = [[slow(features[b], box, 4, bins, ratio) for box in boxes[b].astype(np.float64)] for b in range(2)]
    np.testing.assert_allclose(pooled, expected, atol=2e-5)


def test_without_a_turn_it_is_roi_align(rng: np.random.Generator) -> None:
    features = rng.normal(size=(1, 8, 8, 4)).astype(np.float32)
    boxes = random_rotated(rng, 10, extent=30)
    boxes[:, 4] = 0
    expected = roi_align(features, as_upright(boxes)[None], 4, 3, 2, aligned=True, method="sparse")
    np.testing.assert_allclose(rotated_roi_align(features, boxes[None], 4, 3, 2), expected, atol=1e-5)


def test_a_turned_image_read_by_turned_boxes_is_the_same(rng: np.random.Generator) -> None:
    features = rng.normal(size=(1, 10, 10, 2)).astype(np.float32)
    boxes = random_rotated(rng, 8, extent=10)
    center_y, center_x = boxes[:, 0].copy(), boxes[:, 1].copy()
    turned = boxes.copy()
    turned[:, 0], turned[:, 1], turned[:, 4] = 10 - center_x, center_y, boxes[:, 4] + 90
    np.testing.assert_allclose(
        rotated_roi_align(np.rot90(features, axes=(1, 2)).copy(), turned[None], 1, (4, 3), 2),
        rotated_roi_align(features, boxes[None], 1, (4, 3), 2),
        atol=1e-5,
    )


def test_gradient_is_the_transposed_sum(rng: np.random.Generator) -> None:
    features = tf.constant(rng.normal(size=(2, 6, 7, 2)), tf.float32)
    boxes = tf.constant(random_rotated(rng, 6, extent=14).reshape(2, 3, 5))
    with tf.GradientTape() as tape:
        tape.watch([features, boxes])
        pooled = rotated_roi_align(features, boxes, 2, 2, 2)
        loss = tf.reduce_sum(pooled * tf.cast(tf.range(tf.size(pooled)) % 5, tf.float32)[..., None][:1, 0])
    gradient, none = tape.gradient(loss, [features, boxes])
    other = tf.constant(rng.normal(size=features.shape), tf.float32)
    # The sum is linear in the features: its derivative along any direction is the sum of that direction.
    np.testing.assert_allclose(tf.reduce_sum(gradient * features), loss, rtol=1e-4, atol=1e-5)
    assert none is None and np.isfinite(tf.reduce_sum(gradient * other))


def test_invalid_far_and_huge_rois() -> None:
    features = np.ones((1, 4, 4, 1), np.float32)
    nan = float("nan")
    boxes = [
        [
            [2, 2, 2, 2, 30],
            [2, 2, 2, 2, 0],
            [nan, 2, 2, 2, 0],
            [500, 500, 2, 2, 45],
            [2, 2, 0, 0, 0],
            [2, 2, 1e9, 1e9, 5],
        ]
    ]
    valid = [[True, False, True, True, True, True]]
    for ratio in (0, 2):
        pooled = rotated_roi_align(features, np.float32(boxes), 1, 1, ratio, valid).numpy()[0, :, 0, 0, 0]
        assert pooled[0] == pytest.approx(1) and (pooled[1:4] == 0).all() and np.isfinite(pooled).all()
    assert MAX_SAMPLES**2 < 5000  # of the huge RoI
    assert rotated_roi_align(features, np.zeros((1, 0, 5), np.float32), 1, 3).shape == (1, 0, 3, 3, 1)


def test_half_precision_and_open_shapes(rng: np.random.Generator) -> None:
    features = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    boxes = random_rotated(rng, 8, extent=5).reshape(2, 4, 5)
    expected = rotated_roi_align(features, boxes, 1, 2).numpy()
    half = rotated_roi_align(tf.cast(features, tf.bfloat16), boxes, 1, 2)
    assert half.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half, tf.float32), expected, atol=0.05)
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 5])]
    traced = tf.function(lambda f, b: rotated_roi_align(f, b, 1, 2), input_signature=signature)
    np.testing.assert_allclose(traced(features, boxes), expected, atol=1e-6)
