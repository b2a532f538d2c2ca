"""Anchors: reference boxes of fixed sizes and shapes, laid over a feature map.

Works eagerly, in a graph and under XLA (there with feature sizes known at trace time).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

Tensor = tf.Tensor


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """The anchors of one feature cell, centred at the origin.

    Args:
        sizes: square root of each anchor's area, pixels.
        ratios: height / width.

    Returns:
        f32[n, 4], n = len(sizes) * len(ratios), pixels; the ratio varies fastest.

    Ref: Faster R-CNN, section 3.1.1.
    """
    size = np.repeat(np.asarray(sizes, np.float64), len(ratios))
    root = np.sqrt(np.tile(np.asarray(ratios, np.float64), len(sizes)))
    half_height, half_width = 0.5 * size * root, 0.5 * size / root
    return np.stack([-half_height, -half_width, half_height, half_width], axis=-1).astype(np.float32)


def grid_anchors(
    feature_height: int | Tensor,
    feature_width: int | Tensor,
    stride: float,
    cells: np.ndarray | Tensor,
    offset: float = 0.0,
) -> Tensor:
    """The anchors of a whole feature map.

    Args:
        feature_height: rows of the feature map, int or i32[].
        feature_width: columns of the feature map, int or i32[].
        stride: pixels per feature cell.
        cells: f32[n, 4], the anchors of one cell, see `cell_anchors`.
        offset: where in a cell its anchors are centred, in strides: 0 the corner, 0.5 the middle.

    Returns:
        f32[feature_height * feature_width * n, 4], pixels of the padded picture; row by row, the cell's anchors
        varying fastest. Anchors may reach beyond the picture.

    Empty: a map without rows or columns gives no anchors.
    """
    cells = tf.convert_to_tensor(cells, tf.float32)
    y = (tf.cast(tf.range(feature_height), tf.float32) + offset) * stride
    x = (tf.cast(tf.range(feature_width), tf.float32) + offset) * stride
    yy, xx = tf.meshgrid(y, x, indexing="ij")  # [fh, fw]
    centers = tf.stack([yy, xx, yy, xx], axis=-1)  # [fh, fw, 4]
    return tf.reshape(centers[:, :, tf.newaxis] + cells, [-1, 4])  # [fh * fw * n, 4]
