"""Images whose pixels are instance ids: read as integers, taken apart into objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.image_file import open_file, open_image
from mrcnn.data.read_options import MAX_PIXELS

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Region(NamedTuple):
    """The pixels of one value: bits bool[h, w] in the window whose first pixel is (top, left)."""

    value: int
    bits: np.ndarray
    top: int
    left: int


def regions(values: np.ndarray, ignored: tuple[int, ...] = (0,)) -> Iterator[Region]:
    """The objects of a map of ids, by ascending value; one value is one object, however many parts it has.

    Args:
        values: integers [h, w].
        ignored: values that are no object.

    Example:
        >>> [(r.value, r.top, r.left, r.bits.shape) for r in regions(np.array([[0, 7, 7], [3, 0, 0]]))]
        [(3, 1, 0, (1, 1)), (7, 0, 1, (1, 2))]
    """
    inside = values != ignored[0] if ignored else np.ones(values.shape, bool)
    for value in ignored[1:]:
        inside &= values != value
    rows, columns = np.nonzero(inside)
    if not rows.size:
        return
    labels = values[rows, columns]
    order = np.argsort(labels, kind="stable")
    labels, rows, columns = labels[order], rows[order], columns[order]
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    tops, bottoms = np.minimum.reduceat(rows, starts), np.maximum.reduceat(rows, starts)
    lefts, rights = np.minimum.reduceat(columns, starts), np.maximum.reduceat(columns, starts)
    for value, top, bottom, left, right in zip(labels[starts], tops, bottoms, lefts, rights, strict=True):
        window = values[top : bottom + 1, left : right + 1] == value
        yield Region(int(value), window, int(top), int(left))


def read_values(path: Path) -> np.ndarray:
    """The values of an image as they are stored: indices of a palette, not its colors; nothing is scaled.

    Args:
        path: PNG, TIFF, BMP, ... of one channel or three.

    Returns:
        u8, u16 or i64 [h, w], or u8[h, w, 3] of a color image.

    Raises:
        DataError: missing, damaged, too large, or not integers; names the file.
    """
    with open_file(str(path)) as file:
        prefix = file.read(4)
        file.seek(0)
        if prefix in _TIFF:
            return _read_tiff(path, file.read())
        with open_image(file, str(path)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: {image.height} x {image.width} pixels, at most {MAX_PIXELS} are read")
            try:
                image.load()
                if image.mode == "RGBA":
                    image = image.convert("RGB")
                elif image.mode == "LA":
                    image = image.convert("L")
                values = np.array(image)
            except Exception as error:  # decoders raise many kinds on damaged data
                raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
    return _integers(values, path)


def _read_tiff(path: Path, data: bytes) -> np.ndarray:
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        from PIL import Image

        try:
            with open_file(str(path)) as file, open_image(file, str(path)) as image:
                values = np.array(image)
        except (Image.DecompressionBombError, OSError, ValueError) as error:
            raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
    elif values.ndim == 3:
        values = values[..., 2::-1]
    return _integers(values, path)


def _integers(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise DataError(f"{path}: values that are no integers, expected instance ids")
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise DataError(f"{path}: values of type {values.dtype}, expected integers")
    if values.ndim == 3 and values.shape[2] >= 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: an array of shape {values.shape}, expected [height, width]")
    return values


def packed_colors(values: np.ndarray) -> np.ndarray:
    """i64[h, w] of an image u8[h, w, 3]: R + 256 G + 65536 B, as COCO panoptic and MOTS-like maps number them."""
    rgb = values.astype(np.int64)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def read_array(path: Path) -> np.ndarray:
    """An array of a `.npy` file, never unpickled.

    Raises:
        DataError: missing, no NumPy file, or one that holds objects.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a NumPy file of numbers ({error})") from error


def are_mots_values(files: list[Path]) -> bool:
    """Whether maps number classes as MOTS does: the first that has an object holds 1000..2999 and 10000 only."""
    for file in files:
        try:
            ids = np.unique(read_values(file))
        except DataError:
            continue
        ids = ids[ids != 0]
        if ids.size:
            return bool(((ids == 10000) | ((ids >= 1000) & (ids < 3000))).all())
    return False
