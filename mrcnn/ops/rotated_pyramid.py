"""RoIAlign of rotated RoIs on a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from mrcnn.ops.pyramid import DEFAULT_ASSIGNMENT, LevelAssignment, assign_levels
from mrcnn.ops.rotated_roi_align import rotated_roi_align
from mrcnn.structures.tensors import Tensor


def multilevel_rotated_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    valid: Tensor | None = None,
    assignment: LevelAssignment = DEFAULT_ASSIGNMENT,
) -> Tensor:
    """`rotated_roi_align` of each RoI on the level that suits the sides it has before it is turned.

    Args:
        features: per level [B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 5], (cy, cx, h, w, angle), pixels of the padded image and degrees; no gradient flows into them.
        strides: pixels per feature cell of each level; powers of two, each level twice the one before.
        output_size, sampling_ratio: see `rotated_roi_align`.
        valid: bool[B, S] or None: all; invalid RoIs give zeros.
        assignment: the level rule.

    Returns:
        [B, S, h, w, C] in the dtype of the features.

    Empty: S = 0 gives an empty result.

    Example:
        >>> levels = [tf.ones([1, 8, 8, 3]), tf.ones([1, 4, 4, 3])]
        >>> multilevel_rotated_roi_align(levels, tf.constant([[[16.0, 16.0, 8.0, 20.0, 30.0]]]), [4, 8], 7).shape
        TensorShape([1, 1, 7, 7, 3])
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    valid = tf.ones(tf.shape(boxes)[:2], tf.bool) if valid is None else valid
    lowest = int(strides[0]).bit_length() - 1
    level = assign_levels(
        tf.concat([tf.zeros_like(boxes[..., :2]), boxes[..., 2:4]], axis=-1),
        lowest,
        lowest + len(strides) - 1,
        assignment.canonical_size,
        assignment.canonical_level,
        assignment.rule,
        assignment.epsilon,
        tf.shape(features[0])[1:3] * int(strides[0]),
    )
    pooled = [
        rotated_roi_align(of_level, boxes, stride, output_size, sampling_ratio, valid & (level == lowest + i))
        for i, (of_level, stride) in enumerate(zip(features, strides, strict=True))
    ]
    # A RoI is zero on every level but its own.
    return tf.add_n(pooled)
