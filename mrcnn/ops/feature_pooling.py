"""Feature maps of images as one vector each, to tell how much images resemble each other."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def pool_features(features: Mapping[str, tf.Tensor], window: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Mean and standard deviation of each channel of each level, over the cells whose centers lie in the image.

    Args:
        features: level -> [B, h, w, channels], of any strides.
        window: f32[B, 4], (y1, x1, y2, x2), the image on its canvas, pixels.
        side: i32[2], (height, width) of the canvas.

    Returns:
        f32[B, 2 * channels * levels], levels by name. A level without a cell in the image gives zeros.

    Example:
        >>> maps = {"p2": tf.constant([[[[1.0], [3.0]], [[9.0], [9.0]]]])}
        >>> pool_features(maps, tf.constant([[0.0, 0.0, 4.0, 8.0]]), tf.constant([8, 8])).numpy().tolist()
        [[2.0, 1.0]]
    """
    vectors = []
    for _, cells in sorted(features.items()):
        cells = tf.cast(cells, tf.float32)
        inside = []
        for axis, low, high in ((0, window[:, 0], window[:, 2]), (1, window[:, 1], window[:, 3])):
            number = tf.shape(cells)[axis + 1]
            stride = tf.cast(side[axis], tf.float32) / tf.cast(number, tf.float32)
            centers = (tf.range(number, dtype=tf.float32) + 0.5) * stride
            inside.append((centers >= low[:, None]) & (centers < high[:, None]))
        weight = tf.cast(inside[0][:, :, None] & inside[1][:, None, :], tf.float32)[..., None]
        total = tf.reduce_sum(weight, [1, 2])
        mean = tf.math.divide_no_nan(tf.reduce_sum(cells * weight, [1, 2]), total)
        squares = tf.square(cells - mean[:, None, None]) * weight
        vectors += [mean, tf.sqrt(tf.math.divide_no_nan(tf.reduce_sum(squares, [1, 2]), total))]
    return tf.concat(vectors, axis=-1)
