"""The two kinds of boxes, of which the stages know no more than these functions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import rotated_boxes as rotated
from mrcnn.ops.box_geometry import ALIGNED, ROTATED, BoxGeometry
from mrcnn.ops.rotated_iou import pairwise_rotated_coverage, pairwise_rotated_iou
from tests.ops.test_rotated_boxes import random_rotated


def same_rectangles(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether boxes have the same four corners, in any order."""
    apart = rotated.rotated_corners(a).numpy()[:, :, None] - rotated.rotated_corners(b).numpy()[:, None]
    return bool((np.abs(apart).max(-1).min(-1) < 1e-3).all())


def test_descriptions_of_one_rectangle(rng: np.random.Generator) -> None:
    boxes, reference = random_rotated(rng, 40), random_rotated(rng, 40)
    canonical = rotated.canonical_rotated_boxes(boxes).numpy()
    assert same_rectangles(boxes, canonical)
    assert (canonical[:, 3] >= canonical[:, 2]).all()
    assert ((canonical[:, 4] > -90) & (canonical[:, 4] <= 90)).all()
    nearest = rotated.nearest_description(boxes, reference).numpy()
    assert same_rectangles(boxes, nearest)
    turn = (nearest[:, 4] - reference[:, 4] + 180) % 360 - 180
    assert np.abs(turn).max() <= 45.001
    assert rotated.canonical_rotated_boxes([[0.0, 0, 3, 3, 90], [0, 0, 2, 5, -90], [0, 0, 5, 2, 0]]).numpy()[
        :, 4
    ].tolist() == [90, 90, 90]


def test_rotated_deltas_lead_to_the_rectangle_by_the_least_turn(rng: np.random.Generator) -> None:
    boxes, reference = random_rotated(rng, 40), random_rotated(rng, 40)
    deltas = ROTATED.encode(boxes, reference, (10.0, 10.0, 5.0, 5.0, 1.0))
    assert np.abs(deltas[:, 4]).max() <= np.pi / 4 + 1e-5
    decoded = ROTATED.decode(deltas, reference, (10.0, 10.0, 5.0, 5.0, 1.0), None)
    assert same_rectangles(boxes, decoded.numpy())
    assert (decoded[:, 3] >= decoded[:, 2]).numpy().all()


def test_a_side_grows_at_most_as_far_as_the_bound_says() -> None:
    reference, deltas = np.float32([[0, 0, 2, 4, 0]]), np.float32([[0, 0, 3, 9, 0]])
    bounded = ROTATED.decode(deltas, reference, (1.0,) * 5, 2.0)[0, 2:4]
    np.testing.assert_allclose(bounded, np.exp(2) * np.array([2, 4]), rtol=1e-5)
    free = ROTATED.decode(deltas, reference, (1.0,) * 5, None)[0, 2:4]
    np.testing.assert_allclose(free, [np.exp(3) * 2, np.exp(9) * 4], rtol=1e-5)


def test_only_boxes_that_are_nearly_axis_aligned_are_clipped_to_a_window() -> None:
    boxes = np.float32([[[10, 10, 8, 40, 0], [10, 10, 8, 40, 30]]])
    clipped = ROTATED.clip(boxes, np.float32([[7, 5, 30, 20]])).numpy()[0]
    np.testing.assert_allclose(clipped[0], [10.5, 12.5, 7, 15, 0], atol=1e-4)
    np.testing.assert_allclose(clipped[1], boxes[0, 1], atol=1e-4)
    of_classes = ROTATED.clip(boxes[:, :, None].repeat(3, 2), np.float32([[[7, 5, 30, 20]]])).numpy()
    np.testing.assert_allclose(of_classes[0, :, 1], clipped, atol=1e-4)


def test_coverage_is_the_part_that_lies_inside() -> None:
    a = np.float32([[0, 0, 2, 2, 0], [0, 0, 2, 4, 90], [50, 0, 2, 2, 0], [0, 0, 0, 4, 0]])
    b = np.float32([[0, 0, 2, 8, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(pairwise_rotated_coverage(a, b), [[1, 0], [0.5, 0], [0, 0], [0, 0]], atol=1e-5)


@pytest.mark.parametrize("geometry", [ALIGNED, ROTATED], ids=["aligned", "rotated"])
def test_what_every_kind_has_in_common(rng: np.random.Generator, geometry: BoxGeometry) -> None:
    boxes = random_rotated(rng, 12)
    if geometry is ALIGNED:
        boxes = rotated.rotated_bounds(boxes).numpy()
    assert boxes.shape[1] == geometry.size
    overlaps = geometry.iou(boxes, np.concatenate([boxes, np.zeros_like(boxes[:1])])).numpy()
    np.testing.assert_allclose(np.diag(overlaps), 1, atol=1e-4)
    assert (overlaps[:, -1] == 0).all()
    np.testing.assert_allclose(geometry.coverage(boxes, boxes).numpy().diagonal(), 1, atol=1e-4)
    np.testing.assert_allclose(geometry.encode(boxes, boxes, (1.0,) * geometry.size), 0, atol=1e-5)
    assert geometry.is_nonempty(boxes).numpy().all()
    assert not geometry.is_nonempty(np.zeros_like(boxes)).numpy().any()
    assert not geometry.is_nonempty(np.full_like(boxes, np.nan)).numpy().any()
    batch, scores = tf.constant(np.stack([boxes, boxes[::-1]])), tf.tile(tf.range(12, 0, -1.0)[None], [2, 1])
    index, valid = geometry.nms(batch, scores, None, 0.99, 15, valid=tf.range(12) < tf.constant([[12], [3]]))
    assert index.shape == valid.shape == (2, 15)
    assert index[0, :12].numpy().tolist() == list(range(12)) and valid.numpy().sum(1).tolist() == [12, 3]


def test_suppression_is_that_of_all_overlaps(rng: np.random.Generator) -> None:
    """What cannot exceed the threshold is left out beforehand, and groups are worked on one by one."""
    boxes, scores = random_rotated(rng, 80, extent=40), rng.uniform(size=80).astype(np.float32)
    groups = rng.integers(0, 3, 80).astype(np.int32)
    overlaps = np.where(groups[:, None] == groups, pairwise_rotated_iou(boxes, boxes).numpy(), 0)
    for threshold in (0.3, 0.7):
        winners: list[int] = []
        for i in np.argsort(-scores).tolist():
            if not winners or overlaps[i, winners].max() <= threshold:
                winners.append(i)
        index, valid = tf.function(lambda t=threshold: ROTATED.nms(boxes[None], scores[None], groups[None], t, 80))()
        assert index[0][valid[0]].numpy().tolist() == winners


def test_what_decides_on_a_match_is_exact(rng: np.random.Generator) -> None:
    anchors, objects = random_rotated(rng, 300, extent=40), random_rotated(rng, 6, extent=40)
    exact = pairwise_rotated_iou(anchors, objects).numpy()
    least = float(exact.max(0).min())
    deciding = tf.function(ROTATED.matching_iou)(anchors, objects, least).numpy()
    reached = exact >= least
    np.testing.assert_array_equal(deciding[reached], exact[reached])
    assert (deciding[~reached] < least).all() and (deciding[exact > 0] == 0).mean() > 0.3
    # An object that nothing reaches; padding does not count.
    np.testing.assert_allclose(ROTATED.matching_iou(anchors, objects, least + 0.01), exact, atol=1e-6)
    padded = np.concatenate([objects, np.zeros_like(objects[:2])])
    np.testing.assert_allclose(ROTATED.matching_iou(anchors, padded, least)[:, :6], deciding, atol=1e-6)
    assert ROTATED.matching_iou(anchors[:0], objects, 0.5).shape == (0, 6)
    assert ROTATED.matching_iou(anchors, objects[:0], 0.5).shape == (300, 0)
