"""Anchors: reference boxes of fixed sizes and shapes, laid over a feature map.

Works eagerly, in a graph and under XLA (there with feature sizes known at trace time).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from mrcnn.structures.tensors import Tensor

Order = Literal["size_major", "ratio_major"]
Rounding = Literal["none", "corners", "detectron"]


def cell_anchors(
    sizes: Sequence[float],
    ratios: Sequence[float],
    order: Order = "size_major",
    rounding: Rounding = "none",
    stride: float = 1.0,
) -> np.ndarray:
    """The anchors of one feature cell, centerd at the origin.

    Args:
        sizes: square root of each anchor's area, pixels.
        ratios: height / width.
        order: which varies slowest, the size or the ratio.
        rounding: "none" keeps the exact root; "corners" rounds the corners to whole pixels, half to even; "detectron"
            rounds the sides of an anchor of one cell's area (width first, then height = width * ratio) and scales
            them to the size, as its integer arithmetic does. Its boxes name their last pixel; here the edge is meant,
            so y2 and x2 are greater by 1.
        stride: pixels per feature cell, for "detectron".

    Returns:
        f32[n, 4], n = len(sizes) * len(ratios), pixels.

    Ref: Faster R-CNN, section 3.1.1.
    """
    grid = np.meshgrid(np.asarray(sizes, np.float64), np.asarray(ratios, np.float64), indexing="ij")
    size, ratio = ((axis.T if order == "ratio_major" else axis).ravel() for axis in grid)
    if rounding == "detectron":
        columns = np.round(np.sqrt(stride * stride / ratio))
        height, width = np.round(columns * ratio) * (size / stride), columns * (size / stride)
    else:
        height, width = size * np.sqrt(ratio), size / np.sqrt(ratio)
    cells = 0.5 * np.stack([-height, -width, height, width], axis=-1)
    return (np.round(cells) if rounding == "corners" else cells).astype(np.float32)


def grid_anchors(
    feature_height: int | Tensor,
    feature_width: int | Tensor,
    stride: float | Tensor | tuple[float | Tensor, float | Tensor],
    cells: np.ndarray | Tensor,
    offset: float = 0.0,
) -> Tensor:
    """The anchors of a whole feature map.

    Args:
        feature_height: rows of the feature map, int or i32[].
        feature_width: columns of the feature map, int or i32[].
        stride: pixels per feature cell, one for both axes or (y, x).
        cells: f32[n, 4], the anchors of one cell, see `cell_anchors`.
        offset: where in a cell its anchors are centerd, in strides: 0 the corner, 0.5 the middle.

    Returns:
        f32[feature_height * feature_width * n, 4], pixels of the padded image; row by row, the cell's anchors
        varying fastest. Anchors may reach beyond the image.

    Empty: a map without rows or columns gives no anchors.
    """
    cells = tf.convert_to_tensor(cells, tf.float32)
    stride_y, stride_x = (tf.cast(s, tf.float32) for s in (stride if isinstance(stride, tuple) else (stride, stride)))
    y = (tf.cast(tf.range(feature_height), tf.float32) + offset) * stride_y
    x = (tf.cast(tf.range(feature_width), tf.float32) + offset) * stride_x
    yy, xx = tf.meshgrid(y, x, indexing="ij")  # [fh, fw]
    centers = tf.stack([yy, xx, yy, xx], axis=-1)  # [fh, fw, 4]
    return tf.reshape(centers[:, :, tf.newaxis] + cells, [-1, 4])  # [fh * fw * n, 4]
