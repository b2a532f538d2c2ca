"""Things and stuff drawn: what is tinted, what is labeled, what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest

import mrcnn
from mrcnn.drawing.colors import class_color
from mrcnn.errors import InputError
from mrcnn.structures.panoptic import PanopticSegments, Segment

IDS = np.zeros((60, 80), int)
IDS[:30], IDS[20:50, 30:60] = 2, 1
SEGMENTS = PanopticSegments(IDS, (Segment(1, 1, score=0.9), Segment(2, 1, is_thing=False)))
IMAGE = np.full((60, 80, 3), 100, np.uint8)


def test_things_are_bright_stuff_is_muted_the_rest_stays() -> None:
    drawing = mrcnn.draw_panoptic(IMAGE, SEGMENTS, labels=False, long_side=80)
    assert drawing.shape == IMAGE.shape and (drawing[55:] == 100).all() and (IMAGE == 100).all()
    thing, stuff = drawing[40, 45].astype(int), drawing[5, 5].astype(int)
    np.testing.assert_allclose(thing, (100 + class_color(1).astype(int)) / 2, atol=1)
    assert np.ptp(stuff) < np.ptp(thing) and np.ptp(stuff) > 5
    np.testing.assert_array_equal(drawing[25, 45], drawing[40, 45])  # the thing lies on the stuff


def test_labels_name_things_and_stuff() -> None:
    options = {"class_names": ["cat"], "stuff_names": ["sky"], "long_side": 640}
    plain = mrcnn.draw_panoptic(IMAGE, SEGMENTS, labels=False, long_side=640)
    labeled = mrcnn.draw_panoptic(IMAGE, SEGMENTS, **options)
    without_scores = mrcnn.draw_panoptic(IMAGE, SEGMENTS, scores=False, **options)
    assert plain.shape == labeled.shape == (480, 640, 3)
    assert (labeled != plain).any() and (labeled != without_scores).any()
    numbers = mrcnn.draw_panoptic(IMAGE, SEGMENTS, long_side=640)  # names that nobody gave
    assert (numbers != labeled).any()


def test_empty_and_crowd() -> None:
    nothing = PanopticSegments(np.zeros((60, 80), int), ())
    np.testing.assert_array_equal(mrcnn.draw_panoptic(IMAGE, nothing, long_side=80), IMAGE)
    crowd = PanopticSegments(np.ones((60, 80), int), (Segment(1, 1, is_crowd=True),))
    assert np.ptp(mrcnn.draw_panoptic(IMAGE, crowd, labels=False, long_side=80)[30, 40]) == 0
    assert max(mrcnn.draw_panoptic(IMAGE, nothing).shape) == 640  # enlarged eight times at most


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"segments of an image of \(60, 80\) pixels, drawn on \(60, 81\)"):
        mrcnn.draw_panoptic(np.zeros((60, 81, 3), np.uint8), SEGMENTS)
