"""matterport's resizing of images and masks, in NumPy."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.ops import resize as resize_ops
from mrcnn.structures.masks import paste_masks


def resize(
    image: np.ndarray,
    output_shape: Sequence[int],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool = False,
    anti_aliasing_sigma: Any = None,
) -> np.ndarray:
    """An image at another size, linearly between its pixels, black beyond them.

    Args:
        image: [h, w] or [h, w, c].
        output_shape: (height, width, ...).
        order, mode, cval, clip, anti_aliasing, anti_aliasing_sigma: only their defaults are known.
        preserve_range: integers keep their range; else they are scaled to 0..1.

    Returns:
        float [height, width, ...].
    """
    del clip, anti_aliasing_sigma
    if order != 1 or mode != "constant" or cval != 0 or anti_aliasing:
        raise ValueError("utils.resize: only order=1, mode='constant', cval=0 and anti_aliasing=False are known")
    height, width = int(output_shape[0]), int(output_shape[1])
    scale = 1.0 if preserve_range or image.dtype.kind not in "iu" else 1.0 / np.iinfo(image.dtype).max
    if image.dtype == np.uint8:
        return resize_ops.resize_image(image, (height, width), "linear_black_u8").astype(np.float64) * scale
    rows, columns = _black_taps(image.shape[0], height), _black_taps(image.shape[1], width)
    pixels = np.tensordot(rows, image.astype(np.float64), axes=1)  # [height, w, ...]
    pixels = np.moveaxis(np.tensordot(columns, pixels, axes=(1, 1)), 0, 1)
    # scikit-image leaves no value beyond those of the image, but for pixels that are black altogether.
    low, high = float(image.min()), float(image.max())
    is_black = (pixels == 0) & (not low <= 0 <= high)
    return np.where(is_black, 0.0, np.clip(pixels, low, high)) * scale


def _black_taps(size: int, new_size: int) -> np.ndarray:
    """f64[new_size, size], weights of linear interpolation along an axis; less than 1 in all where black is near."""
    twice = (2 * np.arange(new_size) + 1) * size - new_size  # 2 x new_size x the place of a pixel's center, exact
    distance = np.abs(twice[:, np.newaxis] - 2 * new_size * np.arange(size)[np.newaxis])
    return np.maximum(2 * new_size - distance, 0) / (2 * new_size)


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
) -> tuple[np.ndarray, tuple[int, int, int, int], float, list[tuple[int, int]], tuple[int, int, int, int] | None]:
    """An image as the network is shown it.

    Args:
        image: [h, w, c] of any dtype, which is kept.
        min_dim: enlarge it until its shorter side is this long.
        max_dim: "square" only: its longer side is at most, and the result exactly, this long.
        min_scale: enlarge it at least so much.
        mode: "none"; "square", in the middle of a black square; "pad64", in the middle of sides that are multiples of
            64; "crop", a random square of min_dim pixels.

    Returns:
        (image, window (y1, x1, y2, x2) of the image in it, scale, padding [(top, bottom), (left, right), (0, 0)],
        crop (y, x, h, w) or None).
    """
    dtype = image.dtype
    h, w = image.shape[:2]
    window, scale = (0, 0, h, w), 1.0
    crop: tuple[int, int, int, int] | None = None
    padding = [(0, 0), (0, 0), (0, 0)]
    if mode == "none":
        return image, window, scale, padding, crop
    image, scale = enlarged(image, min_dim, min_scale, max_dim if mode == "square" else None)
    h, w = image.shape[:2]
    if mode in ("square", "pad64"):
        if mode == "pad64":
            assert min_dim and min_dim % 64 == 0, "Minimum dimension must be a multiple of 64"
            height, width = resize_ops.padded_shape(h, w, 64)
        else:
            assert max_dim is not None, "Mode square needs max_dim"
            height = width = max_dim
        image, window, padding = centered(image, height, width)
    elif mode == "crop":
        assert min_dim is not None, "Mode crop needs min_dim"
        y, x = random.randint(0, h - min_dim), random.randint(0, w - min_dim)
        crop = (y, x, min_dim, min_dim)
        image = image[y : y + min_dim, x : x + min_dim]
        window = (0, 0, min_dim, min_dim)
    else:
        raise Exception(f"Mode {mode} not supported")
    return image.astype(dtype), window, scale, padding, crop


def enlarged(
    image: np.ndarray, min_dim: int | None, min_scale: float | None, max_dim: int | None = None
) -> tuple[np.ndarray, float]:
    """(an image with a shorter side of at least min_dim and a longer one of at most max_dim pixels, its scale).

    Args:
        image: [h, w, c]; the result is f64 where the scale is not 1.
        min_dim, max_dim: None or 0: no limit.
        min_scale: enlarge at least so much.
    """
    h, w = image.shape[:2]
    scale = max(1, min_dim / min(h, w)) if min_dim else 1.0
    if min_scale and scale < min_scale:
        scale = min_scale
    if max_dim and round(max(h, w) * scale) > max_dim:
        scale = max_dim / max(h, w)
    if scale != 1:
        image = resize(image, (round(h * scale), round(w * scale)), preserve_range=True)
    return image, scale


def centered(
    image: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, tuple[int, int, int, int], list[tuple[int, int]]]:
    """(an image in the middle of a black canvas, its window (y1, x1, y2, x2) there, the padding of its axes)."""
    h, w = image.shape[:2]
    top, left = (height - h) // 2, (width - w) // 2
    padding = [(top, height - h - top), (left, width - w - left), (0, 0)]
    return np.pad(image, padding, mode="constant", constant_values=0), (top, left, h + top, w + left), padding


def _nearest(size: int, scale: float) -> np.ndarray:
    """Source pixel of each target pixel along one axis, the first on the first and the last on the last."""
    new_size = round(size * scale)
    return np.floor(np.arange(new_size) * ((size - 1) / max(new_size - 1, 1)) + 0.5).astype(int)


def resize_mask(mask: np.ndarray, scale: float, padding: Any, crop: Any = None) -> np.ndarray:
    """Masks [h, w, n] taken through what `resize_image` did to their image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mask = mask[_nearest(mask.shape[0], scale)][:, _nearest(mask.shape[1], scale)]
    if crop is not None:
        y, x, h, w = crop
        return mask[y : y + h, x : x + w]
    return np.pad(mask, padding, mode="constant", constant_values=0)


def _stretch(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool[h, w], a mask of another size at this one."""
    return resize_ops.resize_image(mask.astype(np.uint8) * 255, shape, "linear_black_u8") >= 128


def minimize_mask(bbox: Any, mask: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """bool[mini h, mini w, n], each mask cut out along its box and reduced.

    Raises:
        Exception: a box without area.
    """
    mini = np.zeros((*tuple(mini_shape), mask.shape[-1]), bool)
    for i in range(mask.shape[-1]):
        y1, x1, y2, x2 = np.asarray(bbox[i])[:4].astype(int)
        window = mask[:, :, i].astype(bool)[y1:y2, x1:x2]
        if window.size == 0:
            raise Exception("Invalid bounding box with area of zero")
        mini[:, :, i] = _stretch(window, (int(mini_shape[0]), int(mini_shape[1])))
    return mini


def expand_mask(bbox: Any, mini_mask: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """bool[h, w, n], the inverse of `minimize_mask`."""
    mask = np.zeros((*tuple(image_shape[:2]), mini_mask.shape[-1]), bool)
    for i in range(mask.shape[-1]):
        y1, x1, y2, x2 = np.asarray(bbox[i])[:4].astype(int)
        mask[y1:y2, x1:x2, i] = _stretch(mini_mask[:, :, i], (y2 - y1, x2 - x1))
    return mask


def unmold_mask(mask: np.ndarray, bbox: Any, image_shape: Sequence[int]) -> np.ndarray:
    """bool[h, w], a predicted mask f[m, m] of probabilities put into its box in the image."""
    box = np.asarray(bbox, np.float32)[None]
    return paste_masks(
        np.asarray(mask, np.float32)[None], box, image_shape[0], image_shape[1], convention="integer_resize"
    )[0]
