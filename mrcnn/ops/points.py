"""Points of a plane: values of maps at points between cells, and where a prediction is least certain.

Points are (y, x). Those of a box are in parts of it: (0, 0) its upper left corner, (1, 1) its lower right one.
Ref: PointRend, arXiv 1912.08193, section 3.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mrcnn.ops.classes import known_shape
from mrcnn.structures.tensors import Tensor


def regular_points(side: int) -> Tensor:
    """The centers of side x side cells, row by row.

    Returns:
        f32[side * side, 2], parts of a box.

    Example:
        >>> regular_points(2).numpy().tolist()
        [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    """
    centers = (tf.range(side, dtype=tf.float32) + 0.5) / side
    return tf.reshape(tf.stack(tf.meshgrid(centers, centers, indexing="ij"), axis=-1), [-1, 2])


def points_in_image(points: Tensor, boxes: Tensor) -> Tensor:
    """Points of boxes in the frame of the boxes; no gradient flows into them.

    Args:
        points: f32[..., P, 2], parts of a box.
        boxes: f32[..., 4], (y1, x1, y2, x2).

    Returns:
        f32[..., P, 2].

    Example:
        >>> points_in_image(tf.constant([[0.5, 0.25]]), tf.constant([10.0, 20.0, 14.0, 28.0])).numpy().tolist()
        [[12.0, 22.0]]
    """
    boxes = tf.stop_gradient(boxes)
    corner, side = boxes[..., tf.newaxis, :2], boxes[..., tf.newaxis, 2:] - boxes[..., tf.newaxis, :2]
    return corner + points * side


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of maps at points; beyond the map there are zeros.

    Works eagerly, in a graph and under XLA; differentiable in the maps.

    Args:
        maps: [N, H, W, C].
        points: f32[N, P, 2] in cells, the center of cell i at i + 0.5.

    Returns:
        [N, P, C] in the dtype of the maps.

    Empty: N = 0 or P = 0 gives an empty result.

    Ref: `torch.nn.functional.grid_sample` with `align_corners=False`.

    Example:
        >>> row = tf.constant([[[[2.0], [4.0]]]])  # one row of two cells
        >>> sample_points(row, tf.constant([[[0.5, 0.5], [0.5, 1.0], [0.5, 2.0]]]))[0, :, 0].numpy().tolist()
        [2.0, 3.0, 2.0]
    """
    _, height, width, channels = known_shape(maps)
    table = tf.reshape(maps, [-1, height * width, channels])
    return _sample(table, tf.zeros([], tf.int32), (height, width), points, maps.dtype)


def sample_masks(masks: Tensor, index: Tensor, points: Tensor) -> Tensor:
    """`sample_points` of one mask of several for each RoI, none of which is copied; no gradient.

    Args:
        masks: u8[B, G, h, w].
        index: i32[B, S], the mask that each RoI looks at.
        points: f32[B, S, P, 2] in cells of the masks.

    Returns:
        f32[B, S, P].
    """
    batch, entries, height, width = known_shape(masks)
    _, num_rois, num_points, _ = known_shape(points)
    table = tf.reshape(masks, [-1, entries * height * width, 1])
    start = tf.repeat(index * height * width, num_points, axis=1)  # [B, S * P]
    flat = tf.reshape(points, [-1, num_rois * num_points, 2])
    values = _sample(table, start, (height, width), flat, tf.float32)
    return tf.reshape(values, [batch, num_rois, num_points])


def _sample(table: Tensor, start: Tensor, size: tuple[Any, Any], points: Tensor, dtype: tf.DType) -> Tensor:
    """Samples [N, P, C] of maps in a table [N, cells, C], each of which begins at a cell and has `size` cells."""
    place = tf.cast(points, tf.float32) - 0.5
    low = tf.floor(place)
    share = place - low  # [N, P, 2]
    total = tf.zeros([], dtype)
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cell = tf.cast(low, tf.int32) + tf.constant(corner)
        inside = tf.reduce_all((cell >= 0) & (cell < tf.stack(size)), -1)
        weight = tf.reduce_prod(tf.where(tf.constant(corner) == 1, share, 1.0 - share), -1)
        cell = tf.clip_by_value(cell, 0, tf.stack(size) - 1)
        values = tf.gather(table, start + cell[..., 0] * size[1] + cell[..., 1], batch_dims=1)  # [N, P, C]
        total += tf.cast(values, dtype) * tf.cast(tf.where(inside, weight, 0.0), dtype)[..., tf.newaxis]
    return total


def sample_grids(grids: Tensor, points: Tensor) -> Tensor:
    """`sample_points` of grids that each cover a box.

    Args:
        grids: [N, H, W, C].
        points: f32[N, P, 2], parts of the box.

    Returns:
        [N, P, C].
    """
    _, height, width, _ = known_shape(grids)
    return sample_points(grids, points * tf.cast(tf.stack([height, width]), tf.float32))


def draw_points(seed: Tensor, num_rois: int | Tensor, num_points: int) -> Tensor:
    """Points drawn evenly over each RoI of some images; the first RoIs get the same, however many there are.

    Args:
        seed: i32[B, 2], stateless seed of each image.
        num_rois: S.
        num_points: P.

    Returns:
        f32[B, S, P, 2] in [0, 1).
    """

    def draw(of_image: Tensor) -> Tensor:
        return tf.random.stateless_uniform([num_rois, num_points, 2], of_image, alg="philox")

    return tf.map_fn(draw, seed, fn_output_signature=tf.TensorSpec([None, num_points, 2], tf.float32))


def least_certain(logits: Tensor, num: int) -> Tensor:
    """Which of the predictions are nearest to a probability of one half.

    Args:
        logits: f32[..., P], of one class.
        num: how many; at most P.

    Returns:
        i32[..., num], the least certain first.

    Example:
        >>> least_certain(tf.constant([3.0, -0.5, -4.0, 1.0]), 2).numpy().tolist()
        [1, 3]
    """
    return tf.math.top_k(-tf.abs(logits), num).indices


def double(grid: Tensor) -> Tensor:
    """Grids at twice the resolution, bilinearly; beyond the center of the border cell its value holds.

    Args:
        grid: [N, h, w].

    Returns:
        [N, 2 h, 2 w].

    Example:
        >>> double(tf.constant([[[0.0, 4.0]]]))[0, 0].numpy().tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    return _double_axis(_double_axis(grid, 1), 2)


def _double_axis(grid: Tensor, axis: int) -> Tensor:
    size = grid.shape[axis]
    if size is None:
        raise ValueError(f"double: axis {axis} has an unknown size")
    index = tf.range(size)
    before = tf.gather(grid, tf.maximum(index - 1, 0), axis=axis)
    after = tf.gather(grid, tf.minimum(index + 1, size - 1), axis=axis)
    pairs = tf.stack([0.25 * before + 0.75 * grid, 0.75 * grid + 0.25 * after], axis=axis + 1)
    sides = known_shape(grid)
    return tf.reshape(pairs, [*sides[:axis], 2 * size, *sides[axis + 1 :]])


def replace_points(grid: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Grids with other values in some cells.

    Args:
        grid: f32[N, h, w].
        index: i32[N, P], row * w + column; each cell at most once.
        values: f32[N, P].

    Returns:
        f32[N, h, w].

    Example:
        >>> replace_points(tf.zeros([1, 1, 3]), tf.constant([[2]]), tf.constant([[7.0]]))[0, 0].numpy().tolist()
        [0.0, 0.0, 7.0]
    """
    number, height, width = known_shape(grid)
    row = tf.broadcast_to(tf.range(number)[:, tf.newaxis], tf.shape(index))
    flat = tf.tensor_scatter_nd_update(tf.reshape(grid, [-1, height * width]), tf.stack([row, index], axis=-1), values)
    return tf.reshape(flat, [-1, height, width])
