"""A map cut into square windows, and put together again."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mrcnn.ops.classes import known_shape


def pad_to_multiple(x: tf.Tensor, multiple: int) -> tf.Tensor:
    """[B, H, W, C] with zeros below and at the right up to multiples.

    Example:
        >>> pad_to_multiple(tf.ones([1, 3, 4, 1]), 2).shape.as_list()
        [1, 4, 4, 1]
    """
    height, width = (-side % multiple for side in known_shape(x)[1:3])
    return tf.pad(x, [[0, 0], [0, height], [0, width], [0, 0]])


def to_windows(x: tf.Tensor, side: int) -> tf.Tensor:
    """The windows of a map, row by row.

    Args:
        x: [B, H, W, C]; H and W multiples of the side.
        side: of a window, cells.

    Returns:
        [B * H / side * W / side, side, side, C].

    Example:
        >>> to_windows(tf.reshape(tf.range(8), [1, 2, 4, 1]), 2)[1, ..., 0].numpy().tolist()
        [[2, 3], [6, 7]]
    """
    batch, height, width, channels = known_shape(x)
    rows, columns = height // side, width // side
    x = tf.reshape(x, [batch * rows, side, columns, side * channels])
    return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch * rows * columns, side, side, channels])


def from_windows(windows: tf.Tensor, batch: Any, height: Any, width: Any) -> tf.Tensor:
    """`to_windows` undone.

    Args:
        windows: [B * H / side * W / side, side, side, C].
        batch, height, width: B, H and W; int or i32[].

    Returns:
        [B, H, W, C].
    """
    side, channels = windows.shape[1], windows.shape[3]
    rows, columns = height // side, width // side
    x = tf.reshape(windows, [batch * rows, columns, side, side * channels])
    return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch, height, width, channels])
