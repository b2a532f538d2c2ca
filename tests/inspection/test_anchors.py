from __future__ import annotations

import numpy as np

from mrcnn.inspection.anchors import best_anchor_iou


def test_anchor_fit_by_hand() -> None:
    """A 32 x 32 box against anchors of 32 and 64: exact; a 16 x 16 one: a quarter of the area, IoU 0.25."""
    overlap = best_anchor_iou(np.array([[32.0, 32.0], [16.0, 16.0], [32.0, 64.0]]), ((32.0,), (64.0,)), (1.0,))
    np.testing.assert_allclose(overlap, [1.0, 0.25, 0.5], rtol=1e-6)


def test_ratios_are_height_to_width() -> None:
    tall, wide = np.array([[64.0, 16.0]]), np.array([[16.0, 64.0]])
    assert best_anchor_iou(tall, ((32.0,),), (4.0,)).tolist() == [1.0]
    assert best_anchor_iou(wide, ((32.0,),), (4.0,))[0] < 0.2
    assert best_anchor_iou(wide, ((32.0,),), (0.25, 4.0)).tolist() == [1.0]
    assert best_anchor_iou(np.zeros((0, 2)), ((32.0,),), (1.0,)).shape == (0,)
