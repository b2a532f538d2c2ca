"""Reading images: whatever a file holds becomes u8[h, w, 3] RGB, or an error that names the file.

How each kind is taken
    * gray (8 bit, 1 bit, with or without alpha): the value three times.
    * 16-bit gray: value / 257, the full range onto the full range, never stretched to the image's own extremes,
      so the same intensity has the same value in every image. 16-bit color: the same, by the decoder.
    * RGBA, palettes with transparency: transparency is dropped; the colors below it are kept.
    * palette, CMYK, YCbCr, Lab, HSV: converted to RGB.
    * 32-bit integers are taken as 16 bit where they fit, else refused; floating point is refused (no known range).
    * several frames or pages: the first.
    * EXIF orientation: applied, which is what a person drawing annotations saw. Where the record states a size that
      only fits the pixels as stored, they are left as stored: those annotations were made without EXIF.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
from PIL import Image, ImageOps

from mrcnn.data.errors import DataError

_ORIENTATION = 0x0112
_TRANSPOSING = (5, 6, 7, 8)


def _open(path: str) -> Image.Image:
    if not os.path.exists(path):
        raise DataError(f"{path}: no such image")
    if os.path.isdir(path):
        raise DataError(f"{path}: expected an image, found a folder")
    if os.path.getsize(path) == 0:
        raise DataError(f"{path}: expected an image, the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image in a known format") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be opened as an image ({error})") from error


def _orientation(image: Image.Image) -> int:
    # Reading EXIF costs a seek through the file; PNGs carry it behind the pixels and almost never.
    try:
        return int(image.getexif().get(_ORIENTATION, 1)) if image.format != "PNG" or "exif" in image.info else 1
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def image_shape(path: str) -> tuple[int, int]:
    """(height, width) of an image as `read_image` would give it, from the header alone.

    Raises:
        DataError: the file is missing or no image.
    """
    with _open(str(path)) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in _TRANSPOSING else (height, width)


def _to_rgb(image: Image.Image, path: str) -> np.ndarray:
    mode = image.mode
    if mode == "RGB":
        return np.array(image)
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError(
                f"{path}: 32-bit integer image with values {values.min()} to {values.max()}; expected 8 or 16 bit"
            )
        gray = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif mode == "F":
        raise DataError(f"{path}: floating-point image, whose range is unknown; expected 8 or 16 bit")
    elif mode in ("L", "1", "LA", "La"):
        gray = np.asarray(image.convert("L") if mode != "L" else image)
    else:
        return np.array(image.convert("RGB"))
    return np.repeat(gray[:, :, None], 3, axis=2)


def read_image(
    path: str | os.PathLike[str],
    expected_shape: tuple[int, int] | None = None,
    least_shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """An image file as RGB; see the module head for how each kind is taken.

    Args:
        path: of the file.
        expected_shape: (height, width) its record states, or None.
        least_shape: (height, width) that is enough: a JPEG may then come at a half, a quarter or an eighth of its size,
            not below this, which its decoder makes in a fraction of the time. None: whole.

    Returns:
        u8[h, w, 3], RGB.

    Raises:
        DataError: missing, empty, truncated, of unknown format or of another size than the record states.
    """
    path = os.fspath(path)
    with _open(path) as image:
        orientation = _orientation(image)
        stored = (image.height, image.width)
        shown = stored[::-1] if orientation in _TRANSPOSING else stored
        as_shown = expected_shape is None or tuple(expected_shape) == shown
        if least_shape is not None:
            height, width = least_shape[::-1] if as_shown and shown != stored else least_shape
            image.draft(None, (width, height))  # only JPEGs follow it
        try:
            image.load()
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: the image is damaged or cut off ({error})") from error
        if expected_shape is not None and tuple(expected_shape) not in (stored, shown):
            raise DataError(
                f"{path}: the image is {shown[0]} x {shown[1]} (height x width), its record says "
                f"{expected_shape[0]} x {expected_shape[1]}"
            )
        if orientation != 1 and as_shown:
            image = ImageOps.exif_transpose(image)
        try:
            return _to_rgb(image, path)
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {image.mode} cannot be converted to RGB ({error})") from error
