from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from tests.data.squares import Squares


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
