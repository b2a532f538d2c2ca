"""Mask targets sampled corner to corner, as `tf.image.crop_and_resize` does."""

from __future__ import annotations

import tensorflow as tf

from mrcnn.structures.tensors import Tensor


def crop_masks_by_corners(gt_masks: Tensor, frames: Tensor, gt_index: Tensor, boxes: Tensor, mask_side: int) -> Tensor:
    """Mask targets: the matched object's mask on a grid whose corners are the corners of each RoI.

    The first and the last row of a mask lie on the first and the last edge of its frame. Works eagerly, in a graph and
    under XLA.

    Args:
        gt_masks: u8 or bool[B, G, h, w], 0 or 1.
        frames: f32[B, G, 4], where each mask lies: its object's box, or the whole image.
        gt_index: i32[B, S], the object each RoI was matched to.
        boxes: f32[B, S, 4], RoIs in the frame of `frames`.
        mask_side: M.

    Returns:
        f32[B, S, M, M], 1 where the sample is above one half, else 0; 0 outside the mask's frame.

    Empty: a frame without height or width is sampled at its origin; S = 0 gives an empty result. G must be at least 1.

    Ref: matterport/Mask_RCNN, mrcnn/model.py, detection_targets_graph.
    """
    masks = tf.gather(tf.cast(gt_masks, tf.float32), gt_index, batch_dims=1)  # [B, S, h, w]
    frame = tf.gather(tf.cast(frames, tf.float32), gt_index, batch_dims=1)  # [B, S, 4]
    boxes = tf.cast(boxes, tf.float32)

    def weights(axis: int, size: Tensor) -> Tensor:
        origin, end = frame[..., axis], frame[..., axis + 2]  # [B, S]
        low = tf.math.divide_no_nan(boxes[..., axis] - origin, end - origin)
        high = tf.math.divide_no_nan(boxes[..., axis + 2] - origin, end - origin)
        last = tf.cast(size, tf.float32) - 1.0
        if mask_side > 1:
            step = (high - low) * last / (mask_side - 1)
            place = (low * last)[..., tf.newaxis] + tf.range(mask_side, dtype=tf.float32) * step[..., tf.newaxis]
        else:
            place = (0.5 * (low + high) * last)[..., tf.newaxis]  # [B, S, M]
        hat = tf.maximum(1.0 - tf.abs(place[..., tf.newaxis] - tf.range(last + 1.0)), 0.0)  # [B, S, M, size]
        return tf.where(((place >= 0.0) & (place <= last))[..., tf.newaxis], hat, 0.0)

    shape = tf.shape(masks)
    rows = tf.matmul(weights(0, shape[2]), masks)  # [B, S, M, w]
    sampled = tf.matmul(rows, weights(1, shape[3]), transpose_b=True)  # [B, S, M, M]
    return tf.round(sampled)
