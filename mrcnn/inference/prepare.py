"""The way there: from an image to the model's canvas."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import tensorflow as tf
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.images import as_rgb, image_shape, read_image
from mrcnn.data.read_options import ReadOptions
from mrcnn.data.rgb import as_array
from mrcnn.errors import InputError
from mrcnn.preprocessing import InputConfig, preprocess
from mrcnn.structures.tensors import batch_spec

ImageLike = Union[np.ndarray, tf.Tensor, Image.Image, str, "os.PathLike[str]"]
"""One image: a path; a PIL image of any mode; or an array or tensor u8[h, w], u8[h, w, 1], u8[h, w, 3] (RGB) or
u8[h, w, 4] (the fourth channel is dropped)."""

MAX_PIXELS = 100_000_000
"""Largest image taken unless the caller says otherwise: 300 MB as RGB."""

SCORE_THRESHOLD = 0.5
"""Detections scored below are left out of what people look at unless the caller says otherwise. Evaluation takes all
that the model's config lets through, as COCO's numbers want it."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An image ready for the model."""

    number: int
    image: np.ndarray | None  # u8 or f32[H, W, 3], padded; None once the model has seen it
    original_shape: tuple[int, int]
    content_shape: tuple[int, int]
    origin: tuple[int, int]  # (y, x) of the resized image inside the padding


def load_image(
    image: ImageLike | Callable[[], np.ndarray],
    number: int = 0,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
) -> np.ndarray:
    """An image as u8[h, w, 3], RGB.

    Args:
        image: see `ImageLike`; or what makes an array when called.
        number: its place among others, which errors name.
        max_pixels: an image of more is refused, a file before it is decoded; None = no bound.
        read_options: how more than 8 bits, bands and pages become RGB; None: `ReadOptions()`. Its own limit is not
            looked at.

    Raises:
        InputError: too many pixels; names the number or the file.
        data.DataError: a file or an object that is no image, or has values without a known range; names it.

    Example:
        >>> load_image(np.zeros((4, 6), np.uint8)).shape
        (4, 6, 3)
    """
    name = f"image {number}"
    options = read_options or ReadOptions()
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        if max_pixels is not None:
            _check_size(image_shape(name, options.page), max_pixels, name)
        return read_image(
            name, in_range=options.in_range, bands=options.bands, page=options.page, max_pixels=max_pixels
        )
    if not isinstance(image, (np.ndarray, tf.Tensor, Image.Image)) and callable(image):
        image = image()
    if not isinstance(image, Image.Image) and options.in_range == "dtype":
        image = as_array(image, name)
        if image.dtype not in (np.uint8, np.uint16, bool) and image.dtype.kind in "iu":
            raise DataError(
                f"{name}: expected uint8, got {image.dtype} of shape {image.shape}, whose range is unknown; convert it"
                " to uint8, or name the range, such as read_options=ReadOptions(in_range=12)"
            )
    pixels = as_rgb(image, name=name, in_range=options.in_range, bands=options.bands)
    _check_size(pixels.shape[:2], max_pixels, name)
    return pixels


def prepare_image(
    image: ImageLike | Callable[[], np.ndarray],
    number: int,
    config: InputConfig,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
) -> Prepared:
    """`load_image`, with its arguments and errors, then `preprocess` by the model's input config."""
    pixels = load_image(image, number, max_pixels, read_options)
    return Prepared(number, original_shape=pixels.shape[:2], **preprocess(pixels, config)._asdict())


def image_spec(config: InputConfig) -> dict[str, tf.TensorSpec]:
    """What `make_batch` makes, for a graph of any number and size of images."""
    return batch_spec(with_ground_truth=False, image_dtype=config.image_dtype)


def make_batch(items: Sequence[Prepared]) -> dict[str, tf.Tensor]:
    """Images of one padded shape as `structures.batch_spec` states a batch without ground truth."""
    return {
        "image": tf.constant(np.stack([np.asarray(item.image) for item in items])),
        "image_id": tf.constant([item.number for item in items], tf.int64),
        "original_shape": tf.constant([item.original_shape for item in items], tf.int32),
        "content_shape": tf.constant([item.content_shape for item in items], tf.int32),
    }


def _check_size(shape: tuple[int, ...], max_pixels: int | None, name: str) -> None:
    height, width = shape
    if max_pixels is not None and height * width > max_pixels:
        raise InputError(
            f"{name}: {height} x {width} (height x width) is {height * width} pixels, at most {max_pixels} are taken;"
            " raise max_pixels (mrcnn detect --max-pixels), or take tiles (detect_tiled, mrcnn detect --tile)"
        )
