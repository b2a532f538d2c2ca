"""Keypoints: target cells by hand and by plain loops, decoding of heatmaps, empty and padded input."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.keypoints import decode_keypoints, keypoint_cells
from tests.reference import keypoints as reference

SIDE = 8


def test_cells_by_hand():
    """A box of 10 x 20 pixels under a grid of 5 x 5: cells of 2 x 4."""
    box = [[10.0, 20.0, 20.0, 40.0]]
    points = [
        [20.0, 10.0, 2.0],  # upper left corner: first cell
        [27.9, 13.0, 1.0],  # hidden counts too: row 1, column 1
        [40.0, 20.0, 2.0],  # lower right corner: last cell, though outside the half-open box
        [40.1, 12.0, 2.0],  # right of it
        [30.0, 9.9, 2.0],  # above it
        [30.0, 15.0, 0.0],  # not labeled
    ]
    cell, usable = keypoint_cells(tf.constant([points]), tf.constant(box), 5)
    np.testing.assert_array_equal(cell, [[0, 6, 24, 0, 0, 0]])
    np.testing.assert_array_equal(usable, [[True] * 3 + [False] * 3])


def test_cells_equal_the_slow_ones(rng):
    corner = rng.uniform(0, 30, (2, 6, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-3, 30, (2, 6, 2))], -1).astype(np.float32)
    place = rng.uniform(-0.2, 1.2, (2, 6, 9, 2))
    yx = boxes[..., None, :2] + place * (boxes[..., None, 2:] - boxes[..., None, :2])
    points = np.concatenate([yx[..., ::-1], np.zeros((2, 6, 9, 1))], -1).astype(np.float32)
    points[..., 2] = rng.integers(0, 3, (2, 6, 9))
    cell, usable = (x.numpy() for x in keypoint_cells(tf.constant(points), tf.constant(boxes), SIDE))
    for b, s, j in np.ndindex(2, 6, 9):
        x, y, visibility = points[b, s, j].astype(float)
        expected = reference.cell(x, y, boxes[b, s].astype(float), SIDE) if visibility else None
        assert usable[b, s, j] == (expected is not None)
        assert cell[b, s, j] == (expected[0] * SIDE + expected[1] if expected else 0)
    assert 10 < usable.sum() < 80


def random_case(rng, num=5, joints=3):
    corner = rng.uniform(0, 30, (1, num, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 40, (1, num, 2))], -1).astype(np.float32)
    boxes[0, 1, 2:] = boxes[0, 1, :2] + [0.3, 12.0]  # lower than a pixel
    return rng.normal(0, 2, (1, num, SIDE, SIDE, joints)).astype(np.float32), boxes


def test_decoding_equals_the_slow_one(rng):
    logits, boxes = random_case(rng)
    valid = np.array([[True, True, True, True, False]])
    as_prob = decode_keypoints(tf.constant(logits), tf.constant(boxes), tf.constant(valid)).numpy()
    as_logit = decode_keypoints(tf.constant(logits), tf.constant(boxes), tf.constant(valid), "logit").numpy()
    assert as_prob.shape == (1, 5, 3, 3)
    for d, j in np.ndindex(4, 3):
        x, y, logit, prob = reference.decode(logits[0, d, ..., j].astype(float), boxes[0, d].astype(float))
        np.testing.assert_allclose(as_prob[0, d, j], [x, y, prob], rtol=1e-4)
        np.testing.assert_allclose(as_logit[0, d, j], [x, y, logit], rtol=1e-4)
    assert not as_prob[0, 4].any()
    assert not as_logit[0, 4].any()


def test_a_peak_comes_back_where_it_was_put():
    """The middle of a cell, whatever the box' size and place."""
    boxes = np.array([[[10.0, 20.0, 74.0, 52.0], [0.0, 0.0, 8.0, 8.0]]], np.float32)
    logits = np.zeros((1, 2, SIDE, SIDE, 1), np.float32)
    logits[0, :, 2, 5, 0] = 9.0
    result = decode_keypoints(tf.constant(logits), tf.constant(boxes), tf.ones([1, 2], tf.bool)).numpy()[0, :, 0, :2]
    # Row 2 of 8 over 64 pixels is centerd on 20, column 5 of 8 over 32 pixels on 22; a pixel's center is half off.
    assert np.abs(result[0] - [20 + 22, 10 + 20]).max() <= 0.5
    np.testing.assert_allclose(result[1], [5.5, 2.5])


def test_large_logits_stay_finite():
    logits = tf.fill([1, 1, SIDE, SIDE, 2], 300.0)
    result = decode_keypoints(logits, tf.constant([[[0.0, 0.0, 4.0, 4.0]]]), tf.ones([1, 1], tf.bool)).numpy()
    np.testing.assert_allclose(result[..., 2], 1 / SIDE**2, rtol=1e-5)


@pytest.mark.parametrize("num", [0, 2])
def test_open_shapes_and_nothing_valid(num):
    spec = (
        tf.TensorSpec([None, None, SIDE, SIDE, 3]),
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None], tf.bool),
    )
    run = tf.function(decode_keypoints, input_signature=spec)
    result = run(tf.ones([2, num, SIDE, SIDE, 3]), tf.fill([2, num, 4], float("nan")), tf.zeros([2, num], tf.bool))
    np.testing.assert_array_equal(result, np.zeros((2, num, 3, 3)))
