from __future__ import annotations

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.tracks import Tracker


def frame(*boxes, classes=None):
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4), classes or [1] * len(boxes), (200, 200), scores=[0.9] * len(boxes)
    )


def test_objects_keep_their_numbers_in_whatever_order_they_come():
    tracker = Tracker()
    a, b = (10, 10, 30, 30), (100, 100, 140, 120)
    assert tracker.update(frame(a, b)).tolist() == [1, 2]
    moved = tuple(x + 3 for x in a)
    assert tracker.update(frame(b, moved, (50, 50, 60, 60))).tolist() == [2, 1, 3]
    assert tracker.num_tracks == 3


def test_one_detection_continues_one_track():
    tracker = Tracker(min_iou=0.1)
    tracker.update(frame((0, 0, 20, 20), (0, 4, 20, 24)))
    # Both overlap it; the first does so wholly. The other object is missing.
    assert tracker.update(frame((0, 0, 20, 20))).tolist() == [1]
    assert tracker.update(frame((0, 0, 20, 20), (0, 5, 20, 25))).tolist() == [1, 2]


def test_another_class_is_another_object():
    tracker = Tracker()
    assert tracker.update(frame((0, 0, 9, 9), classes=[1])).tolist() == [1]
    assert tracker.update(frame((0, 0, 9, 9), classes=[2])).tolist() == [2]


def test_an_object_may_be_missing_for_some_frames():
    tracker = Tracker(max_missed=2)
    box = (0, 0, 9, 9)
    tracker.update(frame(box))
    for _ in range(2):
        assert tracker.update(frame()).tolist() == []
    assert tracker.update(frame(box)).tolist() == [1]
    for _ in range(3):
        tracker.update(frame())
    assert tracker.update(frame(box)).tolist() == [2]


def test_overlap_is_counted_exactly():
    box, other = (0, 0, 10, 10), (0, 5, 10, 15)  # IoU 50 / 150
    for least, expected in ((0.333, 1), (0.334, 2)):
        tracker = Tracker(min_iou=least)
        tracker.update(frame(box))
        assert tracker.update(frame(other)).tolist() == [expected]
    tracker = Tracker(min_iou=0.0)
    tracker.update(frame(box))
    assert tracker.update(frame((50, 50, 60, 60))).tolist() == [2]  # no overlap at all is none


def test_arguments_out_of_range():
    with pytest.raises(InputError, match="min_iou: expected a number from 0 to 1, got 2"):
        Tracker(min_iou=2)
    with pytest.raises(InputError, match="max_missed: expected at least 0, got -1"):
        Tracker(max_missed=-1)
