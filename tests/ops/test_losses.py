import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import losses
from tests.ops.execution import in_every_mode
from tests.reference import losses as reference


@pytest.mark.parametrize(
    "beta, expected", [(1.0, [0, 0.125, 0.5, 2.5]), (0.0, [0, 0.5, 1, 3]), (2.0, [0, 0.0625, 0.25, 2])]
)
def test_smooth_l1_of_hand_numbers(beta, expected):
    loss = in_every_mode(lambda p, t: losses.smooth_l1(p, t, beta), [0.0, 0.5, -1.0, 4.0], [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0])
def test_smooth_l1_equals_reference(rng, beta):
    pred, target = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    expected = [
        [reference.smooth_l1(p, t, beta) for p, t in zip(*rows, strict=True)] for rows in zip(pred, target, strict=True)
    ]
    np.testing.assert_allclose(losses.smooth_l1(pred, target, beta), expected, rtol=1e-5)


def test_smooth_l1_gradient_is_clipped_to_one():
    pred = tf.constant([-5.0, -0.5, 0.0, 0.25, 9.0])
    with tf.GradientTape() as tape:
        tape.watch(pred)
        loss = losses.smooth_l1(pred, tf.zeros(5), 1.0)
    np.testing.assert_allclose(tape.gradient(loss, pred), [-1, -0.5, 0, 0.25, 1])


def test_sigmoid_cross_entropy_equals_reference(rng):
    logits, targets = rng.normal(0, 3, 20).astype(np.float32), rng.uniform(size=20).astype(np.float32)
    loss = in_every_mode(losses.sigmoid_cross_entropy, logits, targets)
    expected = [reference.sigmoid_cross_entropy(x, t) for x, t in zip(logits, targets, strict=True)]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_sigmoid_cross_entropy_stays_finite():
    np.testing.assert_allclose(losses.sigmoid_cross_entropy([1e4, -1e4, 0.0], [1.0, 1.0, 1.0]), [0, 1e4, math.log(2)])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sigmoid_focal_loss_equals_reference(rng, gamma):
    logits, targets = rng.normal(0, 3, 40).astype(np.float32), rng.integers(0, 2, 40).astype(np.float32)
    loss = in_every_mode(lambda x, t: losses.sigmoid_focal_loss(x, t, gamma), logits, targets)
    expected = [reference.sigmoid_focal(x, t, gamma) for x, t in zip(logits, targets, strict=True)]
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)


def test_sigmoid_focal_loss_of_a_target_between():
    loss = losses.sigmoid_focal_loss([0.0, math.log(3)], [0.5, 0.25], 2.0)
    np.testing.assert_allclose(
        loss, [0.0, 0.5**2 * (0.25 * math.log(4 / 3) + 0.75 * math.log(4))], rtol=1e-5, atol=1e-9
    )


def test_sigmoid_focal_loss_has_a_gradient_where_it_is_certain():
    logits = tf.constant([200.0, -200.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(losses.sigmoid_focal_loss(logits, [1.0, 1.0], 0.5))
    np.testing.assert_allclose(loss, 200.0, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits), [0, -1], atol=1e-4)


def test_softmax_cross_entropy_equals_reference(rng):
    logits, class_ids = rng.normal(0, 3, (2, 6, 4)).astype(np.float32), rng.integers(0, 4, (2, 6)).astype(np.int32)
    loss = in_every_mode(losses.softmax_cross_entropy, logits, class_ids)
    expected = [
        [reference.softmax_cross_entropy(x, c) for x, c in zip(*rows, strict=True)]
        for rows in zip(logits, class_ids, strict=True)
    ]
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_focal_loss_of_hand_numbers():
    logits = np.log([[0.25, 0.75], [0.25, 0.75]]).astype(np.float32)
    plain, focal = ([math.log(4), -math.log(0.75)], [0.75**2 * math.log(4), 0.25**2 * -math.log(0.75)])
    np.testing.assert_allclose(losses.softmax_focal_loss(logits, [0, 1], 0.0), plain, rtol=1e-6)
    detections = in_every_mode(lambda x, c: losses.softmax_focal_loss(x, c, 2.0), logits, np.array([0, 1], np.int32))
    np.testing.assert_allclose(detections, focal, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_is_that_of_keras(rng, gamma):
    logits, class_ids = rng.normal(0, 2, (30, 4)).astype(np.float32), rng.integers(0, 4, 30)
    expected = keras.losses.CategoricalFocalCrossentropy(1.0, gamma, from_logits=True, reduction=None)
    detections = losses.softmax_focal_loss(logits, class_ids, gamma)
    np.testing.assert_allclose(
        detections, expected(np.eye(4, dtype=np.float32)[class_ids], logits), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_a_gradient_where_it_is_certain(gamma):
    logits = tf.constant([[0.0, 200.0], [200.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(losses.softmax_focal_loss(logits, [1, 1], gamma))
    np.testing.assert_allclose(loss, 200.0, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits), [[0, 0], [1, -1]], atol=1e-4)


def test_masked_sum_ignores_what_has_no_weight():
    values = [1.0, float("nan"), float("inf"), 4.0]
    assert float(losses.masked_sum(values, [1.0, 0.0, 0.0, 0.5])) == 3.0
    assert float(losses.masked_sum(values, [True, False, False, True])) == 5.0
    assert float(losses.masked_sum(tf.zeros([0]), tf.zeros([0]))) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_are_float32_whatever_comes_in(dtype):
    x = tf.cast([[0.5, 1.0]], dtype)
    results = [
        losses.smooth_l1(x, x, 1.0),
        losses.sigmoid_cross_entropy(x, x),
        losses.softmax_cross_entropy(x, [1]),
        losses.softmax_focal_loss(x, [1], 2.0),
        losses.masked_sum(x, x),
    ]
    assert all(result.dtype == tf.float32 for result in results)
