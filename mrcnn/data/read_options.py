"""How image files become 8-bit RGB, and the checks that need no pixels: pages, sizes, orientation."""

from __future__ import annotations

import dataclasses

from mrcnn.base_config import BaseConfig
from mrcnn.data.errors import DataError, log_file
from mrcnn.data.intensity import InRange, checked_range
from mrcnn.data.rgb import Bands, shown_shape

MAX_PIXELS = 178_956_970
"""Largest image read unless the caller says otherwise, Pillow's own limit: 540 MB as RGB."""


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


def check_page(path: str, page: int | None, number: int) -> None:
    """Refuse a page that the file does not have; log that only the first of several is read.

    Raises:
        DataError: names the file.
    """
    if page is not None and page > number:
        raise DataError(f"{path}: no page {page}; there are {number}")
    if page is None and number > 1:
        log_file("pages", path, f"has {number} pages, the first is read; choose another by page=")


def check_shape(
    path: str,
    stored: tuple[int, int],
    orientation: int,
    expected: tuple[int, int] | None,
    max_pixels: int | None,
) -> bool:
    """Whether the image is wanted as shown, its orientation applied, rather than as stored."""
    shown = shown_shape(stored, orientation)
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
