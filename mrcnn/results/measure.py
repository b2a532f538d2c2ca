"""What masks measure: area, centroid, length, width and orientation."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Measures(NamedTuple):
    """Of one mask, in pixels of its image; pixel i spans [i, i + 1).

    area: number of pixels. centroid: (x, y), the mean of the pixels' centers. length, width: longer and shorter side of
    the rectangle of least area around all pixels, whatever its direction (of several the longest). orientation: degrees
    from the x axis to the longer side, counterclockwise as one sees the image, above -90 up to 90; 0 for a square.
    """

    area: int
    centroid: tuple[float, float]
    length: float
    width: float
    orientation: float


def measure(bits: np.ndarray, top: int = 0, left: int = 0) -> Measures | None:
    """The measures of a mask.

    Args:
        bits: bool[h, w], the mask in a window.
        top, left: of the window in its image, pixels.

    Returns:
        see `Measures`; None: a mask without a pixel.

    Ref: Freeman and Shapira, "Determining the minimum-area encasing rectangle for an arbitrary closed curve", 1975: one
    of its sides lies on a side of the convex hull.

    Example:
        >>> measure(np.ones((2, 5), bool), top=10)
        Measures(area=10, centroid=(2.5, 11.0), length=5.0, width=2.0, orientation=0.0)
    """
    rows, columns = np.nonzero(bits)
    if not rows.size:
        return None
    centroid = (float(columns.mean() + 0.5 + left), float(rows.mean() + 0.5 + top))
    length, width, orientation = _rectangle(_hull(bits))
    return Measures(int(rows.size), centroid, length, width, orientation)


def _hull(bits: np.ndarray) -> np.ndarray:
    """f64[n, 2], the convex hull of the pixels' corners: of each row its first and its last pixel."""
    rows = np.flatnonzero(bits.any(axis=1))
    first = bits[rows].argmax(axis=1)
    last = bits.shape[1] - bits[rows, ::-1].argmax(axis=1)
    corners = [np.stack([x, y], axis=1) for x in (first, last) for y in (rows, rows + 1)]
    return cv2.convexHull(np.concatenate(corners).astype(np.int32)).reshape(-1, 2).astype(np.float64)


def _rectangle(hull: np.ndarray) -> tuple[float, float, float]:
    """(length, width, orientation) of the rectangle of least area around a convex polygon."""
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    across = along[:, ::-1] * (-1, 1)
    extents = np.stack([np.ptp(hull @ along.T, axis=0), np.ptp(hull @ across.T, axis=0)])
    areas = extents.prod(axis=0)
    # Of rectangles of one area, up to rounding, the longest: two pixels at a corner have one of 2 x 2, too.
    least = np.flatnonzero(areas <= areas.min() * (1 + 1e-9))
    best = int(least[np.argmax(extents[:, least].max(axis=0).round(9))])
    one, other = extents[:, best].tolist()
    direction = along[best] if one > other else across[best]
    if abs(one - other) <= 1e-9 * max(one, other):
        return one, other, 0.0
    angle = -np.degrees(np.arctan2(direction[1], direction[0]))  # y is down in images
    angle = (angle + 90) % 180 - 90
    angle = 90.0 if abs(angle + 90) < 1e-9 else angle
    return max(one, other), min(one, other), float(angle) + 0.0
