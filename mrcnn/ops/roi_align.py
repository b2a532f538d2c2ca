"""RoIAlign: features inside a box, sampled bilinearly without rounding any coordinate.

With a fixed number of samples every bin reads equally many cells. With `sampling_ratio=0` each RoI has its own number
per axis, ceil(RoI side / bins). The samples of a bin then lie at most one cell apart, so along an axis they read a run
of cells without gaps, and the weights of samples that share a cell are added before rows and columns multiply: about
(n + 1)^2 cells per bin for n^2 samples, where one tap per corner would read 4 n^2.

The same in C++ and CUDA, where it has been built, takes over by default: see `native.loading`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

from mrcnn.native import loading
from mrcnn.ops.bilinear import AxisRuns, Method, axis_runs, bilinear_taps, check_method, sum_runs, sum_taps
from mrcnn.ops.pyramid import LevelAssignment, LevelRule, PlacedRois, divide, place_rois, unplace
from mrcnn.structures.tensors import Tensor

MAX_ADAPTIVE_SAMPLES = 8
"""Samples per bin and axis at which `sampling_ratio=0` stops growing under method "gather", whose shapes are static."""

MAX_SAMPLES = 2**30
"""Samples per bin and axis beyond which a RoI with `sampling_ratio=0` gives zeros: of a larger one less than a
millionth lies on any map that fits into memory."""


def _fixed_taps(start: Tensor, length: Tensor, size: Tensor, bins: int, sampling_ratio: int) -> tuple[Tensor, Tensor]:
    """Cells each bin of each RoI reads along one axis, and their weights; the same number for every RoI.

    Args:
        start: f32[R], first edge of the RoI in feature cells, the center of cell i at i.
        length: f32[R], side of the RoI in feature cells.
        size: i32[R], cells of the feature map along this axis.
        bins: output bins.
        sampling_ratio: samples per bin, or 0: ceil(length / bins), at most MAX_ADAPTIVE_SAMPLES.

    Returns:
        cell i32[R, bins, T] and weight f32[R, bins, T], T = 2 * samples. Weights of one bin sum to 1 if all its
        samples are inside the map.
    """
    bin_size = divide(length, bins)[:, tf.newaxis, tf.newaxis]  # [R, 1, 1]
    index = tf.range(sampling_ratio or MAX_ADAPTIVE_SAMPLES, dtype=tf.float32)
    if sampling_ratio:
        used, count = tf.constant(True), float(sampling_ratio)
    else:
        wanted = tf.clip_by_value(tf.math.ceil(bin_size), 0.0, MAX_ADAPTIVE_SAMPLES)
        used = index < wanted  # an empty RoI has no sample and gives 0
        count = tf.maximum(wanted, 1.0)
    bin_index = tf.range(bins, dtype=tf.float32)[:, tf.newaxis]  # [bins, 1]
    position = start[:, tf.newaxis, tf.newaxis] + bin_size * (bin_index + (index + 0.5) / count)  # [R, bins, samples]
    # Up to one cell beyond the center of the border cell the border value holds; further out a sample is 0.
    inside = used & (position >= -1.0) & (position <= tf.cast(size, tf.float32)[:, tf.newaxis, tf.newaxis])
    return bilinear_taps(position, inside, 1.0 / count, size)


def _adaptive_runs(start: Tensor, length: Tensor, size: Tensor, bins: int) -> AxisRuns:
    """Cells each bin of each RoI reads along one axis with ceil(length / bins) samples per bin.

    Args:
        start, length, size, bins: see `_fixed_taps`.

    Returns:
        See `AxisRuns`.
    """
    num_rois = tf.shape(start)[0]
    bin_size = divide(length, bins)[:, tf.newaxis]  # [R, 1]
    bin_size = tf.where(bin_size <= float(MAX_SAMPLES), bin_size, 0.0)
    count = tf.maximum(tf.math.ceil(bin_size), 0.0)  # an empty RoI has no sample and gives 0
    spacing = tf.where(count > 0.0, bin_size / tf.maximum(count, 1.0), 1.0)
    edge = start[:, tf.newaxis] + bin_size * tf.range(bins, dtype=tf.float32)  # [R, bins]
    # Only samples near the map are written down, so that memory is bounded by the map, however large a RoI is.
    far = tf.cast(size, tf.float32)[:, tf.newaxis]
    begin = tf.clip_by_value(tf.floor((-1.0 - edge) / spacing - 0.5), 0.0, count)  # [R, bins]
    end = tf.clip_by_value(tf.math.ceil((far - edge) / spacing - 0.5) + 1.0, 0.0, count)
    number = tf.reshape(tf.cast(tf.maximum(end - begin, 0.0), tf.int32), [-1])  # [R * bins]
    owner = tf.repeat(tf.range(tf.size(number)), number)  # [K]
    index = tf.cast(tf.range(tf.size(owner)) - tf.gather(tf.cumsum(number, exclusive=True), owner), tf.float32)

    def of_owner(value: Tensor) -> Tensor:
        return tf.gather(tf.reshape(tf.broadcast_to(value, [num_rois, bins]), [-1]), owner)

    size = of_owner(size[:, tf.newaxis])
    count = of_owner(count)
    position = of_owner(edge) + (of_owner(begin) + index + 0.5) * of_owner(bin_size) / count
    inside = (position >= -1.0) & (position <= tf.cast(size, tf.float32))
    return axis_runs(position, inside, 1.0 / count, owner, size, num_rois, bins)


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
    method: Method | Literal["op"] | None = None,
    level_rule: LevelRule = "floor_inside",
    level_epsilon: float = 1e-6,
    end_offset: float = 0.0,
) -> Tensor:
    """RoIAlign of each box on the pyramid level that suits its size, see `pyramid.assign_levels`.

    Args:
        features: per level f32|f16|bf16[B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 4], pixels of the padded image; gradients do not flow into them.
        strides: pixels per feature cell of each level; powers of two, each level twice the one before.
        output_size: bins (h, w), or one int for both.
        sampling_ratio: samples per bin and axis; 0 takes ceil(RoI side / bins), each RoI its own.
        aligned: shift by half a cell, so that pixel and cell centers correspond; otherwise as in the paper, without
            the shift and with RoIs of at least one cell.
        valid: bool[B, S] or None: all; invalid RoIs give zeros and no gradient.
        canonical_level, canonical_size, level_rule, level_epsilon: see `pyramid.assign_levels`.
        method: "op", see `native.loading`; "sparse" or, for XLA, "gather", see `ops.bilinear`; None: "op" where it is
            loaded and may be used, else "sparse". Same numbers up to rounding, except that "gather" takes at most
            MAX_ADAPTIVE_SAMPLES where `sampling_ratio` is 0.
        end_offset: pixels added to y2 and x2 before sampling, not before the level is chosen by a "floor_*" rule.

    Returns:
        [B, S, h, w, C] in the dtype of the features, summed in float32.

    Empty: S = 0 gives an empty result; a RoI that is not finite counts as invalid, one that asks for more than
    MAX_SAMPLES samples gives zeros.

    Ref: Mask R-CNN, section 3 (RoIAlign); Feature Pyramid Networks, equation 1.
    """
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    assignment = LevelAssignment(canonical_size, canonical_level, level_rule, level_epsilon)
    replacement = loading.replacement() if method is None else None  # no walrus: AutoGraph knows none
    if replacement is not None:
        rois = place_rois(features, boxes, strides, valid, assignment, end_offset)
        pooled = _level_by_level(replacement, features, rois, strides, (height, width), sampling_ratio, aligned)
        return unplace(pooled, features, boxes, height, width)
    library = None
    if method == "op":
        library = loading.require()
    elif method is None:
        library = loading.choose(features)
        method = "sparse"
    if library is not None:
        return loading.multilevel_roi_align(
            library,
            features,
            boxes,
            strides,
            (height, width),
            sampling_ratio,
            aligned,
            valid,
            canonical_level,
            canonical_size,
            level_rule,
            level_epsilon,
            end_offset,
        )
    method = check_method(method)
    rois = place_rois(features, boxes, strides, valid, assignment, end_offset)
    scaled = rois.boxes / rois.stride[:, tf.newaxis] - (0.5 if aligned else 0.0)
    start, length = scaled[:, :2], scaled[:, 2:] - scaled[:, :2]
    if not aligned:
        length = tf.maximum(length, 1.0)
    rows, columns = (
        (start[:, axis], length[:, axis], rois.level_shape[:, axis], bins) for axis, bins in enumerate((height, width))
    )
    if sampling_ratio == 0 and method == "sparse":
        pooled = sum_runs(rois, _adaptive_runs(*rows), _adaptive_runs(*columns))
    else:
        y, weight_y = _fixed_taps(*rows, sampling_ratio)
        x, weight_x = _fixed_taps(*columns, sampling_ratio)
        pooled = sum_taps(rois, y, weight_y, x, weight_x, method)
    return unplace(pooled, features, boxes, height, width)


def _level_by_level(
    align: loading.LevelAlign,
    features: Sequence[Tensor],
    rois: PlacedRois,
    strides: Sequence[int],
    bins: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """f32[R, h, w, C], each level's RoIs pooled by `align`; zeros for RoIs that are not usable."""
    num_rois = tf.shape(rois.boxes)[0]
    if features[0].shape[0] == 1:
        image = tf.zeros([num_rois], tf.int32)
    else:
        batch = tf.shape(features[0])[0]
        image = tf.repeat(tf.range(batch), num_rois // batch)
    # Every level gets one RoI more, far outside, where every sample is 0: some runtimes cannot bear a level without
    # RoIs, and the first of these rows is what RoIs that are not usable read.
    outside = tf.fill([1, 4], -1e6)
    place = tf.zeros([num_rois], tf.int32)  # of each RoI among the pooled
    first, pooled = tf.constant(1), []
    for level, stride in zip(features, strides, strict=True):
        own = rois.usable & (rois.stride == float(stride)) if len(features) > 1 else rois.usable
        counted = tf.cumsum(tf.cast(own, tf.int32))
        place += tf.cast(own, tf.int32) * (first + counted - 1)
        index = tf.cast(tf.where(own)[:, 0], tf.int32)
        boxes = tf.concat([outside, tf.gather(rois.boxes, index)], 0)
        owner = tf.concat([[0], tf.gather(image, index)], 0)
        pooled.append(align(tf.cast(level, tf.float32), boxes, owner, stride, bins, sampling_ratio, aligned))
        first += tf.reduce_sum(tf.cast(own, tf.int32)) + 1
    return tf.gather(tf.concat(pooled, 0), place)


def roi_align(
    features: Tensor,
    boxes: Tensor,
    stride: int,
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = False,
    valid: Tensor | None = None,
    method: Method | Literal["op"] | None = None,
) -> Tensor:
    """RoIAlign on one feature map.

    Args:
        features: f32|f16|bf16[B, H, W, C].
        boxes: f32[B, S, 4], pixels of the padded image.
        stride: pixels per feature cell.
        output_size, sampling_ratio, aligned, valid, method: see `multilevel_roi_align`.

    Returns:
        [B, S, h, w, C] in the dtype of the features.
    """
    return multilevel_roi_align([features], boxes, [stride], output_size, sampling_ratio, aligned, valid, method=method)
