"""Mask targets of rotated RoIs: ground-truth masks as seen through boxes that are turned."""

from __future__ import annotations

import math

import tensorflow as tf

from mrcnn.structures.masks import HALF
from mrcnn.structures.tensors import Tensor


def crop_rotated_masks(gt_masks: Tensor, gt_boxes: Tensor, gt_index: Tensor, boxes: Tensor, mask_side: int) -> Tensor:
    """Mask targets: the matched object's mask as seen through each rotated RoI.

    As `ops.masks.crop_masks`, whose numbers it has at angle 0: the object's mask, which covers its axis-aligned box, is
    sampled bilinearly at the centers of the RoI's M x M cells, the first of which is the upper left one of the box
    before it is turned.

    Args:
        gt_masks: u8[B, G, K, K], 0 or 1, each covering its own axis-aligned box.
        gt_boxes: f32[B, G, 4], (y1, x1, y2, x2), pixels.
        gt_index: i32[B, S], the object each RoI was matched to.
        boxes: f32[B, S, 5], RoIs (cy, cx, h, w, angle) in the frame of `gt_boxes`, pixels and degrees.
        mask_side: M.

    Returns:
        f32[B, S, M, M], 1 where the mask covers at least half, else 0; 0 outside the object's box. No gradient.

    Empty: an empty object box gives zeros; S = 0 gives an empty result. G must be at least 1.

    Example:
        >>> lying = tf.constant([[[[1], [0]]]], tf.uint8) * tf.ones([1, 1, 1, 2], tf.uint8)  # the upper half
        >>> standing = tf.constant([[[2.0, 2.0, 4.0, 4.0, 90.0]]])
        >>> crop_rotated_masks(lying, [[[0.0, 0.0, 4.0, 4.0]]], [[0]], standing, 2)[0, 0].numpy().tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    side = tf.shape(gt_masks)[-1]
    masks = tf.gather(tf.cast(gt_masks, tf.float32), gt_index, batch_dims=1)  # [B, S, K, K]
    frame = tf.gather(tf.cast(gt_boxes, tf.float32), gt_index, batch_dims=1)[..., tf.newaxis, :]  # [B, S, 1, 4]
    points = _cell_centers(tf.cast(boxes, tf.float32), mask_side)  # [B, S, M * M, 2]
    low, high = frame[..., :2], frame[..., 2:]
    inside = tf.reduce_all((points >= low) & (points <= high) & (high > low), axis=-1)
    cells = tf.cast(side, tf.float32)
    place = tf.math.divide_no_nan(points - low, high - low) * cells - 0.5  # in cells of the stored mask
    # The outermost half cell belongs to the box too: there the edge value holds.
    place = tf.clip_by_value(tf.where(inside[..., tf.newaxis], place, 0.0), 0.0, cells - 1.0)
    first = tf.floor(place)
    share = place - first
    first = tf.cast(first, tf.int32)
    second = tf.minimum(first + 1, side - 1)
    flat = tf.reshape(masks, tf.concat([tf.shape(masks)[:2], [side * side]], 0))

    def value(y: Tensor, x: Tensor) -> Tensor:
        return tf.gather(flat, y * side + x, batch_dims=2)

    upper = (
        value(first[..., 0], first[..., 1]) * (1.0 - share[..., 1])
        + value(first[..., 0], second[..., 1]) * share[..., 1]
    )
    lower = (
        value(second[..., 0], first[..., 1]) * (1.0 - share[..., 1])
        + value(second[..., 0], second[..., 1]) * share[..., 1]
    )
    sampled = upper * (1.0 - share[..., 0]) + lower * share[..., 0]
    result = tf.cast(inside & (sampled >= HALF), tf.float32)
    return tf.reshape(result, tf.concat([tf.shape(masks)[:2], [mask_side, mask_side]], 0))


def _cell_centers(boxes: Tensor, side: int) -> Tensor:
    """f32[B, S, side * side, 2], (y, x) of the centers of the cells of boxes f32[B, S, 5], row by row, pixels."""
    center_y, center_x, height, width, angle = (column[..., tf.newaxis] for column in tf.unstack(boxes, 5, axis=-1))
    angle *= math.pi / 180.0
    sine, cosine = tf.sin(angle), tf.cos(angle)
    fraction = (tf.range(side, dtype=tf.float32) + 0.5) / side - 0.5
    down, right = (tf.reshape(axis, [-1]) for axis in tf.meshgrid(fraction, fraction, indexing="ij"))
    down, right = down * height, right * width  # [B, S, side * side]
    return tf.stack([center_y + cosine * down - sine * right, center_x + sine * down + cosine * right], axis=-1)
