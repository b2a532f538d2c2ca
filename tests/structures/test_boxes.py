from __future__ import annotations

import numpy as np

from mrcnn.structures.boxes import box_iou


def test_overlaps_by_hand_and_of_nothing():
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [20, 20, 30, 30], [3, 3, 3, 9]], np.float32)
    result = box_iou(boxes, boxes)
    np.testing.assert_allclose(result[0], [1, 50 / 150, 0, 0])
    assert result[3].tolist() == [0, 0, 0, 0]  # no area
    assert box_iou(boxes[:0], boxes).shape == (0, 4)
