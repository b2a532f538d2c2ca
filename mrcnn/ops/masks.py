"""Between masks in a picture and square masks in a box: cropping targets, pasting predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf

Tensor = tf.Tensor
Paste = Literal["exact", "padded_integer", "integer_resize"]

# Box coordinates carry rounding errors, so a sample that is exactly half covered may come out just below one half.
_HALF = 0.5 - 1e-4


def crop_masks(gt_masks: Tensor, gt_boxes: Tensor, gt_index: Tensor, boxes: Tensor, mask_side: int) -> Tensor:
    """Mask targets: the matched object's mask as seen through each RoI.

    The object's mask is sampled bilinearly at the centres of the RoI's M x M cells, as two small matrix products
    per RoI (rows, then columns). Works eagerly, in a graph and under XLA.

    Args:
        gt_masks: u8[B, G, K, K], 0 or 1, each covering its own box.
        gt_boxes: f32[B, G, 4], pixels.
        gt_index: i32[B, S], the object each RoI was matched to.
        boxes: f32[B, S, 4], RoIs in the frame of `gt_boxes`.
        mask_side: M.

    Returns:
        f32[B, S, M, M], 1 where the mask covers at least half, else 0; 0 outside the object's box.

    Empty: an empty object box gives zeros; S = 0 gives an empty result. G must be at least 1.

    Ref: Mask R-CNN, section 3 ("the intersection between an RoI and its associated ground-truth mask").
    """
    side = gt_masks.shape[-1] if gt_masks.shape[-1] is not None else tf.shape(gt_masks)[-1]
    masks = tf.gather(gt_masks, gt_index, batch_dims=1)  # [B, S, K, K]
    frame = tf.gather(tf.cast(gt_boxes, tf.float32), gt_index, batch_dims=1)  # [B, S, 4]
    boxes = tf.cast(boxes, tf.float32)

    def weights(axis: int) -> Tensor:
        low, high = boxes[..., axis, tf.newaxis], boxes[..., axis + 2, tf.newaxis]  # [B, S, 1]
        origin, end = frame[..., axis, tf.newaxis], frame[..., axis + 2, tf.newaxis]
        centers = low + (high - low) * ((tf.range(mask_side, dtype=tf.float32) + 0.5) / mask_side)  # [B, S, M]
        inside = (centers >= origin) & (centers <= end) & (end > origin)
        cells = tf.cast(side, tf.float32)
        u = tf.math.divide_no_nan(centers - origin, end - origin) * cells - 0.5  # in cells of the stored mask
        # The outermost half cell belongs to the box too: there the edge value holds.
        u = tf.clip_by_value(u, 0.0, cells - 1.0)
        hat = tf.maximum(1.0 - tf.abs(u[..., tf.newaxis] - tf.range(cells, dtype=tf.float32)), 0.0)  # [B, S, M, K]
        return tf.where(inside[..., tf.newaxis], hat, 0.0)

    rows = tf.matmul(weights(0), tf.cast(masks, tf.float32))  # [B, S, M, K]
    sampled = tf.matmul(rows, weights(1), transpose_b=True)  # [B, S, M, M]
    return tf.cast(sampled >= _HALF, tf.float32)


def project_masks(
    gt_masks: Tensor,
    gt_index: Tensor,
    boxes: Tensor,
    mask_side: int,
    aligned: bool,
    soft: bool,
    content_shape: Tensor | None = None,
) -> Tensor:
    """Mask targets from full-frame masks: RoIAlign of the matched object's mask at the picture's own scale.

    Every bin averages ceil(side / M) samples per axis, as many as the RoI needs. Both axes are independent, so a target
    is two small matrix products around the part of the mask its RoI covers; RoIs are taken one by one, and memory stays
    that of one mask. No gradient. Works eagerly and in a graph; sizes are data, so not under XLA.

    Args:
        gt_masks: u8[B, G, H, W], 0 or 1, in the frame of the padded picture.
        gt_index: i32[B, S], the object each RoI was matched to.
        boxes: f32[B, S, 4], RoIs, pixels of the padded picture.
        mask_side: M.
        aligned: True subtracts half a pixel, so that samples lie where pixel centres say (detectron2); False takes a
            pixel's value at its corner and RoIs for at least one pixel large (torchvision).
        soft: return the covered share instead of 0 and 1.
        content_shape: i32[B, 2], height and width of the picture, which starts at the origin: masks end there, and
            their last row and column extend half a pixel, as where masks are not padded. None: H x W.

    Returns:
        f32[B, S, M, M], the share covered, or unless `soft` 1 where it is at least half, else 0.

    Empty: S = 0 gives an empty result. G must be at least 1.

    Ref: Mask R-CNN, section 3 ("the intersection between an RoI and its associated ground-truth mask").
    """
    batch, slots, height, width = tf.unstack(tf.shape(gt_masks))
    if content_shape is None:
        content_shape = tf.tile([[height, width]], [batch, 1])
    num_rois = tf.shape(boxes)[1]
    masks = tf.reshape(gt_masks, [-1, height, width])  # [B * G, H, W]
    flat = {
        "mask": tf.reshape(gt_index + slots * tf.range(batch)[:, tf.newaxis], [-1]),  # [B * S]
        "box": tf.reshape(tf.cast(boxes, tf.float32), [-1, 4]),
        "content": tf.repeat(tf.cast(content_shape, tf.int32), num_rois, axis=0),
    }

    def project(roi: dict[str, Tensor]) -> Tensor:
        top, bottom, rows = _project_weights(roi["box"][0], roi["box"][2], mask_side, roi["content"][0], aligned)
        left, right, columns = _project_weights(roi["box"][1], roi["box"][3], mask_side, roi["content"][1], aligned)
        window = tf.cast(masks[roi["mask"], top:bottom, left:right], tf.float32)
        return tf.matmul(tf.matmul(rows, window), columns, transpose_b=True)  # [M, M]

    shares = tf.map_fn(project, flat, fn_output_signature=tf.TensorSpec([mask_side, mask_side], tf.float32))
    shares = tf.stop_gradient(tf.reshape(shares, [batch, num_rois, mask_side, mask_side]))
    return shares if soft else tf.cast(shares >= 0.5, tf.float32)


def _project_weights(
    low: Tensor, high: Tensor, bins: int, size: Tensor, aligned: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """First and end pixel (i32[]) one axis of a RoI samples, and the weights f32[bins, end - first] of its bins."""
    offset = 0.5 if aligned else 0.0
    start, extent = low - offset, high - low
    if not aligned:
        extent = tf.maximum(extent, 1.0)
    bin_size = extent / bins
    num_samples = tf.maximum(tf.math.ceil(bin_size), 1.0)
    sample = tf.range(num_samples)  # [T]
    bin_start = start + tf.range(bins, dtype=tf.float32)[:, tf.newaxis] * bin_size
    place = bin_start + (sample + 0.5) * bin_size / num_samples  # [bins, T]
    last = tf.cast(size - 1, tf.float32)
    # A sample up to one pixel beyond the mask takes the value at its edge, one further out counts as not covered.
    inside = (place >= -1.0) & (place <= last + 1.0)
    place = tf.clip_by_value(place, 0.0, last)
    lower = tf.floor(place)
    share = place - lower
    taps = tf.stack([lower, tf.minimum(lower + 1.0, last)], axis=-1)  # [bins, T, 2]
    weights = tf.stack([1.0 - share, share], axis=-1)
    weights = tf.where(inside[..., tf.newaxis], weights, 0.0) / num_samples
    first = tf.cast(tf.reduce_min(taps), tf.int32)
    end = tf.cast(tf.reduce_max(taps), tf.int32) + 1
    span = end - first
    cell = tf.cast(taps, tf.int32) - first + tf.range(bins)[:, tf.newaxis, tf.newaxis] * span
    total = tf.math.unsorted_segment_sum(tf.reshape(weights, [-1]), tf.reshape(cell, [-1]), bins * span)
    return first, end, tf.reshape(total, [bins, span])


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

    * "exact": the mask is sampled bilinearly, zero outside, at each pixel centre: (x + 0.5 - x1) / (x2 - x1) * M - 0.5
      (detectron2).
    * "padded_integer": the mask gets a border of zeros and the box grows with it, to (M + 2) / M; its corners are cut
      to integers and name the first and the last pixel, between which the mask is stretched (Detectron, torchvision).
    * "integer_resize": the mask is stretched between the corners of a box in whole pixels, zero outside (matterport).

    Args:
        masks: f32[n, M, M], probabilities inside the box.
        boxes: f32[n, 4], pixels of the picture; for "integer_resize" corners are rounded, half to even.
        height, width: of the picture.
        threshold: lowest probability that counts as object; with "padded_integer" the highest that does not.
        convention: see above.

    Returns:
        bool[n, height, width]; all False for a box that is empty or not finite ("padded_integer": not finite).

    Empty: n = 0 gives bool[0, height, width].

    Ref: Mask R-CNN, section 3.1 (inference).
    """
    return _lay(paste_windows(masks, boxes, height, width, threshold, convention), (len(masks), height, width))


Window = tuple[int, int, np.ndarray]
"""First row, first column, bool[h, w]: the part of a picture outside which a mask is empty."""
_NOTHING: Window = (0, 0, np.zeros((0, 0), bool))


def _lay(windows: Iterable[Window], shape: tuple[int, int, int]) -> np.ndarray:
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
    centre, half = (box[2:] + box[:2]) * np.float32(0.5), (box[2:] - box[:2]) * np.float32(0.5)
    half = half * np.float32((mask.shape[0] + 2) / mask.shape[0])
    low, high = np.trunc(centre - half).astype(int), np.trunc(centre + half).astype(int)
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

    Beyond the outermost cell centres the edge value holds, or interpolation goes towards zero.
    """
    first, end = min(max(start, 0), size), min(max(start + length, 0), size)
    u = (np.arange(first, end) - start + 0.5) * (side / length) - 0.5
    if outside == "edge":
        u = np.clip(u, 0, side - 1)
    return first, np.maximum(1.0 - np.abs(u[:, None] - np.arange(side)), 0.0).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class BoxMasks:
    """Masks of one picture as the model gives them, pasted when they are asked for.

    A hundred objects hold 0.3 MB so, and 87 MB pasted on a picture of 800 x 1088.
    """

    probs: np.ndarray  # f32[n, M, M], inside the boxes
    boxes: np.ndarray  # f32[n, 4], pixels of the picture; what the probabilities were predicted for, not clipped
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


@dataclasses.dataclass(frozen=True)
class WindowMasks:
    """Masks of one picture held in their windows, for many small objects on a large picture."""

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
        return _lay(self.parts, self.shape)

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
        box: (y1, x1, y2, x2), pixels; what lies outside the picture counts as not covered.
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
    return (rows @ window @ columns.T >= _HALF).astype(np.uint8)
