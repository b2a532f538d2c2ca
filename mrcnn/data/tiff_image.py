"""A page of a TIFF file as 8-bit RGB: by Pillow where it knows the kind, else band by band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from mrcnn.data import tiff
from mrcnn.data.errors import DataError, log_file
from mrcnn.data.image_file import open_image
from mrcnn.data.intensity import to_8_bit
from mrcnn.data.read_options import ReadOptions, check_page, check_shape
from mrcnn.data.rgb import band_numbers, pil_to_rgb, turned, turned_back

DARK = 64
"""A color image of 16 bits whose brightest value of 8 bits is less than this may hold values of fewer bits."""


def chosen_page(pages: Sequence[tiff.Page], path: str, page: int | None) -> tiff.Page:
    """The page of that number from 1, or the first.

    Raises:
        DataError: there is none of that number.
    """
    check_page(path, page, len(pages))
    return pages[(page or 1) - 1]


def read_tiff(file: BinaryIO, path: str, expected_shape: tuple[int, int] | None, options: ReadOptions) -> np.ndarray:
    """u8[h, w, 3] of an open TIFF file; arguments and errors as for `images.read_image`."""
    page = chosen_page(tiff.read_pages(file, path), path, options.page)
    stored = (page.height, page.width)
    as_shown = check_shape(path, stored, page.orientation, expected_shape, options.max_pixels)
    deep_color = page.bands > 1 and page.bits > 8
    if options.bands is not None or (deep_color and options.in_range != "dtype"):
        rgb = turned(_tiff_bands(file, path, page, options), page.orientation)
    else:
        rgb = _tiff_image(file, path, page, options)
        if deep_color and rgb.max() < DARK:
            _log_if_dark(file, path, page)
    return rgb if as_shown else turned_back(rgb, page.orientation)


def _tiff_image(file: BinaryIO, path: str, page: tiff.Page, options: ReadOptions) -> np.ndarray:
    """u8[h, w, 3] as shown: by Pillow, or band by band where Pillow does not know this kind of TIFF."""
    try:
        with open_image(file, path) as image:
            if page.directory:
                image.seek(page.directory)
            image.load()  # applies the orientation
            bits = page.max_value.bit_length() if page.max_value else None
            rgb = pil_to_rgb(image, path, options.in_range, bits)
            # Pillow inverts 8 bits and fewer itself.
            inverted = page.photometric == tiff.WHITE_IS_ZERO and image.mode not in ("L", "1")
            return 255 - rgb if inverted else rgb
    except Exception as error:  # decoders raise many kinds on damaged data
        reason = error
    try:
        return turned(_tiff_bands(file, path, page, options), page.orientation)
    except DataError:
        if isinstance(reason, DataError):
            raise
        raise DataError(f"{path}: the image is damaged or cut off ({reason})") from reason


def _tiff_bands(file: BinaryIO, path: str, page: tiff.Page, options: ReadOptions) -> np.ndarray:
    """u8[h, w, 3] as stored."""
    if options.bands is not None:
        numbers = band_numbers(options.bands, page.band_names, path)
    else:
        numbers = _default_bands(page, path)
    values = tiff.read_bands(file, page, numbers, path)
    bits = page.max_value.bit_length() if page.max_value else None
    values = to_8_bit(values, options.in_range, name=path, bits=bits)
    if page.photometric == tiff.WHITE_IS_ZERO:
        values = 255 - values
    return np.repeat(values, 3, axis=2) if len(numbers) == 1 else np.ascontiguousarray(values)


def _log_if_dark(file: BinaryIO, path: str, page: tiff.Page) -> None:
    try:
        to_8_bit(tiff.read_bands(file, page, (0, 1, 2), path), "dtype", name=path)
    except DataError:
        return  # Pillow reads more kinds than `read_bands`; the image itself has been read


def _default_bands(page: tiff.Page, path: str) -> tuple[int, ...]:
    if page.photometric == tiff.RGB and page.bands >= 3:
        return 0, 1, 2
    if page.photometric not in (tiff.WHITE_IS_ZERO, tiff.BLACK_IS_ZERO):
        raise DataError(
            f"{path}: a TIFF of {page.bands} bands of {page.bits} bits with photometric interpretation"
            f" {page.photometric} cannot be converted to RGB; choose bands"
        )
    if page.bands < 3:
        return (0,)
    names = [name.lower() for name in page.band_names]
    if all(color in names for color in ("red", "green", "blue")):
        return tuple(names.index(color) for color in ("red", "green", "blue"))
    listed = ", ".join(f"{n} ({name})" if name != f"band {n}" else str(n) for n, name in enumerate(page.band_names, 1))
    log_file(
        "bands",
        path,
        f"has {page.bands} bands, {listed}; 1, 2 and 3 are read as red, green and blue, choose others by bands=",
    )
    return 0, 1, 2
