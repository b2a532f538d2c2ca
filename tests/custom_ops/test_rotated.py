"""RoIAlign of rotated boxes by the op: the same numbers and gradients as of TensorFlow's own operations."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.native import loading
from mrcnn.ops.rotated_roi_align import rotated_roi_align
from tests.golden.case import Golden
from tests.ops.test_rotated_boxes import random_rotated
from tests.tolerances import tolerance_of

pytestmark = pytest.mark.slow


def with_gradient(features, boxes, stride, bins, ratio, valid, method):
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = rotated_roi_align(features, boxes, stride, bins, ratio, valid, method=method)
        upstream = tf.cast(
            tf.reshape(tf.sin(tf.range(tf.size(pooled), dtype=tf.float32)), tf.shape(pooled)), pooled.dtype
        )
    return pooled, tape.gradient(pooled, features, output_gradients=upstream)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("channels", [3, 70])
@pytest.mark.parametrize("bins, ratio, stride", [((3, 5), 2, 4), ((2, 2), 0, 4), ((4, 1), 1, 3.0)])
def test_equals_the_pure_path(op, rng, dtype, channels, bins, ratio, stride):
    features = tf.cast(rng.normal(size=(2, 9, 11, channels)), dtype)
    boxes = random_rotated(rng, 24, extent=60).reshape(2, 12, 5).astype(np.float32)
    boxes[0, 3, 1], boxes[1, 4, 4], boxes[1, 5, 2] = np.nan, np.inf, 0.0
    valid = rng.uniform(size=(2, 12)) > 0.2
    ours, theirs = (with_gradient(features, boxes, stride, bins, ratio, valid, method) for method in ("op", "sparse"))
    rounding = tolerance_of(dtype).rounding
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype == dtype and mine.shape == other.shape
        other = tf.cast(other, tf.float32).numpy()
        atol = 2e-5 * max(1.0, np.abs(other).max())
        np.testing.assert_allclose(tf.cast(mine, tf.float32), other, rtol=rounding, atol=atol)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_equals_detectron2(op, monkeypatch, name):
    """The golden test of the operator, by the op: to 1e-5."""
    monkeypatch.setenv(loading.VARIABLE, "op")
    from tests.golden import test_rotated

    test_rotated.test_roi_align_and_its_gradient(Golden("d2_rotated_ops"), name)


def test_without_rois(op):
    pooled, gradient = with_gradient(tf.ones((1, 4, 4, 2)), np.zeros((1, 0, 5), np.float32), 4, (7, 7), 2, None, "op")
    assert pooled.shape == (1, 0, 7, 7, 2) and not np.any(gradient)


def test_the_gradient_is_differentiable_in_what_flows_back(op, rng):
    features = tf.constant(rng.normal(size=(1, 5, 6, 2)), tf.float32)
    boxes = random_rotated(rng, 4, extent=20)[None].astype(np.float32)
    scale = tf.constant(2.0)
    with tf.GradientTape() as outer:
        outer.watch(scale)
        with tf.GradientTape() as inner:
            inner.watch(features)
            total = scale * tf.reduce_sum(rotated_roi_align(features, boxes, 4, 2, 2, method="op"))
        gradient = inner.gradient(total, features)
        norm = tf.reduce_sum(gradient**2)
    np.testing.assert_allclose(outer.gradient(norm, scale), norm, rtol=1e-5)  # d(s^2 a)/ds at s = 2 is 2 s a = s^2 a


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 4, 2), (3, 4), (3,)), r"boxes: expected \[num_rois, 5\]"),
        (((1, 4, 4, 2), (3, 5), (2,)), r"box_index: expected \[3\], one per box"),
    ],
)
def test_the_op_refuses_shapes_that_do_not_fit(op, shapes, message):
    features, boxes, index = shapes
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        op.mrcnn_rotated_roi_align(
            features=tf.zeros(features),
            boxes=tf.zeros(boxes),
            box_index=tf.zeros(index, tf.int32),
            crop_height=2,
            crop_width=2,
            stride=4.0,
        )
