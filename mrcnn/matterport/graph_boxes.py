"""matterport's functions of boxes and padding, as tensors."""

from __future__ import annotations

import math

import tensorflow as tf

from mrcnn.ops import boxes as box_ops


def is_filled(boxes: tf.Tensor) -> tf.Tensor:
    """bool[B, N], rows that are not padding: padding is all zeros."""
    return tf.reduce_any(boxes != 0.0, axis=-1)


def sides(image_shape: tf.Tensor) -> tf.Tensor:
    """f32[4], what normalized boxes are multiplied by to be pixels, of a shape i32[2 or 3]."""
    return tf.tile(tf.cast(image_shape[:2], tf.float32) - 1.0, [2])


def norm_boxes_graph(boxes: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """f32[..., 4], boxes in pixels, y2 and x2 just outside, normalized by a shape i32[2]."""
    return (tf.cast(boxes, tf.float32) - tf.constant([0.0, 0.0, 1.0, 1.0])) / sides(tf.convert_to_tensor(shape))


def denorm_boxes_graph(boxes: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """i32[..., 4], the inverse of `norm_boxes_graph`."""
    pixels = boxes * sides(tf.convert_to_tensor(shape)) + tf.constant([0.0, 0.0, 1.0, 1.0])
    return tf.cast(tf.round(pixels), tf.int32)


def clip_boxes_graph(boxes: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """f32[n, 4], boxes clipped to a window f32[4]."""
    return box_ops.clip_boxes(boxes, tf.reshape(tf.cast(window, tf.float32), [4]))


def apply_box_deltas_graph(boxes: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
    """f32[n, 4], boxes moved by (dy, dx, log dh, log dw)."""
    return box_ops.decode_deltas(deltas, boxes, max_log_scale=None)


def overlaps_graph(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
    """f32[n, m], intersection over union of each pair."""
    return box_ops.pairwise_iou(boxes1, boxes2)


def log2_graph(x: tf.Tensor) -> tf.Tensor:
    """The logarithm to base 2."""
    return tf.math.log(x) / math.log(2.0)


def trim_zeros_graph(boxes: tf.Tensor, name: str = "trim_zeros") -> tuple[tf.Tensor, tf.Tensor]:
    """The rows of [n, 4] that are not all zero, and bool[n], which they are."""
    filled = tf.cast(tf.reduce_sum(tf.abs(boxes), axis=1), tf.bool)
    return tf.boolean_mask(boxes, filled, name=name), filled


def batch_pack_graph(x: tf.Tensor, counts: tf.Tensor, num_rows: int) -> tf.Tensor:
    """The first counts[i] rows of image i, one image after the other."""
    return tf.concat([x[i, : counts[i]] for i in range(num_rows)], axis=0)
