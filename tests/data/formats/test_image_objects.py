"""Objects of one image: several parts as one mask, and what is counted and reported of those that are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.image_objects import ImageObjects
from tests.data.formats.sample_sets import assert_issue, kinds, masks, write_image

SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(tmp_path, "mine", ["cat"], ["nose"])


def image_of(collector: Collector, name: str = "a") -> ImageObjects:
    image = collector.image(name, write_image(collector.path / f"{name}.png", 10, 8))
    assert image is not None
    return image


def test_masks_are_cut_at_the_edge_of_the_image(tmp_path: Path) -> None:
    collector = Collector(tmp_path, "mine", ["cat"])
    image = collector.image("a", write_image(tmp_path / "a.png", 10, 8))
    assert image.add_mask("cat", np.ones((4, 4)), top=-2, left=8).box == (0, 8, 2, 10)
    assert image.add_mask("cat", np.ones((4, 4)), top=8, left=0) is None
    data = collector.finish()
    assert [int(m.sum()) for m in masks(data, 0)] == [4] and kinds(data) == ["mask without a pixel"]


def test_parts_are_one_object(collector: Collector) -> None:
    """Polygons stay polygons, one mask keeps its window; both together are drawn, and cut at the edge."""
    image = image_of(collector)
    square, other = np.array(SQUARE, float), np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    image.add_parts("cat", [square, other], [])
    image.add_parts("cat", [], [(np.ones((2, 3)), 1, 4)])
    image.add_parts("cat", [other], [(np.ones((2, 3)), 7, 8), (np.ones((1, 1)), -5, 0), (np.ones((2, 2)), -1, 3)])
    data = collector.finish()
    assert len(data.annotations(0)[0].segmentation) == 2 and data.annotations(0)[1].box == (1, 4, 3, 7)
    assert [int(mask.sum()) for mask in masks(data, 0)] == [36 + 1, 6, 1 + 2 + 2] and not data.issues


def test_boxes_keypoints_and_crowds(collector: Collector) -> None:
    image = image_of(collector)
    image.add("cat", box=(1, 2, 5, 7), keypoints=np.array([[3.0, 4.0, 2.0]]), record="line 3")
    image.add("cat", polygons=[SQUARE], is_crowd=True)
    first, second = collector.finish().annotations(0)
    assert first.box == (2, 1, 7, 5) and first.annotation_id == "line 3" and first.segmentation is None
    np.testing.assert_array_equal(first.keypoints, [[3, 4, 2]])
    assert second.is_crowd and second.annotation_id == 1


def test_what_is_left_out_is_counted_by_its_number(collector: Collector) -> None:
    image = image_of(collector)
    image.add("cat", polygons=[SQUARE])
    image.leave_out("shape", "a blob")
    image.add("dog", polygons=[SQUARE])
    image.add("cat", polygons=[[]])
    data = collector.finish()
    assert collector.num_objects == 4 and len(data.annotations(0)) == 1
    assert_issue(data, "shape", "a blob; left out", image_id="a", record=2)
    assert_issue(data, "unknown class", "class 'dog', expected one of 'cat'; left out", image_id="a", record=3)
    assert_issue(data, "degenerate polygon", "polygon of 0 points, expected at least three", image_id="a", record=4)


def test_an_image_that_is_discarded_takes_its_objects_along(collector: Collector) -> None:
    kept, discarded = image_of(collector, "a"), image_of(collector, "b")
    for image in (kept, discarded):
        image.add("cat", polygons=[SQUARE])
    discarded.discard("damaged label", "cut off")
    data = collector.finish()
    assert data.image_ids == ("a",) and collector.num_objects == 1 and kinds(data) == ["damaged label"]
    assert_issue(data, "damaged label", "cut off; its image is left out", image_id="b")
