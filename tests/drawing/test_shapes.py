from __future__ import annotations

import numpy as np
import pytest

from mrcnn.drawing.shapes import corners, draw_box, draw_keypoints, draw_mask

RED = np.array([255, 0, 0], np.uint8)


def canvas() -> np.ndarray:
    return np.zeros((40, 60, 3), np.uint8)


def test_a_window_is_drawn_where_its_mask_is() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    for scale in (1.0, 0.5):
        drawings = []
        for window in ((0, 0, mask), (10, 30, mask[10:20, 30:50]), (8, 25, mask[8:35, 25:])):
            drawings.append(canvas())
            draw_mask(drawings[-1], window, RED, scale, 1, 0.5)
        np.testing.assert_array_equal(drawings[0], drawings[1])
        np.testing.assert_array_equal(drawings[0], drawings[2])
        assert drawings[0][int(15 * scale), int(40 * scale)].tolist() == [127, 0, 0]
    nothing = canvas()
    draw_mask(nothing, (0, 0, np.zeros((0, 0), bool)), RED, 1.0, 1, 0.5)
    draw_mask(nothing, (5, 5, np.zeros((3, 3), bool)), RED, 1.0, 1, 0.5)
    assert not nothing.any()


def test_a_box_covers_its_first_and_last_pixel() -> None:
    drawing = canvas()
    draw_box(drawing, np.array([2, 3, 12, 23]), RED, 1)
    rows, columns = np.nonzero(drawing[..., 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 11, 3, 22)


@pytest.mark.parametrize("far", [1e9, -1e9, 1e300, np.inf, np.nan])
def test_coordinates_of_any_size(far: float) -> None:
    drawing = canvas()
    draw_box(drawing, np.array([5, 5, 20, far]), RED, 1)
    draw_box(drawing, np.array([far, 5, 20, 30]), RED, 1)
    points = np.ones((17, 3))
    points[:, 0] = far
    draw_keypoints(drawing, points, RED, 1.0, 1)
    assert all(-1e6 < v < 1e6 for v in corners(np.nan_to_num(np.array([far, 1, 2, far]))))
