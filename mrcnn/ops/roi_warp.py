"""Warping a box to a fixed grid with one bilinear sample per point: RoIWarp and corner-aligned cropping."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from mrcnn.ops.bilinear import Method, bilinear_taps, check_method, sum_taps
from mrcnn.ops.pyramid import LevelAssignment, LevelRule, divide, place_rois, unplace
from mrcnn.ops.roi_pool import round_half_away
from mrcnn.structures.tensors import Tensor


def multilevel_roi_warp(
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    output_size: int | tuple[int, int],
    valid: Tensor | None = None,
    canonical_level: int = 4,
    canonical_size: float = 224.0,
    method: Method = "sparse",
    level_rule: LevelRule = "floor_inside",
    level_epsilon: float = 1e-6,
    end_offset: float = 0.0,
) -> Tensor:
    """RoIWarp of each box on the pyramid level that suits its size.

    Borders are rounded to the nearest cell, as RoIPool does; the box between them is then sampled bilinearly, once at
    the upper left corner of every bin. Max or average pooling over neighboring bins follows outside.

    Args:
        features: per level f32|f16|bf16[B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 4], pixels of the padded image; no gradient flows into them.
        strides: pixels per feature cell of each level; powers of two, each level twice the one before.
        output_size: bins (h, w), or one int for both.
        valid: bool[B, S] or None: all; invalid RoIs give zeros and no gradient.
        canonical_level, canonical_size, level_rule, level_epsilon: see `pyramid.assign_levels`.
        method: see `ops.bilinear`.
        end_offset: pixels added to y2 and x2 before pooling.

    Returns:
        [B, S, h, w, C] in the dtype of the features; samples more than half a cell outside the map are 0.

    Empty: S = 0 gives an empty result; a RoI that is not finite counts as invalid.

    Ref: Instance-aware Semantic Segmentation via Multi-task Network Cascades, section 3.2, without its gradient into
        the boxes; Mask R-CNN, table 2c.
    """
    check_method(method)
    bins = (output_size, output_size) if isinstance(output_size, int) else output_size
    assignment = LevelAssignment(canonical_size, canonical_level, level_rule, level_epsilon)
    rois = place_rois(features, boxes, strides, valid, assignment, end_offset)
    scaled = round_half_away(rois.boxes / rois.stride[:, tf.newaxis])

    def taps(axis: int) -> tuple[Tensor, Tensor]:
        start, length = scaled[:, axis], tf.maximum(scaled[:, axis + 2] - scaled[:, axis], 0.0)
        index = tf.range(bins[axis], dtype=tf.float32)
        moved = index * divide(length, bins[axis])[:, tf.newaxis]  # [R, bins]
        position = start[:, tf.newaxis] + tf.where(index > 0.0, moved, 0.0)  # of an infinite length too
        size = rois.level_shape[:, axis]
        inside = (position >= -0.5) & (position <= tf.cast(size, tf.float32)[:, tf.newaxis] - 0.5)
        return bilinear_taps(position[..., tf.newaxis], inside[..., tf.newaxis], tf.constant(1.0), size)

    return unplace(sum_taps(rois, *taps(0), *taps(1), method), features, boxes, *bins)


def multilevel_crop_and_resize(
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    output_size: int | tuple[int, int],
    valid: Tensor | None = None,
    canonical_level: int = 4,
    canonical_size: float = 224.0,
    method: Method = "sparse",
    level_rule: LevelRule = "round_image_area",
    level_epsilon: float = 0.0,
    end_offset: float = 0.0,
) -> Tensor:
    """One bilinear sample per point of a grid whose corners are the corners of the box.

    The image's first and last pixel fall on the first and last cell of every level, so a box b samples the cells
    between b / (H - 1, W - 1) * (Hl - 1, Wl - 1), as `tf.image.crop_and_resize` does with boxes normalized by
    (H - 1, W - 1).

    Args:
        features: per level f32|f16|bf16[B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 4], pixels of the padded image; no gradient flows into them.
        strides: pixels per feature cell of each level; the image is the finest level times its stride.
        output_size: points (h, w), or one int for both; a single point is the center of the box.
        valid: bool[B, S] or None: all; invalid RoIs give zeros and no gradient.
        canonical_level, canonical_size, level_rule, level_epsilon: see `pyramid.assign_levels`.
        method: see `ops.bilinear`.
        end_offset: pixels added to y2 and x2 before the box is normalized; -1 where y2 and x2 are the far edges of the
            last pixel.

    Returns:
        [B, S, h, w, C] in the dtype of the features; samples outside the map are 0.

    Empty: S = 0 gives an empty result; a RoI that is not finite counts as invalid.
    """
    check_method(method)
    points = (output_size, output_size) if isinstance(output_size, int) else output_size
    assignment = LevelAssignment(canonical_size, canonical_level, level_rule, level_epsilon)
    rois = place_rois(features, boxes, strides, valid, assignment, end_offset)
    span = tf.maximum(tf.cast(rois.image_shape - 1, tf.float32), 1.0)  # [2]

    def taps(axis: int) -> tuple[Tensor, Tensor]:
        size = rois.level_shape[:, axis]
        last = tf.cast(size - 1, tf.float32)
        start, end = (rois.boxes[:, side] / span[axis] for side in (axis, axis + 2))
        if points[axis] > 1:
            step = divide((end - start) * last, points[axis] - 1)  # [R]
            index = tf.range(points[axis], dtype=tf.float32)
            moved = tf.where(index > 0.0, index * step[:, tf.newaxis], 0.0)  # [R, points]; of an infinite step too
            position = (start * last)[:, tf.newaxis] + moved
        else:
            position = (0.5 * (start + end) * last)[:, tf.newaxis]
        inside = (position >= 0.0) & (position <= last[:, tf.newaxis])
        return bilinear_taps(position[..., tf.newaxis], inside[..., tf.newaxis], tf.constant(1.0), size)

    return unplace(sum_taps(rois, *taps(0), *taps(1), method), features, boxes, *points)
