"""Outlines of masks: along the edges of their pixels, so that drawing them gives the same mask again."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.data.rasterize import annotation_window
from mrcnn.structures.records import Annotation

Loop = np.ndarray
"""f64[n, 2] of (x, y); a part runs clockwise on the screen, a hole the other way."""

_SLACK = 1.0  # pixels that an outline may reach out of its image and is clamped


def trace(bits: np.ndarray, top: float = 0.0, left: float = 0.0) -> list[Loop]:
    """The outlines of a mask's parts and holes, in pixels.

    Pixels that touch at a corner only are parts of their own, and so are holes.

    Args:
        bits: bool[h, w], the mask in a window.
        top, left: of the window in its image.

    Example:
        >>> [loop.tolist() for loop in trace(np.array([[1, 1], [1, 1]], bool))]
        [[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]]
    """
    inside = np.pad(np.asarray(bits, bool), 1).astype(np.int8)
    across, down = np.diff(inside, axis=0), np.diff(inside, axis=1)
    # Edges as (x, y) -> direction; the mask lies to the right of each.
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for dx, dy, places, shift in (
        (1, 0, np.argwhere(across == 1), (-1, 0)),
        (-1, 0, np.argwhere(across == -1), (0, 0)),
        (0, -1, np.argwhere(down == 1), (0, 0)),
        (0, 1, np.argwhere(down == -1), (0, -1)),
    ):
        for row, column in places.tolist():
            following.setdefault((column + shift[0], row + shift[1]), []).append((dx, dy))
    loops = []
    while following:
        start = next(iter(following))
        loops.append(_walk(following, start) + np.array([left, top]))
    return loops


def _walk(following: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> Loop:
    """One closed outline, taken out of the edges; points in the middle of a straight line are left out."""
    point, before = start, (0, 0)
    corners: list[tuple[int, int]] = []
    while True:
        choices = following[point]
        # Where two pixels touch at a corner, turn right: to the edge of the same pixel.
        right = (-before[1], before[0])
        step = right if len(choices) > 1 and right in choices else choices[0]
        choices.remove(step)
        if not choices:
            del following[point]
        if step != before:
            corners.append(point)
        point, before = (point[0] + step[0], point[1] + step[1]), step
        if point == start:
            break
    loop = np.array(corners, np.float64)
    first, last = loop[1] - loop[0], loop[0] - loop[-1]
    return loop[1:] if (np.sign(first) == np.sign(last)).all() else loop


def signed_area(loop: Loop) -> float:
    """Of a closed outline; negative for a hole."""
    x, y = loop.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def outlines(annotation: Annotation, height: int, width: int) -> list[Loop]:
    """An object's parts and holes as outlines inside its image.

    Polygons are kept as they are where they do not overlap one another; everything else is traced. Empty: [].
    """
    segmentation = annotation.segmentation
    if isinstance(segmentation, list):
        loops = [np.asarray(p, np.float64).reshape(-1, 2) for p in segmentation if np.size(p) >= 6]
        if loops and _are_inside(loops, height, width) and not _overlap(loops):
            return [p.clip(0, (width, height)) for p in loops]
    elif segmentation is None:
        y1, x1, y2, x2 = (float(v) for v in annotation.box)
        box = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]).clip(0, (width, height))
        return [box] if signed_area(box) > 0 else []
    top, left, bits = annotation_window(annotation, height, width)
    return trace(bits, top, left)


def _are_inside(loops: Sequence[Loop], height: int, width: int) -> bool:
    points = np.concatenate(loops)
    if not np.isfinite(points).all():
        return False
    return bool((points >= -_SLACK).all() and (points <= (width + _SLACK, height + _SLACK)).all())


def _overlap(loops: Sequence[Loop]) -> bool:
    """Whether the bounds of two outlines overlap."""
    boxes = [(*p.min(axis=0), *p.max(axis=0)) for p in loops]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
                return True
    return False


def simplified(loop: Loop, tolerance: float) -> Loop:
    """An outline with fewer points, none of whose old points lies farther than `tolerance` pixels from it.

    Where less than a triangle would be left, and with tolerance 0, it stays as it is.

    Ref: Douglas and Peucker, "Algorithms for the reduction of the number of points", Cartographica 1973.

    Example:
        >>> loop = np.array([(0, 0), (4, 0.5), (8, 0), (8, 8), (0, 8)])
        >>> simplified(loop, 1.0).tolist()
        [[0.0, 0.0], [8.0, 0.0], [8.0, 8.0], [0.0, 8.0]]
    """
    if tolerance <= 0:
        return loop
    fewer = cv2.approxPolyDP(np.asarray(loop, np.float32)[:, None], tolerance, True)[:, 0]
    return fewer.astype(np.float64) if len(fewer) >= 3 else loop


def has_holes(loops: Sequence[Loop]) -> bool:
    """Whether some outline is that of a hole, as `trace` gives them."""
    return len(loops) > 1 and any(signed_area(loop) < 0 for loop in loops) and any(signed_area(p) > 0 for p in loops)


def bridged(loops: Sequence[Loop]) -> Loop:
    """All parts and holes as one outline, joined by bridges of no width, there and back.

    Args:
        loops: at least one.

    Returns:
        f64[n, 2]; filled by the even-odd rule it covers the same pixels.

    Example:
        >>> a, b = np.array([(0, 0), (1, 0), (0, 1)]), np.array([(5, 5), (6, 5), (5, 6)])
        >>> len(bridged([a, b]))
        8
    """
    whole = np.asarray(loops[0], np.float64)
    for loop in sorted(loops[1:], key=lambda p: float(p[:, 0].min())):
        distances = ((whole[:, None] - loop[None]) ** 2).sum(axis=2)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        tour = np.concatenate([loop[j:], loop[: j + 1]])
        whole = np.concatenate([whole[: i + 1], tour, whole[i:]])
    return whole


def parts_with_holes(annotation: Annotation, height: int, width: int) -> list[list[Loop]]:
    """An object's parts inside its image, each an outline followed by those of its holes. Empty: [].

    Polygons are kept where `outlines` keeps them; everything else is traced.

    Example:
        >>> ring = Annotation(1, (0, 0, 3, 3), {"size": [3, 3], "counts": [0, 4, 1, 4]})
        >>> [[len(loop) for loop in part] for part in parts_with_holes(ring, 3, 3)]
        [[4, 4]]
    """
    loops = outlines(annotation, height, width)
    if len(loops) < 2 or not has_holes(loops):
        return [[loop] for loop in loops]
    top, left, bits = annotation_window(annotation, height, width)
    number, labels = cv2.connectedComponents(bits.astype(np.uint8), connectivity=4)
    parts = []
    for k in range(1, number):
        rows, columns = np.flatnonzero((labels == k).any(axis=1)), np.flatnonzero((labels == k).any(axis=0))
        part = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == k
        parts.append(sorted(trace(part, top + rows[0], left + columns[0]), key=signed_area, reverse=True))
    return parts
