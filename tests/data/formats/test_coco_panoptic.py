"""COCO panoptic: segments by hand, and what is wrong with single records and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco_panoptic import CocoPanoptic
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import assert_issue, kinds, masks, write_image

CAT, SKY = {"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}
SEGMENTS = [{"id": 70000, "category_id": 1, "iscrowd": 1}, {"id": 5, "category_id": 2}, {"id": 6, "category_id": 1}]


def write(folder: Path, segments: Any = SEGMENTS, **more: Any) -> Path:
    """pan.json of image 3, a.jpg of 30 x 40; in pan/a.png segment 70000 has 36 pixels, 5 has 200, 6 has 4."""
    write_image(folder / "images/a.jpg")
    ids = np.zeros((30, 40), np.int64)
    ids[2:8, 2:8], ids[10:20, 10:30], ids[28:, 38:] = 70000, 5, 6
    (folder / "pan").mkdir()
    color = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
    Image.fromarray(color).save(folder / "pan/a.png")
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [CAT, SKY],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": segments}],
        **more,
    }
    (folder / "pan.json").write_text(json.dumps(content))
    return folder / "pan.json"


def test_things_are_objects_and_stuff_is_not(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = mrcnn.load_dataset(path)
    assert isinstance(recognize(tmp_path), CocoPanoptic) and data.class_names == ("cat",) and not data.issues
    crowd, single = data.annotations(0)
    assert crowd.is_crowd and crowd.annotation_id == 70000 and crowd.box == (2, 2, 8, 8)
    assert not single.is_crowd and single.box == (28, 38, 30, 40)
    assert [mask.sum() for mask in masks(data, 0)] == [36, 4] and masks(data, 0)[0][2:8, 2:8].all()
    (tmp_path / "pan").rename(tmp_path / "elsewhere")
    moved = mrcnn.load_dataset(path, masks=tmp_path / "elsewhere")
    assert moved.annotations(0)[0].box == (2, 2, 8, 8)


@pytest.mark.parametrize(
    ("segment", "kind", "reason", "record"),
    [
        ({"id": 8, "category_id": 1}, "mask without a pixel", r"segment 8 has no pixel in .*a\.png", 8),
        ({"id": 5, "category_id": 9}, "unknown class", "category_id 9 is not among the categories", 5),
        ({"id": 5}, "unknown class", "category_id None is not among the categories", 5),
        (["x"], "damaged label", r"segment \['x'\], expected an object", None),
    ],
)
def test_bad_segments_are_named(tmp_path: Path, segment: Any, kind: str, reason: str, record: int | None) -> None:
    path = write(tmp_path, [*SEGMENTS, segment])
    data = mrcnn.load_dataset(path)
    assert len(data.annotations(0)) == 2 and kinds(data) == [kind]
    assert_issue(data, kind, reason, path="pan.json", image_id=3, record=record)
    with pytest.raises(DataError, match=r"pan\.json, image 3, annotation \d+: "):
        mrcnn.load_dataset(path, strict=True)


def other(number: int) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.jpg", "height": 30, "width": 40}


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"file_name": "gone.png", "segments_info": []}, "no such image: 'gone.png'"),
        ({"file_name": "cut.png", "segments_info": []}, r"cut\.png: "),
        ({"file_name": "small.png", "segments_info": []}, r"small\.png: 20 x 40, its image is 30 x 40"),
        ({"file_name": "a.png", "segments_info": None}, "segments_info is None"),
        ({"segments_info": []}, "no such image"),
    ],
)
def test_an_image_whose_map_is_of_no_use_is_left_out(tmp_path: Path, annotation: dict[str, Any], reason: str) -> None:
    good = {"image_id": 3, "file_name": "a.png", "segments_info": SEGMENTS}
    images = [{"id": 3, "file_name": "a.jpg"}, other(4)]
    path = write(tmp_path, images=images, annotations=[good, {"image_id": 4, **annotation}])
    write_image(tmp_path / "images/4.jpg")
    (tmp_path / "pan/cut.png").write_bytes((tmp_path / "pan/a.png").read_bytes()[:50])
    Image.new("RGB", (40, 20)).save(tmp_path / "pan/small.png")
    data = mrcnn.load_dataset(path)
    assert data.image_ids == (3,) and kinds(data) == ["damaged label"]
    assert_issue(data, "damaged label", f"{reason}.*; its image is left out", path="pan.json", image_id=4)


def test_bad_records_are_named(tmp_path: Path) -> None:
    good = {"image_id": 3, "file_name": "a.png", "segments_info": SEGMENTS}
    path = write(
        tmp_path,
        images=[{"id": 3, "file_name": "a.jpg"}, other(4), other(5), 6],
        annotations=[good, good, {"image_id": 77, "segments_info": []}, None],
        categories=[CAT, SKY, {"id": 4}, {"name": "dog"}, "bird"],
    )
    write_image(tmp_path / "images/4.jpg")
    data = mrcnn.load_dataset(path)
    assert data.image_ids == (3, 4) and data.class_names == ("cat",) and len(data.annotations(0)) == 2
    assert_issue(data, "missing image", r"no such image: .*5\.jpg", path="pan.json", image_id=5)
    assert_issue(data, "image without label", "no annotation; kept without objects", image_id=4)
    assert_issue(data, "image id twice", "two annotations of image 3; the first is kept", image_id=3)
    assert_issue(data, "label without image", "annotation of image 77, which is not among the images", image_id=77)
    for key, entry in {"images": "6", "annotations": "None", "categories": "'bird'"}.items():
        assert_issue(data, "damaged label", rf"{key}\[\d\] is {entry}, expected an object", path="pan.json")
    assert_issue(data, "unknown class", r"category {'id': 4}, expected an id and a name")
    assert_issue(data, "unknown class", r"category {'name': 'dog'}, expected an id and a name")
    assert len(data.issues) == 9


@pytest.mark.parametrize(
    ("text", "reason"), [('{"images": [', "not valid JSON"), ('{"images": 7}', "expected the lists")]
)
def test_a_file_that_is_no_such_json_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path)
    path.write_text(text)
    with pytest.raises(DataError, match=rf"pan\.json: {reason}"):
        mrcnn.load_dataset(path, format="coco_panoptic")


def test_stuff_is_a_map(tmp_path: Path) -> None:
    data = mrcnn.load_dataset(write(tmp_path))
    assert (data.stuff_names, data.stuff_category_ids, data.category_ids) == (("sky",), (2,), (1,))
    values = data.load_semantic(0)
    assert (values[10:20, 10:30] == 1).all() and (values[2:8, 2:8] == 0).all() and values[0, 0] == 255
    assert np.unique(values, return_counts=True)[1].tolist() == [40, 200, 960]
    assert [(s.class_id, s.is_thing) for s in data.panoptic(0).segments] == [(1, True), (1, True), (1, False)]
