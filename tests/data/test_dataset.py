from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.images import ReadOptions
from mrcnn.structures.records import Annotation


class Squares(Dataset):
    """Images made up on the spot, as a matterport user would write it."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.add_class("shapes", 1, "square")
        self.add_class("shapes", 2, "bar")
        for i in range(count):
            self.add_image("shapes", image_id=i, path=None, offset=i)
        self.calls = 0

    def load_image(self, index: int) -> np.ndarray:
        return np.full((20, 30, 3), 10 * index, np.uint8)

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        offset = self.image_info[index]["offset"]
        masks = np.zeros((20, 30, 3), bool)
        masks[offset : offset + 5, 2:7, 0] = True
        masks[10, :, 1] = True
        return masks, np.array([1, 2, 1])  # the third has no pixel


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


@pytest.mark.parametrize(
    "masks, class_ids, reason",
    [
        (np.ones((20, 31, 1), bool), [1], r"\(20, 31, 1\), expected \(20, 30, n\)"),
        (np.ones((20, 30, 2), bool), [1], "2 masks and 1 class ids"),
        (np.ones((20, 30, 1), bool), [0], "expected 1..2"),
        (np.ones((20, 30, 1), bool), [3], "expected 1..2"),
    ],
)
def test_a_load_mask_that_does_not_fit_is_refused(masks, class_ids, reason: str) -> None:
    class Wrong(Squares):
        def load_mask(self, index: int):
            return masks, np.array(class_ids)

    with pytest.raises(DataError, match=f"image 0: load_mask gave .*{reason}"):
        Wrong().annotations(0)


def test_a_load_mask_without_objects() -> None:
    class Nothing(Squares):
        def load_mask(self, index: int):
            return np.zeros((20, 30, 0), bool), np.zeros(0, np.int32)

    assert Nothing().annotations(0) == ()
    assert len(Nothing().instances(0)) == 0


def test_a_load_image_of_another_kind_is_refused() -> None:
    class Float(Squares):
        def load_image(self, index: int):
            return np.zeros((20, 30, 3), np.float32)

    with pytest.raises(DataError, match=r"image 0: load_image gave float32\[20, 30, 3\]"):
        Float().image_shape(0)


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


def test_names_and_ids_that_nothing_could_keep() -> None:
    dataset = Dataset()
    for name in ("two\nlines", "\x1b[2Jclear", "right\u202eleft", "\ud800"):
        with pytest.raises(DataError, match="holds control characters; expected one line of text") as error:
            dataset.add_class("mine", 1, name)
        assert "\n" not in str(error.value) and "\x1b" not in str(error.value)
    assert dataset.num_classes == 0


def test_extras_of_any_name_are_kept() -> None:
    dataset = Dataset()
    extra = {"source": "camera", "annotations": [1], "image_id": 5, "width": 9, "path": "x", "extra": 1, "self": 2}
    dataset.add_image("mine", 7, "a.png", width=30, height=20, extra=extra, note="n")
    record = dataset.record(0)
    assert (record.image_id, record.source, record.path, record.width) == (7, "mine", "a.png", 30)
    assert record.extra == {**extra, "note": "n"}
    info = dataset.image_info[0]
    assert (info["id"], info["source"], info["path"], info["width"], info["image_id"]) == (7, "mine", "a.png", 30, 5)


@pytest.mark.parametrize(
    "ids, expected",
    [
        ([5, 9], (5, 9)),
        ([-(2**63), 2**63 - 1], (-(2**63), 2**63 - 1)),
        ([2**63, 5], (0, 1)),
        ([10**30, -(2**63) - 1], (0, 1)),
        (["a", 5], (0, 1)),
        ([np.int64(4)], (4,)),
    ],
)
def test_ids_in_batches_fit_into_64_bits(ids, expected) -> None:
    dataset = Dataset()
    for i in ids:
        dataset.add_image("mine", i, None)
    assert dataset.batch_ids == expected


def test_how_images_are_read_is_a_field(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 4095, np.uint16)).save(tmp_path / "a.png")
    pages = [Image.new("L", (4 + i, 3), 90 + i) for i in range(2)]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    dataset = Dataset()
    dataset.add_image("mine", 0, tmp_path / "a.png")
    assert dataset.load_image(0).max() == 16
    dataset.read_options = ReadOptions(in_range=12)
    assert dataset.load_image(0).min() == 255
    assert dataset.subset([0]).load_image(0).min() == 255
    second = Dataset()
    second.read_options = ReadOptions(page=2)
    second.add_image("mine", 0, tmp_path / "b.tif")
    assert second.image_shape(0) == (3, 5) == second.load_image(0).shape[:2]


EMPTY_POLYGON = [np.array([[5.1, 5.1], [5.2, 5.1], [5.2, 5.2]])]


@pytest.mark.parametrize(
    "annotations, reason",
    [
        ([], "nothing to train on: no object in 2 images"),
        (
            [Annotation(1, (0, 0, 5, 5), is_crowd=True)] * 6,
            "nothing to train on: 12 crowd regions, no object; .*iscrowd",
        ),
        (
            [Annotation(1, (0, 0, 5, 5), EMPTY_POLYGON)],
            "nothing to train on: 2 objects, none of whose masks has a pixel",
        ),
        ([Annotation(1, (0, 0, 5, 5), EMPTY_POLYGON), Annotation(1, (0, 0, 5, 5))], None),
        ([Annotation(1, (0, 0, 5, 5), is_crowd=True), Annotation(1, (0, 0, 5, 5))], None),
    ],
)
def test_a_set_without_anything_to_learn_is_refused(annotations, reason) -> None:
    dataset = Dataset()
    dataset.path = "set.json"
    dataset.add_class("mine", 1, "thing")
    for i in range(2):
        dataset.add_image("mine", i, None, height=8, width=9, annotations=annotations)
    if reason is None:
        dataset.check_trainable()
        assert dataset.nothing_to_train_on() is None
        return
    with pytest.raises(DataError, match=f"set.json: {reason}"):
        dataset.check_trainable()


def test_derived_masks_are_looked_at_until_there_is_an_object() -> None:
    dataset = Squares()
    dataset.check_trainable()
    assert dataset.calls == 1
    with pytest.raises(DataError, match="data set: nothing to train on: no object in 0 images"):
        Dataset().check_trainable()


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


def test_ways_to_select() -> None:
    parent = Squares(5)
    for select, ids in (
        (slice(None, None, 2), (0, 2, 4)),
        (range(1, 3), (1, 2)),
        (np.array([True, False, False, True, False]), (0, 3)),
        (np.array([3, 1]), (3, 1)),
        ([], ()),
        (lambda record: record.image_id % 2, (1, 3)),
        (lambda record: len(record.annotations) == 2, (0, 1, 2, 3, 4)),
    ):
        assert parent.subset(select).image_ids == ids
    for select, reason in (
        ([5], "no image 5; there are 5"),
        ([-1], "no image -1"),
        ([1, 1], "given twice"),
        ([0.5], "expected numbers of images, got float64"),
        (["a"], "expected numbers of images"),
        ([True], r"expected 5 booleans, got an array of shape \(1,\)"),
    ):
        with pytest.raises(DataError, match=f"subset: .*{reason}"):
            parent.subset(select)


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
