from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation import box_iou, mask_iou
from mrcnn.structures.instances import Instances
from tests.evaluation.scene import instances


def test_boxes_by_hand() -> None:
    a = np.array([[0, 0, 2, 2], [0, 0, 4, 4], [3, 3, 3, 9]])
    b = np.array([[0, 0, 2, 4], [5, 5, 6, 6]])
    np.testing.assert_allclose(box_iou(a, b), [[0.5, 0], [0.5, 0], [0, 0]])
    assert box_iou(np.zeros((0, 4)), b).shape == (0, 2)
    assert box_iou(a, []).shape == (3, 0)


def test_masks_equal_their_pixels(rng: np.random.Generator) -> None:
    masks = rng.random((2, 5, 30, 40)) < 0.3
    masks[0, 4] = masks[1, 4] = False
    boxes = [[0, 0, 30, 40]] * 5
    a, b = (instances(boxes, masks=m, shape=(30, 40)) for m in masks)
    common = (masks[0][:, None] & masks[1][None]).sum(axis=(2, 3))
    union = (masks[0][:, None] | masks[1][None]).sum(axis=(2, 3))
    np.testing.assert_allclose(mask_iou(a, b), common / np.maximum(union, 1), atol=1e-12)
    assert mask_iou(a, Instances.empty((30, 40))).shape == (5, 0)


def test_what_has_no_masks_or_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="mask_iou: expected masks in images of one shape"):
        mask_iou(instances([[0, 0, 1, 1]]), instances([[0, 0, 1, 1]]))
    with pytest.raises(ValueError, match="mask_iou: expected masks in images of one shape"):
        mask_iou(Instances.empty((3, 4)), Instances.empty((4, 3)))
