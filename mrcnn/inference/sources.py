"""What people hand over as images, taken apart into single images."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Union

import numpy as np
import tensorflow as tf
from PIL import Image

from mrcnn.data.image_list import list_images
from mrcnn.errors import InputError
from mrcnn.inference.prepare import ImageLike

ImageSource = Union[ImageLike, Callable[[], np.ndarray]]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""One image, or a function without arguments that makes it."""


def single_images(images: Any) -> Iterable[ImageSource]:
    """Single images of all that `detect` takes.

    Args:
        images: one image (see `ImageLike`); a batch [B, h, w, channels]; the path of a folder or a glob pattern, see
            `list_images`; or any number of these, which an iterator may make.

    Returns:
        a list where the number is known, else an iterator that takes what it is given as it goes.

    Raises:
        DataError: a pattern that matches nothing, or a folder without images.
        InputError: something that is no image.

    Example:
        >>> len(single_images(np.zeros((5, 4, 6, 3), np.uint8)))
        5
    """
    if images is None or isinstance(images, (bool, int, float, bytes, dict)):
        raise InputError(
            f"expected an image, a path, a folder, a glob pattern or several of these, got {type(images).__name__}"
        )
    if isinstance(images, (str, os.PathLike)) or _is_array(images) or isinstance(images, Image.Image):
        return _one(images)
    if isinstance(images, (list, tuple)):
        return [image for element in images for image in _one(element)]
    if not isinstance(images, Iterable):
        if callable(images):
            return [images]
        raise InputError(
            f"expected an image, a path, a folder, a glob pattern or several of these, got {type(images).__name__}"
        )
    if hasattr(images, "__len__"):
        return images  # such as a data set, whose images are read when their turn comes
    return _each(images)


def _each(images: Iterable[Any]) -> Iterator[ImageSource]:
    for element in images:
        yield from _one(element)


def _one(element: Any) -> list[Any]:
    """The images of one element: several for a folder, a pattern or a batch."""
    if isinstance(element, (str, os.PathLike)):
        path = os.fspath(element)
        if os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path)):
            return list(list_images(path))
        return [element]
    if _is_array(element) and len(element.shape) == 4:
        return list(np.asarray(element))
    return [element]


def _is_array(value: Any) -> bool:
    """Whether it is numbers in one block, of NumPy, TensorFlow or another library."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return tf.is_tensor(value) or (hasattr(value, "__array__") and hasattr(value, "shape"))
