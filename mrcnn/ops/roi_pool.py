"""RoIPool: the largest value in each bin of a box whose borders and bins are rounded to whole cells.

What RoIAlign replaced; kept for the ablation and for weights trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from mrcnn.ops.custom_gradient import custom_gradient
from mrcnn.ops.pyramid import (
    LevelAssignment,
    LevelRule,
    Windows,
    divide,
    for_chunks,
    make_windows,
    place_rois,
    unplace,
    window_entries,
)
from mrcnn.structures.tensors import Tensor

MAX_VALUES = 2**26
"""Feature values gathered at a time, 256 MB."""


def round_half_away(x: Tensor) -> Tensor:
    """f32 -> f32, the nearest whole number, halves away from zero as C's round does; `tf.round` takes them to even."""
    whole = tf.where(x < 0.0, tf.math.ceil(x), tf.floor(x))
    return whole + tf.where(tf.abs(x - whole) >= 0.5, tf.sign(x), 0.0)


def _axis_windows(start: Tensor, end: Tensor, size: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """First cell and number of cells of each bin along one axis.

    Args:
        start, end: f32[R], edges of the RoI in feature cells, not rounded yet.
        size: i32[R], cells of the feature map along this axis.
        bins: output bins.

    Returns:
        i32[R, bins] each; neighboring bins may share cells, bins outside the map have none.
    """
    start = round_half_away(start)
    length = tf.maximum(round_half_away(end) - start + 1.0, 1.0)
    bin_size = divide(length, bins)[:, tf.newaxis]  # [R, 1]
    index = tf.range(bins, dtype=tf.float32)
    last = tf.cast(size, tf.float32)[:, tf.newaxis]
    # Beyond the ends of float32 a bin is infinite, and zero times it no number
    before = tf.where(index > 0.0, index * bin_size, 0.0)
    begin = tf.clip_by_value(tf.floor(before) + start[:, tf.newaxis], 0.0, last)
    end = tf.clip_by_value(tf.math.ceil((index + 1.0) * bin_size) + start[:, tf.newaxis], 0.0, last)
    return tf.cast(begin, tf.int32), tf.cast(tf.maximum(end - begin, 0.0), tf.int32)


@custom_gradient
def _window_maxima(table: Tensor, *, windows: Windows, max_entries: int) -> tuple[Tensor, Any]:
    """The largest value of each window and channel, 0 where a window is empty; differentiable in `table`.

    Args:
        table: f32[cells, C].
        windows: N windows.
        max_entries: cells gathered at a time.

    Returns:
        f32[N, C]. The gradient goes to the cell that holds the maximum, of equal ones to the first in row order.
    """
    num_cells, channels = tf.shape(table)[0], table.shape[-1]

    def entries_of(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        entries = window_entries(Windows(*(field[start:end] for field in windows)))
        return entries.bin, entries.cell

    def forward(start: Tensor, end: Tensor, parts: tf.TensorArray) -> tf.TensorArray:
        owner, cell = entries_of(start, end)
        largest = tf.math.unsorted_segment_max(tf.gather(table, cell), owner, end - start)
        filled = (windows.height[start:end] > 0) & (windows.width[start:end] > 0)
        largest = tf.where(filled[:, tf.newaxis], largest, 0.0)
        return parts.write(parts.size(), tf.ensure_shape(largest, [None, channels]))

    parts = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=[None, channels])
    largest = for_chunks(windows, max_entries, forward, parts).concat()

    def gradient(upstream: Tensor) -> Tensor:
        def backward(start: Tensor, end: Tensor, total: Tensor) -> Tensor:
            owner, cell = entries_of(start, end)
            order = tf.range(tf.size(owner))[:, tf.newaxis]
            is_largest = tf.gather(table, cell) == tf.gather(largest[start:end], owner)  # [K, C]
            candidate = tf.where(is_largest, order, tf.size(owner))
            chosen = tf.gather(tf.math.unsorted_segment_min(candidate, owner, end - start), owner)
            share = tf.where(candidate == chosen, tf.gather(upstream[start:end], owner), 0.0)
            # A window with a NaN has no largest value and every candidate is the same impossible number.
            share = tf.where(is_largest, share, 0.0)
            return total + tf.math.unsorted_segment_sum(share, cell, num_cells)

        return for_chunks(windows, max_entries, backward, tf.zeros_like(table))

    return largest, gradient


def multilevel_roi_pool(
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    output_size: int | tuple[int, int],
    valid: Tensor | None = None,
    canonical_level: int = 4,
    canonical_size: float = 224.0,
    level_rule: LevelRule = "floor_inside",
    level_epsilon: float = 1e-6,
    end_offset: float = 0.0,
    max_values: int = MAX_VALUES,
) -> Tensor:
    """RoIPool of each box on the pyramid level that suits its size.

    Borders are rounded to the nearest cell, halves away from zero, and the last one belongs to the RoI. Bins are
    rounded outwards, so that neighbors may share cells.

    Args:
        features: per level f32|f16|bf16[B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 4], pixels of the padded image; no gradient flows into them.
        strides: pixels per feature cell of each level; powers of two, each level twice the one before.
        output_size: bins (h, w), or one int for both.
        valid: bool[B, S] or None: all; invalid RoIs give zeros and no gradient.
        canonical_level, canonical_size, level_rule, level_epsilon: see `pyramid.assign_levels`.
        end_offset: pixels added to y2 and x2 before pooling; -1 where the last pixel, not its far edge, ends a box.
        max_values: feature values gathered at a time, which bounds the memory.

    Returns:
        [B, S, h, w, C] in the dtype of the features; 0 in bins outside the map.

    Empty: S = 0 gives an empty result; a RoI that is not finite counts as invalid.

    Ref: Fast R-CNN, section 2.1.
    """
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    assignment = LevelAssignment(canonical_size, canonical_level, level_rule, level_epsilon)
    rois = place_rois(features, boxes, strides, valid, assignment, end_offset)
    scaled = rois.boxes / rois.stride[:, tf.newaxis]
    y, num_rows = _axis_windows(scaled[:, 0], scaled[:, 2], rois.level_shape[:, 0], height)
    x, num_columns = _axis_windows(scaled[:, 1], scaled[:, 3], rois.level_shape[:, 1], width)
    windows = make_windows(rois, y, num_rows, x, num_columns)
    pooled = _window_maxima(rois.table, windows=windows, max_entries=max(max_values // rois.table.shape[-1], 1))
    return unplace(pooled, features, boxes, height, width)
