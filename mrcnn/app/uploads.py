"""What a page takes as an image, and how it refuses the rest: in one sentence that names the file.

The bytes come from anybody. Only raster formats are opened, recognized by their content (`data.image_file`); their size
in pixels is read from the header before anything is decoded.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.image_file import open_file
from mrcnn.data.images import opened_shape, read_opened
from mrcnn.data.rgb import shown_shape
from mrcnn.errors import InputError
from mrcnn.text import printable

MAX_MEGABYTES = 25
"""The largest file that is taken; a camera's JPEG of 50 megapixels has about 20."""
MAX_PIXELS = 40_000_000
"""The largest image that is taken: 120 MB as RGB for each browser."""
_LONGEST_SIDE = 30_000
_LONGEST_NAME = 80


def shown_name(name: object) -> str:
    """The last part of a file's name, whichever system it comes from, short and safe to print.

    Example:
        >>> shown_name("..\\\\..\\\\cells.png"), shown_name("/etc/passwd")
        ('cells.png', 'passwd')
    """
    last = PurePosixPath(str(name).replace("\\", "/")).name
    last = printable(last) if last not in ("", "..") else "image"
    return last if len(last) <= _LONGEST_NAME else f"{last[: _LONGEST_NAME - 12]}...{last[-9:]}"


def read_upload(path: str | os.PathLike[str], name: object = None) -> np.ndarray:
    """An uploaded file as u8[h, w, 3], RGB.

    Args:
        path: where the server put it.
        name: what the person calls it, for messages; None: the name of the path.

    Raises:
        InputError: too many bytes or pixels.
        DataError: not an image, or a damaged one. Both are one sentence, without the server's folders.
    """
    name = shown_name(path if name is None else name)
    try:
        size = os.path.getsize(path)
    except OSError as error:
        raise DataError(f"{name}: the upload did not arrive ({error.strerror})") from error
    if size > MAX_MEGABYTES * 1_000_000:
        raise InputError(f"{name}: {size / 1e6:.0f} MB, at most {MAX_MEGABYTES} MB are taken here")
    if size == 0:
        raise DataError(f"{name}: expected an image, the file is empty")
    with open_file(os.fspath(path)) as file:
        height, width = shown_shape(*opened_shape(file, name))
        check_shape(name, height, width)
        return read_opened(file, name)


def check_shape(name: str, height: int, width: int) -> None:
    """Refuse sides and areas that would fill the memory.

    Raises:
        InputError: names the image, its size and the limit.
    """
    if height * width > MAX_PIXELS or max(height, width) > _LONGEST_SIDE:
        raise InputError(
            f"{name}: {height} x {width} pixels (height x width), at most {MAX_PIXELS // 1_000_000} megapixels and"
            f" {_LONGEST_SIDE} a side are taken here"
        )
