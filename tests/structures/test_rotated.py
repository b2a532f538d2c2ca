from __future__ import annotations

import numpy as np
import pytest

from mrcnn.structures.rotated import minimum_area_boxes, minimum_area_rectangle


def test_hand_numbers() -> None:
    masks = np.zeros((4, 10, 12), bool)
    masks[0, 1:3, 2:8] = True
    masks[1, 2:8, 5:7] = True
    masks[2, 4, 4] = masks[2, 5, 5] = True  # a hexagon, whose rectangle stands on the diagonal
    expected = [
        [2.0, 5.0, 2.0, 6.0, 0.0],
        [5.0, 6.0, 2.0, 6.0, 90.0],
        [5.0, 5.0, 2**0.5, 2 * 2**0.5, -45.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(minimum_area_boxes(masks), expected, atol=1e-5)
    assert minimum_area_boxes(masks[:0]).shape == (0, 5)
    assert minimum_area_rectangle(masks[3]) is None and minimum_area_rectangle(np.zeros((0, 0), bool)) is None


@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, -30, -80])
def test_a_bar_is_found_where_it_lies(angle: float) -> None:
    y, x = np.mgrid[:120, :100] + 0.5
    turn = np.radians(angle)
    along = (x - 48) * np.cos(turn) - (y - 57) * np.sin(turn)
    across = (x - 48) * np.sin(turn) + (y - 57) * np.cos(turn)
    box = minimum_area_boxes(((abs(along) <= 35) & (abs(across) <= 6))[None])[0]
    np.testing.assert_allclose(box[:4], [57, 48, 12, 70], atol=1.6)
    assert (box[4] - angle + 90) % 180 - 90 == pytest.approx(0, abs=1.5)


def test_every_pixel_lies_inside_and_no_turned_rectangle_is_smaller(rng: np.random.Generator) -> None:
    for _ in range(6):
        mask = np.zeros((20, 24), bool)
        for _ in range(3):
            y, x = rng.integers(0, 14), rng.integers(0, 18)
            mask[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
        center_y, center_x, height, width, angle = minimum_area_boxes(mask[None])[0].astype(np.float64)
        rows, columns = np.nonzero(mask)
        corners = np.array(
            [(y + dy, x + dx) for y, x in zip(rows, columns, strict=True) for dy in (0, 1) for dx in (0, 1)]
        )

        def extent(degrees: float, corners: np.ndarray = corners) -> np.ndarray:
            sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
            return corners @ np.array([[cosine, -sine], [sine, cosine]])  # along the sides h and w

        turned = extent(angle) - extent(angle, np.array([[center_y, center_x]]))
        assert (abs(turned) <= np.array([height, width]) / 2 + 1e-4).all()
        least = min(np.ptp(extent(a), axis=0).prod() for a in np.arange(0, 90, 0.1))
        assert height * width <= least + 1e-3
