from __future__ import annotations

import re

import numpy as np

from mrcnn.report.outlines import FRAME, frame_size, outline_paths
from mrcnn.structures.instances import Instances
from tests.evaluation.scene import ellipses, instances


def test_of_boxes_and_of_masks_without_a_pixel():
    boxes = [[10, 20, 30, 60]]
    expected = ["M200 100H600V300H200Z"]
    assert outline_paths(instances(boxes, shape=(100, 100))) == expected
    assert outline_paths(instances(boxes, masks=np.zeros((1, 100, 100)), shape=(100, 100))) == expected
    assert outline_paths(instances([[np.nan, 0, np.inf, 5]], shape=(100, 100))) == ["M0 0H50V0H0Z"]


def test_follow_the_mask():
    boxes = [[10, 20, 60, 90], [70, 5, 95, 40]]
    shape = (100, 120)
    paths = outline_paths(instances(boxes, masks=ellipses(boxes, shape), shape=shape))
    for path, box in zip(paths, boxes, strict=True):
        points = np.array([[float(y), float(x)] for x, y in re.findall(r"(-?\d+) (-?\d+)", path)]) * shape[1] / FRAME
        np.testing.assert_allclose([*points.min(0), *points.max(0)], box, atol=1.2)
        assert len(points) < 120


def test_a_hole_is_a_loop_of_its_own_and_a_pixel_is_seen():
    masks = np.zeros((2, 50, 50), bool)
    masks[0, 10:40, 10:40] = True
    masks[0, 20:30, 20:30] = False
    masks[1, 5, 7] = True
    ring, dot = outline_paths(instances([[10, 10, 40, 40], [5, 7, 6, 8]], masks=masks, shape=(50, 50)))
    assert ring.count("M") == 2 and dot.startswith("M1")


def test_frame():
    assert frame_size((50, 100)) == (1000, 500) and frame_size((3000, 3)) == (1, 1000)


def test_of_a_part_of_the_image():
    """A mask and a box in a part of 20 x 10 pixels: 50 units a pixel from its corner on."""
    mask = np.zeros((1, 60, 80), bool)
    mask[0, 22:26, 44:48] = True
    instance = Instances([[22, 44, 26, 48]], [1], (60, 80), masks=mask)
    assert outline_paths(instance[:0], (20, 40, 40, 50)) == []
    (box,) = outline_paths(Instances(instance.boxes, [1], (60, 80)), (20, 40, 40, 50))
    assert box == "M200 100H400V300H200Z"
    (outline,) = outline_paths(instance, (20, 40, 40, 50))
    numbers = np.array(re.findall(r"\d+", outline), int).reshape(-1, 2)
    assert (abs(numbers.min(0) - (200, 100)) <= 30).all() and (abs(numbers.max(0) - (400, 300)) <= 30).all()
