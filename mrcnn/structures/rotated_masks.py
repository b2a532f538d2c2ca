"""Masks in rotated boxes, pasted into images on the host. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.structures.masks import Window, lay_windows
from mrcnn.structures.records import ByValue

_NOTHING: Window = (0, 0, np.zeros((0, 0), bool))


@dataclasses.dataclass(frozen=True, eq=False)
class RotatedBoxMasks(ByValue):
    """Masks of one image as a model of rotated boxes gives them, pasted when they are asked for.

    A pixel's center is taken to the model's frame and turned back into its box, where the mask is sampled bilinearly,
    zero outside: the convention "exact" of `structures.masks.paste_masks`, whose pixels it gives at angle 0.

    Example:
        >>> upper_half = np.array([[[1, 1], [0, 0]]], np.float32)
        >>> turned = np.array([[2, 2, 4, 4, 90]])  # the upper half of the box lies left
        >>> RotatedBoxMasks(upper_half, turned, 4, 4).paste()[0].astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    """

    probs: np.ndarray  # f32[n, M, M], inside the boxes
    boxes: np.ndarray  # f32[n, 5], (cy, cx, h, w, angle) in pixels of the resized image and degrees, see `scale`
    height: int
    width: int
    threshold: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)  # (y, x), pixels of this image per pixel of the boxes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, height, width) of the pasted masks."""
        return len(self.probs), self.height, self.width

    def __len__(self) -> int:
        return len(self.probs)

    def __getitem__(self, index: Any) -> RotatedBoxMasks:
        """The masks of a slice, a boolean or an index array."""
        return dataclasses.replace(self, probs=self.probs[index], boxes=self.boxes[index])

    def paste(self) -> np.ndarray:
        """bool[n, height, width]; all False for a box that is empty or not finite."""
        return lay_windows(self.windows(), self.shape)

    def windows(self) -> Iterator[Window]:
        """Each mask in the window outside which it is empty."""
        for probs, box in zip(np.asarray(self.probs, np.float32), np.asarray(self.boxes, np.float64), strict=True):
            yield self._window(probs, box)

    def _window(self, probs: np.ndarray, box: np.ndarray) -> Window:
        center_y, center_x, height, width, angle = box.tolist()
        if not (np.isfinite(box).all() and height > 0 and width > 0):
            return _NOTHING
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        cells = probs.shape[0]
        # Half a mask cell beyond the box the interpolation with zero ends.
        half_h, half_w = (0.5 * side * (cells + 1) / cells for side in (height, width))
        reach_y, reach_x = abs(cosine) * half_h + abs(sine) * half_w, abs(sine) * half_h + abs(cosine) * half_w
        top, rows = _pixels(center_y, reach_y, self.scale[0], self.height)
        left, columns = _pixels(center_x, reach_x, self.scale[1], self.width)
        y, x = rows[:, None] - center_y, columns[None] - center_x
        # Turned back, in cells from the center of the first one.
        down = (cosine * y + sine * x) * (cells / height) + 0.5 * (cells - 1)
        right = (cosine * x - sine * y) * (cells / width) + 0.5 * (cells - 1)
        return top, left, _bilinear(probs, down, right) >= self.threshold


def _pixels(center: float, reach: float, scale: float, size: int) -> tuple[int, np.ndarray]:
    """First pixel of an axis that a box reaches, and where the centers of those it reaches lie in the box's frame."""
    first = min(max(math.floor((center - reach) * scale), 0), size)
    end = min(max(math.ceil((center + reach) * scale), first), size)
    return first, (np.arange(first, end) + 0.5) / scale


def _bilinear(values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Samples f32[...] of a square grid f32[M, M] at places in cells, f64[...]; beyond its border it is zero."""
    padded = np.pad(values, 1)
    last = padded.shape[0] - 1
    y, x = np.clip(y + 1, 0, last), np.clip(x + 1, 0, last)
    top, left = np.minimum(y.astype(int), last - 1), np.minimum(x.astype(int), last - 1)
    share_y, share_x = (y - top).astype(np.float32), (x - left).astype(np.float32)
    upper = padded[top, left] * (1 - share_x) + padded[top, left + 1] * share_x
    lower = padded[top + 1, left] * (1 - share_x) + padded[top + 1, left + 1] * share_x
    return upper * (1 - share_y) + lower * share_y


def scale_rotated_boxes(boxes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The boxes of an image that is resized, on the host; see `ops.rotated_boxes.scale_rotated_boxes`.

    Args:
        boxes: f32[n, 5], (cy, cx, h, w, angle), pixels and degrees.
        scale: f32[2], factors of (height, width).

    Returns:
        f32[n, 5], angles above -90 up to 90.

    Example:
        >>> scale_rotated_boxes(np.array([[2, 4, 6, 8, 90]]), np.array([2, 3])).round(3).tolist()
        [[4.0, 12.0, 18.0, 16.0, 90.0]]
    """
    center_y, center_x, height, width, angle = np.asarray(boxes, np.float64).reshape(-1, 5).T
    (scale_y, scale_x), angle = np.asarray(scale, np.float64), np.radians(angle)
    sine, cosine = np.sin(angle), np.cos(angle)
    columns = [
        center_y * scale_y,
        center_x * scale_x,
        height * np.hypot(scale_x * sine, scale_y * cosine),
        width * np.hypot(scale_x * cosine, scale_y * sine),
        90 - (90 - np.degrees(np.arctan2(scale_x * sine, scale_y * cosine))) % 180,
    ]
    return np.stack(columns, axis=1).astype(np.float32)
