"""Arithmetic on rotated boxes (cy, cx, h, w, angle): corners, clipping, regression deltas, anchors.

The angle is in degrees, counter-clockwise as one sees the image, whose y axis points down: the side w runs along
(-sin, cos) in (y, x), the side h along (cos, sin). With angle 0 a box is the axis-aligned one around its center; angles
are equal modulo 360. Every function is elementwise over leading dimensions and computes in float32.

Ref: Ma et al., Arbitrary-Oriented Scene Text Detection via Rotation Proposals, arXiv 1703.01086, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mrcnn.ops.boxes import MAX_LOG_SCALE
from mrcnn.structures.tensors import Tensor

_DEGREE = math.pi / 180.0


def _columns(boxes: Tensor) -> list[Tensor]:
    return tf.unstack(tf.cast(boxes, tf.float32), 5, axis=-1)


def normalize_angles(boxes: Tensor) -> Tensor:
    """The same boxes with angles in [-180, 180).

    Args:
        boxes: f32[..., 5].

    Returns:
        f32[..., 5].

    Example:
        >>> float(normalize_angles(tf.constant([0.0, 0.0, 2.0, 4.0, 270.0]))[4])
        -90.0
    """
    boxes = tf.cast(boxes, tf.float32)
    return tf.concat([boxes[..., :4], _wrap(boxes[..., 4:])], axis=-1)


def _wrap(angle: Tensor) -> Tensor:
    return tf.math.floormod(angle + 180.0, 360.0) - 180.0


def rotated_area(boxes: Tensor) -> Tensor:
    """Area of each box; a box with a negative side has area 0.

    Args:
        boxes: f32[..., 5], pixels and degrees.

    Returns:
        f32[...], square pixels.
    """
    _, _, height, width, _ = _columns(boxes)
    return tf.nn.relu(height) * tf.nn.relu(width)


def rotated_corners(boxes: Tensor) -> Tensor:
    """The corners of each box, in the order in which one walks around it.

    Args:
        boxes: f32[..., 5], pixels and degrees.

    Returns:
        f32[..., 4, 2], (y, x): without rotation the upper left, upper right, lower right and lower left one.

    Example:
        >>> rotated_corners(tf.constant([5.0, 5.0, 2.0, 4.0, 0.0])).numpy().tolist()
        [[4.0, 3.0], [4.0, 7.0], [6.0, 7.0], [6.0, 3.0]]
    """
    center_y, center_x, height, width, angle = (column[..., tf.newaxis] for column in _columns(boxes))
    sine, cosine = tf.sin(angle * _DEGREE), tf.cos(angle * _DEGREE)
    down = tf.constant([-0.5, -0.5, 0.5, 0.5]) * height
    right = tf.constant([-0.5, 0.5, 0.5, -0.5]) * width
    return tf.stack([center_y + cosine * down - sine * right, center_x + sine * down + cosine * right], axis=-1)


def rotated_bounds(boxes: Tensor) -> Tensor:
    """The smallest axis-aligned box around each.

    Args:
        boxes: f32[..., 5], pixels and degrees.

    Returns:
        f32[..., 4], (y1, x1, y2, x2).
    """
    corners = rotated_corners(boxes)
    return tf.concat([tf.reduce_min(corners, axis=-2), tf.reduce_max(corners, axis=-2)], axis=-1)


def clip_rotated_boxes(boxes: Tensor, size: Tensor, max_angle: float = 1.0) -> Tensor:
    """Clips boxes to an image, those only that are nearly axis-aligned: others would not stay rectangles.

    Args:
        boxes: f32[..., 5], pixels and degrees.
        size: (height, width) of the image, i32 or f32[2], or [..., 2], which broadcasts against what leads in `boxes`.
        max_angle: degrees up to which a box counts as axis-aligned.

    Returns:
        f32[..., 5], angles in [-180, 180).
    """
    center_y, center_x, height, width, angle = _columns(normalize_angles(boxes))
    limit = tf.cast(size, tf.float32)
    is_clipped = tf.abs(angle) <= max_angle

    def clip(center: Tensor, side: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        low = tf.clip_by_value(center - 0.5 * side, 0.0, end)
        high = tf.clip_by_value(center + 0.5 * side, 0.0, end)
        # No side grows by rounding.
        return tf.where(is_clipped, 0.5 * (low + high), center), tf.where(
            is_clipped, tf.minimum(side, high - low), side
        )

    center_y, height = clip(center_y, height, limit[..., 0])
    center_x, width = clip(center_x, width, limit[..., 1])
    return tf.stack([center_y, center_x, height, width, angle], axis=-1)


def scale_rotated_boxes(boxes: Tensor, scale: Tensor) -> Tensor:
    """The boxes of an image that is resized.

    With two different factors a rectangle becomes a parallelogram; the result has its center, the lengths of its two
    sides, and the direction of its side h.

    Args:
        boxes: f32[..., 5], pixels and degrees.
        scale: f32[2], factors of (height, width).

    Returns:
        f32[..., 5].
    """
    center_y, center_x, height, width, angle = _columns(boxes)
    scale_y, scale_x = tf.unstack(tf.cast(scale, tf.float32), 2)
    sine, cosine = tf.sin(angle * _DEGREE), tf.cos(angle * _DEGREE)
    columns = [
        center_y * scale_y,
        center_x * scale_x,
        height * tf.sqrt((scale_x * sine) ** 2 + (scale_y * cosine) ** 2),
        width * tf.sqrt((scale_x * cosine) ** 2 + (scale_y * sine) ** 2),
        tf.atan2(scale_x * sine, scale_y * cosine) / _DEGREE,
    ]
    return tf.stack(columns, axis=-1)


def canonical_rotated_boxes(boxes: Tensor) -> Tensor:
    """The same rectangles with w the longer side and angles above -90 up to 90.

    A rectangle has four descriptions, a quarter turn apart; this is the one that `structures.rotated` gives.

    Args:
        boxes: f32[..., 5], pixels and degrees.

    Returns:
        f32[..., 5]; of a square the sides stay.

    Example:
        >>> canonical_rotated_boxes(tf.constant([5.0, 5.0, 4.0, 2.0, 30.0])).numpy().tolist()
        [5.0, 5.0, 2.0, 4.0, -60.0]
    """
    center_y, center_x, height, width, angle = _columns(boxes)
    is_tall = height > width
    angle = 90.0 - tf.math.floormod(90.0 - tf.where(is_tall, angle + 90.0, angle), 180.0)
    return tf.stack([center_y, center_x, tf.minimum(height, width), tf.maximum(height, width), angle], axis=-1)


def nearest_description(boxes: Tensor, reference: Tensor) -> Tensor:
    """The same rectangles described such that each turns from its reference by 45 degrees at most.

    So the regression target of a rectangle, which has no head and no foot, is the least turn there is.

    Args:
        boxes: f32[..., 5], pixels and degrees.
        reference: f32[..., 5], anchors or RoIs.

    Returns:
        f32[..., 5], sides swapped where the description is an odd number of quarter turns away.

    Example:
        >>> box, anchor = tf.constant([5.0, 5.0, 2.0, 4.0, 80.0]), tf.constant([5.0, 5.0, 3.0, 3.0, 0.0])
        >>> nearest_description(box, anchor).numpy().tolist()
        [5.0, 5.0, 4.0, 2.0, -10.0]
    """
    center_y, center_x, height, width, angle = _columns(boxes)
    quarters = tf.round(_wrap(angle - _columns(reference)[4]) / 90.0)
    is_odd = tf.math.floormod(quarters, 2.0) == 1.0
    sides = tf.where(is_odd, width, height), tf.where(is_odd, height, width)
    return tf.stack([center_y, center_x, *sides, angle - 90.0 * quarters], axis=-1)


def encode_rotated_deltas(
    boxes: Tensor, reference: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Regression targets that turn `reference` into `boxes`.

    Args:
        boxes: f32[..., 5], pixels and degrees, the boxes to reach.
        reference: f32[..., 5], same frame, anchors or RoIs.
        weights: multipliers of (dy, dx, dh, dw, da).

    Returns:
        f32[..., 5], (dy, dx, log dh, log dw, the turn in radians within [-pi, pi)) times weights; 0 in place of a
        shift or a logarithm that is not finite, where a side is not positive.
    """
    center_y, center_x, height, width, angle = _columns(boxes)
    ref_y, ref_x, ref_height, ref_width, ref_angle = _columns(reference)
    are_boxes = (tf.minimum(height, width) > 0.0) & (tf.minimum(ref_height, ref_width) > 0.0)

    def usable(side: Tensor) -> Tensor:
        return tf.where(are_boxes, side, 1.0)

    deltas = [
        tf.where(are_boxes, (center_y - ref_y) / usable(ref_height), 0.0),
        tf.where(are_boxes, (center_x - ref_x) / usable(ref_width), 0.0),
        tf.math.log(usable(height) / usable(ref_height)),
        tf.math.log(usable(width) / usable(ref_width)),
        _wrap(angle - ref_angle) * _DEGREE,
    ]
    return tf.stack(deltas, axis=-1) * tf.constant(weights, tf.float32)


def decode_rotated_deltas(
    deltas: Tensor,
    reference: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0),
    max_log_scale: float | None = MAX_LOG_SCALE,
) -> Tensor:
    """The boxes that regression deltas mean; inverse of `encode_rotated_deltas`.

    Args:
        deltas: f32[..., 5].
        reference: f32[..., 5], pixels and degrees; broadcast against `deltas`.
        weights: as they were encoded with.
        max_log_scale: upper bound of log dh and log dw; None: unbounded.

    Returns:
        f32[..., 5], angles in [-180, 180).
    """
    bound = float("inf") if max_log_scale is None else max_log_scale
    delta_y, delta_x, delta_height, delta_width, turn = _columns(
        tf.cast(deltas, tf.float32) / tf.constant(weights, tf.float32)
    )
    ref_y, ref_x, ref_height, ref_width, ref_angle = _columns(reference)
    columns = [
        delta_y * ref_height + ref_y,
        delta_x * ref_width + ref_x,
        tf.exp(tf.minimum(delta_height, bound)) * ref_height,
        tf.exp(tf.minimum(delta_width, bound)) * ref_width,
        _wrap(turn / _DEGREE + ref_angle),
    ]
    return tf.stack(columns, axis=-1)


def rotated_cell_anchors(sizes: Sequence[float], ratios: Sequence[float], angles: Sequence[float]) -> np.ndarray:
    """The rotated anchors of one feature cell, centered at the origin.

    Args:
        sizes: square root of each anchor's area, pixels.
        ratios: h / w.
        angles: degrees.

    Returns:
        f32[n, 5], n = sizes * ratios * angles, the angle varying fastest, the size slowest.

    Example:
        >>> rotated_cell_anchors([16], [4.0], [-45, 0]).tolist()
        [[0.0, 0.0, 32.0, 8.0, -45.0], [0.0, 0.0, 32.0, 8.0, 0.0]]
    """
    grid = np.meshgrid(*(np.asarray(values, np.float64) for values in (sizes, ratios, angles)), indexing="ij")
    size, ratio, angle = (axis.ravel() for axis in grid)
    zeros = np.zeros_like(size)
    return np.stack([zeros, zeros, size * np.sqrt(ratio), size / np.sqrt(ratio), angle], axis=-1).astype(np.float32)


def rotated_grid_anchors(
    feature_height: int | Tensor, feature_width: int | Tensor, stride: float, cells: np.ndarray, offset: float = 0.0
) -> Tensor:
    """Anchors over a feature map, row by row, those of a cell together.

    Args:
        feature_height, feature_width: cells of the map.
        stride: pixels per cell.
        cells: f32[n, 5], see `rotated_cell_anchors`.
        offset: of the first center, in cells.

    Returns:
        f32[feature_height * feature_width * n, 5], pixels and degrees.
    """
    rows = (tf.cast(tf.range(feature_height), tf.float32) + offset) * stride
    columns = (tf.cast(tf.range(feature_width), tf.float32) + offset) * stride
    y, x = tf.meshgrid(rows, columns, indexing="ij")
    zeros = tf.zeros_like(y)
    centers = tf.reshape(tf.stack([y, x, zeros, zeros, zeros], axis=-1), [-1, 1, 5])
    return tf.reshape(centers + tf.constant(cells, tf.float32), [-1, 5])
