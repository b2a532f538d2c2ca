import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import boxes as box_ops
from tests.ops.execution import in_every_mode, random_boxes
from tests.reference import boxes as reference

NAN = float("nan")


def test_area_of_hand_numbers():
    boxes = [[0, 0, 2, 3], [1, 1, 1, 5], [4, 4, 2, 2], [0.5, 0.5, 1.0, 2.5]]
    np.testing.assert_allclose(box_ops.area(boxes), [6, 0, 0, 1])


def test_iou_of_hand_numbers():
    iou = box_ops.pairwise_iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [0, 1, 2, 3], [0, 2, 2, 4], [0.5, 0.5, 1.5, 1.5]])
    np.testing.assert_allclose(iou, [[1, 1 / 3, 0, 0.25]], rtol=1e-6)


def test_iou_equals_reference_in_every_mode(rng):
    a, b = random_boxes(rng, 13), random_boxes(rng, 7)
    iou = in_every_mode(box_ops.pairwise_iou, a, b)
    np.testing.assert_allclose(iou, reference.iou_matrix(a, b), atol=1e-5)
    np.testing.assert_allclose(box_ops.pairwise_iou(b, a), iou.T, rtol=1e-6)


def test_iou_broadcasts_over_leading_dimensions(rng):
    a, b = random_boxes(rng, 10).reshape(2, 5, 4), random_boxes(rng, 6).reshape(2, 3, 4)
    iou = box_ops.pairwise_iou(a, b)
    assert iou.shape == (2, 5, 3)
    for i in range(2):
        np.testing.assert_allclose(iou[i], box_ops.pairwise_iou(a[i], b[i]))


def test_overlap_of_empty_boxes_is_zero():
    empty = np.array([[3, 3, 3, 3], [5, 5, 2, 2], [0, 0, 0, 9]], np.float32)
    both = np.concatenate([empty, [[0, 0, 9, 9]]]).astype(np.float32)
    np.testing.assert_array_equal(box_ops.pairwise_iou(empty, both), np.zeros((3, 4)))
    np.testing.assert_array_equal(box_ops.pairwise_coverage(empty, both), np.zeros((3, 4)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_iou_of_no_boxes(shape):
    n, m = shape
    assert box_ops.pairwise_iou(tf.zeros([n, 4]), tf.zeros([m, 4])).shape == shape


def test_coverage_is_the_part_inside():
    coverage = box_ops.pairwise_coverage([[0, 0, 2, 2], [0, 0, 4, 4]], [[0, 0, 2, 4], [0, 0, 9, 9]])
    np.testing.assert_allclose(coverage, [[1, 1], [0.5, 1]])


def test_clip_to_each_image():
    boxes = np.array([[[-1, -2, 5, 50], [30, 30, 40, 40]]] * 2, np.float32)
    clipped = in_every_mode(box_ops.clip_boxes, boxes, np.array([[4, 20], [32, 35]], np.int32))
    expected = [[[0, 0, 4, 20], [4, 20, 4, 20]], [[0, 0, 5, 35], [30, 30, 32, 35]]]
    np.testing.assert_array_equal(clipped, expected)


def test_clip_to_a_window_that_starts_elsewhere():
    boxes = np.array([[[-1, -2, 5, 50], [30, 30, 40, 40]]], np.float32)
    clipped = in_every_mode(box_ops.clip_boxes, boxes, np.array([[1, 3, 32, 35]], np.float32))
    np.testing.assert_array_equal(clipped, [[[1, 3, 5, 35], [30, 30, 32, 35]]])


def test_encode_and_decode_equal_reference(rng):
    boxes, anchors = random_boxes(rng, 20), random_boxes(rng, 20)
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = in_every_mode(lambda a, b: box_ops.encode_deltas(a, b, weights), boxes, anchors)
    expected = [reference.encode(b, a, weights) for b, a in zip(boxes, anchors, strict=True)]
    np.testing.assert_allclose(deltas, expected, rtol=1e-4, atol=1e-4)
    decoded = in_every_mode(lambda d, a: box_ops.decode_deltas(d, a, weights), deltas, anchors, atol=1e-4)
    np.testing.assert_allclose(decoded, boxes, atol=1e-3)
    noise = rng.normal(0, 2, (20, 4)).astype(np.float32)
    expected = [reference.decode(d, a) for d, a in zip(noise, anchors, strict=True)]
    np.testing.assert_allclose(box_ops.decode_deltas(noise, anchors), expected, rtol=1e-4, atol=1e-3)


def test_delta_order_is_y_x_h_w():
    deltas = box_ops.encode_deltas([[1.0, 0, 11, 40]], [[0.0, 0, 10, 20]])
    np.testing.assert_allclose(deltas, [[0.1, 0.5, 0, np.log(2)]], atol=1e-6)


def test_decoded_size_is_bounded():
    box = box_ops.decode_deltas([[0.0, 0, 1e6, 0]], [[0.0, 0, 16, 16]]).numpy()[0]
    assert box[2] - box[0] == pytest.approx(1000, rel=1e-5)
    assert box[3] - box[1] == pytest.approx(16, rel=1e-5)


def test_empty_boxes_encode_to_finite_zeros_with_finite_gradient():
    boxes = tf.constant([[0.0, 0, 0, 0], [0, 0, 8, 8], [4, 4, 2, 2]])
    anchors = tf.constant([[0.0, 0, 8, 8], [3, 3, 3, 3], [0, 0, 8, 8]])
    with tf.GradientTape() as tape:
        tape.watch([boxes, anchors])
        deltas = box_ops.encode_deltas(boxes, anchors)
    np.testing.assert_array_equal(deltas, np.zeros((3, 4)))
    assert all(np.isfinite(g).all() for g in tape.gradient(deltas, [boxes, anchors]))


def test_scale_boxes_per_axis():
    scaled = box_ops.scale_boxes([[[1, 2, 3, 4]], [[1, 2, 3, 4]]], [[2.0, 10.0], [1.0, 0.5]])
    np.testing.assert_allclose(scaled, [[[2, 20, 6, 40]], [[1, 1, 3, 2]]])


def test_is_nonempty():
    boxes = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 5, 2], [3, 3, 1, 1], [0, 0, NAN, 1]]
    np.testing.assert_array_equal(box_ops.is_nonempty(boxes), [True, False, True, False, False])
    np.testing.assert_array_equal(box_ops.is_nonempty(boxes, 1.5), [False, False, True, False, False])
