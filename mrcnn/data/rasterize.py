"""Masks from polygons and run-length encodings, and back.

An annotation stays polygons or RLE until its mask is needed, and then only the window its object covers is
rasterized (`mask_window`), at a bounded resolution: 450 objects on a 12-megapixel image never exist as 450 full
images.

Run-length encodings are read, checked and written in `data.rle`, whose functions can also be imported from here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.polygons import (
    bounds,
    clip_polygons,
    draw_polygons,
    finite_polygons,
    is_near,
    polygons_to_coco_rles,
)
from mrcnn.data.rle import check_rle as check_rle
from mrcnn.data.rle import decode_counts as decode_counts
from mrcnn.data.rle import encode_masks as encode_masks
from mrcnn.data.rle import mask_to_rle as mask_to_rle
from mrcnn.data.rle import rle_box as rle_box
from mrcnn.data.rle import rle_size, text_counts
from mrcnn.data.rle import window_to_rle as window_to_rle
from mrcnn.structures.masks import Window, crop_binary_mask
from mrcnn.structures.records import RLE, Annotation, Polygons

MAX_WINDOW_SIDE = 512
"""Longest side of a stored window in cells; several times any mask side, so that zooming in loses nothing visible."""

MAX_MASK_PIXELS = 2**28
"""Largest image in which masks are rasterized; a mask of it takes as many bytes."""


class MaskWindow(NamedTuple):
    """One object's mask where it is: `bits` is a grid over the rectangle `window` of the image.

    bits: u8[rows, columns], 0 or 1; usually one cell a pixel, coarser for very large objects. window: (y1, x1, y2,
    x2), pixels of the image. Outside the window the mask is 0.
    """

    bits: np.ndarray
    window: tuple[float, float, float, float]


def check_size(height: int, width: int) -> None:
    """Refuse images in which a single mask would take too much memory.

    Raises:
        DataError: more than `MAX_MASK_PIXELS` pixels.
    """
    if height * width > MAX_MASK_PIXELS:
        raise DataError(
            f"an image of {height} x {width} is {height * width} pixels; masks are rasterized in at most"
            f" {MAX_MASK_PIXELS}"
        )


EMPTY = MaskWindow(np.zeros((1, 1), np.uint8), (0.0, 0.0, 0.0, 0.0))


def _rle_window(rle: RLE, height: int, width: int) -> MaskWindow:
    check_size(height, width)
    runs = check_rle(rle, height, width)
    ends = np.cumsum(runs)
    starts = ends - runs
    ones = np.flatnonzero(runs[1::2]) * 2 + 1
    if not ones.size:
        return EMPTY
    left, right = int(starts[ones[0]]) // height, int(ends[ones[-1]] - 1) // height + 1
    # Only the columns that hold anything are unrolled.
    first, last = int(ones[0]), int(ones[-1])
    lengths = runs[first : last + 1]
    before, after = int(starts[first]) - left * height, right * height - int(ends[last])
    values = np.zeros(lengths.size + 2, np.uint8)
    values[1:-1:2] = 1
    column_major = np.repeat(values, np.concatenate([[before], lengths, [after]])).reshape(right - left, height)
    rows = np.flatnonzero(column_major.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    bits = np.ascontiguousarray(column_major[:, top:bottom].T)
    return MaskWindow(bits, (float(top), float(left), float(bottom), float(right)))


def _polygon_window(polygons: Polygons, height: int, width: int, max_side: int) -> MaskWindow:
    check_size(height, width)
    arrays = [np.asarray(p, np.float64).reshape(-1, 2) for p in polygons if np.size(p) >= 6]
    if not arrays:
        return EMPTY
    x1, y1, x2, y2 = bounds(arrays)
    if not is_near(x1, y1, x2, y2, height, width):  # or not finite
        arrays = clip_polygons(finite_polygons(arrays), height, width)
        if not arrays:
            return EMPTY
        x1, y1, x2, y2 = bounds(arrays)
    top, left = min(max(math.floor(y1), 0), height), min(max(math.floor(x1), 0), width)
    # The COCO rule may set the pixel a vertex rounds to.
    bottom, right = min(max(math.ceil(y2) + 1, top), height), min(max(math.ceil(x2) + 1, left), width)
    if bottom <= top or right <= left:
        return EMPTY
    rows, columns = bottom - top, right - left
    # Shifting by whole pixels leaves the rule's rounding unchanged, so the window equals the full image's pixels.
    shrink = max(1.0, max(rows, columns) / max_side)
    cells_y, cells_x = max(1, round(rows / shrink)), max(1, round(columns / shrink))
    scale = np.array([cells_x / columns, cells_y / rows])
    shifted = [(p - (left, top)) * scale for p in arrays]
    bits = draw_polygons(shifted, cells_y, cells_x, longest_edge=max(x2 - x1, y2 - y1))
    return _trim(MaskWindow(bits, (float(top), float(left), float(bottom), float(right))))


def _trim(mask: MaskWindow) -> MaskWindow:
    """Without empty rows and columns at the edges."""
    bits, (y1, x1, y2, x2) = mask
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if not rows.size:
        return EMPTY
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    cell_y, cell_x = (y2 - y1) / bits.shape[0], (x2 - x1) / bits.shape[1]
    window = (y1 + top * cell_y, x1 + left * cell_x, y1 + bottom * cell_y, x1 + right * cell_x)
    return MaskWindow(np.ascontiguousarray(bits[top:bottom, left:right]), window)


def _shrink(mask: MaskWindow, max_side: int) -> MaskWindow:
    rows, columns = mask.bits.shape
    if max(rows, columns) <= max_side:
        return mask
    shrink = max(rows, columns) / max_side
    size = (max(1, round(columns / shrink)), max(1, round(rows / shrink)))
    gray = Image.fromarray(mask.bits * 255).resize(size, Image.Resampling.BOX)
    return MaskWindow((np.asarray(gray) >= 128).astype(np.uint8), mask.window)


def mask_window(annotation: Annotation, height: int, width: int, max_side: int = MAX_WINDOW_SIDE) -> MaskWindow:
    """An annotation's mask on the window it covers.

    Args:
        annotation: whose segmentation is polygons, RLE or None (then its box is the mask).
        height, width: of the image.
        max_side: longest side of the result in cells; larger objects come out coarser, covering the same window.

    Returns:
        MaskWindow. Empty: no pixel set gives a window of zero area.

    Raises:
        DataError: an RLE of another size or one that cannot be decoded.
    """
    segmentation = annotation.segmentation
    if isinstance(segmentation, dict):
        return _shrink(_rle_window(segmentation, height, width), max_side)
    if segmentation is not None:
        return _polygon_window(segmentation, height, width, max_side)
    y1, x1, y2, x2 = (float(v) for v in annotation.box)
    if not np.isfinite([y1, x1, y2, x2]).all():
        return EMPTY
    y1, y2 = min(max(y1, 0.0), height), min(max(y2, 0.0), height)
    x1, x2 = min(max(x1, 0.0), width), min(max(x2, 0.0), width)
    if y2 <= y1 or x2 <= x1:
        return EMPTY
    return MaskWindow(np.ones((1, 1), np.uint8), (y1, x1, y2, x2))


def polygons_to_mask(polygons: Polygons, height: int, width: int) -> np.ndarray:
    """The union of polygons as bool[height, width], by the rule of the COCO API.

    Polygons with fewer than three points, or with a coordinate that is not finite, cover nothing.

    Raises:
        DataError: the outline or the image is too large to be drawn.

    Example:
        >>> polygons_to_mask([np.array([[1, 1], [3, 1], [3, 3], [1, 3]])], 4, 5).sum(axis=1).tolist()
        [0, 2, 2, 0]
    """
    return _placed(_polygon_window(polygons, height, width, max(height, width, 1)), height, width)


def polygons_to_rle(polygons: Polygons, height: int, width: int) -> RLE:
    """The union of polygons as compressed RLE, by the rule of the COCO API; arguments as for `polygons_to_mask`."""
    from pycocotools import mask as coco_mask

    arrays = clip_polygons(finite_polygons(polygons), height, width)
    if not arrays:
        return window_to_rle(0, 0, np.zeros((0, 0), bool), height, width)
    return text_counts(coco_mask.merge(polygons_to_coco_rles(arrays, height, width)))


def _placed(window: MaskWindow, height: int, width: int) -> np.ndarray:
    """bool[height, width] of a window that has one cell a pixel."""
    mask = np.zeros((height, width), bool)
    bits, (top, left, bottom, right) = window
    if bottom > top:
        mask[int(top) : int(bottom), int(left) : int(right)] = bits
    return mask


def rle_to_mask(rle: RLE, height: int | None = None, width: int | None = None) -> np.ndarray:
    """bool[height, width] from an RLE, compressed or not.

    Raises:
        DataError: the RLE is damaged or of another size than given.
    """
    if height is None or width is None:
        height, width = rle_size(rle)
    return _placed(_rle_window(rle, height, width), height, width)


def annotation_window(annotation: Annotation, height: int, width: int) -> Window:
    """An annotation's mask as (first row, first column, bool[h, w]), one cell a pixel, False outside this window.

    Raises:
        DataError: an RLE of another size or one that cannot be decoded; a polygon too large to be drawn.
    """
    segmentation = annotation.segmentation
    if isinstance(segmentation, dict):
        bits, (top, left, _, _) = _rle_window(segmentation, height, width)
    elif segmentation is not None:
        bits, (top, left, _, _) = _polygon_window(segmentation, height, width, max(height, width, 1))
    else:
        check_size(height, width)
        box = np.nan_to_num(np.asarray(annotation.box, np.float64))
        y1, x1, y2, x2 = np.clip(np.rint(box), 0, [height, width, height, width]).astype(int)
        return int(y1), int(x1), np.ones((max(0, y2 - y1), max(0, x2 - x1)), bool)
    # A trimmed window has a pixel in its first row unless it is empty.
    return (int(top), int(left), bits.astype(bool)) if bits[0].any() else (0, 0, np.zeros((0, 0), bool))


def annotation_mask(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """An annotation's mask in its full image, bool[height, width]; errors as for `annotation_window`."""
    top, left, window = annotation_window(annotation, height, width)
    mask = np.zeros((height, width), bool)
    mask[top : top + window.shape[0], left : left + window.shape[1]] = window
    return mask


def annotation_crop(
    annotation: Annotation, box: tuple[float, float, float, float] | np.ndarray, side: int, height: int, width: int
) -> np.ndarray:
    """An annotation's mask seen through a box, u8[side, side]; only the object's own window is rasterized.

    Args:
        annotation: the object.
        box: (y1, x1, y2, x2), pixels of the image.
        side: cells per axis of the result.
        height, width: of the image.
    """
    bits, window = mask_window(annotation, height, width)
    cell = np.array([(window[2] - window[0]) / bits.shape[0], (window[3] - window[1]) / bits.shape[1]] * 2)
    if not (cell > 0).all():
        return np.zeros((side, side), np.uint8)
    origin = np.array([window[0], window[1]] * 2)
    return crop_binary_mask(bits, (np.asarray(box, np.float64) - origin) / cell, side)
