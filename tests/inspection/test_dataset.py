from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.structures.records import Annotation
from tests.data.formats.coco_file import objects, write


def test_counts_sizes_and_drawings(tmp_path: Path) -> None:
    data = objects(5, iscrowd=lambda i: int(i == 4))
    data["images"].append({"id": 8, "file_name": "b.png", "height": 50, "width": 60})
    data["categories"].append({"id": 9, "name": "dog"})
    report = mrcnn.inspect(mrcnn.load_coco(write(tmp_path, data)), out=tmp_path / "out")
    assert (report.num_images, report.num_empty, report.num_objects, report.num_crowd) == (2, 1, 4, 1)
    assert report.per_class == {"cat": 4, "dog": 0} and report.largest_count == 4
    assert report.image_sizes == {"120 x 100": 1, "60 x 50": 1}
    np.testing.assert_allclose(report.sides, 80)  # 10 pixels, resized from 100 to 800
    assert sorted(file.name for file in report.files) == ["boxes.png", "inspect.html", "report.json", "sample_7.png"]
    saved = json.loads((tmp_path / "out/report.json").read_text())
    assert saved == json.loads(json.dumps(report.to_dict()))
    text = str(report)
    assert "2 images (1 without objects), 4 objects and 1 crowd regions" in text and "no issues found" in text


def test_what_training_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    for data, sentence in (
        (objects(12, iscrowd=1), "nothing to train on: 12 crowd regions, no object"),
        (objects(0), "nothing to train on: no object in 1 images"),
        (
            objects(3, segmentation=[[0.1, 0.1, 0.2, 0.1, 0.2, 0.3]]),
            "nothing to train on: 3 objects, none of whose masks",
        ),
    ):
        dataset = mrcnn.load_coco(write(tmp_path, data), validate=False)
        report = mrcnn.inspect(dataset)
        assert f"training refuses: {sentence}" in str(report)
        with pytest.raises(mrcnn.DataError) as error:
            dataset.check_trainable()
        assert report.nothing_to_train_on in str(error.value)
    assert mrcnn.inspect(mrcnn.load_coco(write(tmp_path, objects(2)))).nothing_to_train_on is None


def test_faults_of_all_objects_are_explained(tmp_path: Path) -> None:
    unit = objects(12, segmentation=[[0.1, 0.1, 0.2, 0.1, 0.2, 0.3]])
    text = str(mrcnn.inspect(mrcnn.load_coco(write(tmp_path, unit), validate=False)))
    assert "1 x mask without a pixel (corrected, left out or for notice)" in text
    assert "all 12 objects: mask without a pixel; their coordinates lie within 0 and 1" in text
    dropped = objects(12, bbox=[500, 500, 5, 5])
    text = str(mrcnn.inspect(mrcnn.load_coco(write(tmp_path, dropped), validate=False)))
    assert "1 x box outside (training refuses)" in text and "all 12 objects are left out for one fault" in text


def test_ids_that_fit_no_file_name_and_ids_beyond_64_bits(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.add_class("mine", 1, "thing")
    ids = ["a/b", "a_b", "A_B", "x" * 300, "\x1b[2J\n", "..", 2**70]
    for number, image_id in enumerate(ids):
        Image.new("RGB", (12, 10)).save(tmp_path / f"{number}.png")
        box = Annotation(1, (1, 1, 5, 6))
        dataset.add_image("mine", image_id, tmp_path / f"{number}.png", height=10, width=12, annotations=[box])
    report = mrcnn.inspect(dataset, out=tmp_path / "out")
    drawn = [file for file in report.files if file.name.startswith("sample_")]
    assert len({file.name.casefold() for file in drawn}) == len(ids)
    assert all(file.parent == tmp_path / "out" and len(file.name) < 130 for file in drawn)
    assert dataset.batch_ids == tuple(range(7))


def test_classes_of_one_name_are_counted_apart(tmp_path: Path) -> None:
    data = objects(5, category_id=lambda i: 4 if i < 2 else 18)
    data["categories"].append({"id": 18, "name": "cat"})
    dataset = mrcnn.load_coco(write(tmp_path, data))
    assert [issue.message for issue in dataset.issues] == ["categories 4, 18 are all named 'cat'; kept as 2 classes"]
    assert mrcnn.inspect(dataset).per_class == {"cat (4)": 2, "cat (18)": 3}


def test_names_cannot_drive_a_terminal(tmp_path: Path) -> None:
    data = objects(2)
    data["categories"][0]["name"] = "cat\n\x1b[2J" + "x" * 500
    dataset = mrcnn.load_coco(write(tmp_path, data))
    assert dataset.class_names == (r"cat\n\x1b[2J" + "x" * 500,)
    assert [issue.kind for issue in dataset.issues] == ["class name"]
    text = str(mrcnn.inspect(dataset))
    assert "\x1b" not in text and max(map(len, text.splitlines())) < 130


def test_an_orientation_that_the_record_overrules_is_listed(tmp_path: Path) -> None:
    Image.new("RGB", (120, 100)).save(tmp_path / "a.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    data = objects(2)
    data["images"][0]["file_name"] = "a.tif"
    report = mrcnn.inspect(mrcnn.load_coco(write(tmp_path, data)))
    assert [issue.kind for issue in report.issues] == ["orientation"]
    assert report.num_objects == 2
