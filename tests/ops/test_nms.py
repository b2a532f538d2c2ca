import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.nms import batched_nms, nms
from tests.ops.execution import in_every_mode, random_boxes
from tests.reference import boxes as reference

NAN, INF = float("nan"), float("inf")


def kept(result):
    index, valid = (np.asarray(x) for x in result)
    assert (index[~valid] == 0).all()
    assert (np.diff(valid.astype(int)) <= 0).all()
    return index[valid].tolist()


@pytest.mark.parametrize("num_groups", [1, 3, 80])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_equals_reference_in_every_mode(rng, num_groups, threshold):
    boxes = random_boxes(rng, 80, extent=40)
    scores = rng.permutation(80).astype(np.float32) / 80
    groups = rng.integers(0, num_groups, 80).astype(np.int32)
    result = in_every_mode(lambda b, s, g: nms(b, s, g, threshold, 50, 0.1), boxes, scores, groups)
    assert kept(result) == reference.suppress(boxes, scores, groups, threshold, 50, 0.1)
    if num_groups < 80:  # otherwise the groups are too small for anything to be dropped
        assert kept(result) != list(np.argsort(-scores)[: len(kept(result))])


def test_groups_do_not_suppress_each_other_even_at_equal_boxes():
    boxes = np.tile([[10.0, 10, 20, 20]], (4, 1)).astype(np.float32)
    scores = np.array([0.4, 0.9, 0.8, 0.7], np.float32)
    assert kept(nms(boxes, scores, [0, 0, 1, 79], 0.5, 4)) == [1, 2, 3]
    assert kept(nms(boxes, scores, None, 0.5, 4)) == [1]


def test_groups_far_apart_give_what_each_gives_alone(rng):
    boxes = random_boxes(rng, 60, extent=1333, largest=1000)
    scores, groups = rng.uniform(size=60).astype(np.float32), rng.integers(0, 1203, 60)
    together = set(kept(nms(boxes, scores, groups, 0.5, 60)))
    alone = set()
    for group in set(groups.tolist()):
        members = np.flatnonzero(groups == group)
        alone |= set(members[kept(nms(boxes[members], scores[members], None, 0.5, 60))].tolist())
    assert together == alone


def test_nan_scores_and_boxes_that_are_not_finite_never_win():
    boxes = np.array([[0, 0, 4, 4], [9, 9, 12, 12], [NAN, 0, 4, 4], [0, 0, INF, 4]], np.float32)
    for groups in (None, [0, 1, 2, 3]):
        assert kept(nms(boxes, np.array([NAN, 0.1, 0.9, 0.8], np.float32), groups, 0.5, 4)) == [1]


def test_invalid_boxes_neither_win_nor_suppress():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4]], np.float32)
    assert kept(nms(boxes, np.array([0.9, 0.1], np.float32), None, 0.5, 2, valid=[False, True])) == [1]


def test_score_threshold_is_exclusive_and_negative_scores_count():
    boxes = random_boxes(np.random.default_rng(1), 3)
    scores = np.array([0.5, 0.25, -3.0], np.float32)
    assert kept(nms(boxes, scores, None, 1.0, 3, 0.25)) == [0]
    assert kept(nms(boxes, scores, None, 1.0, 3)) == [0, 1, 2]


def test_no_boxes_and_none_valid():
    assert kept(nms(tf.zeros([0, 4]), tf.zeros([0]), None, 0.5, 3)) == []
    assert kept(nms(tf.zeros([0, 4]), tf.zeros([0]), tf.zeros([0], tf.int32), 0.5, 3)) == []
    assert kept(nms(tf.ones([5, 4]), tf.ones([5]), None, 0.5, 3, valid=tf.zeros([5], tf.bool))) == []


def test_batch_equals_image_by_image(rng):
    boxes = random_boxes(rng, 40).reshape(2, 20, 4)
    scores = rng.uniform(size=(2, 20)).astype(np.float32)
    groups = rng.integers(0, 3, (2, 20)).astype(np.int32)
    valid = rng.uniform(size=(2, 20)) < 0.7
    batched = in_every_mode(lambda b, s, g, v: batched_nms(b, s, g, 0.4, 12, 0.2, v), boxes, scores, groups, valid)
    for i in range(2):
        single = nms(boxes[i], scores[i], groups[i], 0.4, 12, 0.2, valid[i])
        np.testing.assert_array_equal(batched[0][i], single[0])
        np.testing.assert_array_equal(batched[1][i], single[1])
