"""Reading pictures: whatever a file holds becomes u8[h, w, 3] RGB, or an error that names the file.

How each kind is taken
    * grey (8 bit, 1 bit, with or without alpha): the value three times.
    * 16-bit grey: value / 257, the full range onto the full range, never stretched to the picture's own extremes,
      so the same intensity has the same value in every picture. 16-bit colour: the same, by the decoder.
    * RGBA, palettes with transparency: transparency is dropped; the colours below it are kept.
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
        raise DataError(f"{path}: no such picture")
    if os.path.isdir(path):
        raise DataError(f"{path}: expected a picture, found a folder")
    if os.path.getsize(path) == 0:
        raise DataError(f"{path}: expected a picture, the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture in a known format") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be opened as a picture ({error})") from error


def _orientation(picture: Image.Image) -> int:
    # Reading EXIF costs a seek through the file; PNGs carry it behind the pixels and almost never.
    try:
        return int(picture.getexif().get(_ORIENTATION, 1)) if picture.format != "PNG" or "exif" in picture.info else 1
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def picture_shape(path: str) -> tuple[int, int]:
    """(height, width) of a picture as `read_picture` would give it, from the header alone.

    Raises:
        DataError: the file is missing or no picture.
    """
    with _open(str(path)) as picture:
        width, height = picture.size
        return (width, height) if _orientation(picture) in _TRANSPOSING else (height, width)


def _to_rgb(picture: Image.Image, path: str) -> np.ndarray:
    mode = picture.mode
    if mode == "RGB":
        return np.array(picture)
    if mode.startswith("I"):
        values = np.asarray(picture)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError(
                f"{path}: 32-bit integer picture with values {values.min()} to {values.max()}; expected 8 or 16 bit"
            )
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif mode == "F":
        raise DataError(f"{path}: floating-point picture, whose range is unknown; expected 8 or 16 bit")
    elif mode in ("L", "1", "LA", "La"):
        grey = np.asarray(picture.convert("L") if mode != "L" else picture)
    else:
        return np.array(picture.convert("RGB"))
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_picture(
    path: str | os.PathLike[str],
    expected_shape: tuple[int, int] | None = None,
    least_shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """A picture file as RGB; see the module head for how each kind is taken.

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
    with _open(path) as picture:
        orientation = _orientation(picture)
        stored = (picture.height, picture.width)
        shown = stored[::-1] if orientation in _TRANSPOSING else stored
        as_shown = expected_shape is None or tuple(expected_shape) == shown
        if least_shape is not None:
            height, width = least_shape[::-1] if as_shown and shown != stored else least_shape
            picture.draft(None, (width, height))  # only JPEGs follow it
        try:
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: the picture is damaged or cut off ({error})") from error
        if expected_shape is not None and tuple(expected_shape) not in (stored, shown):
            raise DataError(
                f"{path}: the picture is {shown[0]} x {shown[1]} (height x width), its record says "
                f"{expected_shape[0]} x {expected_shape[1]}"
            )
        if orientation != 1 and as_shown:
            picture = ImageOps.exif_transpose(picture)
        try:
            return _to_rgb(picture, path)
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {picture.mode} cannot be converted to RGB ({error})") from error
