from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from tests.data.squares import Squares


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
