"""COCO files as the programs that people use write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.rle import mask_to_rle
from tests.data.formats.coco_file import objects, write
from tests.data.formats.sample_sets import DATUMARO, kinds, masks, write_image

FLAT = [3, 3, 13, 3, 13, 13, 3, 13]
POINTS = [[3, 3], [13, 3], [13, 13], [3, 13]]
BITS = np.zeros((100, 120), bool)
BITS[3:13, 3:13] = True


@pytest.mark.parametrize(
    "segmentation",
    [[FLAT], [[FLAT]], [[[FLAT]]], [POINTS], [[POINTS]], FLAT, POINTS, [mask_to_rle(BITS)], mask_to_rle(BITS)],
)
def test_one_meaning_however_it_is_nested(tmp_path: Path, segmentation: Any) -> None:
    data = mrcnn.load_dataset(write(tmp_path, objects(1, segmentation=segmentation)))
    assert masks(data, 0)[0].sum() == 100 and not data.issues


def test_several_parts_in_lists_of_their_own(tmp_path: Path) -> None:
    other = [v + 20 for v in FLAT]
    for segmentation in ([[FLAT], [other]], [FLAT, other], [[FLAT, other]]):
        data = mrcnn.load_dataset(write(tmp_path, objects(1, segmentation=segmentation, bbox=[3, 3, 30, 30])))
        assert masks(data, 0)[0].sum() == 200


@pytest.mark.parametrize("segmentation", [[], [[]], "", None])
def test_without_a_segmentation_the_box_is_the_mask(tmp_path: Path, segmentation: Any) -> None:
    data = mrcnn.load_dataset(write(tmp_path, objects(1, segmentation=segmentation)))
    assert data.annotations(0)[0].segmentation is None and masks(data, 0)[0].sum() == 100


def test_ids_as_texts(tmp_path: Path) -> None:
    content = objects(2)
    content["images"][0]["id"] = "7"
    content["annotations"][1]["category_id"] = "4"
    data = mrcnn.load_dataset(write(tmp_path, content))
    assert len(data.annotations(0)) == 2 and data.image_ids == ("7",) and data.category_ids == (4,)
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = content["annotations"][1]["image_id"] = "a1"
    content["categories"] = [{"id": "uuid-b", "name": "dog"}, {"id": 4, "name": "cat"}]
    content["annotations"][0]["category_id"] = "uuid-b"
    data = mrcnn.load_dataset(write(tmp_path, content))
    assert data.class_names == ("cat", "dog") and [a.class_id for a in data.annotations(0)] == [2, 1]


def test_the_supercategory_of_roboflow_is_no_class(tmp_path: Path) -> None:
    content = objects(1)
    content["categories"] = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 4, "name": "cat", "supercategory": "animals"},
    ]
    data = mrcnn.load_dataset(write(tmp_path, content))
    assert data.class_names == ("cat",) and kinds(data) == ["supercategory"]
    content["annotations"][0]["category_id"] = 0
    assert mrcnn.load_dataset(write(tmp_path, content)).class_names == ("animals", "cat")


def test_lvis_and_sizes_left_out(tmp_path: Path) -> None:
    content = objects(1)
    image = content["images"][0]
    write(tmp_path, content)
    (tmp_path / "val2017").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "val2017/a.png")
    del image["file_name"], image["height"], image["width"]
    image.update(
        coco_url="http://images.cocodataset.org/val2017/a.png", neg_category_ids=[1], not_exhaustive_category_ids=[]
    )
    path = tmp_path / "lvis.json"
    path.write_text("\ufeff" + json.dumps(content))
    data = mrcnn.load_dataset(path)
    assert data.image_shape(0) == (100, 120) and data.record(0).extra["neg_category_ids"] == [1]


def test_records_that_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    content = objects(6)
    bad = content["annotations"]
    bad[1]["category_id"], bad[2]["image_id"] = 99, 98
    bad[3]["segmentation"] = {"size": [5, 5], "counts": [25]}
    bad[4]["segmentation"] = {"size": [100, 120], "counts": "~~~"}
    bad[5]["segmentation"], bad[5]["bbox"] = [[3, 3, float("nan"), 3, 13, 13]], None
    content["images"].append({"id": 8, "file_name": "sub/gone.png", "height": 9, "width": 9})
    path = write(tmp_path, content)
    data = mrcnn.load_dataset(path)
    assert data.image_ids == (7,) and len(data.annotations(0)) == 1
    assert kinds(data) == ["RLE", "RLE", "degenerate polygon", "missing image", "unknown category", "unknown image"]
    assert not any(issue.fatal for issue in data.issues) and all(issue.path == str(path) for issue in data.issues)
    with pytest.raises(DataError, match="annotation 2: names category 99"):
        mrcnn.load_dataset(path, strict=True)
    with pytest.raises(DataError, match="names category 99"):
        mrcnn.load_coco(path)


def test_folders_of_files(tmp_path: Path) -> None:
    root = DATUMARO / "coco_dataset"
    assert mrcnn.dataset_splits(root / "coco") == ("train", "val")  # beside captions, stuff, panoptic, keypoints
    assert mrcnn.load_dataset(root / "coco").image_ids == (5, 40)
    assert mrcnn.load_dataset(root / "mmdet_coco", split="train").record(0).path.endswith("mmdet_coco/train/a.jpg")
    robo = mrcnn.load_splits(DATUMARO / "roboflow_dataset/coco")
    assert {name: len(part) for name, part in robo.items()} == {"train": 2, "val": 1}
    write(tmp_path, objects(1))
    assert len(mrcnn.load_dataset(tmp_path)) == 1
    write(tmp_path, objects(1), "copy.json")
    with pytest.raises(DataError, match=r"expected one COCO file for a split, found ann\.json, copy\.json"):
        mrcnn.load_dataset(tmp_path)


def test_names_in_other_case(tmp_path: Path) -> None:
    content = objects(1)
    path = write(tmp_path, content)
    (tmp_path / "a.png").rename(tmp_path / "A.PNG")
    assert mrcnn.load_dataset(path).record(0).path == str(tmp_path / "A.PNG")


def test_images_that_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    """One of no size and one whose id is taken; the rest of the file is read."""
    write_image(tmp_path / "a.png")
    image = {"id": 1, "file_name": "a.png", "height": 30, "width": 40}
    square = {"category_id": 1, "bbox": [2, 2, 9, 9], "segmentation": [[2, 2, 11, 2, 11, 11, 2, 11]]}
    content = {
        "images": [image, {**image, "id": 2, "height": 0}, {**image, "file_name": "b.png"}],
        "annotations": [{"id": k, "image_id": k, **square} for k in (1, 2)],
        "categories": [{"id": 1, "name": "square"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    data = mrcnn.load_dataset(tmp_path)
    assert data.image_ids == (1,) and len(data.annotations(0)) == 1
    assert sorted(issue.kind for issue in data.issues) == ["image id twice", "image size"]
    with pytest.raises(DataError, match=r"image 2 \(a\.png\): size 0 x 40"):
        mrcnn.load_dataset(tmp_path, strict=True)
