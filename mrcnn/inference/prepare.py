"""The way there: from a picture to the model's canvas."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy as np
import tensorflow as tf

from mrcnn.data.pictures import picture_shape, read_picture
from mrcnn.modeling.input import InputConfig
from mrcnn.ops.resize import pad_image, resize_image
from mrcnn.structures import batch_spec

Picture = Union[np.ndarray, str, os.PathLike]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""u8[h, w], u8[h, w, 1], u8[h, w, 3] (RGB) or u8[h, w, 4] (the fourth channel is dropped), or a path."""

MAX_PIXELS = 100_000_000
"""Largest picture taken unless the caller says otherwise: 300 MB as RGB."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A picture ready for the model."""

    number: int
    image: np.ndarray | None  # u8 or f32[H, W, 3], padded; None once the model has seen it
    original_shape: tuple[int, int]
    content_shape: tuple[int, int]
    origin: tuple[int, int]  # (y, x) of the resized picture inside the padding


def load_picture(
    picture: Picture | Callable[[], np.ndarray], number: int = 0, max_pixels: int | None = MAX_PIXELS
) -> np.ndarray:
    """A picture as u8[h, w, 3], RGB.

    Args:
        picture: an array, a path, or what makes an array when called.
        number: its place among others, which errors name.
        max_pixels: a picture of more is refused, a file before it is decoded; None = no bound.

    Raises:
        ValueError: not uint8 of 1, 3 or 4 channels, without pixels, or with too many; names the number or the file.
        data.DataError: a file that cannot be read as a picture; names the file.
    """
    name = f"picture {number}"
    if isinstance(picture, (str, os.PathLike)):
        name = os.fspath(picture)
        if max_pixels is not None:
            _check_size(picture_shape(name), max_pixels, name)
        picture = read_picture(name)
    elif callable(picture):
        picture = picture()
    picture = _rgb(picture, name)
    _check_size(picture.shape[:2], max_pixels, name)
    return picture


def prepare_picture(
    picture: Picture | Callable[[], np.ndarray],
    number: int,
    settings: InputConfig,
    max_pixels: int | None = MAX_PIXELS,
) -> Prepared:
    """Read, resize and pad a picture: `load_picture`, with its arguments and errors, then the model's input rules."""
    picture = load_picture(picture, number, max_pixels)
    height, width = picture.shape[:2]
    content = settings.content_size(height, width)
    canvas = settings.canvas_size(*content)
    resized = resize_image(picture, content, settings.interpolation)
    padded = pad_image(resized, *canvas, centre=settings.padding == "centre")
    return Prepared(number, padded, (height, width), content, settings.origin(canvas, content))


def picture_spec(settings: InputConfig) -> dict[str, tf.TensorSpec]:
    """What `make_batch` makes, for a graph of any number and size of pictures."""
    spec = batch_spec(with_truth=False)
    return spec | {"image": tf.TensorSpec(spec["image"].shape, settings.picture_dtype, "image")}


def make_batch(items: Sequence[Prepared]) -> dict[str, tf.Tensor]:
    """Pictures of one padded shape as `structures.batch_spec` states a batch without truth."""
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


def _rgb(picture: Any, name: str) -> np.ndarray:
    picture = np.asarray(picture)
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in picture.shape:
        raise ValueError(
            f"{name}: expected uint8 of shape (height, width) or (height, width, 1, 3 or 4), got"
            f" {picture.dtype} of shape {picture.shape}"
        )
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    return np.repeat(picture, 3, axis=2) if channels == 1 else picture[..., :3]
