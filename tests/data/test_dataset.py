from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.structures.records import Annotation
from tests.data.squares import Squares


def test_subclass_with_masks() -> None:
    dataset = Squares()
    dataset.prepare()
    assert dataset.class_names == ("square", "bar")
    assert dataset.num_classes == 2
    square, bar = dataset.annotations(1)
    assert (square.class_id, square.box, square.area) == (1, (1, 2, 6, 7), 25)
    assert (bar.class_id, bar.box) == (2, (10, 0, 11, 30))
    dataset.annotations(1)
    assert dataset.calls == 1
    record = dataset.record(1)
    assert (record.height, record.width, len(record.annotations)) == (20, 30, 2)
    ground_truth = dataset.instances(1)
    np.testing.assert_array_equal(ground_truth.masks, np.moveaxis(dataset.load_mask(1)[0], -1, 0)[:2])
    assert dataset.validate() == []


def test_records_given_by_hand(tmp_path: Path) -> None:
    Image.new("L", (8, 6), 50).save(tmp_path / "a.png")
    dataset = Dataset()
    dataset.add_class("mine", 10, "thing")
    dataset.add_class("mine", 10, "thing")
    box = Annotation(1, (1, 1, 4, 5))
    dataset.add_image("mine", "a", tmp_path / "a.png", annotations=[box], note="x")
    assert dataset.num_classes == 1
    assert dataset.image_shape(0) == (6, 8)
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (6, 8, 1)
    assert masks.sum() == 12
    assert class_ids.tolist() == [1]
    assert dataset.image_info[0]["note"] == "x"
    with pytest.raises(DataError, match="'a' is given twice"):
        dataset.add_image("mine", "a", None)
    with pytest.raises(DataError, match=r"no class 'mine.3'; there are mine.10"):
        dataset.map_source_class_id("mine.3")


def test_subset_of_a_subclass_reads_through_it() -> None:
    parent = Squares(5)
    part = parent.subset([4, 1])
    assert (len(part), part.image_ids, part.class_names) == (2, (4, 1), ("square", "bar"))
    assert part.load_image(0)[0, 0, 0] == 40
    assert part.annotations(1) == parent.annotations(1)
    assert parent.calls == 1  # kept by the parent
    assert part.record(0).annotations == parent.annotations(4)
    assert part.instances(1) == parent.instances(1)
    assert part.image_shape(0) == (20, 30)
    np.testing.assert_array_equal(part.load_mask(0)[0], parent.load_mask(4)[0])
    assert part.validate() == []
    again = part.subset([1])
    assert again.image_ids == (1,) and again.load_image(0)[0, 0, 0] == 10


def test_subset_of_a_set_with_files(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.path, dataset.keypoint_names = "set.json", ("nose",)
    dataset.add_class("mine", 4, "thing")
    for i in range(3):
        Image.new("L", (8 + i, 6), 50 + i).save(tmp_path / f"{i}.jpg")
        box = Annotation(1, (1, 1, 4, 5), keypoints=np.ones((1, 3), np.float32))
        dataset.add_image("mine", i, tmp_path / f"{i}.jpg", annotations=[box], note=i)
    dataset.issues = [DatasetIssue("a", "m", image_id=0), DatasetIssue("b", "m", image_id=2), DatasetIssue("c", "m")]
    part = dataset.subset(lambda record: record.extra["note"] > 0)
    assert (part.path, part.category_ids, part.keypoint_names) == ("set.json", (4,), ("nose",))
    assert [issue.kind for issue in part.issues] == ["b", "c"]
    assert part._reads_files
    assert part.image_shape(1) == (6, 10)
    np.testing.assert_array_equal(part.load_image(0), dataset.load_image(1))
    assert part._get_image(1, (3, 5)).shape == dataset._get_image(2, (3, 5)).shape
    assert part.instances(0).keypoints.shape == (1, 1, 3)
    parts = [dataset.subset(range(0, 1)), dataset.subset(range(1, 3))]
    assert sum((p.image_ids for p in parts), ()) == dataset.image_ids


def test_ids_beyond_64_bits_are_trained_on_and_inspected_alike(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.add_class("mine", 1, "thing")
    for i in range(2):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{i}.png")
        box = Annotation(1, (5, 5, 20, 25))
        dataset.add_image("mine", 2**63 + i, tmp_path / f"{i}.png", height=30, width=40, annotations=[box])
    assert dataset.validate() == []
    batch = make_batch(dataset)
    assert sorted(batch["image_id"].numpy().tolist()) == [0, 1]


def make_batch(dataset: Dataset) -> dict:
    """The only batch of a data set, by the pipeline."""
    return next(iter(mrcnn.make_pipeline(dataset, mrcnn.Recipe(), batch_size=2, training=False)))
