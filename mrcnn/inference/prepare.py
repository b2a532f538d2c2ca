"""The way there: from an image to the model's canvas."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy as np
import tensorflow as tf

from mrcnn.data.images import image_shape, read_image
from mrcnn.preprocessing import InputConfig, preprocess
from mrcnn.structures.tensors import batch_spec

ImageLike = Union[np.ndarray, str, os.PathLike]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""u8[h, w], u8[h, w, 1], u8[h, w, 3] (RGB) or u8[h, w, 4] (the fourth channel is dropped), or a path."""

MAX_PIXELS = 100_000_000
"""Largest image taken unless the caller says otherwise: 300 MB as RGB."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An image ready for the model."""

    number: int
    image: np.ndarray | None  # u8 or f32[H, W, 3], padded; None once the model has seen it
    original_shape: tuple[int, int]
    content_shape: tuple[int, int]
    origin: tuple[int, int]  # (y, x) of the resized image inside the padding


def load_image(
    image: ImageLike | Callable[[], np.ndarray], number: int = 0, max_pixels: int | None = MAX_PIXELS
) -> np.ndarray:
    """An image as u8[h, w, 3], RGB.

    Args:
        image: an array, a path, or what makes an array when called.
        number: its place among others, which errors name.
        max_pixels: an image of more is refused, a file before it is decoded; None = no bound.

    Raises:
        ValueError: not uint8 of 1, 3 or 4 channels, without pixels, or with too many; names the number or the file.
        data.DataError: a file that cannot be read as an image; names the file.
    """
    name = f"image {number}"
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        if max_pixels is not None:
            _check_size(image_shape(name), max_pixels, name)
        image = read_image(name)
    elif callable(image):
        image = image()
    image = _rgb(image, name)
    _check_size(image.shape[:2], max_pixels, name)
    return image


def prepare_image(
    image: ImageLike | Callable[[], np.ndarray],
    number: int,
    config: InputConfig,
    max_pixels: int | None = MAX_PIXELS,
) -> Prepared:
    """`load_image`, with its arguments and errors, then `preprocess` by the model's input config."""
    image = load_image(image, number, max_pixels)
    return Prepared(number, original_shape=image.shape[:2], **preprocess(image, config)._asdict())


def image_spec(config: InputConfig) -> dict[str, tf.TensorSpec]:
    """What `make_batch` makes, for a graph of any number and size of images."""
    return batch_spec(with_ground_truth=False, image_dtype=config.image_dtype)


def make_batch(items: Sequence[Prepared]) -> dict[str, tf.Tensor]:
    """Images of one padded shape as `structures.batch_spec` states a batch without ground truth."""
    return {
        "image": tf.constant(np.stack([item.image for item in items])),
        "image_id": tf.constant([item.number for item in items], tf.int64),
        "original_shape": tf.constant([item.original_shape for item in items], tf.int32),
        "content_shape": tf.constant([item.content_shape for item in items], tf.int32),
    }


def _check_size(shape: tuple[int, ...], max_pixels: int | None, name: str) -> None:
    height, width = shape
    if max_pixels is not None and height * width > max_pixels:
        raise ValueError(
            f"{name}: {height} x {width} (height x width) is {height * width} pixels, at most {max_pixels} are taken;"
            " raise max_pixels, or cut it into tiles"
        )


def _rgb(image: Any, name: str) -> np.ndarray:
    image = np.asarray(image)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"{name}: expected uint8 of shape (height, width) or (height, width, 1, 3 or 4), got"
            f" {image.dtype} of shape {image.shape}"
        )
    if image.ndim == 2:
        image = image[..., np.newaxis]
    return np.repeat(image, 3, axis=2) if channels == 1 else image[..., :3]
