import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.roi_pool import multilevel_roi_pool, round_half_away
from tests.ops.execution import random_boxes
from tests.ops.extremes import extreme_boxes
from tests.reference import roi_pool as reference
from tests.reference.roi_align import level_of

# Ordinary, over the border, outside, halves of a cell, smaller than a cell, without area, inverted, whole image.
ODD_BOXES = [
    [8, 4, 30, 21],
    [-20, -9, 11, 70],
    [200, 200, 240, 260],
    [2, 6, 10, 14],
    [9, 9, 10, 10.5],
    [12, 12, 12, 12],
    [20, 20, 10, 14],
    [0, 0, 48, 40],
]
STRIDE = 4


def features_of(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def test_hand_numbers():
    # Rows of 8 cells 0 .. 63; the box covers cells 1 .. 4 in both directions: bins 1-2 and 3-4.
    cells = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    pooled = multilevel_roi_pool([cells], [[[4, 4, 16, 16]]], [4], 2)
    np.testing.assert_array_equal(pooled[0, 0, :, :, 0], [[18, 20], [34, 36]])
    # Without the last pixel cell 4 goes: 15 / 4 rounds to 4 still, 13 / 4 to 3; three cells in two bins overlap.
    pooled = multilevel_roi_pool([cells], [[[4, 4, 14, 14]]], [4], 2, end_offset=-1.0)
    np.testing.assert_array_equal(pooled[0, 0, :, :, 0], [[18, 19], [26, 27]])


@pytest.mark.parametrize("in_graph", [False, True])
def test_values_and_gradient_equal_reference(rng, in_graph):
    features = features_of(rng, 2, 12, 10, 2)
    features[:, 3:7, 2:6] = np.round(features[:, 3:7, 2:6])  # ties: the first cell in row order wins
    boxes = np.stack([ODD_BOXES, random_boxes(rng, len(ODD_BOXES), extent=48)]).astype(np.float32)
    upstream = features_of(rng, 2, 8, 3, 2, 2)

    def value_and_gradient(features, boxes):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = multilevel_roi_pool([features], boxes, [STRIDE], (3, 2), max_values=60)
            loss = tf.reduce_sum(pooled * upstream)
        return pooled, tape.gradient(loss, features)

    signature = [tf.TensorSpec([None, None, None, 2]), tf.TensorSpec([None, None, 4])]
    function = tf.function(value_and_gradient, input_signature=signature) if in_graph else value_and_gradient
    pooled, gradient = function(tf.constant(features), tf.constant(boxes))
    expected = np.zeros_like(features, np.float64)
    for b, s in np.ndindex(2, len(ODD_BOXES)):
        values, source = reference.roi_pool(features[b], boxes[b, s], STRIDE, (3, 2))
        np.testing.assert_array_equal(pooled[b, s], values)
        for i, j, c in np.ndindex(3, 2, 2):
            y, x = source[i, j, c]
            if y >= 0:
                expected[b, y, x, c] += upstream[b, s, i, j, c]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_pyramid_takes_each_box_from_its_level(rng):
    strides = [4, 8, 16, 32]
    features = [features_of(rng, 1, 128 // s, 96 // s, 2) for s in strides]
    boxes = random_boxes(rng, 12, extent=100, smallest=4, largest=120)
    pooled = multilevel_roi_pool(features, boxes[None], strides, 3, canonical_size=60)
    for s, box in enumerate(boxes):
        level = level_of(box, 2, 5, 60) - 2
        np.testing.assert_array_equal(
            pooled[0, s], reference.roi_pool(features[level][0], box, strides[level], (3, 3))[0]
        )


def test_invalid_rois_give_zeros_and_no_gradient(rng):
    features = tf.constant(features_of(rng, 1, 12, 10, 2))
    boxes = [[[4, 4, 30, 30], [4, 4, 30, 30], [np.nan, 0, 9, 9]]]
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = multilevel_roi_pool([features], boxes, [STRIDE], 2, valid=[[True, False, True]])
        loss = tf.reduce_sum(pooled[:, 1:] ** 2 + pooled[:, 1:])
    assert np.abs(pooled[0, 0]).min() > 0
    np.testing.assert_array_equal(pooled[0, 1:], np.zeros((2, 2, 2, 2)))
    np.testing.assert_array_equal(tape.gradient(loss, features), np.zeros((1, 12, 10, 2)))


def test_no_rois_and_half_precision(rng):
    features = tf.cast(features_of(rng, 2, 12, 10, 3), tf.bfloat16)
    pooled = multilevel_roi_pool([features], tf.zeros([2, 0, 4]), [STRIDE], 7)
    assert pooled.shape == (2, 0, 7, 7, 3)
    assert pooled.dtype == tf.bfloat16


def test_halves_are_rounded_away_from_zero():
    x = np.array([-2.5, -1.5, -0.5, -0.4, 0.0, 0.49999997, 0.5, 1.5, 2.5, 2.4], np.float32)
    np.testing.assert_array_equal(round_half_away(x), [-3, -2, -1, 0, 0, 0, 1, 2, 3, 2])


@pytest.mark.parametrize("strides", [[1], [4, 8, 16, 32]])
def test_boxes_to_the_ends_of_float32(rng, strides):
    features = [1.0 + np.abs(features_of(rng, 1, 64 // stride, 64 // stride, 2)) for stride in strides]
    boxes = np.concatenate([extreme_boxes(), [[8, 4, 30, 21]]]).astype(np.float32)[np.newaxis]
    pooled = multilevel_roi_pool(features, boxes, strides, 3).numpy()[0]
    assert np.isfinite(pooled).all()
    assert pooled.min() >= 0.0
    assert pooled.max() <= max(level.max() for level in features)
    assert pooled[-1].min() >= 1.0
