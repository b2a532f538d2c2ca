from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import ByteCache, DataError, Dataset
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


def test_validate_finds_every_kind(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    Image.new("L", (8, 6)).save(tmp_path / "a.png")
    dataset = Dataset()
    dataset.add_class("mine", 1, "thing")
    wrong = [
        Annotation(2, (1, 1, 4, 5), annotation_id="class"),
        Annotation(1, (1, 1, 1, 5), annotation_id="box"),
        Annotation(1, (1, 1, 4, 5), {"size": [1, 1], "counts": [1]}, annotation_id="rle"),
    ]
    dataset.add_image("mine", 0, tmp_path / "a.png", annotations=wrong)
    dataset.add_image("mine", 1, tmp_path / "bad.png")
    dataset.add_image("mine", 2, None)
    issues = dataset.validate()
    assert [(f.kind, f.image_id, f.annotation_id) for f in issues] == [
        ("class", 0, "class"),
        ("box", 0, "box"),
        ("RLE", 0, "rle"),
        ("image", 1, None),
        ("no image", 2, None),
    ]
    assert all(f.fatal for f in issues)


def test_cache_keeps_the_last_used_within_its_size() -> None:
    cache = ByteCache(100)
    for key in "abc":
        cache.put(key, key.upper(), 40)
    assert cache.get("a") is None
    assert cache.get("b") == "B"
    cache.put("d", "D", 40)
    assert cache.get("c") is None
    cache.put("big", 1, 101)
    assert cache.get("big") is None
    assert cache.num_bytes == 80
