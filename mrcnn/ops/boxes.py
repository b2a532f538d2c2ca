"""Arithmetic on boxes (y1, x1, y2, x2): areas, overlaps, regression deltas.

Every function is elementwise over leading dimensions, computes in float32, and works eagerly, in a graph and under XLA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from mrcnn.structures.tensors import Tensor

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Largest log height or width factor `decode_deltas` applies: a box grows at most 62.5 times."""

_TINY_AREA = 1e-30  # square pixels


def _as_float(x: Tensor) -> Tensor:
    return tf.cast(x, tf.float32)


def area(boxes: Tensor) -> Tensor:
    """Area of each box; a box with a negative side has area 0.

    Args:
        boxes: f32[..., 4], pixels.

    Returns:
        f32[...], square pixels.
    """
    y1, x1, y2, x2 = tf.unstack(_as_float(boxes), 4, axis=-1)
    return tf.maximum(y2 - y1, 0.0) * tf.maximum(x2 - x1, 0.0)


def _pairwise_intersection(a: Tensor, b: Tensor) -> Tensor:
    """Intersection area of every pair: f32[..., N, M] from f32[..., N, 4] and f32[..., M, 4]."""
    ay1, ax1, ay2, ax2 = (side[..., :, tf.newaxis] for side in tf.unstack(_as_float(a), 4, axis=-1))  # [..., N, 1]
    by1, bx1, by2, bx2 = (side[..., tf.newaxis, :] for side in tf.unstack(_as_float(b), 4, axis=-1))  # [..., 1, M]
    height = tf.nn.relu(tf.minimum(ay2, by2) - tf.maximum(ay1, by1))
    width = tf.nn.relu(tf.minimum(ax2, bx2) - tf.maximum(ax1, bx1))
    return height * width  # [..., N, M]


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair of boxes.

    Args:
        a: f32[..., N, 4], pixels.
        b: f32[..., M, 4], same frame.

    Returns:
        f32[..., N, M] in [0, 1]; 0, never NaN, where the union is empty.

    Empty: N = 0 or M = 0 gives an empty matrix.
    """
    intersection = _pairwise_intersection(a, b)
    union = area(a)[..., :, tf.newaxis] + area(b)[..., tf.newaxis, :] - intersection
    # Where the union is 0 so is the intersection; a bound below any real area is cheaper than divide_no_nan.
    return intersection / tf.maximum(union, _TINY_AREA)


def pairwise_coverage(a: Tensor, b: Tensor) -> Tensor:
    """The part of each box of `a` that lies inside each box of `b`: intersection / area(a).

    This is the overlap COCO uses against crowd regions.

    Args:
        a: f32[..., N, 4], pixels.
        b: f32[..., M, 4], same frame.

    Returns:
        f32[..., N, M] in [0, 1]; 0, never NaN, where `a` is empty.
    """
    return tf.math.divide_no_nan(_pairwise_intersection(a, b), area(a)[..., :, tf.newaxis])


def clip_boxes(boxes: Tensor, window: Tensor) -> Tensor:
    """Moves box sides into a window.

    Args:
        boxes: f32[..., N, 4], pixels.
        window: i32 or f32[..., 4], (y1, x1, y2, x2), or [..., 2], the (height, width) of one that starts at the origin;
            one per leading index of `boxes`.

    Returns:
        f32[..., N, 4]; a box outside the window becomes empty.
    """
    boxes, window = _as_float(boxes), _as_float(window)[..., tf.newaxis, :]  # window [..., 1, 2 or 4]
    end = window[..., -2:]
    origin = tf.concat([tf.zeros_like(end), window[..., :-2]], axis=-1)[..., -2:]
    low, high = tf.concat([origin, origin], axis=-1), tf.concat([end, end], axis=-1)  # [..., 1, 4]
    return tf.maximum(tf.minimum(boxes, high), low)


def _to_center(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Center and size, f32[..., 2] each, in (y, x) order."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


def encode_deltas(boxes: Tensor, reference: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Regression targets that turn `reference` into `boxes`.

    Args:
        boxes: f32[..., 4], pixels, the boxes to reach.
        reference: f32[..., 4], same frame, anchors or RoIs.
        weights: multipliers of (dy, dx, dh, dw).

    Returns:
        f32[..., 4], (dy, dx, log dh, log dw) times weights; 0, never NaN or infinite, where either box is empty.

    Ref: R-CNN, appendix C.
    """
    boxes, reference = _as_float(boxes), _as_float(reference)
    center, size = _to_center(boxes)
    ref_center, ref_size = _to_center(reference)
    # Both logarithm arguments are replaced together, so that padded entries contribute finite gradients too.
    usable = tf.reduce_all((size > 0.0) & (ref_size > 0.0), axis=-1, keepdims=True)
    size, ref_size = tf.where(usable, size, 1.0), tf.where(usable, ref_size, 1.0)
    shift = tf.where(usable, (center - ref_center) / ref_size, 0.0)
    deltas = tf.concat([shift, tf.math.log(size / ref_size)], axis=-1)
    return deltas * tf.constant(weights, tf.float32)


def decode_deltas(
    deltas: Tensor,
    reference: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    max_log_scale: float | None = MAX_LOG_SCALE,
) -> Tensor:
    """Applies regression deltas to reference boxes; the inverse of `encode_deltas`.

    Args:
        deltas: f32[..., 4], (dy, dx, log dh, log dw) times weights.
        reference: f32[..., 4], pixels; broadcasts against `deltas`.
        weights: the multipliers used when encoding.
        max_log_scale: upper bound of log dh and log dw, against overflow of the exponential; None: unbounded.

    Returns:
        f32[..., 4], pixels, not clipped to any image.

    Ref: R-CNN, appendix C.
    """
    deltas = _as_float(deltas) / tf.constant(weights, tf.float32)
    center, size = _to_center(_as_float(reference))
    center = center + deltas[..., :2] * size
    log_scale = deltas[..., 2:] if max_log_scale is None else tf.minimum(deltas[..., 2:], max_log_scale)
    half = 0.5 * size * tf.exp(log_scale)
    return tf.concat([center - half, center + half], axis=-1)


def scale_boxes(boxes: Tensor, scale_yx: Tensor) -> Tensor:
    """Boxes in a frame that is `scale_yx` times as large.

    Args:
        boxes: f32[..., N, 4], pixels of the old frame.
        scale_yx: f32[..., 2], new size / old size per axis, one per leading index of `boxes`.

    Returns:
        f32[..., N, 4], pixels of the new frame.
    """
    scale_yx = _as_float(scale_yx)
    return _as_float(boxes) * tf.concat([scale_yx, scale_yx], axis=-1)[..., tf.newaxis, :]


def is_nonempty(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """Which boxes have both sides longer than `min_size` pixels (NaN boxes do not).

    Args:
        boxes: f32[..., 4], pixels.
        min_size: pixels, exclusive; negative: boxes without area, once clipped, count too.

    Returns:
        bool[...].
    """
    _, size = _to_center(_as_float(boxes))
    return tf.reduce_all(size > min_size, axis=-1)
