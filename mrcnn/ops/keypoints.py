"""Between keypoints and heatmaps over a box: target cells, and decoding of predicted maps."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from mrcnn.structures.tensors import Tensor

CUBIC = -0.75
"""Slope of the bicubic kernel at distance 1."""


def keypoint_cells(keypoints: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The cell of a box's side x side grid in which each keypoint lies.

    A keypoint on the right or lower edge of the box belongs to the last cell.

    Args:
        keypoints: f32[..., J, 3], (x, y, visibility) in pixels; visibility 0: not labeled.
        boxes: f32[..., 4], pixels of the same frame.
        side: cells per axis.

    Returns:
        cell i32[..., J], row * side + column, 0 where not usable; usable bool[..., J], labeled and inside the box.

    Empty: in an empty box no keypoint is usable.

    Ref: Mask R-CNN, section 5 (one-hot mask per keypoint).
    """
    keypoints, boxes = tf.cast(keypoints, tf.float32), tf.cast(boxes, tf.float32)
    usable = keypoints[..., 2] > 0.0

    def along(axis: int) -> tuple[Tensor, Tensor]:
        low, high = boxes[..., axis, tf.newaxis], boxes[..., axis + 2, tf.newaxis]  # [..., 1]
        position = keypoints[..., 1 - axis]  # [..., J]
        cell = tf.floor((position - low) * tf.math.divide_no_nan(float(side), high - low))
        cell = tf.where(position == high, side - 1.0, cell)
        return cell, (cell >= 0.0) & (cell < side) & (high > low)

    row, inside_y = along(0)
    column, inside_x = along(1)
    usable &= inside_y & inside_x
    cell = tf.cast(tf.where(usable, row * side + column, 0.0), tf.int32)
    return cell, usable


def _cubic_weights(num_in: int, num_out: Tensor) -> Tensor:
    """f32[num_out, num_in]: bicubic interpolation of `num_in` values at the centers of `num_out` cells.

    Beyond the border the border value holds. Nothing is smoothed when the result has fewer cells.
    """
    scale = num_in / tf.cast(num_out, tf.float32)
    position = (tf.range(num_out, dtype=tf.float32) + 0.5) * scale - 0.5
    tap = tf.floor(position)[:, tf.newaxis] + tf.constant([-1.0, 0.0, 1.0, 2.0])  # [num_out, 4]
    d = tf.abs(position[:, tf.newaxis] - tap)
    near = ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0
    far = ((d - 5.0) * d + 8.0) * d * CUBIC - 4.0 * CUBIC
    weight = tf.where(d <= 1.0, near, far)
    index = tf.cast(tf.clip_by_value(tap, 0.0, num_in - 1.0), tf.int32)
    return tf.reduce_sum(tf.one_hot(index, num_in) * weight[..., tf.newaxis], axis=1)


def decode_keypoints(logits: Tensor, boxes: Tensor, valid: Tensor, score: Literal["logit", "prob"] = "prob") -> Tensor:
    """The most likely place of each keypoint in each box.

    Each map is enlarged bicubically to the box in whole pixels, rounded up; the center of the highest pixel is the
    keypoint. One box at a time, since every box has its own size; XLA cannot compile it.

    Args:
        logits: f32[B, D, N, N, J], maps over the boxes before the softmax.
        boxes: f32[B, D, 4], pixels; sides below 1 count as 1.
        valid: bool[B, D]; the others cost nothing and give zeros.
        score: what the third number is. "logit": the height of the maximum. "prob": its exponential over the sum of
            exponentials of the N x N map, so that boxes of different sizes compare; may exceed 1.

    Returns:
        f32[B, D, J, 3], (x, y, score) in pixels of the frame of `boxes`.

    Empty: D = 0 gives an empty result.

    Ref: Mask R-CNN, section 5; the mapping between pixels and coordinates: Heckbert, 1990.
    """
    side, joints = logits.shape[2], logits.shape[4]
    valid = tf.cast(valid, tf.bool)
    flat_valid = tf.reshape(valid, [-1])
    flat_boxes = tf.where(flat_valid[:, tf.newaxis], tf.reshape(tf.cast(boxes, tf.float32), [-1, 4]), 0.0)
    maps = tf.reshape(tf.cast(logits, tf.float32), [-1, side, side, joints])

    def one_box(x: tuple[Tensor, Tensor]) -> Tensor:
        coarse, box = tf.transpose(x[0], [2, 0, 1]), x[1]  # [J, N, N]
        size = tf.maximum(box[2:] - box[:2], 1.0)  # (height, width)
        pixels = tf.math.ceil(size)
        height, width = tf.unstack(tf.cast(pixels, tf.int32))
        rows, columns = _cubic_weights(side, height), _cubic_weights(side, width)
        fine = tf.matmul(tf.matmul(rows, coarse), columns, transpose_b=True)  # [J, height, width]
        fine = tf.reshape(fine, [joints, -1])
        peak = tf.reduce_max(fine, axis=-1)  # [J]
        place = tf.argmax(fine, axis=-1, output_type=tf.int32)
        place = tf.cast(tf.stack([place // width, place % width], axis=-1), tf.float32)  # [J, 2]
        yx = (place + 0.5) * (size / pixels) + box[:2]
        if score == "prob":
            # Relative to the peak, as exp(peak) alone may overflow.
            peak = 1.0 / tf.reduce_sum(tf.exp(coarse - peak[:, tf.newaxis, tf.newaxis]), [1, 2])
        return tf.stack([yx[:, 1], yx[:, 0], peak], axis=-1)

    per_box = tf.map_fn(
        one_box,
        (maps, flat_boxes),
        fn_output_signature=tf.TensorSpec([joints, 3], tf.float32),
        parallel_iterations=1,  # a large box holds joints x height x width numbers
    )
    per_box = tf.where(flat_valid[:, tf.newaxis, tf.newaxis], per_box, 0.0)
    return tf.reshape(per_box, [*tf.unstack(tf.shape(valid)), joints, 3])
