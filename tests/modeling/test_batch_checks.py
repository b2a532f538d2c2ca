from __future__ import annotations

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling.batch_checks import expect_batch, expect_keys, refuse_images


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8, 3), np.uint8), "a.jpg", ["a.jpg"], ()])
def test_images_are_no_batch(images: object) -> None:
    for check in (expect_batch, refuse_images):
        with pytest.raises(InputError, match=r"call mrcnn\.detect"):
            check(images)


def test_other_objects_are_no_batch() -> None:
    refuse_images(3)
    with pytest.raises(InputError, match=r"takes batches, see structures\.batch_spec; got int"):
        expect_batch(3)
    expect_batch({})


def test_ground_truth_of_a_loss() -> None:
    expect_keys("head", {"loss": ("gt_x",), "other": ()}, {"gt_x": 0})
    with pytest.raises(InputError, match="head: its loss 'loss' needs gt_x, but the batch has none"):
        expect_keys("head", {"loss": ("gt_x",)}, {"gt_y": 0})
