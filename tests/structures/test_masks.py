from __future__ import annotations

import numpy as np

from mrcnn.structures.masks import BoxMasks, WindowMasks


def test_masks_in_windows_are_laid_where_they_are() -> None:
    windows = ((1, 2, np.ones((2, 3), bool)), (0, 0, np.zeros((0, 0), bool)), (4, 5, np.eye(1, dtype=bool)))
    masks = WindowMasks(windows, 5, 6)
    assert masks.shape == (3, 5, 6) and len(masks) == 3
    expected = np.zeros((3, 5, 6), bool)
    expected[0, 1:3, 2:5] = True
    expected[2, 4, 5] = True
    np.testing.assert_array_equal(masks.paste(), expected)
    np.testing.assert_array_equal(masks[[2, 0]].paste(), expected[[2, 0]])
    np.testing.assert_array_equal(masks[np.array([True, False, True])].paste(), expected[[0, 2]])
    assert [window[:2] for window in masks[1:].windows()] == [(0, 0), (4, 5)]


def test_windows_of_masks_in_boxes_are_what_is_pasted(rng: np.random.Generator) -> None:
    boxes = np.array([[2, 3, 12, 20], [-5, -5, 4, 9], [30, 30, 40, 50], [5, 5, 5, 9]], np.float32)
    for convention in ("exact", "padded_integer", "integer_resize"):
        masks = BoxMasks(rng.random((4, 7, 7)).astype(np.float32), boxes, 24, 32, convention=convention)
        pasted = masks.paste()
        for full, (top, left, window) in zip(pasted, masks.windows(), strict=True):
            laid = np.zeros((24, 32), bool)
            laid[top : top + window.shape[0], left : left + window.shape[1]] = window
            np.testing.assert_array_equal(laid, full)
