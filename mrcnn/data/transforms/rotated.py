"""The rectangle of least area around each mask of a sample, whatever its direction."""

from __future__ import annotations

import math

import numpy as np

from mrcnn.data.transforms.sample import Sample
from mrcnn.structures.rotated import mask_hull, rectangle_around


def rotated_boxes(sample: Sample) -> np.ndarray:
    """The rotated box of least area around what each object's box shows of its mask.

    The hull of the mask's grid is found first and then stretched to pixels, so nothing is resampled, and an object that
    augmentation has resized, mirrored, turned or cut has the box of what is left of it.

    Args:
        sample: see `transforms.sample`.

    Returns:
        f32[n, 5], (cy, cx, h, w, angle), pixels of the image and degrees counter-clockwise, w the longer side, see
        `structures.rotated`; of a mask that is empty in its box, the box itself. Empty: f32[0, 5].

    Example:
        >>> grid = 255 * np.eye(4, dtype=np.uint8)
        >>> box = np.array([[0, 0, 8, 8]], np.float32)
        >>> rotated_boxes({"boxes": box, "windows": box, "masks": [grid]}).astype(float).round(3).tolist()
        [[4.0, 4.0, 2.828, 11.314, -45.0]]
    """
    result = np.zeros((len(sample["boxes"]), 5), np.float32)
    for row, bits, window, box in zip(
        result, sample["masks"], sample["windows"].astype(np.float64), sample["boxes"].astype(np.float64), strict=True
    ):
        row[:] = _around(bits, window, box)
    return result


def _around(bits: np.ndarray, window: np.ndarray, box: np.ndarray) -> tuple[float, ...]:
    """(cy, cx, h, w, angle) of one mask, whose grid lies over a window, inside a box."""
    (y1, x1, y2, x2), pixels = box, window[2:] - window[:2]
    if (pixels > 0).all():
        step = pixels / bits.shape  # pixels a cell
        low = np.maximum(np.floor((box[:2] - window[:2]) / step), 0).astype(int)
        high = [math.ceil(end) for end in (box[2:] - window[:2]) / step]
        hull = mask_hull(bits[low[0] : max(high[0], 0), low[1] : max(high[1], 0)] >= 128)
        if len(hull):
            # (x, y); the outermost cells may reach beyond the box
            corners = np.clip((hull + low[::-1]) * step[::-1] + window[1::-1], (x1, y1), (x2, y2))
            if (np.ptp(corners, axis=0) > 0).all():
                rectangle = rectangle_around(corners)
                return (*rectangle.center, rectangle.width, rectangle.length, rectangle.orientation)
    height, width = y2 - y1, x2 - x1
    lying = (height, width, 0.0) if width >= height else (width, height, 90.0)
    return (0.5 * (y1 + y2), 0.5 * (x1 + x2), *lying)
