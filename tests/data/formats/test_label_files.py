"""Formats of one label file an image, by what other programs wrote and by faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

import mrcnn
from mrcnn.data.formats.ade20k import Ade20k
from mrcnn.data.formats.coco_panoptic import CocoPanoptic
from mrcnn.data.formats.labelme_xml import LabelMeXml
from mrcnn.data.formats.open_images import OpenImages
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.segment_anything import SegmentAnything
from tests.data.formats.sample_sets import DATUMARO, kinds, masks, write_image


def test_segment_anything(tmp_path: Path) -> None:
    path = DATUMARO / "segment_anything_dataset"
    data = mrcnn.load_dataset(path)
    assert isinstance(recognize(path), SegmentAnything) and data.image_ids == ("a", "b")
    assert data.annotations(0)[0].box == (1, 3, 5, 4) and kinds(data) == ["RLE"]  # of an image of another size
    write_image(tmp_path / "x.png")
    content = {"image": {"file_name": "x.png", "height": 30, "width": 40}, "annotations": [7, {"segmentation": None}]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    (tmp_path / "y.json").write_text('{"image": 1, "annotations": [], "file_name": 1}')
    data = mrcnn.load_dataset(tmp_path, validate=False)
    assert len(data) == 1 and "damaged label" in kinds(data)


def test_ade20k() -> None:
    path = DATUMARO / "ade20k2020_dataset/dataset"
    sets = mrcnn.load_splits(path)
    assert isinstance(recognize(path), Ade20k) and list(sets) == ["train", "val"]
    assert sets["train"].image_ids == ("street/1",) and len(sets["train"].annotations(0)) == 2  # its door is a part
    assert sets["train"].class_names[0].startswith("car, auto")


def test_labelme_xml(tmp_path: Path) -> None:
    path = DATUMARO / "labelme_dataset"
    data = mrcnn.load_dataset(path)
    assert isinstance(recognize(path), LabelMeXml) and data.image_ids == ("subset1/img1",)
    by_name = {data.class_names[a.class_id - 1]: a.box for a in data.annotations(0)}
    assert by_name["window"] == (34, 43, 37, 45) and len(by_name) == 7 and not data.issues
    write_image(tmp_path / "x.png")
    polygon = "<polygon>{}</polygon>".format(
        "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 1), (9, 1), (9, 9)))
    )
    objects = (
        f"<object><name>cat</name><deleted>0</deleted><id>0</id><parts><hasparts>1</hasparts></parts>{polygon}</object>"
        f"<object><name>cat</name><id>1</id>{polygon}</object><object><name>cat</name><deleted>1</deleted>{polygon}</object>"
        "<object><name>cat</name><id>3</id><polygon><pt><x>a</x><y>1</y></pt></polygon></object>"
    )
    (tmp_path / "x.xml").write_text(f"<annotation><filename>x.png</filename>{objects}</annotation>")
    data = mrcnn.load_dataset(tmp_path)
    assert [len(a.segmentation) for a in data.annotations(0)] == [2] and kinds(data) == ["shape"]


def test_open_images() -> None:
    path = DATUMARO / "open_images_dataset/v6"
    data = mrcnn.load_dataset(path, split="train")
    assert isinstance(recognize(path), OpenImages) and data.class_names == ("Generic label #0",)
    assert data.image_ids == ("b", "a") and kinds(data) == ["image without label"]
    assert masks(data, 0)[0].any()


def test_coco_panoptic(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg")
    ids = np.zeros((30, 40), np.int64)
    ids[2:8, 2:8], ids[10:20, 10:30] = 70000, 5
    color = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
    (tmp_path / "pan").mkdir()
    Image.fromarray(color).save(tmp_path / "pan/a.png")
    segments = [
        {"id": 70000, "category_id": 1, "iscrowd": 1},
        {"id": 5, "category_id": 2},
        {"id": 8, "category_id": 1},
    ]
    content = {
        "images": [{"id": 3, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": segments}],
    }
    (tmp_path / "pan.json").write_text(json.dumps(content))
    data = mrcnn.load_dataset(tmp_path / "pan.json")
    assert isinstance(recognize(tmp_path), CocoPanoptic) and data.class_names == ("cat",)
    assert data.annotations(0)[0].is_crowd and masks(data, 0)[0].sum() == 36 and kinds(data) == ["mask without a pixel"]
