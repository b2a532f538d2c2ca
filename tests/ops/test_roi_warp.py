import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.roi_warp import multilevel_crop_and_resize, multilevel_roi_warp
from tests.ops.execution import random_boxes
from tests.ops.extremes import extreme_boxes
from tests.reference import roi_pool as reference

STRIDE = 4
SHAPE = (48, 40)  # of the image; the map is 12 x 10


def features_of(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def boxes_of(rng):
    odd = [[8, 4, 30, 21], [-20, -9, 11, 70], [200, 200, 240, 260], [2, 6, 10, 14], [20, 20, 10, 14], [0, 0, 47, 39]]
    return np.stack([odd, random_boxes(rng, len(odd), extent=48)]).astype(np.float32)


@pytest.mark.parametrize("method", ["sparse", "gather"])
@pytest.mark.parametrize("size", [(3, 2), (1, 4)])
def test_warp_equals_reference(rng, method, size):
    features, boxes = features_of(rng, 2, 12, 10, 3), boxes_of(rng)
    warped = multilevel_roi_warp([features], boxes, [STRIDE], size, method=method)
    for b, s in np.ndindex(boxes.shape[:2]):
        expected = reference.roi_warp(features[b], boxes[b, s], STRIDE, size)
        np.testing.assert_allclose(warped[b, s], expected, atol=1e-5)


@pytest.mark.parametrize("method", ["sparse", "gather"])
@pytest.mark.parametrize("size", [(3, 2), (1, 4)])
def test_crop_equals_reference(rng, method, size):
    features, boxes = features_of(rng, 2, 12, 10, 3), boxes_of(rng)
    crops = multilevel_crop_and_resize([features], boxes, [STRIDE], size, method=method)
    for b, s in np.ndindex(boxes.shape[:2]):
        expected = reference.roi_crop(features[b], boxes[b, s], SHAPE, size)
        np.testing.assert_allclose(crops[b, s], expected, atol=2e-5)


@pytest.mark.parametrize("in_graph", [False, True])
def test_crop_equals_tensorflows_forward_and_backward(rng, in_graph):
    features = tf.constant(features_of(rng, 1, 12, 10, 3))
    boxes = boxes_of(rng)[:1]
    boxes[0, 0] = [8, 8, 31, 31]
    normalized = (boxes[0] - [0, 0, 1, 1]) / (SHAPE[0] - 1, SHAPE[1] - 1, SHAPE[0] - 1, SHAPE[1] - 1)

    def ours(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            crops = multilevel_crop_and_resize([features], boxes, [STRIDE], 5, end_offset=-1.0)[0]
            loss = tf.reduce_sum(crops**2)
        return crops, tape.gradient(loss, features)

    with tf.GradientTape() as tape:
        tape.watch(features)
        theirs = tf.image.crop_and_resize(features, normalized, tf.zeros(len(normalized), tf.int32), [5, 5])
        loss = tf.reduce_sum(theirs**2)
    crops, gradient = (tf.function(ours) if in_graph else ours)(features)
    np.testing.assert_allclose(crops, theirs, atol=2e-5)
    np.testing.assert_allclose(gradient, tape.gradient(loss, features), atol=1e-4)


@pytest.mark.parametrize("operator", [multilevel_roi_warp, multilevel_crop_and_resize])
def test_gradient_is_the_transpose(rng, operator):
    boxes = boxes_of(rng)[:1, :3]

    def pool(features):
        return operator([features], np.repeat(boxes, features.shape[0], axis=0), [STRIDE], 2)

    matrix = pool(np.eye(120, dtype=np.float32).reshape(-1, 12, 10, 1)).numpy().reshape(120, -1)
    upstream = features_of(rng, 1, 3, 2, 2, 1)
    features = tf.constant(features_of(rng, 1, 12, 10, 1))
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_sum(pool(features) * upstream)
    gradient = tape.gradient(loss, features).numpy().ravel()
    np.testing.assert_allclose(gradient, matrix @ upstream.ravel(), atol=1e-5)


@pytest.mark.parametrize("operator", [multilevel_roi_warp, multilevel_crop_and_resize])
def test_invalid_and_no_rois(rng, operator):
    features = features_of(rng, 1, 12, 10, 2)
    pooled = operator(
        [features], [[[4, 4, 30, 30], [np.nan, 0, 9, 9], [4, 4, 30, 30]]], [STRIDE], 2, [[False, True, True]]
    )
    np.testing.assert_array_equal(pooled[0, :2], np.zeros((2, 2, 2, 2)))
    assert np.abs(pooled[0, 2]).min() > 0
    assert operator([features], tf.zeros([1, 0, 4]), [STRIDE], 2).shape == (1, 0, 2, 2, 2)


@pytest.mark.parametrize("operator", [multilevel_roi_warp, multilevel_crop_and_resize])
@pytest.mark.parametrize("strides", [[1], [4, 8, 16, 32]])
def test_boxes_to_the_ends_of_float32(rng, strides, operator):
    features = [1.0 + np.abs(features_of(rng, 1, 64 // stride, 64 // stride, 2)) for stride in strides]
    boxes = np.concatenate([extreme_boxes(), [[8, 4, 30, 21]]]).astype(np.float32)[np.newaxis]
    pooled = operator(features, boxes, strides, 3).numpy()[0]
    assert np.isfinite(pooled).all()
    assert pooled.min() >= 0.0
    assert pooled.max() <= max(level.max() for level in features)
    assert pooled[-1].min() >= 1.0
