"""Masks from polygons and run-length encodings, and back.

An annotation stays polygons or RLE until its mask is needed, and then only the window its object covers is
rasterized (`mask_window`), at a bounded resolution: 450 objects on a 12-megapixel image never exist as 450 full
images.

RLE is COCO's: runs of 0 and 1 in turn, down the columns, beginning with 0; compressed strings pack each run in
groups of five bits, from the fourth run on as the difference to the run two before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import crop_binary_mask
from mrcnn.structures.records import RLE, Annotation, Polygons

MAX_WINDOW_SIDE = 512
"""Longest side of a stored window in cells; several times any mask side, so that zooming in loses nothing visible."""


class MaskWindow(NamedTuple):
    """One object's mask where it is: `bits` is a grid over the rectangle `window` of the image.

    bits: u8[rows, columns], 0 or 1; usually one cell a pixel, coarser for very large objects. window: (y1, x1, y2,
    x2), pixels of the image. Outside the window the mask is 0.
    """

    bits: np.ndarray
    window: tuple[float, float, float, float]


EMPTY = MaskWindow(np.zeros((1, 1), np.uint8), (0.0, 0.0, 0.0, 0.0))


def decode_counts(counts: bytes | str | list[int]) -> np.ndarray:
    """Run lengths i64[runs] from a compressed string or a plain list.

    Raises:
        DataError: the string is cut off or holds a character that no encoder writes, or a run is negative.
    """
    if isinstance(counts, (list, tuple, np.ndarray)):
        runs = np.asarray(counts)
        if runs.size and not np.issubdtype(runs.dtype, np.integer):
            raise DataError(f"RLE counts: expected integers, got {runs.dtype}")
        runs = runs.astype(np.int64).reshape(-1)
    else:
        if isinstance(counts, str):
            try:
                counts = counts.encode("ascii")
            except UnicodeEncodeError as error:
                raise DataError("RLE counts: not an ASCII string") from error
        codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
        if codes.size and (codes.min() < 0 or codes.max() > 63):
            raise DataError("RLE counts: the string holds characters outside the encoding")
        if not codes.size:
            return codes
        last = (codes & 32) == 0  # bit 5: more groups follow
        if not last[-1]:
            raise DataError("RLE counts: the string is cut off")
        ends = np.flatnonzero(last)
        starts = np.concatenate([[0], ends[:-1] + 1])
        if (ends - starts).max() > 11:
            raise DataError("RLE counts: a run is longer than any image")
        place = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
        values = np.add.reduceat((codes & 31) << (5 * place), starts)
        negative = (codes[ends] & 16) != 0  # the top bit of the last group is the sign
        values = np.where(negative, values - (np.int64(1) << (5 * (ends - starts + 1))), values)
        # Runs 0, 1 and 2 are plain; run i > 2 adds run i - 2: two interleaved sums, of which run 0 is in neither.
        runs = values.copy()
        runs[1::2] = np.cumsum(values[1::2])
        runs[2::2] = np.cumsum(values[2::2])
    if runs.size and runs.min() < 0:
        raise DataError("RLE counts: a run is negative")
    return runs


def check_rle(rle: RLE, height: int, width: int) -> np.ndarray:
    """Run lengths of an RLE, after checking that they fill an image of the given size.

    Raises:
        DataError: "size" or "counts" is missing, or belongs to an image of another size.
    """
    if "size" not in rle or "counts" not in rle:
        raise DataError(f'RLE: expected "size" and "counts", got {", ".join(map(repr, rle)) or "nothing"}')
    try:
        size = tuple(int(v) for v in rle["size"])
    except (TypeError, ValueError) as error:
        raise DataError(f"RLE size: expected [height, width], got {rle['size']!r}") from error
    if size != (height, width):
        raise DataError(f"RLE of size {list(size)}, expected [{height}, {width}], the size of its image")
    if not isinstance(rle["counts"], (str, bytes, list, tuple, np.ndarray)):
        raise DataError(f"RLE counts: expected a string or a list, got {type(rle['counts']).__name__}")
    runs = decode_counts(rle["counts"])
    if runs.sum() != height * width:
        raise DataError(f"RLE whose runs sum to {runs.sum()}, expected {height} x {width} = {height * width}")
    return runs


def _rle_window(rle: RLE, height: int, width: int) -> MaskWindow:
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


def _polygon_arrays(polygons: Polygons) -> list[np.ndarray]:
    return [np.asarray(p, np.float64).reshape(-1, 2) for p in polygons if np.size(p) >= 6]


def _draw(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """u8[height, width]; the union, drawn by the COCO rule."""
    from pycocotools import mask as coco_mask

    rles = coco_mask.frPyObjects([p.ravel().tolist() for p in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(rles) if len(rles) > 1 else rles[0])


def _polygon_window(polygons: Polygons, height: int, width: int, max_side: int) -> MaskWindow:
    arrays = _polygon_arrays(polygons)
    if not arrays:
        return EMPTY
    points = np.concatenate(arrays)
    x1, y1 = np.floor(points.min(axis=0))
    x2, y2 = np.ceil(points.max(axis=0)) + 1  # the COCO rule may set the pixel a vertex rounds to
    top, left = int(np.clip(y1, 0, height)), int(np.clip(x1, 0, width))
    bottom, right = int(np.clip(y2, top, height)), int(np.clip(x2, left, width))
    if bottom <= top or right <= left:
        return EMPTY
    rows, columns = bottom - top, right - left
    # Shifting by whole pixels leaves the rule's rounding unchanged, so the window equals the full image's pixels.
    shrink = max(1.0, max(rows, columns) / max_side)
    cells_y, cells_x = max(1, round(rows / shrink)), max(1, round(columns / shrink))
    scale = np.array([cells_x / columns, cells_y / rows])
    bits = _draw([(p - (left, top)) * scale for p in arrays], cells_y, cells_x)
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
    y1, y2 = min(max(y1, 0.0), height), min(max(y2, 0.0), height)
    x1, x2 = min(max(x1, 0.0), width), min(max(x2, 0.0), width)
    if y2 <= y1 or x2 <= x1:
        return EMPTY
    return MaskWindow(np.ones((1, 1), np.uint8), (y1, x1, y2, x2))


def polygons_to_mask(polygons: Polygons, height: int, width: int) -> np.ndarray:
    """The union of polygons as bool[height, width], by the rule of the COCO API.

    Polygons with fewer than three points cover nothing.
    """
    mask = np.zeros((height, width), bool)
    bits, (top, left, bottom, right) = _polygon_window(polygons, height, width, max(height, width, 1))
    if bottom > top:
        mask[int(top) : int(bottom), int(left) : int(right)] = bits
    return mask


def rle_to_mask(rle: RLE, height: int | None = None, width: int | None = None) -> np.ndarray:
    """bool[height, width] from an RLE, compressed or not.

    Raises:
        DataError: the RLE is damaged or of another size than given.
    """
    if height is None or width is None:
        if "size" not in rle:
            raise DataError('RLE: expected "size" and "counts"')
        height, width = (int(v) for v in rle["size"])
    mask = np.zeros((height, width), bool)
    bits, (top, left, bottom, right) = _rle_window(rle, height, width)
    if bottom > top:
        mask[int(top) : int(bottom), int(left) : int(right)] = bits
    return mask


def mask_to_rle(mask: np.ndarray) -> RLE:
    """Compressed RLE of a mask bool[height, width]; "counts" is a str, ready for JSON."""
    return window_to_rle(0, 0, np.asarray(mask, bool), *mask.shape)


def window_to_rle(top: int, left: int, bits: np.ndarray, height: int, width: int) -> RLE:
    """Compressed RLE of a mask that is empty outside a window, as `mask_to_rle` gives it of the whole mask.

    Only the rows and columns that hold the object are scanned: of an image with a hundred small objects nearly all
    pixels are zero, and pycocotools would read each of them a hundred times in column order.

    Args:
        top, left: first row and column of the window.
        bits: bool[h, w], the mask inside it.
        height, width: of the image.
    """
    from pycocotools import mask as coco_mask

    rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
    counts = [height * width]
    if len(rows):
        y, x = rows[0], columns[0]
        object_bits = bits[y : rows[-1] + 1, x : columns[-1] + 1]
        padded = np.zeros((object_bits.shape[1], object_bits.shape[0] + 2), np.int8)  # [columns, rows + 2]
        padded[:, 1:-1] = object_bits.T
        step = np.diff(padded, axis=1)  # +1 where a run begins, -1 just after it ends
        begin_column, begin_row = np.nonzero(step == 1)
        end_column, end_row = np.nonzero(step == -1)
        begin = (begin_column + left + x) * height + begin_row + top + y
        end = (end_column + left + x) * height + end_row + top + y
        apart = begin[1:] != end[:-1]  # a run down to the last row goes on in the next column
        begin, end = begin[np.r_[True, apart]], end[np.r_[apart, True]]
        edges = np.concatenate([[0], np.stack([begin, end], 1).ravel(), [height * width]])
        counts = np.diff(edges).tolist()
        if counts[-1] == 0:
            counts.pop()
    compressed = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": compressed["counts"].decode("ascii")}


def encode_masks(instances: Instances) -> list[RLE]:
    """The masks of instances as compressed RLE, one by one from the windows of their boxes; none is pasted whole.

    Empty, or without masks: [].
    """
    return [window_to_rle(*window, *instances.image_shape) for window in instances.mask_windows()]


def annotation_mask(annotation: Annotation, height: int, width: int) -> np.ndarray:
    """An annotation's mask in its full image, bool[height, width]."""
    segmentation = annotation.segmentation
    if isinstance(segmentation, dict):
        return rle_to_mask(segmentation, height, width)
    if segmentation is not None:
        return polygons_to_mask(segmentation, height, width)
    mask = np.zeros((height, width), bool)
    y1, x1, y2, x2 = np.clip(np.rint(annotation.box), 0, [height, width, height, width]).astype(int)
    mask[y1:y2, x1:x2] = True
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
