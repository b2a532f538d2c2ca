from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.structures.records import Annotation
from tests.data.squares import Squares

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
