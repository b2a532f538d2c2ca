import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.matching import match_boxes
from tests.ops.execution import in_every_mode, random_boxes
from tests.reference import boxes as reference


def match(boxes, gt_boxes, valid=None, crowd=None, fg=0.7, bg=0.3, low=False, **options):
    gt_boxes = np.asarray(gt_boxes, np.float32).reshape(-1, 4)
    valid = np.ones(len(gt_boxes), bool) if valid is None else np.asarray(valid)
    crowd = np.zeros(len(gt_boxes), bool) if crowd is None else np.asarray(crowd)
    return match_boxes(np.asarray(boxes, np.float32), gt_boxes, valid, crowd, fg, bg, low, **options)


@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("with_crowd", [False, True])
def test_equals_reference_in_every_mode(rng, allow_low_quality, with_crowd):
    boxes = random_boxes(rng, 60)
    gt_boxes = np.concatenate([boxes[:4] + rng.uniform(-2, 2, (4, 4)), random_boxes(rng, 6)]).astype(np.float32)
    valid = np.array([True] * 8 + [False] * 2)
    crowd = np.array([False, True, False, False, False, True, False, False, False, True]) & with_crowd
    result = in_every_mode(
        lambda b, g, v, c: match_boxes(b, g, v, c, 0.6, 0.3, allow_low_quality), boxes, gt_boxes, valid, crowd
    )
    index, labels, overlap = reference.match(boxes, gt_boxes, valid, crowd, 0.6, 0.3, allow_low_quality)
    assert {-1, 0, 1} == set(labels)
    np.testing.assert_array_equal(result.gt_index, index)
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_allclose(result.max_iou, overlap, atol=1e-5)


def test_thresholds_are_inclusive_for_positives_and_exclusive_for_negatives():
    # IoU with the object: 1/2 and 1/4 exactly.
    result = match([[0, 0, 4, 2], [0, 0, 4, 1], [0, 0, 4, 4]], [[0, 0, 4, 4]], fg=0.5, bg=0.25)
    np.testing.assert_array_equal(result.labels, [1, -1, 1])


def test_low_quality_takes_every_tie_and_keeps_its_own_object():
    boxes = [[0, 0, 4, 4], [0, 6, 4, 10], [40, 40, 41, 41]]
    # The second object overlaps both boxes equally; the first box belongs to the first object all the same.
    result = match(boxes, [[0, 0, 4, 4], [0, 3, 4, 7]], low=True)
    np.testing.assert_array_equal(result.labels, [1, 1, 0])
    np.testing.assert_array_equal(result.gt_index[:2], [0, 1])


def test_low_quality_needs_some_overlap():
    result = match([[0, 0, 4, 4], [10, 10, 14, 14]], [[30, 30, 40, 40]], low=True)
    np.testing.assert_array_equal(result.labels, [0, 0])


def test_padded_entries_match_nothing():
    result = match([[0, 0, 4, 4]], [[0, 0, 4, 4]], valid=[False], low=True)
    np.testing.assert_array_equal(result.labels, [0])
    np.testing.assert_array_equal(result.max_iou, [0])


def test_crowd_ignores_what_lies_inside_it_only():
    boxes = [[0, 0, 4, 4], [0, 8, 4, 12], [0, 7, 4, 11], [0, 20, 4, 24]]
    result = match(boxes, [[0, 0, 10, 10]], crowd=[True], low=True)
    # Inside, half inside, three quarters inside, outside.
    np.testing.assert_array_equal(result.labels, [-1, -1, -1, 0])
    result = match(boxes, [[0, 0, 10, 10]], crowd=[True], crowd_coverage=0.6)
    np.testing.assert_array_equal(result.labels, [-1, 0, -1, 0])


def test_an_object_inside_a_crowd_stays_positive():
    result = match([[0, 0, 4, 4]], [[0, 0, 10, 10], [0, 0, 4, 4]], crowd=[True, False])
    assert (int(result.labels[0]), int(result.gt_index[0])) == (1, 1)


def test_no_object_and_no_box():
    result = match([[0, 0, 4, 4]], np.zeros((0, 4)), low=True)
    np.testing.assert_array_equal(result.labels, [0])
    np.testing.assert_array_equal(result.gt_index, [0])
    assert match(np.zeros((0, 4)), [[0, 0, 4, 4]], low=True).labels.shape == (0,)


def test_padded_entries_change_nothing(rng):
    boxes, gt_boxes = random_boxes(rng, 30), random_boxes(rng, 4)
    plain = match(boxes, gt_boxes, low=True)
    padded = match(boxes, np.concatenate([gt_boxes, boxes[:3]]), valid=[True] * 4 + [False] * 3, low=True)
    tf.nest.map_structure(np.testing.assert_array_equal, plain, padded)


def test_crowd_by_iou_in_place_of_coverage():
    crowd = {"gt_boxes": [[0, 0, 100, 100]], "crowd": [True]}
    boxes = [[0, 0, 10, 10], [0, 0, 50, 50]]
    assert match(boxes, **crowd).labels.numpy().tolist() == [-1, -1]
    assert match(boxes, **crowd, crowd_iou=0.1).labels.numpy().tolist() == [0, -1]  # 0.01 and 0.25


# Objects 0 and 1 overlap; the box is object 1's best, and overlaps object 0 more.
_SHARED_BOX = [[0, 0, 10, 10]]
_TWO_OBJECTS = [[0, 0, 10, 8], [0, 0, 10, 5]]  # IoU 0.8 and 0.5


def test_the_best_box_of_an_object_may_belong_to_it():
    usual = match(_SHARED_BOX, _TWO_OBJECTS, low=True)
    own = match(_SHARED_BOX, _TWO_OBJECTS, low=True, best_belongs=True)
    assert (int(usual.gt_index[0]), int(own.gt_index[0])) == (0, 1)
    assert int(usual.labels[0]) == int(own.labels[0]) == 1
    without = match(_SHARED_BOX, _TWO_OBJECTS, low=True, best_belongs=True, low_quality_iou=0.6)
    assert int(without.gt_index[0]) == 0


@pytest.mark.parametrize("least, label", [(0.0, 1), (0.2, 1), (0.21, 0)])
def test_an_object_needs_an_overlap_to_make_its_best_box_positive(least, label):
    assert int(match([[0, 0, 10, 10]], [[0, 0, 10, 2]], low=True, low_quality_iou=least).labels[0]) == label
