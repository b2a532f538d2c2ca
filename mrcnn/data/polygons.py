"""Polygons on the host: clipped to the surroundings of their image, bounded in what drawing them takes, drawn.

Annotation files hold coordinates such as 1e9, by accident or by intent. The COCO API walks along every edge in steps of
a fifth of a pixel, so the memory it takes is proportional to the length of the outline, inside the image or not.
"""

from __future__ import annotations

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.structures.records import RLE, Polygons

MAX_OUTLINE = 2_000_000
"""Longest outline of one object that is drawn, pixels; drawing it takes about 100 bytes a pixel."""

_MARGIN = 1000.0
_FARTHEST = 1e12  # beyond, differences of coordinates lose all digits


def finite_polygons(polygons: Polygons) -> list[np.ndarray]:
    """f64[n, 2] of each polygon that has at least three points, all finite; the others cover nothing."""
    arrays = [np.asarray(p, np.float64).reshape(-1, 2) for p in polygons if np.size(p) >= 6]
    return [p for p in arrays if np.isfinite(p).all()]


def bounds(polygons: list[np.ndarray]) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) around polygons, at least one point in all; not finite where a coordinate is not."""
    points = polygons[0] if len(polygons) == 1 else np.concatenate(polygons)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def is_near(x1: float, y1: float, x2: float, y2: float, height: int, width: int) -> bool:
    """Whether bounds reach no farther from an image than `clip_polygons` leaves them."""
    margin = max(height, width) + _MARGIN
    return x1 >= -margin and y1 >= -margin and x2 <= width + margin and y2 <= height + margin


def clip_polygons(polygons: list[np.ndarray], height: int, width: int) -> list[np.ndarray]:
    """Polygons without what lies farther from their image than its longer side and 1000 pixels.

    Inside the image they cover the same pixels; those that reach no farther are returned as they are, so that their
    rounding does not change.

    Args:
        polygons: f64[n, 2] of (x, y) each, finite.
        height, width: of the image.

    Returns:
        f64[m, 2] each; a polygon of which nothing is left is dropped.
    """
    margin = max(height, width) + _MARGIN
    low, high = np.array([-margin, -margin]), np.array([width + margin, height + margin])
    clipped = []
    for points in polygons:
        if not is_near(*bounds([points]), height, width):
            points = _clip(np.clip(points, -_FARTHEST, _FARTHEST), low, high)
        if len(points):
            clipped.append(points)
    return clipped


def _clip(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Ref: Sutherland and Hodgman, "Reentrant polygon clipping", 1974."""
    for axis in (0, 1):
        for sign, limit in ((1.0, low[axis]), (-1.0, high[axis])):
            if not len(points):
                return points
            inside = sign * (points[:, axis] - limit)
            ahead, after = np.roll(points, -1, axis=0), np.roll(inside, -1)
            crosses = (inside >= 0) != (after >= 0)
            part = np.where(crosses, inside / np.where(crosses, inside - after, 1.0), 0.0)
            crossings = points + part[:, None] * (ahead - points)
            crossings[:, axis] = limit
            # Each edge gives its first point, where that is kept, then where it crosses the limit.
            pairs = np.stack([points, crossings], axis=1)
            points = pairs[np.stack([inside >= 0, crosses], axis=1)]
    return points


def outline_length(polygons: list[np.ndarray]) -> float:
    """Pixels that the outlines pass: of each edge the longer of its width and height."""
    return float(sum(np.abs(p - np.roll(p, -1, axis=0)).max(axis=1).sum() for p in polygons))


def polygons_to_coco_rles(
    polygons: list[np.ndarray], height: int, width: int, longest_edge: float | None = None
) -> list[RLE]:
    """Compressed RLE of each polygon, by the rule of the COCO API.

    Args:
        polygons: f64[n, 2] each, clipped.
        height, width: of the image.
        longest_edge: an upper bound of every edge, which saves measuring short outlines.

    Raises:
        DataError: the outline is longer than `MAX_OUTLINE`.
    """
    from pycocotools import mask as coco_mask

    short = longest_edge is not None and sum(map(len, polygons)) * longest_edge <= MAX_OUTLINE
    length = 0.0 if short else outline_length(polygons)
    if length > MAX_OUTLINE:
        raise DataError(f"polygon: an outline of {length:.3g} pixels; expected at most {MAX_OUTLINE}")
    return coco_mask.frPyObjects([p.ravel().tolist() for p in polygons], height, width)


def draw_polygons(polygons: list[np.ndarray], height: int, width: int, longest_edge: float | None = None) -> np.ndarray:
    """u8[height, width], the union of polygons by the rule of the COCO API; arguments: see `polygons_to_coco_rles`."""
    from pycocotools import mask as coco_mask

    rles = polygons_to_coco_rles(polygons, height, width, longest_edge)
    return coco_mask.decode(coco_mask.merge(rles) if len(rles) > 1 else rles[0])
