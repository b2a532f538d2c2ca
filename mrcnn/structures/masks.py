"""Masks on the host: square masks in their boxes pasted into images, and cut out of them. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np

from mrcnn.structures.records import ByValue

Paste = Literal["exact", "padded_integer", "integer_resize"]

# Box coordinates carry rounding errors, so a sample that is exactly half covered may come out just below one half.
HALF = 0.5 - 1e-4


def _paste_weights(low: float, high: float, mask_side: int, size: int) -> tuple[int, np.ndarray]:
    """First pixel of the window one axis of a box reaches, and its bilinear weights f32[window, M]."""
    cell = (high - low) / mask_side
    # Half a mask cell beyond the box the interpolation with zero ends.
    first = int(np.clip(np.floor(low - 0.5 * cell - 0.5), 0, size))
    last = int(np.clip(np.ceil(high + 0.5 * cell + 0.5), first, size))
    u = (np.arange(first, last) + 0.5 - low) / cell - 0.5
    return first, np.maximum(1.0 - np.abs(u[:, None] - np.arange(mask_side)), 0.0).astype(np.float32)


def paste_masks(
    masks: np.ndarray,
    boxes: np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
    convention: Paste = "exact",
) -> np.ndarray:
    """Full-frame masks from masks in boxes; host side. Only the window of the box is touched.

    * "exact": the mask is sampled bilinearly, zero outside, at each pixel center: (x + 0.5 - x1) / (x2 - x1) * M - 0.5
      (detectron2).
    * "padded_integer": the mask gets a border of zeros and the box grows with it, to (M + 2) / M; its corners are cut
      to integers and name the first and the last pixel, between which the mask is stretched (Detectron, torchvision).
    * "integer_resize": the mask is stretched between the corners of a box in whole pixels, zero outside (matterport).

    Args:
        masks: f32[n, M, M], probabilities inside the box.
        boxes: f32[n, 4], pixels of the image; for "integer_resize" corners are rounded, half to even.
        height, width: of the image.
        threshold: lowest probability that counts as object; with "padded_integer" the highest that does not.
        convention: see above.

    Returns:
        bool[n, height, width]; all False for a box that is empty or not finite ("padded_integer": not finite).

    Empty: n = 0 gives bool[0, height, width].

    Ref: Mask R-CNN, section 3.1 (inference).
    """
    return lay_windows(paste_windows(masks, boxes, height, width, threshold, convention), (len(masks), height, width))


Window = tuple[int, int, np.ndarray]
"""First row, first column, bool[h, w]: the part of an image outside which a mask is empty."""
_NOTHING: Window = (0, 0, np.zeros((0, 0), bool))


def lay_windows(windows: Iterable[Window], shape: tuple[int, int, int]) -> np.ndarray:
    """bool[n, height, width] of n windows, empty outside them."""
    laid = np.zeros(shape, bool)
    for target, (top, left, window) in zip(laid, windows, strict=True):
        target[top : top + window.shape[0], left : left + window.shape[1]] = window
    return laid


def paste_windows(
    masks: np.ndarray,
    boxes: np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
    convention: Paste = "exact",
) -> Iterator[Window]:
    """`paste_masks` without what is empty: for each mask the window in which it may lie; arguments as there."""
    paste = {"exact": _paste_exact, "padded_integer": _paste_padded_integer, "integer_resize": _paste_integer_resize}[
        convention
    ]
    boxes = np.asarray(boxes, np.float32 if convention == "padded_integer" else np.float64)
    for mask, box in zip(np.asarray(masks, np.float32), boxes, strict=True):
        yield paste(mask, box, height, width, threshold) if np.isfinite(box).all() else _NOTHING


def _paste_exact(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float) -> Window:
    y1, x1, y2, x2 = box
    if y2 <= y1 or x2 <= x1:
        return _NOTHING
    top, rows = _paste_weights(y1, y2, mask.shape[0], height)
    left, columns = _paste_weights(x1, x2, mask.shape[1], width)
    return top, left, rows @ mask @ columns.T >= threshold


def _paste_padded_integer(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float) -> Window:
    center, half = (box[2:] + box[:2]) * np.float32(0.5), (box[2:] - box[:2]) * np.float32(0.5)
    half = half * np.float32((mask.shape[0] + 2) / mask.shape[0])
    low, high = np.trunc(center - half).astype(int), np.trunc(center + half).astype(int)
    top, rows = _stretch(low[0], max(high[0] - low[0] + 1, 1), mask.shape[0] + 2, height, "edge")
    left, columns = _stretch(low[1], max(high[1] - low[1] + 1, 1), mask.shape[1] + 2, width, "edge")
    return top, left, rows @ np.pad(mask, 1) @ columns.T > threshold


def _paste_integer_resize(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float) -> Window:
    y1, x1, y2, x2 = np.round(box).astype(int)
    if y2 <= y1 or x2 <= x1:
        return _NOTHING
    top, rows = _stretch(y1, y2 - y1, mask.shape[0], height, "zero")
    left, columns = _stretch(x1, x2 - x1, mask.shape[1], width, "zero")
    # scikit-image keeps the result within the range of its input, so zeros beyond the edge darken, but no further.
    window = np.clip(rows @ mask @ columns.T, mask.min(), mask.max())
    return top, left, window >= threshold


def _stretch(start: int, length: int, side: int, size: int, outside: Literal["edge", "zero"]) -> tuple[int, np.ndarray]:
    """First pixel that `side` cells stretched over `length` pixels reach, and bilinear weights f32[pixels, side].

    Beyond the outermost cell centers the edge value holds, or interpolation goes towards zero.
    """
    first, end = min(max(start, 0), size), min(max(start + length, 0), size)
    u = (np.arange(first, end) - start + 0.5) * (side / length) - 0.5
    if outside == "edge":
        u = np.clip(u, 0, side - 1)
    return first, np.maximum(1.0 - np.abs(u[:, None] - np.arange(side)), 0.0).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class BoxMasks(ByValue):
    """Masks of one image as the model gives them, pasted when they are asked for.

    A hundred objects hold 0.3 MB so, and 87 MB pasted on an image of 800 x 1088.
    """

    probs: np.ndarray  # f32[n, M, M], inside the boxes
    boxes: np.ndarray  # f32[n, 4], pixels of the image; what the probabilities were predicted for, not clipped
    height: int
    width: int
    threshold: float = 0.5
    convention: Paste = "exact"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, height, width) of the pasted masks."""
        return len(self.probs), self.height, self.width

    def __len__(self) -> int:
        return len(self.probs)

    def __getitem__(self, index: Any) -> BoxMasks:
        """The masks of a slice, a boolean or an index array."""
        return dataclasses.replace(self, probs=self.probs[index], boxes=self.boxes[index])

    def paste(self) -> np.ndarray:
        """bool[n, height, width]; see `paste_masks`."""
        return paste_masks(self.probs, self.boxes, self.height, self.width, self.threshold, self.convention)

    def windows(self) -> Iterator[Window]:
        """Each mask in its window; see `paste_windows`."""
        return paste_windows(self.probs, self.boxes, self.height, self.width, self.threshold, self.convention)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowMasks(ByValue):
    """Masks of one image held in their windows, for many small objects on a large image."""

    parts: tuple[Window, ...]
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, height, width) of the pasted masks."""
        return len(self.parts), self.height, self.width

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> WindowMasks:
        """The masks of a slice, a boolean or an index array."""
        return dataclasses.replace(self, parts=tuple(self.parts[i] for i in np.arange(len(self))[index]))

    def paste(self) -> np.ndarray:
        """bool[n, height, width]."""
        return lay_windows(self.parts, self.shape)

    def windows(self) -> Iterator[Window]:
        """Each mask in its window."""
        return iter(self.parts)


def paste_mask(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float = 0.5) -> np.ndarray:
    """`paste_masks` for one object: f32[M, M] and f32[4] give bool[height, width]."""
    return paste_masks(np.asarray(mask)[None], np.asarray(box)[None], height, width, threshold)[0]


def _area_weights(low: float, high: float, side: int, size: int) -> tuple[int, np.ndarray]:
    """First pixel a box covers along one axis, and the share of each of its `side` cells that each pixel covers."""
    first = min(max(int(np.floor(low)), 0), size)
    last = min(max(int(np.ceil(high)), first), size)
    edges = low + (high - low) / side * np.arange(side + 1)
    pixels = np.arange(first, last)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return first, (np.maximum(overlap, 0.0) * (side / (high - low))).astype(np.float32)


def crop_binary_mask(mask: np.ndarray, box: np.ndarray | tuple[float, ...], side: int) -> np.ndarray:
    """A full-frame mask cropped to a box and resampled to a square grid; host side.

    Each cell of the grid is 1 where at least half of its area is covered, so thin objects neither vanish nor swell
    whatever the scale.

    Args:
        mask: bool or u8[h, w], 0 or 1.
        box: (y1, x1, y2, x2), pixels; what lies outside the image counts as not covered.
        side: cells per axis.

    Returns:
        u8[side, side], 0 or 1.

    Empty: an empty or non-finite box gives zeros.
    """
    y1, x1, y2, x2 = (float(v) for v in box)
    if not (np.isfinite([y1, x1, y2, x2]).all() and y2 > y1 and x2 > x1):
        return np.zeros((side, side), np.uint8)
    top, rows = _area_weights(y1, y2, side, mask.shape[0])
    left, columns = _area_weights(x1, x2, side, mask.shape[1])
    window = mask[top : top + rows.shape[1], left : left + columns.shape[1]].astype(np.float32)
    return (rows @ window @ columns.T >= HALF).astype(np.uint8)
