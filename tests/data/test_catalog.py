from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError


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
