"""COCO panoptic, written and read again: data sets and results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.formats.coco_panoptic_writer import free_stuff_ids, save_panoptic
from mrcnn.errors import InputError
from mrcnn.evaluation.panoptic import evaluate_panoptic_files
from mrcnn.structures.panoptic import PanopticSegments, Segment
from mrcnn.weights.coco_classes import STUFF
from tests.data.test_semantic import Striped

SAMPLE = Path(__file__).parents[4] / "shared/data/formats/coco_panoptic_sample"


class Black(Striped):
    def load_image(self, index: int) -> np.ndarray:
        return np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize("target", ["copy", "copy.json"])
def test_a_data_set_is_read_back(target: str, tmp_path: Path) -> None:
    data = Black()
    saved = data.save(tmp_path / target, "coco_panoptic")
    assert [loss.kind for loss in saved.losses] == ["overlap"]  # of the thing, by the crowd region
    if target.endswith(".json"):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "copy.json"]
        (tmp_path / "images").mkdir()
        Image.fromarray(data.load_image(0)).save(tmp_path / "images/7.png")
    again = mrcnn.load_dataset(tmp_path / target)
    assert not again.issues and again.image_ids == (7,) and again.class_names == data.class_names
    assert again.stuff_names == data.stuff_names and again.panoptic(0) == data.panoptic(0)
    np.testing.assert_array_equal(again.load_semantic(0)[:, [0, 5]], data.values[:, [0, 5]])


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of COCO panoptic is not part of the project")
def test_the_sample_survives(tmp_path: Path) -> None:
    options = {"masks": SAMPLE / "panoptic_examples"}
    data = mrcnn.load_dataset(SAMPLE / "panoptic_examples.json", SAMPLE / "input_images", **options)
    assert dict(zip(data.stuff_category_ids, data.stuff_names, strict=True)) == STUFF
    saved = data.save(tmp_path / "copy", "coco_panoptic", strict=True)
    again = mrcnn.load_dataset(saved.path)
    assert again.stuff_names == data.stuff_names and again.stuff_category_ids == data.stuff_category_ids
    for index in range(len(data)):
        assert again.panoptic(index) == data.panoptic(index)
    results = [(data.image_ids[i], data.panoptic(i)) for i in range(len(data))]
    ids = {"category_ids": data.category_ids, "stuff_category_ids": data.stuff_category_ids}
    file = save_panoptic(results, tmp_path / "results.json", **ids)
    numbers = evaluate_panoptic_files(SAMPLE / "panoptic_examples.json", file)
    assert numbers["SQ_things"] == numbers["PQ_stuff"] == 1.0


def test_results(tmp_path: Path) -> None:
    ids = np.zeros((3, 4), int)
    ids[0, 1:], ids[2] = 70000, 3
    segments = PanopticSegments(ids, (Segment(70000, 2, score=0.75), Segment(3, 1, is_thing=False)))
    ids = {"category_ids": [4, 9], "stuff_category_ids": [12]}
    file = save_panoptic([("a/b", segments), ("a b", segments)], tmp_path / "out/r.json", **ids)
    first, second = json.loads(file.read_text())["annotations"]
    assert first["file_name"] != second["file_name"]
    assert first["segments_info"] == [
        {"id": 70000, "category_id": 9, "iscrowd": 0, "area": 3, "bbox": [1, 0, 3, 1], "score": 0.75},
        {"id": 3, "category_id": 12, "iscrowd": 0, "area": 4, "bbox": [0, 2, 4, 1]},
    ]
    color = np.asarray(Image.open(tmp_path / "out/r" / first["file_name"])).astype(int)
    np.testing.assert_array_equal(color @ [1, 256, 65536], segments.ids)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    one = PanopticSegments(np.ones((2, 2), int), (Segment(1, 2),))
    big = PanopticSegments(np.full((2, 2), 2**24), (Segment(2**24, 1),))
    for results, path, ids, message in (
        ([], "r.txt", ([1], [2]), r"ends in \.json"),
        ([], "r.json", ([1], [1]), "expected distinct ids"),
        ([(1, one)], "r.json", ([1], [2]), "a segment of class 2, but category_ids has 1 entries"),
        ([(1, big)], "r.json", ([1], [2]), "an id of 24 bits"),
    ):
        with pytest.raises(InputError, match=message):
            save_panoptic(results, tmp_path / path, category_ids=ids[0], stuff_category_ids=ids[1])
    assert not (tmp_path / "r.json").exists()


def test_ids_of_stuff_are_free() -> None:
    assert free_stuff_ids([3, 1], ["a", "b"], [1, 7]) == (4, 5) and free_stuff_ids([], ["a"], ()) == (1,)
