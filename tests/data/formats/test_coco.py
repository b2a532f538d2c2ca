from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.formats.coco_writer import dataset_to_coco, save_json
from mrcnn.data.rasterize import mask_to_rle

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
GOOD: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 10, "width": 12, "kind": "x"},
        {"id": 3, "file_name": "b.png", "height": 10, "width": 12},
    ],
    "categories": [{"id": 90, "name": "dog"}, {"id": 4, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [2, 2, 4, 4], "segmentation": [SQUARE], "area": 16},
        {
            "id": 2,
            "image_id": 7,
            "category_id": 4,
            "bbox": [0, 0, 12, 5],
            "iscrowd": 1,
            "segmentation": mask_to_rle(np.arange(120).reshape(10, 12) < 60),
        },
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (12, 10)).save(tmp_path / name)
    return tmp_path


def write(folder: Path, data: Any) -> Path:
    path = folder / "ann.json"
    path.write_text(json.dumps(data))
    return path


def broken(**changes: Any) -> dict[str, Any]:
    """GOOD with fields of its first annotation replaced; None removes one."""
    data = copy.deepcopy(GOOD)
    data["annotations"][0] |= changes
    data["annotations"][0] = {k: v for k, v in data["annotations"][0].items() if v is not None}
    return data


def test_reads_what_is_there(folder: Path) -> None:
    dataset = load_coco(write(folder, GOOD))
    assert len(dataset) == 2
    assert dataset.class_names == ("cat", "dog")  # by category id, gaps closed
    assert dataset.category_ids == (4, 90)
    assert dataset.image_ids == (7, 3)
    assert dataset.issues == []
    assert dataset.map_source_class_id("coco.90") == 2
    dog, crowd = dataset.annotations(0)
    assert (dog.class_id, dog.box, dog.is_crowd, dog.annotation_id, dog.area) == (2, (2, 2, 6, 6), False, 1, 16)
    assert (crowd.class_id, crowd.box, crowd.is_crowd) == (1, (0, 0, 5, 12), True)
    assert dataset.annotations(1) == ()
    assert dataset.record(0).extra["kind"] == "x"
    ground_truth = dataset.instances(0)
    assert ground_truth.masks.sum(axis=(1, 2)).tolist() == [16, 60]
    assert ground_truth.is_crowd.tolist() == [False, True]
    assert len(dataset.instances(1)) == 0
    assert len(load_coco(write(folder, GOOD), folder, skip_crowd=True).annotations(0)) == 1
    assert dataset.validate() == []


def test_uncompressed_rle_and_missing_box(folder: Path) -> None:
    runs = {"size": [10, 12], "counts": [10, 5, 105]}
    ground_truth = load_coco(write(folder, broken(segmentation=runs, bbox=[1, 0, 1, 5]))).instances(0)
    assert ground_truth.masks[0, :5, 1].all()
    assert ground_truth.masks[0].sum() == 5
    assert load_coco(write(folder, broken(bbox=None))).annotations(0)[0].box == (2, 2, 6, 6)
    assert load_coco(write(folder, broken(segmentation=None))).instances(0).masks[0].sum() == 16


@pytest.mark.parametrize(
    "changes, kind, kept",
    [
        ({"bbox": [-3, 2, 9, 4]}, "box outside", True),
        ({"bbox": [50, 2, 9, 4]}, "box outside", False),
        ({"bbox": [0, 0, 0, 0]}, "zero area box", True),
        ({"bbox": [2, 2, 0, 4]}, "zero area box", True),
        ({"bbox": [2, 2, float("nan"), 4]}, "not finite box", True),
        ({"bbox": [2, 2, 4]}, "not finite box", True),
        ({"bbox": [2, 2, 0, 4], "segmentation": []}, "zero area box", False),
        ({"bbox": [2, 2, float("nan"), 4], "segmentation": None}, "not finite box", False),
        ({"segmentation": [[1, 1, 5, 5]]}, "degenerate polygon", False),
        ({"segmentation": [[1, 1, 5, 5, 7]]}, "degenerate polygon", False),
        ({"segmentation": [SQUARE, [1, 1, 5, 5]]}, "degenerate polygon", True),
        ({"segmentation": [[1, 1, 5, 5, float("inf"), 3]]}, "degenerate polygon", False),
    ],
)
def test_mended_or_left_out(folder: Path, caplog, changes: dict, kind: str, kept: bool) -> None:
    with caplog.at_level(logging.WARNING, "mrcnn"):
        dataset = load_coco(write(folder, broken(**changes)))
    (issue,) = dataset.issues
    assert (issue.kind, issue.annotation_id, issue.image_id, issue.fatal) == (kind, 1, 7, False)
    assert "ann.json" in str(issue)
    assert [a.annotation_id for a in dataset.annotations(0)] == ([1, 2] if kept else [2])
    assert sum(kind in line for line in caplog.messages) == 1
    y1, x1, y2, x2 = dataset.annotations(0)[0].box
    assert 0 <= y1 < y2 <= 10
    assert 0 <= x1 < x2 <= 12


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"image_id": 99}, "annotation 1: names image 99"),
        ({"category_id": 5}, "annotation 1: names category 5; the file lists 4, 90"),
        ({"category_id": None}, '"category_id" is missing'),
        ({"bbox": None, "segmentation": None}, '"bbox" is missing'),
        ({"segmentation": {"size": [12, 10], "counts": [120]}}, r"RLE of size \[12, 10\]"),
        ({"segmentation": {"size": [10, 12], "counts": "~~"}}, "RLE counts"),
        ({"segmentation": "text"}, "polygons or RLE"),
        ({"segmentation": [["a", "b"]]}, "not a number"),
        ({"id": 2}, "annotation id 2 is given twice"),
    ],
)
def test_refused_with_file_record_and_reason(folder: Path, changes: dict, reason: str) -> None:
    path = write(folder, broken(**changes))
    with pytest.raises(DataError, match=reason) as error:
        load_coco(path)
    assert str(path) in str(error.value)
    listed = load_coco(path, validate=False)
    assert [f.fatal for f in listed.issues] == [True]


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda d: d.pop("images"), 'expected a list "images"'),
        (lambda d: d["images"].append(5), r"images\[2\]: expected an object"),
        (lambda d: d["images"][0].pop("height"), r'image 7 \(a.png\): "height" is missing'),
        (lambda d: d["images"][0].update(height="10"), "\"height\" is '10'"),
        (lambda d: d["images"][0].update(height=0), "expected at least 1 x 1"),
        (lambda d: d["images"][1].update(id=7), "image id 7 is given twice"),
        (lambda d: d["categories"][1].update(id=90), "category id 90 is given twice"),
        (lambda d: d["images"][0].update(file_name="gone.png"), r"image 7: no such image: .*gone.png"),
    ],
)
def test_refused_files(folder: Path, change, reason: str) -> None:
    data = copy.deepcopy(GOOD)
    change(data)
    with pytest.raises(DataError, match=reason):
        load_coco(write(folder, data))


def test_refused_paths(folder: Path) -> None:
    with pytest.raises(DataError, match="no such annotation file"):
        load_coco(folder / "none.json")
    with pytest.raises(DataError, match="found a folder"):
        load_coco(folder)
    (folder / "cut.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"cut.json: not valid JSON"):
        load_coco(folder / "cut.json")
    with pytest.raises(DataError, match="no such folder"):
        load_coco(write(folder, GOOD), folder / "none")


def test_many_faults_are_counted_not_listed(folder: Path) -> None:
    data = copy.deepcopy(GOOD)
    data["annotations"] = [{"id": i, "image_id": 99, "category_id": 4} for i in range(20)]
    with pytest.raises(DataError, match="and 15 more"):
        load_coco(write(folder, data))


def test_empty_set_and_set_without_objects(folder: Path) -> None:
    assert len(load_coco(write(folder, GOOD | {"images": [], "annotations": []}))) == 0
    dataset = load_coco(write(folder, GOOD | {"annotations": []}))
    assert [len(dataset.annotations(i)) for i in range(2)] == [0, 0]


def test_an_image_of_another_size_is_a_issue(folder: Path) -> None:
    Image.new("RGB", (12, 11)).save(folder / "b.png")
    dataset = load_coco(write(folder, GOOD))
    (issue,) = dataset.validate()
    assert issue.image_id == 3
    assert "11 x 12" in issue.message
    with pytest.raises(DataError, match=r"b.png.*image id 3"):
        dataset.load_image(1)


def test_keypoints(folder: Path, data_dir: Path) -> None:
    data = broken(keypoints=[3, 4, 2, 5, 5, 1, 0, 0, 0])
    data["categories"][0]["keypoints"] = ["nose", "left_eye", "right_eye"]
    dataset = load_coco(write(folder, data))
    assert dataset.keypoint_names == ("nose", "left_eye", "right_eye")
    np.testing.assert_array_equal(dataset.annotations(0)[0].keypoints, [[3, 4, 2], [5, 5, 1], [0, 0, 0]])
    np.testing.assert_array_equal(dataset.instances(0).keypoints[1], np.zeros((3, 3)))
    assert load_coco(write(folder, data), keypoints=False).annotations(0)[0].keypoints is None
    with pytest.raises(DataError, match="expected 3 x 3"):
        load_coco(write(folder, data | {"annotations": broken(keypoints=[1, 2, 2])["annotations"]}))
    unnamed = data_dir / "datumaro_coco"
    dataset = load_coco(unnamed / "annotations" / "person_keypoints_train.json", unnamed / "images" / "train")
    assert dataset.keypoint_names == ("0", "1", "2")


def test_files_of_another_writer(data_dir: Path) -> None:
    root = data_dir / "datumaro_coco"
    for split in ("train", "val"):
        dataset = load_coco(root / "annotations" / f"instances_{split}.json", root / "images" / split)
        assert dataset.class_names == ("a", "b", "c")
        assert dataset.category_ids == (1, 2, 4)
        assert dataset.validate(pixels=True) == []
        assert dataset.load_image(0).shape[:2] == dataset.image_shape(0)


def test_write_and_read_back(folder: Path, data_dir: Path) -> None:
    for source in (load_coco(write(folder, GOOD)), load_coco(data_dir / "nuclei_tiny" / "annotations.json")):
        images = Path(source.record(0).path).parent
        save_json(dataset_to_coco(source), folder / "deep" / "out.json")
        again = load_coco(folder / "deep" / "out.json", images)
        assert again.class_names == source.class_names
        assert again.image_ids == source.image_ids
        for i in range(len(source)):
            one, two = source.instances(i), again.instances(i)
            np.testing.assert_array_equal(one.boxes, two.boxes)
            np.testing.assert_array_equal(one.masks, two.masks)
            np.testing.assert_array_equal(one.is_crowd, two.is_crowd)
    assert [p.name for p in (folder / "deep").iterdir()] == ["out.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    save_json({"a": 1}, tmp_path / "x.json")
    with pytest.raises(TypeError):
        save_json({"a": object()}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1
