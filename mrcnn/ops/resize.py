"""Resizing and padding images: host-side NumPy, shared by the training pipeline and by inference."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image

from mrcnn.errors import InputError

BYTE_WEIGHT = 1 << 11
"""What the weights of "linear_u8" add up to."""
Rounding = Literal["half_up", "half_even", "floor"]
Interpolation = Literal["antialias_u8", "linear", "linear_u8", "linear_black_u8"]


def resized_shape(
    height: int,
    width: int,
    short_side: float,
    long_side: int,
    rounding: Rounding = "half_up",
    never_shrink_for_short: bool = False,
) -> tuple[int, int]:
    """The size an image is resized to: shorter side `short_side`, unless the longer would exceed `long_side`.

    Args:
        height, width: of the image, pixels.
        short_side: target length of the shorter side.
        long_side: largest length of the longer side.
        rounding: of the sides. "half_up" as detectron2; "half_even" as matterport, which also lets the
            longer side exceed `long_side` by what rounding takes away; "floor" as torchvision.
        never_shrink_for_short: a shorter side above `short_side` stays; matterport's rule.

    Returns:
        (height, width), each at least 1.

    Ref: Mask R-CNN, section 3.1 (800 and 1333).
    """
    shorter, longer = min(height, width), max(height, width)
    scale = short_side / shorter
    if never_shrink_for_short:
        scale = max(scale, 1.0)
    if rounding == "floor":
        scale = min(scale, long_side / longer)
        return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
    reached = scale * longer
    if rounding == "half_even":
        if round(reached) > long_side:
            scale = long_side / longer
        return max(1, round(height * scale)), max(1, round(width * scale))
    # Steps as in detectron2: one factor for both sides at once would round some halves the other way.
    shortest = max(shorter, short_side) if never_shrink_for_short else short_side
    to_fit = long_side / reached if reached > long_side else 1.0
    short, long = (max(1, int(length * to_fit + 0.5)) for length in (shortest, reached))
    return (short, long) if height < width else (long, short)


def padded_shape(height: int, width: int, divisor: int) -> tuple[int, int]:
    """(height, width) rounded up to multiples of `divisor`."""
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def resize_image(
    image: np.ndarray, shape: tuple[int, int], interpolation: Interpolation = "antialias_u8"
) -> np.ndarray:
    """Resizes an image, pixel centers at half integers.

    * "antialias_u8": a triangle filter that grows with the reduction factor, so small objects do not vanish between
      samples; what `tf.image.resize(image, shape, "bilinear", antialias=True)` computes, to within one gray level.
    * "linear": bilinear between the four nearest pixels, the edge repeated beyond the image; not rounded. What
      `torch.nn.functional.interpolate(..., align_corners=False)` and `cv2.resize` of float pixels compute.
    * "linear_u8": the same rounded to gray levels, in the fixed-point arithmetic of `cv2.resize` of bytes.
    * "linear_black_u8": bilinear, black beyond the image, fractions cut off; scikit-image's order 1 cast to bytes.

    Args:
        image: u8[h, w, c] or u8[h, w].
        shape: (height, width) of the result.
        interpolation: see above.

    Returns:
        u8[height, width, c] (or u8[height, width]), float32 for "linear"; the same pixels where the size already fits.

    Raises:
        InputError: the image is not uint8.
    """
    height, width = int(shape[0]), int(shape[1])
    if image.dtype != np.uint8:
        raise InputError(f"resize_image: expected a uint8 image, got {image.dtype}")
    if image.shape[:2] == (height, width):
        return image.astype(np.float32) if interpolation == "linear" else image
    if interpolation != "antialias_u8":
        resize = {"linear": _resize_linear, "linear_u8": _resize_linear_bytes, "linear_black_u8": _resize_linear_black}
        return resize[interpolation](image, height, width)
    if image.ndim == 2 or image.shape[2] == 3:
        # One axis at a time: which of them Pillow takes first depends on its version, and it rounds in between, so
        # the same image would be resized to other bytes elsewhere (and the exported graph could not follow).
        resized = Image.fromarray(np.ascontiguousarray(image))
        for size in ((width, resized.height), (width, height)):
            resized = resized.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(resized)
    # Four channels would be taken for transparency and colors multiplied by it: one channel at a time.
    return np.stack([resize_image(image[..., i], shape) for i in range(image.shape[2])], axis=-1)


def _linear_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The two source pixels of each target pixel along one axis, i64[2, new_size], and their weights, f32.

    Positions are float32, as PyTorch computes them: differences of up to 3e-5 pixel are invisible in an image, but
    fifty layers of batch norm in training mode amplify them to 2 % of a gradient.
    """
    scale, half = np.float32(size) / np.float32(new_size), np.float32(0.5)
    position = np.maximum(scale * (np.arange(new_size, dtype=np.float32) + half) - half, np.float32(0.0))
    first = np.floor(position).astype(np.int64)
    fraction = position - first.astype(np.float32)
    return np.clip([first, first + 1], 0, size - 1), np.stack([np.float32(1.0) - fraction, fraction])


def _exact_linear_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_linear_taps`, in whole numbers: the weights add up to 2 * new_size, and are 0 beyond the image.

    The center of target pixel i lies at ((2 i + 1) size - new_size) / (2 new_size) in source pixels.

    Returns:
        Source pixels i64[2, new_size], weights i64[2, new_size], and the weights i64[2, new_size] (-1 and 1, or 0) of
        the slope between the two; no slope where the center lies on a source pixel.
    """
    numerator = (2 * np.arange(new_size, dtype=np.int64) + 1) * size - new_size
    first, remainder = np.divmod(numerator, 2 * new_size)
    taps = np.stack([first, first + 1])
    inside = (taps >= 0) & (taps < size)
    weights = np.where(inside, [2 * new_size - remainder, remainder], 0)
    slopes = np.where(inside & (remainder != 0), [[-1], [1]], 0)
    return np.clip(taps, 0, size - 1), weights, slopes


def _spread(weights: np.ndarray, axis: int, pixels: np.ndarray) -> np.ndarray:
    """Weights [2, n] of the two taps along an axis, in the shape in which they multiply pixels."""
    weights = weights.reshape([2] + [-1 if i == axis else 1 for i in range(pixels.ndim)])
    # Repeated for each channel they lie in memory as the pixels do, which is twice as fast.
    return np.repeat(weights, pixels.shape[2], 3) if axis == 1 and pixels.ndim == 3 else weights


def _resize_linear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    pixels = image.astype(np.float32)
    for axis, size in ((1, width), (0, height)):
        taps, weights = _linear_taps(image.shape[axis], size)
        weights = _spread(weights, axis, pixels)
        pixels, second = np.take(pixels, taps[0], axis), np.take(pixels, taps[1], axis)
        pixels *= weights[0]
        second *= weights[1]
        pixels += second
    return pixels


def _byte_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """As `_linear_taps`; the weights are i32[2, new_size], of 11 bits."""
    scale = 1.0 / (new_size / size)
    position = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position)
    fraction = position - first
    fraction = np.where((first < 0) | (first >= size - 1), np.float32(0.0), fraction)
    weights = np.rint(np.stack([np.float32(1.0) - fraction, fraction]) * np.float32(BYTE_WEIGHT)).astype(np.int32)
    first = first.astype(np.int64)
    return np.clip([first, first + 1], 0, size - 1), weights


def _resize_linear_bytes(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Columns with weights of 11 bits, then rows, whose four and sixteen lowest bits are cut off before the sum.

    Ref: OpenCV, modules/imgproc/src/resize.cpp, HResizeLinear and VResizeLinear of 8 bits.
    """
    taps, weights = _byte_taps(image.shape[1], width)
    rows = image.astype(np.int32)
    weights = _spread(weights, 1, rows)
    rows = np.take(rows, taps[0], 1) * weights[0] + np.take(rows, taps[1], 1) * weights[1]
    rows >>= 4
    taps, weights = _byte_taps(image.shape[0], height)
    weights = _spread(weights, 0, rows)
    first, second = np.take(rows, taps[0], 0) * weights[0], np.take(rows, taps[1], 0) * weights[1]
    return (((first >> 16) + (second >> 16) + 2) >> 2).astype(np.uint8)


def _exact_interpolation(pixels: np.ndarray, axis: int, size: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Values times 2 * size at `size` positions along an axis, of `dtype`, and their slopes, i32."""
    taps, weights, slopes = _exact_linear_taps(pixels.shape[axis], size)
    weights, slopes = (_spread(w, axis, pixels) for w in (weights.astype(dtype), slopes.astype(np.int32)))
    first, second = np.take(pixels, taps[0], axis), np.take(pixels, taps[1], axis)
    values = first * weights[0]
    values += second * weights[1]
    first *= slopes[0]
    second *= slopes[1]
    first += second
    return values, first


def _resize_linear_black(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The exact value of every pixel, cut off to a whole gray level.

    scikit-image solves for its transform in floating point. Its error, about 1e-13 pixel, depends on the sizes and on
    the linear algebra library, and decides on which side of the cut a value falls that is a whole gray level. No rule
    foresees that. Here such a value is taken infinitesimally before its position on the longer axis, so that it falls
    where the image gets brighter along it; tests/ops/test_resize.py says how often that is scikit-image's side.

    All numbers up to the division are whole: those of one axis fit int32, those of both (below 2**53) float64.
    """
    rows, rises = _exact_interpolation(image.astype(np.int32), 0, height, np.int32)
    sums, slopes = _exact_interpolation(rows, 1, width, np.float64)
    if image.shape[0] > image.shape[1]:
        slopes, _ = _exact_interpolation(rises, 1, width, np.int32)
    sums /= 4.0 * height * width
    levels = np.floor(sums)
    levels -= (levels == sums) & (slopes > 0)
    # Black beyond the edges would darken the border of an image: scikit-image clips to the range of the input.
    return np.clip(levels, image.min(), image.max(), out=levels).astype(np.uint8)


def pad_image(
    image: np.ndarray, height: int, width: int, center: bool = False, out: np.ndarray | None = None
) -> np.ndarray:
    """Puts an image on a black canvas.

    Args:
        image: u8 or f32[h, w, c], no larger than the canvas.
        height, width: of the canvas.
        center: into the middle (the odd pixel below and right) instead of the upper left corner.
        out: zeros[height, width, c] of the image's dtype to write to; None: a new array.

    Returns:
        [height, width, c] of the image's dtype: `out`; without it, the image itself where its size already fits.

    Raises:
        InputError: the image is larger than the canvas, or of another dtype than `out`.
    """
    h, w = image.shape[:2]
    if out is None and (h, w) == (height, width):
        return image
    if h > height or w > width:
        raise InputError(f"pad_image: an image of {h} x {w} does not fit a canvas of {height} x {width}")
    if out is None:
        out = np.zeros((height, width, *image.shape[2:]), image.dtype)
    elif out.dtype != image.dtype:
        raise InputError(f"pad_image: an image of {image.dtype} does not fit a canvas of {out.dtype}")
    top, left = ((height - h) // 2, (width - w) // 2) if center else (0, 0)
    out[top : top + h, left : left + w] = image
    return out
