from __future__ import annotations

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.panoptic import PanopticSegments, Segment, join_segments


def instances(scores: list[float], rectangles: list[tuple[int, int, int, int]], side: int = 10) -> Instances:
    masks = np.zeros((len(rectangles), side, side), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, rectangles, strict=True):
        mask[y1:y2, x1:x2] = True
    class_ids = np.arange(1, len(scores) + 1)
    return Instances(np.float32(rectangles).reshape(-1, 4), class_ids, (side, side), np.float32(scores), masks)


def test_the_better_instance_keeps_the_pixels_and_stuff_fills_the_rest() -> None:
    predicted = instances([0.6, 0.9, 0.4], [(0, 0, 4, 10), (2, 0, 6, 10), (8, 0, 10, 10)])
    stuff = np.full((10, 10), 5)
    stuff[:, 9] = 2
    joined = join_segments(predicted, stuff, min_stuff_area=5)
    rows = joined.ids[:, 0].tolist()
    assert rows == [2, 2, 1, 1, 1, 1, 3, 3, 3, 3]  # half of the second one's pixels are taken: not more than half
    assert [(s.class_id, s.is_thing) for s in joined.segments[:2]] == [(2, True), (1, True)]
    # Of class 2 four pixels are free, fewer than five.
    assert joined.ids[7, 9] == 0 and len(joined.segments) == 3


def test_an_instance_mostly_hidden_is_left_out() -> None:
    joined = join_segments(instances([0.9, 0.8], [(0, 0, 6, 10), (3, 0, 7, 10)]), np.zeros((10, 10), int))
    assert [s.class_id for s in joined.segments] == [1] and joined.areas() == {1: 60}
    joined = join_segments(
        instances([0.9, 0.8], [(0, 0, 6, 10), (3, 0, 7, 10)]), np.zeros((10, 10), int), max_overlap=0.75
    )
    assert joined.areas() == {1: 60, 2: 10} and joined.mask(2).sum() == 10


def test_empty() -> None:
    joined = join_segments(instances([], []), np.zeros((10, 10), int))
    assert joined.segments == () and (joined.ids == 0).all()
    empty_mask = join_segments(instances([0.9], [(0, 0, 0, 0)]), np.zeros((10, 10), int))
    assert empty_mask.segments == ()


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"lacks \[3\]"):
        PanopticSegments(np.ones((2, 2), int), (Segment(1, 1), Segment(3, 1)))
    with pytest.raises(InputError, match=r"ids \[2\] that are not listed"):
        PanopticSegments(np.array([[1, 2]]), (Segment(1, 1),))
    with pytest.raises(InputError, match="each once"):
        PanopticSegments(np.array([[1]]), (Segment(1, 1), Segment(1, 2)))
    with pytest.raises(InputError, match="expected integers"):
        PanopticSegments(np.ones((2, 2)), ())
    with pytest.raises(InputError, match="map of an image"):
        join_segments(instances([], []), np.zeros((3, 3), int))
    without = instances([0.5], [(0, 0, 1, 1)])
    without.scores = None
    with pytest.raises(InputError, match="scores and masks"):
        join_segments(without, np.zeros((10, 10), int))
