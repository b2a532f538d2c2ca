"""Some objects of a sample, every field together."""

from __future__ import annotations

import numpy as np

from mrcnn.data.transforms.sample import select
from tests.data.transforms.painted import check_agrees_with_pixels, make_sample


def test_objects_are_taken_in_the_order_asked_for() -> None:
    sample = make_sample()
    chosen = select(sample, np.array([2, 0]))
    assert chosen["class_ids"].tolist() == [3, 1] and chosen["is_crowd"].tolist() == [True, False]
    check_agrees_with_pixels(chosen)
    assert sample["class_ids"].tolist() == [1, 2, 3] and chosen["image"] is sample["image"]


def test_none_of_them_and_fields_that_are_absent() -> None:
    sample = {key: value for key, value in make_sample().items() if key != "keypoints"}
    none = select(sample, np.zeros(0, np.int64))
    assert none["boxes"].shape == (0, 4) and none["masks"] == [] and "keypoints" not in none
