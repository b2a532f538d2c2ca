"""Embeddings of positions, brought to the size of a map; with the numbers of PyTorch's interpolation.

All of it is products with small matrices, whose gradient is exact and for which every format has operators.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mrcnn.ops.classes import known_shape

_CUBIC = -0.75  # PyTorch's and OpenCV's; Keys has -0.5


def resize_positions(grid: tf.Tensor, height: Any, width: Any) -> tf.Tensor:
    """A square of embeddings, bicubically interpolated to the size of a map.

    Args:
        grid: f32[g, g, C].
        height, width: of the map, cells; int or i32[].

    Returns:
        f32[height, width, C]; of the grid's own size the grid. Beyond its edges the cells at the edges repeat.

    Ref: `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.

    Example:
        >>> resize_positions(tf.constant([[[1.0], [3.0]], [[1.0], [3.0]]]), 1, 3).numpy().ravel().round(3).tolist()
        [0.787, 2.0, 3.213]
    """
    side, channels = grid.shape[0], grid.shape[2]
    rows, columns = _cubic(side, height), _cubic(side, width)
    tall = tf.matmul(rows, tf.reshape(grid, [side, side * channels]))  # [height, g * C]
    tall = tf.reshape(tall, [height, side, channels])
    return tf.matmul(columns[tf.newaxis], tall)


def relative_positions(table: tf.Tensor, queries: Any, keys: Any) -> tf.Tensor:
    """The embedding of each distance between a query and a key on one axis.

    Where there are fewer of the one than of the other, each of them stands for several cells.

    Args:
        table: f32[L, D], of the distances -(L - 1) / 2 to (L - 1) / 2; linearly interpolated to as many as there are.
        queries, keys: how many along the axis; int or i32[].

    Returns:
        f32[queries, keys, D]; the distance is that of the query seen from the key.

    Ref: MViTv2, arXiv 2112.01526, section 4.1; detectron2, modeling/backbone/utils.py, get_rel_pos.

    Example:
        >>> relative_positions(tf.constant([[-1.0], [0.0], [1.0]]), 2, 2).numpy()[..., 0].tolist()
        [[0.0, -1.0], [1.0, 0.0]]
    """
    if isinstance(queries, int) and isinstance(keys, int):
        length: Any = 2 * max(queries, keys) - 1
    else:
        length = 2 * tf.maximum(queries, keys) - 1
    if not isinstance(length, int) or length != table.shape[0]:
        table = tf.matmul(_linear(known_shape(table)[0], length), table)
    of_query, of_key = (
        tf.maximum(tf.cast(a, tf.float32) / tf.cast(b, tf.float32), 1.0) for a, b in ((keys, queries), (queries, keys))
    )
    places = tf.cast(tf.range(queries), tf.float32)[:, tf.newaxis] * of_query
    distances = places - tf.cast(tf.range(keys), tf.float32) * of_key + tf.cast(keys - 1, tf.float32) * of_key
    return tf.gather(table, tf.cast(distances, tf.int32))


def _sources(size: int, target: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the middle of each target cell lies among the source cells, f32[target], and whole source cells i32."""
    scale = tf.cast(size, tf.float32) / tf.cast(target, tf.float32)
    place = (tf.cast(tf.range(target), tf.float32) + 0.5) * scale - 0.5
    return place, tf.cast(tf.floor(place), tf.int32)


def _rows(cells: tf.Tensor, shares: tf.Tensor, size: int) -> tf.Tensor:
    """Matrix f32[target, size] of the shares [target, n] of cells [target, n], moved to the edge from beyond."""
    one_hot = tf.one_hot(tf.clip_by_value(cells, 0, size - 1), size)  # [target, n, size]
    return tf.reduce_sum(one_hot * shares[..., tf.newaxis], 1)


def _cubic(size: int, target: Any) -> tf.Tensor:
    """f32[target, size]. Ref: Keys, Cubic Convolution Interpolation for Digital Image Processing, equation 15."""
    place, cell = _sources(size, target)
    t = place - tf.cast(cell, tf.float32)

    def near(x: tf.Tensor) -> tf.Tensor:  # up to a distance of 1
        return ((_CUBIC + 2.0) * x - (_CUBIC + 3.0)) * x * x + 1.0

    def far(x: tf.Tensor) -> tf.Tensor:  # from 1 to 2
        return ((_CUBIC * x - 5.0 * _CUBIC) * x + 8.0 * _CUBIC) * x - 4.0 * _CUBIC

    shares = tf.stack([far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)], 1)
    return _rows(cell[:, tf.newaxis] + tf.range(-1, 3), shares, size)


def _linear(size: int, target: Any) -> tf.Tensor:
    """f32[target, size]."""
    place, _ = _sources(size, target)
    place = tf.maximum(place, 0.0)
    cell = tf.cast(place, tf.int32)
    t = place - tf.cast(cell, tf.float32)
    return _rows(tf.stack([cell, cell + 1], 1), tf.stack([1.0 - t, t], 1), size)
