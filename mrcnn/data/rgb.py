"""What an array or a PIL image holds as 8-bit RGB, and its orientation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.intensity import InRange, to_8_bit

Bands = tuple[int | str, ...]
"""One band (gray) or three (red, green, blue): numbers from 1, or names."""

_ORIENTATION_TAG = 0x0112
_TRANSPOSING = (5, 6, 7, 8)


def as_array(image: Any, name: str) -> np.ndarray:
    """One image that NumPy can read, as an array of numbers [h, w] or [h, w, channels].

    Raises:
        DataError: a batch, no numbers, or no pixels.
    """
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


def array_to_rgb(array: np.ndarray, name: str, in_range: InRange, bands: Bands | None) -> np.ndarray:
    """u8[h, w, 3] of an array [h, w] or [h, w, channels]; arguments and errors as for `images.as_rgb`."""
    if array.ndim == 2:
        array = array[..., np.newaxis]
    channels = array.shape[2]
    if bands is not None:
        array = array[..., list(band_numbers(bands, tuple(f"band {n}" for n in range(1, channels + 1)), name))]
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


def pil_to_rgb(image: Image.Image, name: str, in_range: InRange, bits: int | None = None) -> np.ndarray:
    """u8[h, w, 3] of a PIL image of any mode, its pixels as they lie; `bits`: depth that its file states.

    Raises:
        DataError: values without a known range, or a mode that Pillow cannot convert.
    """
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


def band_numbers(bands: Sequence[int | str], names: tuple[str, ...], path: str) -> tuple[int, ...]:
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


def orientation_of(image: Image.Image) -> int:
    """The orientation tag of an image, 1 to 8; 1 where there is none."""
    # Reading EXIF costs a seek through the file; PNGs carry it behind the pixels and almost never.
    try:
        value = int(image.getexif().get(_ORIENTATION_TAG, 1)) if image.format != "PNG" or "exif" in image.info else 1
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return value if 1 <= value <= 8 else 1


def shown_shape(stored: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) once the orientation is applied."""
    return stored[::-1] if orientation in _TRANSPOSING else stored


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
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


def turned_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as shown -> as stored."""
    return turned(image, {6: 8, 8: 6}.get(orientation, orientation))
