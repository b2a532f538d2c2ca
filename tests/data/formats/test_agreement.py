from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.agreement import clearly_have_area, has_area, iou, ious, mask_box
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.formats.via import load_via
from mrcnn.data.rasterize import mask_to_rle
from tests.data.formats.coco_file import SQUARE, objects, write

UNIT = [[0.1, 0.1, 0.2, 0.1, 0.2, 0.25]]


def test_boxes_of_masks_by_hand(rng: np.random.Generator) -> None:
    assert mask_box([np.array([[2.5, 3], [7, 3], [7, 9]])], 20, 20) == (3, 2.5, 9, 7)
    assert mask_box([np.array([[-5, -5], [50, -5], [50, 9]])], 20, 30) == (0, 0, 9, 30)
    assert mask_box([np.array([[40, 5], [50, 5], [50, 9]])], 20, 30) is None
    for _ in range(30):
        mask = np.zeros((17, 23), bool)
        mask[rng.integers(17, size=3), rng.integers(23, size=3)] = True
        rows, columns = np.nonzero(mask)
        expected = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert mask_box(mask_to_rle(mask), 17, 23) == expected
    full = mask_to_rle(np.ones((17, 23), bool))
    assert mask_box(full, 17, 23) == (0, 0, 17, 23)
    assert mask_box(mask_to_rle(np.zeros((17, 23), bool)), 17, 23) is None
    assert iou((0, 0, 2, 2), (0, 0, 2, 4)) == 0.5


def test_columns_of_boxes_are_as_boxes_one_by_one(rng: np.random.Generator) -> None:
    """The two forms of each question, to the last bit, at sides and places where float32 has no area left too."""
    sizes = 10.0 ** rng.uniform(-9, 7, (2, 2, 400))
    places = rng.choice([0.0, 1.0, 1e3, 3e5, -1e5], (2, 2, 400)) + rng.uniform(-2, 2, (2, 2, 400))
    a, b = (np.concatenate([place, place + size]) for place, size in zip(places, sizes, strict=True))
    b[:, ::3] = a[:, ::3]
    b[:, 1::3] = a[:, 1::3] + rng.uniform(-1, 1, (4, 1)) * sizes[0, 0, 1::3]
    expected = [iou(tuple(p), tuple(q)) for p, q in zip(a.T.tolist(), b.T.tolist(), strict=True)]
    assert ious(a, b).tolist() == expected and 0 < np.median(expected[::3]) == 1
    clear = clearly_have_area(a)
    assert clear.any() and not clear.all() and all(has_area(box) for box in a.T[clear].tolist())
    assert iou((0, 0, 2, 2), (0, 1, 2, 3)) == 1 / 3 and iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_masks_without_a_pixel_are_counted(tmp_path: Path, caplog) -> None:
    empty = {"size": [100, 120], "counts": [12000]}
    mixed = objects(4, segmentation=lambda i: [UNIT, empty, [SQUARE], [SQUARE]][i], bbox=[2, 2, 4, 4])
    with caplog.at_level(logging.WARNING, "mrcnn"):
        data = load_coco(write(tmp_path, mixed))
    assert [(i.kind, i.annotation_id, i.fatal) for i in data.issues] == [
        ("mask without a pixel", 1, False),
        ("mask without a pixel", 2, False),
    ]
    assert "2 x mask without a pixel" in caplog.text
    assert len(data.annotations(0)) == 4  # the boxes can still be trained on
    data.check_trainable()


@pytest.mark.parametrize("number", [2, 12])
def test_polygons_of_all_objects_of_a_file_between_0_and_1(tmp_path: Path, number: int, caplog) -> None:
    path = write(tmp_path, objects(number, segmentation=UNIT))
    with caplog.at_level(logging.WARNING, "mrcnn"):
        data = load_coco(path)
    (issue,) = data.issues
    assert (issue.kind, issue.image_id, issue.path) == ("mask without a pixel", None, str(path))
    assert f"all {number} objects: mask without a pixel; their coordinates lie within 0 and 1" in issue.message
    assert caplog.text.count("mask without a pixel") == 1
    with pytest.raises(DataError, match=rf"nothing to train on: {number} objects, none of whose masks has a pixel"):
        data.check_trainable()


def test_thin_polygons_that_cover_pixels_are_no_issue(tmp_path: Path) -> None:
    thin = [[10.2, 10.2, 60.3, 10.2, 60.3, 11.4, 10.2, 11.4]]
    assert load_coco(write(tmp_path, objects(2, segmentation=thin, bbox=[10.2, 10.2, 50.1, 1.2]))).issues == []


def test_boxes_that_are_not_those_of_their_masks_are_counted(tmp_path: Path) -> None:
    shifted = objects(8, bbox=lambda i: [8 * i + 3 + 9 * (i == 2), 8 * i + 3, 10, 10])
    (issue,) = load_coco(write(tmp_path, shifted)).issues
    assert (issue.kind, issue.annotation_id, issue.fatal) == ("box is not that of its mask", 3, False)
    assert issue.message == "box is not that of its mask (IoU 0.05)"
    crowd = objects(8, bbox=[50, 50, 3, 3], iscrowd=1)
    assert load_coco(write(tmp_path, crowd)).issues == []


def corners(i: int) -> list[int]:
    x = 8 * i + 3
    return [x, x, x + 10, x + 10]


def test_boxes_of_all_objects_of_a_file_as_corners(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "mrcnn"):
        data = load_coco(write(tmp_path, objects(10, bbox=corners)))
    issues = [i for i in data.issues if i.kind == "box is not that of its mask"]
    assert len(issues) == 1 and issues[0].annotation_id is None
    assert issues[0].message.startswith("all 10 objects: box is not that of its mask (IoU 0.")
    assert "read as x1, y1, x2, y2 they are" in issues[0].message
    assert caplog.text.count("box is not that of its mask") == 1


def test_boxes_of_all_objects_of_a_file_beside_their_masks(tmp_path: Path) -> None:
    (issue,) = load_coco(write(tmp_path, objects(10, bbox=[60, 20, 5, 5]))).issues
    assert issue.message == "all 10 objects: box is not that of its mask (IoU 0.00 in the mean)"


def test_loose_boxes_are_no_issue(tmp_path: Path) -> None:
    loose = objects(10, bbox=lambda i: [8 * i + 2, 8 * i + 2, 12, 12])
    assert load_coco(write(tmp_path, loose)).issues == []


@pytest.mark.parametrize("number", [1, 2, 12])
@pytest.mark.parametrize(
    "fields, kind",
    [
        ({"bbox": [0, 0, 0, 0], "segmentation": None}, "zero area box"),
        ({"bbox": [500, 500, 10, 10]}, "box outside"),
        ({"bbox": [float("nan")] * 4, "segmentation": []}, "not finite box"),
        ({"segmentation": [[1, 1, 5, 5]]}, "degenerate polygon"),
    ],
)
def test_a_fault_of_all_objects_is_the_files_and_stops(tmp_path: Path, fields: dict, kind: str, number: int) -> None:
    path = write(tmp_path, objects(number, **fields))
    what = f"all {number} objects are" if number > 1 else "the only object is"
    with pytest.raises(DataError, match=rf"ann\.json: {what} left out for one fault: .*\(annotation 1\)") as error:
        load_coco(path)
    assert "\n" not in str(error.value)
    data = load_coco(path, validate=False)
    assert [(i.kind, i.fatal, i.annotation_id) for i in data.issues] == [(kind, True, None)]
    assert len(data) == 1 and data.annotations(0) == ()


def test_a_fault_of_all_but_one_does_not_stop(tmp_path: Path) -> None:
    data = load_coco(write(tmp_path, objects(5, segmentation=lambda i: [[1, 1, 5, 5]] if i else [SQUARE])))
    assert len(data.annotations(0)) == 1
    several = objects(2, bbox=lambda i: [0, 0, 0, 0] if i else [500, 500, 1, 1], segmentation=None)
    data = load_coco(write(tmp_path, several))  # two faults, not one
    with pytest.raises(DataError, match=r"nothing to train on: .*left out: 1 x (box outside|zero area box), 1 x"):
        data.check_trainable()


def test_crowd_only_and_no_annotations(tmp_path: Path) -> None:
    crowd = load_coco(write(tmp_path, objects(12, iscrowd=1)))
    with pytest.raises(DataError, match=r"ann\.json: nothing to train on: 12 crowd regions, no object; .*iscrowd 1"):
        crowd.check_trainable()
    with pytest.raises(DataError, match=r"ann\.json: nothing to train on: no object in 1 images"):
        load_coco(write(tmp_path, objects(0))).check_trainable()


def test_via_shares_the_checks(tmp_path: Path) -> None:
    def regions(*shapes: dict[str, Any]) -> dict[str, Any]:
        entries = [{"shape_attributes": shape, "region_attributes": {}} for shape in shapes]
        return {"a": {"filename": "a.png", "regions": entries}}

    write(tmp_path, objects(1))
    import json

    unit = {"name": "polygon", "all_points_x": [0.1, 0.2, 0.2], "all_points_y": [0.1, 0.1, 0.25]}
    (tmp_path / "v.json").write_text(json.dumps(regions(unit, unit)))
    data = load_via(tmp_path / "v.json")
    assert "all 2 objects: mask without a pixel; their coordinates lie within 0 and 1" in data.issues[0].message
    line = {"name": "polyline", "all_points_x": [1, 5], "all_points_y": [1, 5]}
    (tmp_path / "v.json").write_text(json.dumps(regions(line, line, line)))
    with pytest.raises(DataError, match=r"v\.json: all 3 objects are left out for one fault: degenerate outline"):
        load_via(tmp_path / "v.json")
