"""Pixel values of any type as 8 bit: which value becomes black, and which white."""

from __future__ import annotations

import math
from typing import Any, Literal, Union

import numpy as np

from mrcnn.data.errors import DataError, log_file

InRange = Union[Literal["dtype", "image", "bits"], int, tuple[float, float]]  # noqa: UP007 - read at run time
"""Which values become 0 and 255, for images of more than 8 bits a channel; 8-bit images are taken as they are.

* "dtype": the range of the type, 0 to 65535; the same intensity has the same value in every image.
* "image": the smallest and the largest value of each image.
* "bits": 0 to 2^n - 1, with n the bit depth the file states, else the smallest of 10, 12, 14 and 16 that holds the
  image's largest value.
* n: 0 to 2^n - 1, such as 12.
* (low, high): a fixed range; what lies outside becomes 0 or 255.
"""

_DEPTHS = (8, 10, 12, 14, 16)
_DARK = 4  # an image whose brightest value is less than this part of the range is hardly visible


def parse_in_range(text: str) -> InRange:
    """An `InRange` from the command line or a config file: "dtype", "image", "bits", "12" or "0:4095".

    Raises:
        DataError: it is none of these.
    """
    if text in ("dtype", "image", "bits"):
        return text  # type: ignore[return-value]
    low, colon, high = text.partition(":")
    try:
        return checked_range((float(low), float(high)) if colon else int(text))
    except ValueError as error:
        raise DataError(f"in_range {text!r}: expected dtype, image, bits, a number of bits or low:high") from error


def checked_range(in_range: Any) -> InRange:
    """`in_range` itself.

    Raises:
        DataError: it is not what `InRange` allows.
    """
    if isinstance(in_range, str) and in_range in ("dtype", "image", "bits"):
        return in_range  # type: ignore[return-value]
    if isinstance(in_range, int) and not isinstance(in_range, bool) and 1 <= in_range <= 32:
        return in_range
    if isinstance(in_range, (tuple, list)) and len(in_range) == 2:
        try:
            low, high = (float(v) for v in in_range)
        except (TypeError, ValueError, OverflowError):
            low = high = math.nan
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    raise DataError(
        f'in_range {in_range!r}: expected "dtype", "image", "bits", a number of bits from 1 to 32, or (low, high)'
    )


def to_8_bit(values: np.ndarray, in_range: InRange = "dtype", *, name: str, bits: int | None = None) -> np.ndarray:
    """Pixel values of any integer or floating-point type as 8 bit.

    Args:
        values: any shape. NaN counts as the low end.
        in_range: see `InRange`.
        name: of the image, for messages.
        bits: bit depth the file states, used by "bits".

    Returns:
        u8 of the same shape.

    Raises:
        DataError: values that a range of "dtype" or "bits" does not cover: negative, above 65535, or floating point.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    is_float = np.issubdtype(values.dtype, np.floating)
    if not (is_float or np.issubdtype(values.dtype, np.integer)):
        raise DataError(f"{name}: pixels of type {values.dtype}; expected integers or floating point")
    if in_range in ("dtype", "bits") and is_float:
        raise DataError(
            f"{name}: floating-point image, whose range is unknown; name it as in_range=(low, high), or take in_range="
            '"image"'
        )
    if not values.size:
        return values.astype(np.uint8)
    finite = values[np.isfinite(values)] if is_float else values
    lowest, highest = (finite.min(), finite.max()) if finite.size else (0, 0)
    low, high = _limits(in_range, lowest, highest, bits, name)
    if in_range == "dtype" and 0 < highest < high / _DARK:
        _log_dark(name, int(highest), int(high))
    if values.dtype == np.uint16:
        return _scaled(np.arange(65536), low, high)[values]
    return _scaled(values, low, high)


def _limits(in_range: InRange, lowest: Any, highest: Any, bits: int | None, name: str) -> tuple[float, float]:
    if in_range == "image":
        return float(lowest), float(highest)
    if isinstance(in_range, tuple):
        return in_range
    if isinstance(in_range, int):
        return 0.0, 2.0**in_range - 1
    if lowest < 0 or highest > 65535:
        raise DataError(
            f"{name}: values from {lowest} to {highest}; expected 0 to 65535, or name their range as in_range=(low,"
            ' high), or take in_range="image"'
        )
    if in_range == "bits":
        depth = bits or next(n for n in _DEPTHS if highest < 2**n)
        return 0.0, 2.0**depth - 1
    return 0.0, 65535.0


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = np.nan_to_num((values.astype(np.float64) - low) * (255 / (high - low)), nan=0.0, posinf=255, neginf=0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _log_dark(name: str, highest: int, limit: int) -> None:
    bits = next(n for n in _DEPTHS if highest < 2**n)
    log_file(
        "dark",
        name,
        f"the brightest value is {highest} of {limit}, so the image is nearly black; if its values have {bits} bits,"
        f' read it with in_range={bits} (or "image", or (low, high))',
    )
