"""Reading images: whatever a file or an object holds becomes u8[h, w, 3] RGB, or an error that names it.

How each kind is converted
    * gray (8 bit, 1 bit, with or without alpha): the value three times.
    * more than 8 bits a channel: the full range onto the full range, never stretched to the image's own extremes, so
      the same intensity has the same value in every image; `in_range` chooses another range. Gray is rounded, color
      is cut to its upper 8 bits by the decoder.
    * TIFF whose white is 0 (MINISWHITE): inverted, so that white is 255.
    * RGBA, palettes with transparency: transparency is dropped; the colors below it are kept.
    * palette, CMYK, YCbCr, Lab, HSV: converted to RGB.
    * several bands: red, green and blue where the file names them, else the first three, which is logged; `bands`
      chooses others.
    * several frames or pages: the first, which is logged; `page` chooses another.
    * 32-bit integers are taken as 16 bit where they fit, else refused; floating point is refused (no known range)
      unless `in_range` names one.
    * EXIF and TIFF orientation: applied, which is what a person drawing annotations saw. Where the record states a
      size that only fits the pixels as stored, they are left as stored: those annotations were made without it.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image

from mrcnn.data import tiff
from mrcnn.data.errors import DataError
from mrcnn.data.image_file import image_suffixes as image_suffixes
from mrcnn.data.image_file import open_file, open_image
from mrcnn.data.intensity import InRange, checked_range, to_8_bit
from mrcnn.data.read_options import MAX_PIXELS, check_page, check_shape
from mrcnn.data.read_options import ReadOptions as ReadOptions
from mrcnn.data.rgb import Bands, array_to_rgb, as_array, orientation_of, pil_to_rgb, shown_shape, turned
from mrcnn.data.tiff_image import DARK, chosen_page, read_tiff

_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "I;16")  # whose channels are what the file holds
_PNG_16_BIT_COLOR = ((16, 2), (16, 6))  # bit depth and color type


def image_shape(path: str | os.PathLike[str], page: int | None = None) -> tuple[int, int]:
    """(height, width) of an image as `read_image` gives it, from the header alone.

    Args:
        path: of the file.
        page: of a file of several, from 1; None: the first.

    Raises:
        DataError: the file is missing or no image.
    """
    stored, orientation = stored_shape(path, page)
    return shown_shape(stored, orientation)


def stored_shape(path: str | os.PathLike[str], page: int | None = None) -> tuple[tuple[int, int], int]:
    """(height, width) of the pixels as the file stores them, and its orientation tag (1: as stored).

    Raises:
        DataError: the file is missing or no image.
    """
    path = os.fspath(path)
    with open_file(path) as file:
        return opened_shape(file, path, page)


def opened_shape(file: BinaryIO, name: str, page: int | None = None) -> tuple[tuple[int, int], int]:
    """`stored_shape` of what a file that is open holds; `name` is what messages call it."""
    if _is_tiff(file):
        chosen = chosen_page(tiff.read_pages(file, name), name, page)
        return (chosen.height, chosen.width), chosen.orientation
    with open_image(file, name) as image:
        _seek(image, name, page)
        return (image.height, image.width), orientation_of(image)


def read_image(
    path: str | os.PathLike[str],
    expected_shape: tuple[int, int] | None = None,
    least_shape: tuple[int, int] | None = None,
    *,
    in_range: InRange = "dtype",
    bands: Bands | None = None,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray:
    """An image file as 8-bit RGB; the module says how each kind of file is converted.

    Args:
        path: of the file.
        expected_shape: (height, width) its record states, or None.
        least_shape: (height, width) that is enough: a JPEG may then come at a half, a quarter or an eighth of its size,
            not below this, which its decoder makes in a fraction of the time. None: whole.
        in_range: which values become 0 and 255 in images of more than 8 bits a channel; see `data.intensity.InRange`.
        bands: one or three bands, numbers from 1 or names, e.g. (4, 3, 2) or ("nir", "red", "green").
        page: of a file of several pages or frames, from 1.
        max_pixels: an image of more is refused before it is decoded; None: no limit.

    Returns:
        u8[h, w, 3], RGB.

    Raises:
        DataError: missing, empty, truncated, too large, of unknown format or of another size than the record states;
            or a band or page that the file does not have.

    Example:
        >>> import numpy as np, os, tempfile
        >>> from PIL import Image
        >>> path = os.path.join(tempfile.mkdtemp(), "cells.png")
        >>> Image.fromarray(np.array([[0, 4080]], np.uint16)).save(path)  # 12-bit data in a 16-bit file
        >>> read_image(path, in_range=12)[0, :, 0].tolist()
        [0, 254]
    """
    path = os.fspath(path)
    with open_file(path) as file:
        return read_opened(file, path, expected_shape, least_shape, ReadOptions(in_range, bands, page, max_pixels))


def read_opened(
    file: BinaryIO,
    name: str,
    expected_shape: tuple[int, int] | None = None,
    least_shape: tuple[int, int] | None = None,
    options: ReadOptions | None = None,
) -> np.ndarray:
    """`read_image` of what a file that is open holds.

    Args:
        file: open for reading, at any place.
        name: what messages call it.
        expected_shape, least_shape: as for `read_image`.
        options: None: the default.
    """
    options = options or ReadOptions()
    if _is_tiff(file):
        return read_tiff(file, name, expected_shape, options)
    return _read_other(file, name, expected_shape, least_shape, options)


def as_rgb(image: Any, *, name: str = "image", in_range: InRange = "dtype", bands: Bands | None = None) -> np.ndarray:
    """One image as 8-bit RGB, whatever holds it.

    Args:
        image: a path; a PIL image of any mode, its EXIF orientation is applied as for its file; or an array, a
            tf.Tensor or anything else NumPy can read, [h, w] or [h, w, channels], RGB. The fourth of four channels is
            dropped.
        name: what messages call it.
        in_range: which values become 0 and 255 where they have more than 8 bits; see `data.intensity.InRange`.
        bands: of an array of any number of channels: one or three, numbers from 1.

    Returns:
        u8[h, w, 3], RGB; may share memory with an array that is RGB already.

    Raises:
        DataError: not one image, or values without a known range.

    Example:
        >>> as_rgb(Image.new("CMYK", (4, 2))).shape
        (2, 4, 3)
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image, in_range=in_range, bands=bands)
    in_range = checked_range(in_range)
    if isinstance(image, Image.Image):
        try:
            orientation = orientation_of(image)
            image.load()  # it may have been opened and not decoded; a TIFF is then turned
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{name}: the image is damaged or cut off ({error})") from error
        rgb = pil_to_rgb(image, name, in_range)
        return rgb if image.format == "TIFF" else turned(rgb, orientation)
    return array_to_rgb(as_array(image, name), name, in_range, bands)


def _read_other(
    file: BinaryIO,
    path: str,
    expected_shape: tuple[int, int] | None,
    least_shape: tuple[int, int] | None,
    options: ReadOptions,
) -> np.ndarray:
    with open_image(file, path) as image:
        _seek(image, path, options.page)
        orientation = orientation_of(image)
        stored = (image.height, image.width)
        as_shown = check_shape(path, stored, orientation, expected_shape, options.max_pixels)
        if least_shape is not None:
            height, width = shown_shape(least_shape, orientation) if as_shown else least_shape  # of the stored pixels
            image.draft(None, (width, height))  # only JPEGs follow it
        try:
            image.load()
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
        rgb = pil_to_rgb(image, path, options.in_range)
        if options.bands is not None:
            source = image if image.mode in _PLAIN_MODES else image.convert("RGB")
            rgb = array_to_rgb(np.array(source), path, options.in_range, options.bands)
    if _is_deep_png(file) and (options.in_range != "dtype" or rgb.max() < DARK):
        rgb = _deep_png(file, path, options, rgb)
    return turned(rgb, orientation) if as_shown else rgb


def _is_deep_png(file: BinaryIO) -> bool:
    file.seek(0)
    header = file.read(26)
    return header.startswith(b"\x89PNG") and tuple(header[24:26]) in _PNG_16_BIT_COLOR


def _deep_png(file: BinaryIO, path: str, options: ReadOptions, rgb: np.ndarray) -> np.ndarray:
    """A color PNG of 16 bits, scaled; `rgb`, its upper 8 bits by Pillow, where those are wanted or all there is."""
    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.dtype != np.uint16:
        return rgb
    values = values[..., [2, 1, 0]]
    if options.in_range == "dtype":
        to_8_bit(values, name=path)  # logs that it is dark
        return rgb
    return array_to_rgb(values, path, options.in_range, options.bands)


def _is_tiff(file: BinaryIO) -> bool:
    file.seek(0)
    return tiff.is_tiff(file.read(4))


def _seek(image: Image.Image, path: str, page: int | None) -> None:
    """Go to a frame of an animation; JPEGs of several images (MPO) hold previews of one."""
    try:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:  # decoders raise many kinds on damaged data
        raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
    check_page(path, page, frames)
    if page is not None and page > 1:
        try:
            image.seek(page - 1)
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{path}: page {page} cannot be read ({error})") from error
