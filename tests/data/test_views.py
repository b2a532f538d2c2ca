from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.views import with_classes
from mrcnn.structures.records import Annotation


def make(names: tuple[str, ...], classes: tuple[int, ...] = (1, 2), ids: tuple = (1, 2)) -> Dataset:
    """An image for each id, each with one object of each of `classes`."""
    dataset = Dataset()
    for number, name in enumerate(names, start=1):
        dataset.add_class("mine", number, name)
    for i in ids:
        objects = [Annotation(k, (1.0, 1.0, 4.0, 4.0), annotation_id=n) for n, k in enumerate(classes)]
        dataset.add_image("mine", i, f"{i}.png", height=8, width=9, annotations=objects)
    return dataset


class Drawn(Dataset):
    """Derives masks and images from the index."""

    def __init__(self) -> None:
        super().__init__()
        for number, name in enumerate(("cat", "dog"), start=1):
            self.add_class("drawn", number, name)
        for i in range(2):
            self.add_image("drawn", i, None, height=6, width=6)

    def load_image(self, index: int) -> np.ndarray:
        return np.full((6, 6, 3), index, np.uint8)

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        masks = np.zeros((6, 6, 2), bool)
        masks[1:3, 1:3, 0] = masks[3:5, 3:6, 1] = True
        return masks, np.array([1, 2])


def class_names(dataset: Dataset, index: int) -> list[str]:
    return [dataset.class_names[a.class_id - 1] for a in dataset.annotations(index)]


def test_classes_are_renamed_and_joined() -> None:
    data = make(("Car", "car ", "dog"), (1, 2, 3))
    renamed = data.rename_classes({"Car": "car", "car ": "car"})
    assert renamed.class_names == ("car", "dog") and class_names(renamed, 0) == ["car", "car", "dog"]
    assert data.rename_classes({"Car": "dog"}).class_names == ("dog", "car ")
    assert data.class_names == ("Car", "car ", "dog")
    with pytest.raises(DataError, match="rename_classes: no class 'cow'; there are 'Car', 'car ', 'dog'"):
        data.rename_classes({"cow": "x"})
    twice = make(("cat", "cat", "dog"), (1, 2, 3)).rename_classes({"dog": "hen"})
    assert twice.class_names == ("cat", "cat", "hen") and [a.class_id for a in twice.annotations(0)] == [1, 2, 3]


def test_classes_are_kept_in_the_order_given() -> None:
    kept = make(("cat", "dog", "hen"), (1, 2, 3)).keep_classes(["hen", "cat"])
    assert kept.class_names == ("hen", "cat") and [a.class_id for a in kept.annotations(0)] == [2, 1]
    assert kept.category_ids == (3, 1)


def test_views_of_a_set_that_derives_its_masks() -> None:
    data = Drawn()
    kept = data.keep_classes("dog")
    assert class_names(kept, 1) == ["dog"] and kept.annotations(0)[0].box == (3, 3, 5, 6)
    masks, ids = kept.load_mask(0)
    assert masks.shape == (6, 6, 1) and ids.tolist() == [1]
    assert kept.load_image(1)[0, 0, 0] == 1 and kept.instances(0).masks.sum() == 6
    merged = data.merge(make(("dog", "cow"), ids=(7,)))
    assert merged.class_names == ("cat", "dog", "cow") and class_names(merged, 2) == ["dog", "cow"]
    assert class_names(merged, 0) == ["cat", "dog"] and merged.subset([2, 0]).image_ids == (7, 0)


def test_sets_are_merged_by_class_names() -> None:
    merged = make(("cat", "dog")).merge(make(("dog", "cow")), make(("cat",), (1,), (9,)))
    assert merged.class_names == ("cat", "dog", "cow") and len(set(merged.category_ids)) == 3
    assert merged.image_ids == ("0/1", "0/2", "1/1", "1/2", "2/9")
    assert class_names(merged, 2) == ["dog", "cow"] and class_names(merged, 4) == ["cat"]
    assert make(("b", "c")).merge(make(("a", "c"), ids=(8,))).class_names == ("a", "b", "c")
    other = make(("cat",), (1,))
    other.channels = 1
    with pytest.raises(DataError, match="images of 3 and of 1 channels"):
        make(("cat",), (1,)).merge(other)


def test_classes_asked_for() -> None:
    data = make(("cat", "dog"))
    assert with_classes(data, ["hen", "dog", "cat"]).class_names == ("hen", "dog", "cat")
    assert [a.class_id for a in with_classes(data, ["hen", "dog", "cat"]).annotations(0)] == [3, 2]
    assert with_classes(data, ["hen", "cow", "pig"], by_name=False).class_names == ("hen", "cow", "pig")
    with pytest.raises(DataError, match="its class 'dog' is not among the classes asked for: 'cat'"):
        with_classes(data, ["cat"])
    with pytest.raises(DataError, match="'cat' is given twice"):
        with_classes(data, ["cat", "cat"])
    with pytest.raises(DataError, match="has 2 classes; classes= names 1"):
        with_classes(data, ["cat"], by_name=False)


def test_objects_are_filtered() -> None:
    data = make(("cat", "dog"))
    kept = data.filter(lambda record, a: a.class_id == record.image_id)
    assert [class_names(kept, i) for i in range(2)] == [["cat"], ["dog"]] and kept.class_names == ("cat", "dog")
    drawn = Drawn().filter(lambda record, a: a.box[3] > 4)
    assert class_names(drawn, 0) == ["dog"] and drawn.load_mask(0)[0].shape == (6, 6, 1)
