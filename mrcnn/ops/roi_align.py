"""RoIAlign: features inside a box, sampled bilinearly without rounding any coordinate.

Every output bin is a weighted sum of a few feature cells. The weights come from `_axis_taps`, per axis; rows and
columns multiply. The sums are one product of a sparse matrix (bins x cells) with the feature maps laid out as
[cells, C], so nothing of size bins x samples x C is ever built, and the gradient is the product with the transpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Tensor = tf.Tensor

MAX_ADAPTIVE_SAMPLES = 8
"""Samples per bin and axis at which `sampling_ratio=0` stops growing."""


def assign_levels(
    boxes: Tensor, min_level: int, max_level: int, canonical_size: float = 224.0, canonical_level: int = 4
) -> Tensor:
    """The pyramid level each box is pooled from: floor(k0 + log2(sqrt(area) / canonical_size)).

    Args:
        boxes: f32[..., 4], pixels.
        min_level, max_level: bounds of the result, e.g. 2 and 5.
        canonical_size: square root of the area of a box that belongs to `canonical_level`, pixels.
        canonical_level: k0.

    Returns:
        i32[...]; an empty box belongs to `min_level`.

    Ref: Feature Pyramid Networks, equation 1.
    """
    boxes = tf.cast(boxes, tf.float32)
    side = tf.sqrt(tf.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * tf.maximum(boxes[..., 3] - boxes[..., 1], 0.0))
    # 1e-6 keeps a box of exactly canonical_size on its level in spite of rounding, and log2 finite at 0.
    level = tf.floor(canonical_level + tf.math.log(side / canonical_size + 1e-6) / tf.math.log(2.0))
    return tf.clip_by_value(tf.cast(level, tf.int32), min_level, max_level)


def _axis_taps(start: Tensor, length: Tensor, size: Tensor, bins: int, sampling_ratio: int) -> tuple[Tensor, Tensor]:
    """Cells each bin of each RoI reads along one axis, and their weights.

    Args:
        start: f32[R], first edge of the RoI in feature cells, the centre of cell i at i.
        length: f32[R], side of the RoI in feature cells.
        size: i32[R], cells of the feature map along this axis.
        bins: output bins.
        sampling_ratio: samples per bin, or 0: ceil(length / bins), at most MAX_ADAPTIVE_SAMPLES.

    Returns:
        cell i32[R, bins, T] and weight f32[R, bins, T], T = 2 * samples. Weights of one bin sum to 1 if all its
        samples are inside the map.
    """
    samples = sampling_ratio or MAX_ADAPTIVE_SAMPLES
    bin_size = (length / bins)[:, tf.newaxis, tf.newaxis]  # [R, 1, 1]
    index = tf.range(samples, dtype=tf.float32)
    if sampling_ratio:
        count = tf.constant(float(samples))
        used = tf.constant(True)
    else:
        count = tf.clip_by_value(tf.math.ceil(bin_size), 0.0, samples)  # [R, 1, 1]
        used = index < count  # an empty RoI has no sample and gives 0
        count = tf.maximum(count, 1.0)
    bin_index = tf.range(bins, dtype=tf.float32)[:, tf.newaxis]  # [bins, 1]
    position = start[:, tf.newaxis, tf.newaxis] + bin_size * (bin_index + (index + 0.5) / count)  # [R, bins, samples]

    size = size[:, tf.newaxis, tf.newaxis]
    last = tf.cast(size - 1, tf.float32)
    # Up to one cell beyond the centre of the border cell the border value holds; further out a sample is 0.
    inside = used & (position >= -1.0) & (position <= last + 1.0)
    position = tf.clip_by_value(tf.where(inside, position, 0.0), 0.0, last)
    low = tf.floor(position)
    fraction = position - low
    share = tf.where(inside, 1.0 / count, 0.0)
    low = tf.cast(low, tf.int32)
    cell = tf.concat([low, tf.minimum(low + 1, size - 1)], axis=-1)  # [R, bins, 2 * samples]
    weight = tf.concat([share * (1.0 - fraction), share * fraction], axis=-1)
    return cell, weight


def _sparse_product(cell: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """out[r] = sum over t of weight[r, t] * table[cell[r, t]], differentiable in `table` only.

    Args:
        cell: i32[R, T].
        weight: f32[R, T].
        table: f32[N, C].

    Returns:
        f32[R, C].
    """
    num_rows, taps = tf.shape(cell)[0], tf.shape(cell)[1]
    row = tf.repeat(tf.range(num_rows), taps)
    indices = tf.stack([row, tf.reshape(cell, [-1])], axis=-1)  # [R * T, 2]
    values = tf.reshape(weight, [-1])

    @tf.custom_gradient
    def product(table: Tensor) -> tuple[Tensor, Any]:
        shape = tf.cast(tf.stack([num_rows, tf.shape(table)[0]]), tf.int64)

        def multiply(dense: Tensor, transpose: bool) -> Tensor:
            return tf.raw_ops.SparseTensorDenseMatMul(
                a_indices=indices, a_values=values, a_shape=shape, b=dense, adjoint_a=transpose, adjoint_b=False
            )

        return multiply(table, False), lambda upstream: multiply(upstream, True)

    return product(table)


def multilevel_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = False,
    valid: Tensor | None = None,
    canonical_level: int = 4,
    canonical_size: float = 224.0,
) -> Tensor:
    """RoIAlign of each box on the pyramid level that suits its size, see `assign_levels`.

    Args:
        features: per level f32|f16|bf16[B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 4], pixels of the padded picture; gradients do not flow into them.
        strides: pixels per feature cell of each level; powers of two, each level twice the one before.
        output_size: bins (h, w), or one int for both.
        sampling_ratio: samples per bin and axis; 0 takes ceil(RoI side / bins), at most MAX_ADAPTIVE_SAMPLES.
        aligned: shift by half a cell, so that pixel and cell centres correspond; otherwise as in the paper, without
            the shift and with RoIs of at least one cell.
        valid: bool[B, S] or None; invalid RoIs give zeros and no gradient.
        canonical_level, canonical_size: see `assign_levels`.

    Returns:
        [B, S, h, w, C] in the dtype of the features, summed in float32.

    Empty: S = 0 gives an empty result.

    Ref: Mask R-CNN, section 3 (RoIAlign); Feature Pyramid Networks, equation 1.
    """
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    min_level = int(strides[0]).bit_length() - 1
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    batch, num_rois = tf.shape(boxes)[0], tf.shape(boxes)[1]
    channels = features[0].shape[-1]
    dtype = features[0].dtype

    level_shapes = tf.stack([tf.shape(level)[1:3] for level in features])  # [L, 2]
    cells = level_shapes[:, 0] * level_shapes[:, 1]
    # Rows of the table: level by level, picture by picture, row by row.
    level_starts = batch * tf.cumsum(cells, exclusive=True)
    table = tf.concat([tf.reshape(tf.cast(level, tf.float32), [-1, channels]) for level in features], axis=0)

    flat = tf.reshape(boxes, [-1, 4])  # [R, 4], R = B * S
    if len(features) > 1:
        max_level = min_level + len(features) - 1
        level = assign_levels(flat, min_level, max_level, canonical_size, canonical_level) - min_level
    else:
        level = tf.zeros_like(flat[:, 0], tf.int32)
    picture = tf.repeat(tf.range(batch), num_rois)
    level_shape = tf.gather(level_shapes, level)  # [R, 2]
    origin = tf.gather(level_starts, level) + picture * tf.gather(cells, level)  # [R]

    scaled = flat / tf.gather(tf.constant(strides, tf.float32), level)[:, tf.newaxis]
    start, end = scaled[:, :2], scaled[:, 2:]
    if aligned:
        start, length = start - 0.5, end - start
    else:
        length = tf.maximum(end - start, 1.0)
    y, weight_y = _axis_taps(start[:, 0], length[:, 0], level_shape[:, 0], height, sampling_ratio)  # [R, h, T]
    x, weight_x = _axis_taps(start[:, 1], length[:, 1], level_shape[:, 1], width, sampling_ratio)  # [R, w, T]
    if valid is not None:
        weight_y = tf.where(tf.reshape(valid, [-1, 1, 1]), weight_y, 0.0)

    row_start = origin[:, tf.newaxis, tf.newaxis] + y * level_shape[:, 1, tf.newaxis, tf.newaxis]
    cell = row_start[:, :, tf.newaxis, :, tf.newaxis] + x[:, tf.newaxis, :, tf.newaxis, :]  # [R, h, w, T, T]
    weight = weight_y[:, :, tf.newaxis, :, tf.newaxis] * weight_x[:, tf.newaxis, :, tf.newaxis, :]
    taps = y.shape[-1] * x.shape[-1]
    pooled = _sparse_product(tf.reshape(cell, [-1, taps]), tf.reshape(weight, [-1, taps]), table)  # [R * h * w, C]
    pooled = tf.reshape(pooled, [batch, num_rois, height, width, channels])
    pooled = tf.ensure_shape(pooled, [*boxes.shape[:2], height, width, channels])
    return tf.cast(pooled, dtype)


def roi_align(
    features: Tensor,
    boxes: Tensor,
    stride: int,
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = False,
    valid: Tensor | None = None,
) -> Tensor:
    """RoIAlign on one feature map.

    Args:
        features: f32|f16|bf16[B, H, W, C].
        boxes: f32[B, S, 4], pixels of the padded picture.
        stride: pixels per feature cell.
        output_size, sampling_ratio, aligned, valid: see `multilevel_roi_align`.

    Returns:
        [B, S, h, w, C] in the dtype of the features.
    """
    return multilevel_roi_align([features], boxes, [stride], output_size, sampling_ratio, aligned, valid)
