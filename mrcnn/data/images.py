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

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, Union

import cv2
import numpy as np
from PIL import Image

from mrcnn.base_config import BaseConfig
from mrcnn.data import tiff
from mrcnn.data.errors import DataError, log_file
from mrcnn.data.image_file import image_suffixes as image_suffixes
from mrcnn.data.image_file import open_file, open_image
from mrcnn.data.intensity import InRange, checked_range, to_8_bit

Bands = tuple[Union[int, str], ...]  # noqa: UP007 - read at run time
"""One band (gray) or three (red, green, blue): numbers from 1, or names."""

MAX_PIXELS = 178_956_970
"""Largest image read unless the caller says otherwise, Pillow's own limit: 540 MB as RGB."""

_ORIENTATION = 0x0112
_TRANSPOSING = (5, 6, 7, 8)
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "I;16")  # whose channels are what the file holds
_PNG_16_BIT_COLOR = ((16, 2), (16, 6))  # bit depth and color type


@dataclasses.dataclass(frozen=True)
class ReadOptions(BaseConfig):
    """How image files become 8-bit RGB; a field of `Dataset`, and the keyword arguments of `read_image`."""

    in_range: InRange = "dtype"  # which values become 0 and 255: "dtype", "image", "bits", a bit depth or (low, high)
    bands: Bands | None = None  # one or three, numbers from 1 or names; None: see the module
    page: int | None = None  # of a file of several, from 1; None: the first
    max_pixels: int | None = MAX_PIXELS  # larger images are refused; None: no limit

    def __post_init__(self) -> None:
        checked_range(self.in_range)
        if self.page is not None and self.page < 1:
            raise DataError(f"page {self.page}: pages are counted from 1")
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise DataError(f"bands {self.bands}: expected one (gray) or three (red, green, blue)")


def image_shape(path: str | os.PathLike[str], page: int | None = None) -> tuple[int, int]:
    """(height, width) of an image as `read_image` gives it, from the header alone.

    Args:
        path: of the file.
        page: of a file of several, from 1; None: the first.

    Raises:
        DataError: the file is missing or no image.
    """
    stored, orientation = stored_shape(path, page)
    return _shown_shape(stored, orientation)


def stored_shape(path: str | os.PathLike[str], page: int | None = None) -> tuple[tuple[int, int], int]:
    """(height, width) of the pixels as the file stores them, and its orientation tag (1: as stored).

    Raises:
        DataError: the file is missing or no image.
    """
    path = os.fspath(path)
    with open_file(path) as file:
        if _is_tiff(file):
            chosen = _chosen_page(tiff.read_pages(file, path), path, page)
            return (chosen.height, chosen.width), chosen.orientation
        with open_image(file, path) as image:
            _seek(image, path, page)
            return (image.height, image.width), _orientation(image)


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
    options = ReadOptions(in_range, bands, page, max_pixels)
    with open_file(path) as file:
        if _is_tiff(file):
            return _read_tiff(file, path, expected_shape, options)
        return _read_other(file, path, expected_shape, least_shape, options)


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
            orientation = _orientation(image)
            image.load()  # it may have been opened and not decoded; a TIFF is then turned
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{name}: the image is damaged or cut off ({error})") from error
        rgb = _pil_to_rgb(image, name, in_range)
        return rgb if image.format == "TIFF" else _turned(rgb, orientation)
    return _array_to_rgb(_as_array(image, name), name, in_range, bands)


def _as_array(image: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(image)
    except Exception as error:  # whatever a foreign object raises when it is asked for its values
        raise DataError(f"{name}: a {type(image).__name__} cannot be read as an array ({error})") from error
    if array.ndim == 4:
        raise DataError(f"{name}: expected one image, got a batch of shape {array.shape}")
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: expected uint8 of shape (height, width) or (height, width, 1, 3 or 4), got"
            f" {array.dtype} of shape {array.shape}"
        )
    return array


def _array_to_rgb(array: np.ndarray, name: str, in_range: InRange, bands: Bands | None) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., np.newaxis]
    channels = array.shape[2]
    if bands is not None:
        array = array[..., list(_band_numbers(bands, tuple(f"band {n}" for n in range(1, channels + 1)), name))]
    elif channels == 2 or channels > 4:
        channels_first = array.shape[0] in (1, 3, 4) and min(array.shape[1:]) > 4
        raise DataError(
            f"{name}: expected uint8 of shape (height, width) or (height, width, 1, 3 or 4), got {array.dtype} of shape"
            f" {array.shape}; {'move the channels last' if channels_first else 'choose bands'}"
        )
    if array.dtype.kind == "f" and in_range in ("dtype", "bits"):
        raise DataError(
            f"{name}: expected uint8, got {array.dtype} of shape {array.shape}, whose range is unknown; name it, such"
            " as in_range=(0, 1)"
        )
    array = to_8_bit(array[..., :3], in_range, name=name)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _pil_to_rgb(image: Image.Image, name: str, in_range: InRange, bits: int | None = None) -> np.ndarray:
    mode = image.mode
    try:
        if mode == "RGB":
            return np.array(image)
        if mode.startswith("I") or mode == "F":
            gray = to_8_bit(np.asarray(image), in_range, name=name, bits=bits)
        elif mode in ("L", "1", "LA", "La"):
            gray = np.asarray(image if mode == "L" else image.convert("LA" if mode == "La" else "L").convert("L"))
        elif mode in ("RGBa", "PA"):
            return np.array(image.convert("RGBA").convert("RGB"))
        else:
            return np.array(image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{name}: {mode} cannot be converted to RGB ({error})") from error
    return np.repeat(gray[:, :, None], 3, axis=2)


def _read_other(
    file: BinaryIO,
    path: str,
    expected_shape: tuple[int, int] | None,
    least_shape: tuple[int, int] | None,
    options: ReadOptions,
) -> np.ndarray:
    with open_image(file, path) as image:
        _seek(image, path, options.page)
        orientation = _orientation(image)
        stored = (image.height, image.width)
        as_shown = _check_shape(path, stored, orientation, expected_shape, options.max_pixels)
        if least_shape is not None:
            height, width = least_shape[::-1] if as_shown and orientation in _TRANSPOSING else least_shape
            image.draft(None, (width, height))  # only JPEGs follow it
        try:
            image.load()
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
        rgb = _deep_png(file, path, options) if _is_deep_png(file) else None
        if rgb is None:
            rgb = _pil_to_rgb(image, path, options.in_range)
            if options.bands is not None:
                source = image if image.mode in _PLAIN_MODES else image.convert("RGB")
                rgb = _array_to_rgb(np.array(source), path, options.in_range, options.bands)
    return _turned(rgb, orientation) if as_shown else rgb


def _is_deep_png(file: BinaryIO) -> bool:
    file.seek(0)
    header = file.read(26)
    return header.startswith(b"\x89PNG") and tuple(header[24:26]) in _PNG_16_BIT_COLOR


def _deep_png(file: BinaryIO, path: str, options: ReadOptions) -> np.ndarray | None:
    """A color PNG of 16 bits, of which Pillow keeps the upper 8; None where those are what is wanted."""
    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.dtype != np.uint16:
        return None
    values = values[..., [2, 1, 0]]
    rgb = _array_to_rgb(values, path, options.in_range, options.bands)
    return None if options.in_range == "dtype" and options.bands is None else rgb


def _read_tiff(file: BinaryIO, path: str, expected_shape: tuple[int, int] | None, options: ReadOptions) -> np.ndarray:
    page = _chosen_page(tiff.read_pages(file, path), path, options.page)
    stored = (page.height, page.width)
    as_shown = _check_shape(path, stored, page.orientation, expected_shape, options.max_pixels)
    deep_color = page.bands > 1 and page.bits > 8
    if options.bands is not None or (deep_color and options.in_range != "dtype"):
        rgb = _turned(_tiff_bands(file, path, page, options), page.orientation)
    else:
        rgb = _tiff_image(file, path, page, options)
        if deep_color and rgb.max() < 64:
            _log_if_dark(file, path, page)
    return rgb if as_shown else _turned_back(rgb, page.orientation)


def _tiff_image(file: BinaryIO, path: str, page: tiff.Page, options: ReadOptions) -> np.ndarray:
    """u8[h, w, 3] as shown: by Pillow, or band by band where Pillow does not know this kind of TIFF."""
    try:
        with open_image(file, path) as image:
            if page.directory:
                image.seek(page.directory)
            image.load()  # applies the orientation
            bits = page.max_value.bit_length() if page.max_value else None
            rgb = _pil_to_rgb(image, path, options.in_range, bits)
            # Pillow inverts 8 bits and fewer itself.
            inverted = page.photometric == tiff.WHITE_IS_ZERO and image.mode not in ("L", "1")
            return 255 - rgb if inverted else rgb
    except Exception as error:  # decoders raise many kinds on damaged data
        reason = error
    try:
        return _turned(_tiff_bands(file, path, page, options), page.orientation)
    except DataError:
        if isinstance(reason, DataError):
            raise
        raise DataError(f"{path}: the image is damaged or cut off ({reason})") from reason


def _tiff_bands(file: BinaryIO, path: str, page: tiff.Page, options: ReadOptions) -> np.ndarray:
    """u8[h, w, 3] as stored."""
    if options.bands is not None:
        numbers = _band_numbers(options.bands, page.band_names, path)
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


def _band_numbers(bands: Sequence[int | str], names: tuple[str, ...], path: str) -> tuple[int, ...]:
    """Numbers from 0 of bands given by number from 1 or by name."""
    lowered = [name.lower() for name in names]
    numbers = []
    for band in bands:
        if isinstance(band, str) and band.lower() in lowered:
            numbers.append(lowered.index(band.lower()))
        elif isinstance(band, (int, np.integer)) and 1 <= band <= len(names):
            numbers.append(int(band) - 1)
        else:
            raise DataError(f"{path}: no band {band!r}; there are {', '.join(names)}, counted from 1")
    return tuple(numbers)


def _is_tiff(file: BinaryIO) -> bool:
    file.seek(0)
    return tiff.is_tiff(file.read(4))


def _chosen_page(pages: Sequence[tiff.Page], path: str, page: int | None) -> tiff.Page:
    _check_page(path, page, len(pages))
    return pages[(page or 1) - 1]


def _seek(image: Image.Image, path: str, page: int | None) -> None:
    """Go to a frame of an animation; JPEGs of several images (MPO) hold previews of one."""
    try:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:  # decoders raise many kinds on damaged data
        raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
    _check_page(path, page, frames)
    if page is not None and page > 1:
        try:
            image.seek(page - 1)
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{path}: page {page} cannot be read ({error})") from error


def _check_page(path: str, page: int | None, number: int) -> None:
    if page is not None and page > number:
        raise DataError(f"{path}: no page {page}; there are {number}")
    if page is None and number > 1:
        log_file("pages", path, f"has {number} pages, the first is read; choose another by page=")


def _orientation(image: Image.Image) -> int:
    # Reading EXIF costs a seek through the file; PNGs carry it behind the pixels and almost never.
    try:
        value = int(image.getexif().get(_ORIENTATION, 1)) if image.format != "PNG" or "exif" in image.info else 1
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return value if 1 <= value <= 8 else 1


def _shown_shape(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    return stored[::-1] if orientation in _TRANSPOSING else stored


def _check_shape(
    path: str,
    stored: tuple[int, int],
    orientation: int,
    expected: tuple[int, int] | None,
    max_pixels: int | None,
) -> bool:
    """Whether the image is wanted as shown, its orientation applied, rather than as stored."""
    shown = _shown_shape(stored, orientation)
    if max_pixels is not None and stored[0] * stored[1] > max_pixels:
        raise DataError(
            f"{path}: {shown[0]} x {shown[1]} (height x width) is {stored[0] * stored[1]} pixels, at most {max_pixels}"
            " are read; raise max_pixels"
        )
    if expected is None or tuple(expected) == shown:
        return True
    if tuple(expected) == stored:
        return False
    raise DataError(
        f"{path}: the image is {shown[0]} x {shown[1]} (height x width), its record says {expected[0]} x {expected[1]}"
    )


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as stored -> as shown. Ref: EXIF 2.32, tag Orientation."""
    if orientation == 1:
        return image
    turned = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }[orientation](image)
    return np.ascontiguousarray(turned)


def _turned_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as shown -> as stored."""
    return _turned(image, {6: 8, 8: 6}.get(orientation, orientation))
