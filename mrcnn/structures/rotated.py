"""The rectangle of least area around a mask, whatever its direction; on the host. Imports no TensorFlow.

Ref: Freeman and Shapira, "Determining the minimum-area encasing rectangle for an arbitrary closed curve", 1975: one of
its sides lies on a side of the convex hull.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Rectangle(NamedTuple):
    """In pixels; pixel i spans [i, i + 1).

    center: (y, x). length, width: the longer and the shorter side. orientation: degrees from the x axis to the longer
    side, counterclockwise as one sees the image, above -90 up to 90; 0 for a square.
    """

    center: tuple[float, float]
    length: float
    width: float
    orientation: float


def minimum_area_rectangle(bits: np.ndarray) -> Rectangle | None:
    """The rectangle of least area around all pixels of a mask, of several the longest; None: a mask without a pixel.

    Args:
        bits: bool[H, W].

    Example:
        >>> minimum_area_rectangle(np.ones((2, 5), bool))
        Rectangle(center=(1.0, 2.5), length=5.0, width=2.0, orientation=0.0)
    """
    hull = mask_hull(bits)
    return rectangle_around(hull.astype(np.float64)) if len(hull) else None


def mask_hull(bits: np.ndarray) -> np.ndarray:
    """The convex hull of all pixels of a mask.

    Args:
        bits: bool[H, W].

    Returns:
        i32[n, 2], its corners (x, y) one after the other, in pixels; a mask without a pixel has none.

    Example:
        >>> sorted(mask_hull(np.ones((2, 5), bool)).tolist())
        [[0, 0], [0, 2], [5, 0], [5, 2]]
    """
    rows = np.flatnonzero(bits.any(axis=1))
    if not rows.size:
        return np.zeros((0, 2), np.int32)
    # The hull of the pixels' corners is that of the first and the last pixel of each row.
    first = bits[rows].argmax(axis=1)
    last = bits.shape[1] - bits[rows, ::-1].argmax(axis=1)
    corners = [np.stack([x, y], axis=1) for x in (first, last) for y in (rows, rows + 1)]
    return cv2.convexHull(np.concatenate(corners).astype(np.int32)).reshape(-1, 2)


def minimum_area_boxes(masks: np.ndarray) -> np.ndarray:
    """The rotated box of least area around each mask.

    Args:
        masks: bool[n, H, W].

    Returns:
        f32[n, 5], (cy, cx, h, w, angle), pixels and degrees counterclockwise, see `ops.rotated_boxes`: w is the longer
        side, the angle its orientation. Zeros for a mask without a pixel.

    Empty: n = 0 gives f32[0, 5].

    Example:
        >>> mask = np.zeros((1, 8, 8), bool)
        >>> mask[0, 1:7, 2:4] = True
        >>> minimum_area_boxes(mask).tolist()
        [[4.0, 3.0, 2.0, 6.0, 90.0]]
    """
    boxes = np.zeros((len(masks), 5), np.float32)
    for box, mask in zip(boxes, np.asarray(masks, bool), strict=True):
        rectangle = minimum_area_rectangle(mask)
        if rectangle is not None:
            box[:] = (*rectangle.center, rectangle.width, rectangle.length, rectangle.orientation)
    return boxes


def rectangle_around(hull: np.ndarray) -> Rectangle:
    """The rectangle of least area around a convex polygon, of several the longest.

    Args:
        hull: f64[n, 2], its corners (x, y) one after the other, not all on one line.
    """
    sides = np.roll(hull, -1, axis=0) - hull
    sides = sides[(sides != 0).any(axis=1)]
    along = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    across = along[:, ::-1] * (-1, 1)
    reach = [hull @ axes.T for axes in (along, across)]
    extents = np.stack([np.ptp(r, axis=0) for r in reach])
    areas = extents.prod(axis=0)
    # Of rectangles of one area, up to rounding, the longest: two pixels at a corner have one of 2 x 2, too.
    least = np.flatnonzero(areas <= areas.min() * (1 + 1e-9))
    best = int(least[np.argmax(extents[:, least].max(axis=0).round(9))])
    middle = [0.5 * float(r[:, best].min() + r[:, best].max()) for r in reach]
    x, y = middle[0] * along[best] + middle[1] * across[best]
    one, other = extents[:, best].tolist()
    angle = 0.0
    if abs(one - other) > 1e-9 * max(one, other):
        direction = along[best] if one > other else across[best]
        angle = -float(np.degrees(np.arctan2(direction[1], direction[0])))  # y is down in images
        angle = (angle + 90) % 180 - 90
        angle = 90.0 if abs(angle + 90) < 1e-9 else angle
    return Rectangle((float(y), float(x)), max(one, other), min(one, other), angle + 0.0)
