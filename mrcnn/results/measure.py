"""What masks measure: area, centroid, length, width and orientation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mrcnn.structures.rotated import minimum_area_rectangle


class Measures(NamedTuple):
    """Of one mask, in pixels of its image; pixel i spans [i, i + 1).

    area: number of pixels. centroid: (x, y), the mean of the pixels' centers. length, width: longer and shorter side of
    the rectangle of least area around all pixels, orientation: of its longer side; see `structures.rotated`.
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

    Example:
        >>> measure(np.ones((2, 5), bool), top=10)
        Measures(area=10, centroid=(2.5, 11.0), length=5.0, width=2.0, orientation=0.0)
    """
    rows, columns = np.nonzero(bits)
    if not rows.size:
        return None
    centroid = (float(columns.mean() + 0.5 + left), float(rows.mean() + 0.5 + top))
    rectangle = minimum_area_rectangle(bits)
    assert rectangle is not None  # there is a pixel
    return Measures(int(rows.size), centroid, rectangle.length, rectangle.width, rectangle.orientation)
