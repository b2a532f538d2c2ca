from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco import load_coco
from tests.data.formats.coco_file import SQUARE, objects, write

PAIRS = [[2, 2], [6, 2], [6, 6], [2, 6]]
POINTS = [{"x": 2, "y": 2}, {"x": 6, "y": 2}, {"x": 6, "y": 6}, {"x": 2, "y": 6}]


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE], SQUARE, PAIRS, [PAIRS], POINTS, [POINTS], [[float(v) for v in SQUARE]], [SQUARE, PAIRS],
        [PAIRS, POINTS], [[*PAIRS, PAIRS[0]]],
    ],
)  # fmt: skip
def test_polygons_that_have_one_meaning(tmp_path: Path, segmentation: Any) -> None:
    """Flat, as pairs, as points; with and without the outer list."""
    data = load_coco(write(tmp_path, objects(2, segmentation=segmentation, bbox=[2, 2, 4, 4])))
    assert data.issues == []
    for ground_truth in data.instances(0):
        assert ground_truth.boxes.tolist() == [[2, 2, 6, 6]]
        assert np.argwhere(ground_truth.masks[0]).tolist() == [[y, x] for y in range(2, 6) for x in range(2, 6)]


def test_three_pairs_are_a_triangle_and_two_are_nothing(tmp_path: Path) -> None:
    data = load_coco(write(tmp_path, objects(1, segmentation=[[2, 2], [12, 2], [2, 12]], bbox=[2, 2, 10, 10])))
    assert 40 <= data.instances(0).masks.sum() <= 60
    two = objects(3, segmentation=lambda i: [[2, 2], [9, 9]] if i else [SQUARE], bbox=[2, 2, 4, 4])
    assert [i.kind for i in load_coco(write(tmp_path, two)).issues] == ["degenerate polygon"] * 2


@pytest.mark.parametrize(
    "segmentation, reason",
    [
        ([[["a", 1], [2, 3], [4, 5]]], "not a number"),
        ([["1", "2", "3", "4", "5", "6"]], "not a number"),
        ([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], r"polygon of shape \(3, 3\)"),
        ([[[1, 2], [3, 4, 5]]], "not a number"),
        ([[10**400, 1, 2, 3, 4, 5]], "not a number"),
        ([{"x": 1}], "not a number"),
        ("POLYGON ((1 1, 2 2))", "expected polygons or RLE"),
        (5, "expected polygons or RLE"),
    ],
)
def test_what_is_no_polygon(tmp_path: Path, segmentation: Any, reason: str) -> None:
    path = write(tmp_path, objects(2, segmentation=lambda i: segmentation if i else [SQUARE], bbox=[2, 2, 4, 4]))
    with pytest.raises(DataError, match=rf"ann\.json, image 7, annotation 2: .*{reason}"):
        load_coco(path)


RLE = {"size": [100, 120], "counts": [202, 4, 96, 4, 96, 4, 96, 4, 11494]}  # rows 2 to 5 of columns 2 to 5


@pytest.mark.parametrize("segmentation", [[SQUARE], RLE])
@pytest.mark.parametrize(
    "bbox, kind",
    [
        ([0, 0, 0, 0], "zero area box"), ([5, 5, 0, 3], "zero area box"), ([5, 5, -3, 3], "zero area box"),
        ([], "not finite box"), ([1, 2, 3], "not finite box"), ([float("nan")] * 4, "not finite box"),
        ([1e400] * 4, "not finite box"), ("2,2,4,4", "not finite box"), ({"x": 1}, "not finite box"),
        ([[2, 2, 4, 4]], "not finite box"), ([10**400] * 4, "not finite box"), (None, None),
    ],
)  # fmt: skip
def test_a_box_that_says_nothing_is_that_of_the_mask(tmp_path: Path, segmentation: Any, bbox: Any, kind) -> None:
    data = load_coco(write(tmp_path, objects(1, segmentation=segmentation, bbox=bbox)))
    (annotation,) = data.annotations(0)
    assert annotation.box == (2, 2, 6, 6)
    assert [(i.kind, i.annotation_id, i.fatal) for i in data.issues] == ([(kind, 1, False)] if kind else [])
    assert all(i.message.endswith("taken from its mask") for i in data.issues)
    data.check_trainable()


@pytest.mark.parametrize(
    "value, is_crowd",
    [(0, False), (1, True), ("0", False), ("1", True), (0.0, False), (True, True), (None, False), ("false", False),
     (" True ", True)],
)  # fmt: skip
def test_crowd_as_people_write_it(tmp_path: Path, value: Any, is_crowd: bool) -> None:
    (annotation,) = load_coco(write(tmp_path, objects(1, iscrowd=value))).annotations(0)
    assert annotation.is_crowd is is_crowd


@pytest.mark.parametrize("value", ["no", 2, [], [0], -1, "", {}])
def test_crowd_as_nobody_writes_it(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path, objects(2, iscrowd=lambda i: value if i else 0))
    with pytest.raises(DataError, match=r'image 7, annotation 2: "iscrowd" is .*, expected 0 or 1'):
        load_coco(path)


@pytest.mark.parametrize("far", [1e7, 1e9, -1e9, 1e300, 5000])
def test_a_coordinate_far_outside_is_named_and_clipped(tmp_path: Path, far: float) -> None:
    data = load_coco(write(tmp_path, objects(1, segmentation=[[2, 2, far, 5, 2, 9]], bbox=[2, 2, abs(far), 7])))
    issue = next(i for i in data.issues if i.kind == "polygon outside")
    assert issue.annotation_id == 1 and f"a coordinate is {far:g}, far outside its image of 100 x 120" in issue.message
    (annotation,) = data.annotations(0)
    assert max(np.abs(p).max() for p in annotation.segmentation) < 2000
    mask = data.instances(0).masks[0]
    assert mask[5, 2:60].all() == (far > 0)
    assert not mask[:2].any() and not mask[10:].any()


def test_keypoints_of_any_type(tmp_path: Path) -> None:
    good = [3, 4, 2, 5, 5, 1]
    base = objects(2, keypoints=good)
    base["categories"][0]["keypoints"] = ["nose", "tail"]
    assert load_coco(write(tmp_path, base)).instances(0).keypoints.shape == (2, 2, 3)
    for bad, reason in (
        ([1, 2], "2 numbers, expected 3 x 2"),
        ("abc", "expected a list of numbers"),
        (["1"] * 6, "expected a list of numbers"),
        ([[1, 2], [3]], "not a number"),
        ([float("nan")] * 6, "finite triples"),
        ([1e300] * 6, "finite triples"),
        ([10**400] * 6, "not a number"),
    ):
        base["annotations"][1]["keypoints"] = bad
        with pytest.raises(DataError, match=f"annotation 2: keypoints: .*{reason}"):
            load_coco(write(tmp_path, base))
