from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.structures.records import Annotation


def make(number: int, classes=lambda i: (1 + i % 2,)) -> Dataset:
    dataset = Dataset()
    for k in (1, 2, 3):
        dataset.add_class("mine", k, f"class {k}")
    for i in range(number):
        objects = [Annotation(k, (0.0, 0.0, 4.0, 4.0)) for k in classes(i)]
        dataset.add_image("mine", i, None, height=8, width=8, annotations=objects, video=i // 5)
    return dataset


def test_parts_have_the_sizes_asked_for_and_share_no_image() -> None:
    for number in (1, 7, 10, 99):
        data = make(number)
        parts = data.split({"train": 0.7, "val": 0.2, "test": 0.1})
        sizes = [len(part) for part in parts.values()]
        assert sum(sizes) == number and max(abs(np.subtract(sizes, np.multiply(number, [0.7, 0.2, 0.1])))) < 1
        assert sorted(i for part in parts.values() for i in part.image_ids) == list(range(number))
    assert len(make(10).split({"train": 0.5})["train"]) == 5


def test_classes_are_spread_in_proportion() -> None:
    data = make(100, lambda i: (1, 3) if i < 10 else (1,) if i % 3 else (2,))
    for seed in range(3):
        parts = data.split({"train": 0.8, "val": 0.2}, seed=seed)
        assert parts["val"].stats().images_per_class[2] == 2
        assert abs(parts["val"].stats().images_per_class[1] - 0.2 * data.stats().images_per_class[1]) <= 1
    a, b = data.split({"a": 0.5}, seed=1)["a"], data.split({"a": 0.5}, seed=1)["a"]
    assert a.image_ids == b.image_ids != data.split({"a": 0.5}, seed=2)["a"].image_ids


def test_groups_stay_together() -> None:
    data = make(50)
    for groups in (lambda record: record.extra["video"], [i // 5 for i in range(50)]):
        parts = data.split({"train": 0.8, "val": 0.2}, groups=groups)
        videos = [{i // 5 for i in part.image_ids} for part in parts.values()]
        assert not videos[0] & videos[1] and [len(p) for p in parts.values()] == [40, 10]


@pytest.mark.parametrize("fractions", [{}, {"a": 0}, {"a": -0.1, "b": 1}, {"a": 0.8, "b": 0.3}, {"a": float("nan")}])
def test_fractions_that_make_no_sense(fractions: dict) -> None:
    with pytest.raises(DataError, match="split: "):
        make(10).split(fractions)
    with pytest.raises(DataError, match="3 groups for 10 images"):
        make(10).split({"a": 1}, groups=[1, 2, 3])
