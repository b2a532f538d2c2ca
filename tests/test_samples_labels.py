"""samples/labels and benchmarks/label_mistakes.py, on masks by hand."""

from __future__ import annotations

import runpy

import numpy as np
import pytest

from mrcnn.structures.instances import Instances
from tests.conftest import SAMPLES


def squares(corners, shape=(100, 100), side=20, scores=None, class_ids=None) -> Instances:
    masks = np.zeros((len(corners), *shape), bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    boxes = [[y, x, y + side, x + side] for y, x in corners]
    ids = np.ones(len(corners), int) if class_ids is None else class_ids
    return Instances(np.reshape(boxes, (-1, 4)), ids, shape, scores, masks)


@pytest.fixture(scope="module")
def loop():
    return runpy.run_path(str(SAMPLES / "labels/loop.py"))


@pytest.fixture(scope="module")
def mistakes():
    return runpy.run_path(str(SAMPLES.parent / "benchmarks/label_mistakes.py"))


def test_what_is_left_to_correct(loop):
    objects = squares([(0, 0), (30, 30), (60, 60)])
    detections = squares([(0, 1), (30, 36), (0, 60)], scores=[0.9, 0.8, 0.7])  # IoU 19 / 21, 14 / 26, 0
    assert loop["to_correct"](objects, detections) == (2, 2)
    assert loop["to_correct"](objects, objects) == (0, 0)
    assert loop["to_correct"](objects, squares([], scores=[])) == (3, 0)
    assert loop["to_correct"](squares([]), detections) == (0, 3)


def test_a_moved_mask_keeps_its_form(mistakes):
    one = squares([(40, 40)])
    moved = mistakes["moved"](one, 0, 0.0)  # by half its width, to the right
    assert moved.boxes.tolist() == [[40, 50, 60, 70]] and (moved.masks[0, :, 10:] == one.masks[0, :, :-10]).all()
    assert one.boxes.tolist() == [[40, 40, 60, 60]]
    out = mistakes["moved"](squares([(0, 85)], side=15), 0, 0.0)  # what leaves the image is lost
    assert out.boxes.tolist() == [[0, 93, 15, 100]] and out.masks.sum() == 15 * 7


@pytest.mark.parametrize("kind", ["dropped", "moved", "class"])
def test_mistakes_that_good_detections_contradict_are_found(mistakes, kind):
    corners = [(y, x) for y in range(0, 100, 25) for x in range(0, 100, 25)]
    ground_truth = [squares(corners, class_ids=np.arange(16) % 3 + 1) for _ in range(5)]
    scores = np.linspace(0.99, 0.9, 16)
    predictions = [squares(corners, scores=scores, class_ids=np.arange(16) % 3 + 1) for _ in range(5)]
    assert mistakes["share_named"](kind, ground_truth, predictions, 3, seed=1) == (4, 4, 8)
