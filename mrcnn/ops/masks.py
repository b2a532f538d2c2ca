"""Mask targets of the model: ground-truth masks as seen through RoIs. Pasting on the host: `structures.masks`."""

from __future__ import annotations

import tensorflow as tf

from mrcnn.structures.masks import HALF
from mrcnn.structures.tensors import Tensor


def crop_masks(gt_masks: Tensor, gt_boxes: Tensor, gt_index: Tensor, boxes: Tensor, mask_side: int) -> Tensor:
    """Mask targets: the matched object's mask as seen through each RoI.

    The object's mask is sampled bilinearly at the centers of the RoI's M x M cells, as two small matrix products
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
    # As floats: TensorFlow gathers bytes on the host.
    masks = tf.gather(tf.cast(gt_masks, tf.float32), gt_index, batch_dims=1)  # [B, S, K, K]
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

    rows = tf.matmul(weights(0), masks)  # [B, S, M, K]
    sampled = tf.matmul(rows, weights(1), transpose_b=True)  # [B, S, M, M]
    return tf.cast(sampled >= HALF, tf.float32)


def project_masks(
    gt_masks: Tensor,
    gt_index: Tensor,
    boxes: Tensor,
    mask_side: int,
    aligned: bool,
    soft: bool,
    content_shape: Tensor | None = None,
) -> Tensor:
    """Mask targets from full-frame masks: RoIAlign of the matched object's mask at the image's own scale.

    Every bin averages ceil(side / M) samples per axis, as many as the RoI needs. Both axes are independent, so a target
    is two small matrix products around the part of the mask its RoI covers; RoIs are taken one by one, and memory stays
    that of one mask. No gradient. Works eagerly and in a graph; sizes are data, so not under XLA.

    Args:
        gt_masks: u8[B, G, H, W], 0 or 1, in the frame of the padded image.
        gt_index: i32[B, S], the object each RoI was matched to.
        boxes: f32[B, S, 4], RoIs, pixels of the padded image.
        mask_side: M.
        aligned: True subtracts half a pixel, so that samples lie where pixel centers say (detectron2); False takes a
            pixel's value at its corner and RoIs for at least one pixel large (torchvision).
        soft: return the covered share instead of 0 and 1.
        content_shape: i32[B, 2], height and width of the image, which starts at the origin: masks end there, and
            their last row and column extend half a pixel, as where masks are not padded. None: H x W.

    Returns:
        f32[B, S, M, M], the share covered, or unless `soft` 1 where it is at least half, else 0.

    Empty: S = 0 gives an empty result. G must be at least 1.

    Ref: Mask R-CNN, section 3 ("the intersection between an RoI and its associated ground-truth mask").
    """
    batch, entries, height, width = tf.unstack(tf.shape(gt_masks))
    if content_shape is None:
        content_shape = tf.tile([[height, width]], [batch, 1])
    num_rois = tf.shape(boxes)[1]
    masks = tf.reshape(gt_masks, [-1, height, width])  # [B * G, H, W]
    flat = {
        "mask": tf.reshape(gt_index + entries * tf.range(batch)[:, tf.newaxis], [-1]),  # [B * S]
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
