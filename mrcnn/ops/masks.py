"""Between masks in a picture and square masks in a box: cropping targets, pasting predictions."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

Tensor = tf.Tensor

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


def _paste_weights(low: float, high: float, mask_side: int, size: int) -> tuple[int, np.ndarray]:
    """First pixel of the window one axis of a box reaches, and its bilinear weights f32[window, M]."""
    cell = (high - low) / mask_side
    # Half a mask cell beyond the box the interpolation with zero ends.
    first = int(np.clip(np.floor(low - 0.5 * cell - 0.5), 0, size))
    last = int(np.clip(np.ceil(high + 0.5 * cell + 0.5), first, size))
    u = (np.arange(first, last) + 0.5 - low) / cell - 0.5
    return first, np.maximum(1.0 - np.abs(u[:, None] - np.arange(mask_side)), 0.0).astype(np.float32)


def paste_masks(masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5) -> np.ndarray:
    """Full-frame masks from masks in boxes; host side.

    The mask is sampled bilinearly, zero outside, at each pixel centre: (x + 0.5 - x1) / (x2 - x1) * M - 0.5. Only the
    window of the box is touched.

    Args:
        masks: f32[n, M, M], probabilities inside the box.
        boxes: f32[n, 4], pixels of the picture.
        height, width: of the picture.
        threshold: lowest probability that counts as object.

    Returns:
        bool[n, height, width]; all False for a box that is empty or not finite.

    Empty: n = 0 gives bool[0, height, width].

    Ref: Mask R-CNN, section 3.1 (inference).
    """
    pasted = np.zeros((len(masks), height, width), bool)
    for target, mask, box in zip(pasted, np.asarray(masks, np.float32), np.asarray(boxes, np.float64), strict=True):
        y1, x1, y2, x2 = box
        if not (np.isfinite(box).all() and y2 > y1 and x2 > x1):
            continue
        top, rows = _paste_weights(y1, y2, mask.shape[0], height)
        left, columns = _paste_weights(x1, x2, mask.shape[1], width)
        window = rows @ mask @ columns.T
        target[top : top + len(rows), left : left + len(columns)] = window >= threshold
    return pasted


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
