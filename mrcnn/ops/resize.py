"""Resizing and padding pictures: host-side NumPy, shared by the training pipeline and by inference."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resized_shape(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """The size a picture is resized to: shorter side `short_side`, unless the longer would exceed `long_side`.

    Args:
        height, width: of the picture, pixels.
        short_side: wanted length of the shorter side.
        long_side: largest length of the longer side.

    Returns:
        (height, width), each at least 1, rounded half up.

    Ref: Mask R-CNN, section 3.1 (800 and 1333).
    """
    scale = short_side / min(height, width)
    if scale * max(height, width) > long_side:
        scale = long_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def padded_shape(height: int, width: int, divisor: int) -> tuple[int, int]:
    """(height, width) rounded up to multiples of `divisor`."""
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a picture, pixel centres at half integers, linear in between, averaging when it shrinks.

    The triangle filter grows with the reduction factor, so small objects do not vanish between samples. This is what
    `tf.image.resize(image, shape, "bilinear", antialias=True)` computes, to within one grey level.

    Args:
        image: u8[h, w, c] or u8[h, w].
        shape: (height, width) wanted.

    Returns:
        u8[height, width, c] (or u8[height, width]); the same array where the size already fits.
    """
    height, width = int(shape[0]), int(shape[1])
    if image.shape[:2] == (height, width):
        return image
    if image.dtype != np.uint8:
        raise ValueError(f"resize_image: expected a uint8 picture, got {image.dtype}")
    if image.ndim == 2 or image.shape[2] == 3:
        # One axis at a time: which of them Pillow takes first depends on its version, and it rounds in between, so
        # the same picture would be resized to other bytes elsewhere (and the exported graph could not follow).
        resized = Image.fromarray(np.ascontiguousarray(image))
        for size in ((width, resized.height), (width, height)):
            resized = resized.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(resized)
    # Four channels would be taken for transparency and colours multiplied by it: one channel at a time.
    return np.stack([resize_image(image[..., i], shape) for i in range(image.shape[2])], axis=-1)


def pad_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Puts a picture into the upper left corner of a black canvas.

    Args:
        image: u8[h, w, c], no larger than the canvas.
        height, width: of the canvas.

    Returns:
        u8[height, width, c]; the same array where the size already fits.

    Raises:
        ValueError: the picture is larger than the canvas.
    """
    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    if h > height or w > width:
        raise ValueError(f"pad_image: a picture of {h} x {w} does not fit a canvas of {height} x {width}")
    canvas = np.zeros((height, width, *image.shape[2:]), image.dtype)
    canvas[:h, :w] = image
    return canvas
