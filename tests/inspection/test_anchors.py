from __future__ import annotations

import numpy as np
import pytest

from mrcnn.inspection.anchors import best_anchor_iou, best_rotated_anchor_iou


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


def test_rotated_anchors_fit_by_hand() -> None:
    """A bar of 4 x 64 across one of its own size is a 4 x 4 cross: 16 of 496. Turned by 45 degrees, 4 x 4√2 of it."""
    bar = np.array([[4.0, 64.0, 30.0]])
    for angle, common in ((30.0, 256.0), (210.0, 256.0), (120.0, 16.0), (75.0, 16 * 2**0.5)):
        expected = common / (512 - common)
        assert best_rotated_anchor_iou(bar, np.array([[4.0, 64.0, angle]]))[0] == pytest.approx(expected, rel=1e-3)
    both = np.array([[4.0, 64.0, 120.0], [4.0, 64.0, 30.0]])
    assert best_rotated_anchor_iou(np.repeat(bar, 5000, 0), both).round(5).tolist() == [1.0] * 5000
    assert best_rotated_anchor_iou(np.zeros((0, 3)), both).shape == (0,)
