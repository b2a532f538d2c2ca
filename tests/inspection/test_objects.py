from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn import recipes
from mrcnn.data.dataset import Dataset
from mrcnn.inspection.objects import anchor_fit, read_objects
from mrcnn.progress import Progress
from mrcnn.recipes import Recipe
from mrcnn.structures.records import Annotation


def bar(angle: float, length: float = 60.0, width: float = 6.0) -> Annotation:
    """A bar around (50, 100) whose longer side points `angle` degrees counter-clockwise, with its upright box."""
    turn = np.radians(angle)
    along, across = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])  # (x, y), y down
    steps = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    points = np.array([(100, 50) + a * length / 2 * along + b * width / 2 * across for a, b in steps])
    (x1, y1), (x2, y2) = points.min(0), points.max(0)
    return Annotation(1, (y1, x1, y2, x2), [points])


def dataset_of(*annotations: Annotation) -> Dataset:
    dataset = Dataset()
    dataset.add_class("made", 1, "bar")
    dataset.add_image("made", 0, None, height=100, width=200, annotations=list(annotations))
    dataset.add_image("made", 1, "/nowhere.png", annotations=[bar(0)])  # cannot be read
    return dataset


def rotated(angle: float) -> Recipe:
    """A recipe whose anchors are bars of ratio 0.1, all at one angle."""
    return recipes.get("rotated_mask_rcnn_r50_fpn").override(
        {"model.rpn.anchors.ratios": [0.1], "model.rpn.anchors.angles": [angle]}
    )


def test_sides_are_those_after_the_resize() -> None:
    crowd = dataclasses.replace(bar(0), is_crowd=True)
    table = read_objects(dataset_of(bar(0), crowd, bar(90)), Recipe(), Progress("", shown=False))
    np.testing.assert_allclose(table.sides, [[6 * 6.67, 60 * 6.67, 0], [60 * 6.67, 6 * 6.67, 0]], rtol=2e-3)
    assert (table.num_crowd, table.counts.tolist(), table.indices.tolist()) == (1, [2], [0])
    assert table.splits == (None,) and table.has_size.all()


@pytest.mark.parametrize("angle", [0.0, 30.0, -45.0, 90.0])
def test_rotated_anchors_are_held_against_rotated_boxes(angle: float) -> None:
    """A bar of ratio 0.1 fits the anchor of its own angle, though its upright box fits none, and no other angle."""
    recipe = rotated(angle)
    table = read_objects(dataset_of(bar(angle)), recipe, Progress("", shown=False))
    h, w, turned = table.sides[0]
    assert (turned - angle + 90) % 180 - 90 == pytest.approx(0, abs=3)
    assert h / w == pytest.approx(0.12, abs=0.04)
    assert anchor_fit(table, recipe)[0] > 0.5
    assert anchor_fit(table, rotated(angle + 90))[0] < 0.2


def test_what_has_no_size_fits_no_anchor() -> None:
    flat = Annotation(1, (10, 10, 10, 30))
    table = read_objects(dataset_of(flat, bar(0)), Recipe(), Progress("", shown=False))
    fit = anchor_fit(table, Recipe())
    assert table.has_size.tolist() == [False, True] and fit[0] == 0 and fit[1] > 0
    empty = read_objects(Dataset(), Recipe(), Progress("", shown=False))
    assert anchor_fit(empty, Recipe()).shape == (0,) and empty.counts.shape == (0,)
