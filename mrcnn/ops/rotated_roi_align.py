"""RoIAlign on rotated RoIs: the grid of samples is turned with the box.

Rows and columns do not separate as they do for axis-aligned boxes (`ops.roi_align`), so every sample reads its four
cells. The sums are one product of a sparse matrix (bins x cells) with the table of cells, whose gradient is the product
with the transposed matrix. The same in C++ and CUDA, where it has been built, takes over by default, see
`native.loading`.

Ref: Ma et al., arXiv 1703.01086 (RRoI pooling); He et al., Mask R-CNN, section 3 (RoIAlign).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import tensorflow as tf

from mrcnn.native import loading
from mrcnn.structures.tensors import Tensor

MAX_SAMPLES = 64
"""Samples per bin and axis at which `sampling_ratio=0` stops growing, so that memory is bounded."""


def rotated_roi_align(
    features: Tensor,
    boxes: Tensor,
    stride: float,
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
    valid: Tensor | None = None,
    method: Literal["op", "sparse"] | None = None,
) -> Tensor:
    """RoIAlign of rotated boxes on one feature map, pixel centers at one half ("aligned").

    Args:
        features: f32|f16|bf16[B, H, W, C].
        boxes: f32[B, S, 5], (cy, cx, h, w, angle), pixels of the padded image and degrees; gradients do not flow into
            them. The upper left corner of the unrotated box is read first: an object turned by `angle` comes out
            upright.
        stride: pixels per feature cell.
        output_size: bins (h, w), or one int for both.
        sampling_ratio: samples per bin and axis; 0 takes ceil(RoI side / bins), each RoI its own, at most MAX_SAMPLES.
        valid: bool[B, S] or None: all; invalid RoIs give zeros and no gradient, as do RoIs that are not finite.
        method: "op", see `native.loading`; "sparse", of TensorFlow's own operations; None: "op" where it is loaded and
            may be used, else "sparse". Same numbers up to rounding.

    Returns:
        [B, S, h, w, C] in the dtype of the features, summed in float32. XLA cannot compile it.

    Raises:
        ValueError: another `method`.
        BuildError: `method` is "op", and there is none.

    Empty: S = 0 gives an empty result.

    Example:
        >>> features = tf.reshape(tf.range(16.0), [1, 4, 4, 1])
        >>> box = tf.constant([[[2.0, 2.0, 2.0, 2.0, 90.0]]])  # what lies right comes out on top
        >>> rotated_roi_align(features, box, 1, 2)[0, 0, :, :, 0].numpy().round(3).tolist()
        [[6.0, 10.0], [5.0, 9.0]]
    """
    bins = (output_size, output_size) if isinstance(output_size, int) else output_size
    if method not in (None, "op", "sparse"):
        raise ValueError(f'rotated_roi_align: expected method "op" or "sparse", got {method!r}')
    library = loading.require() if method == "op" else None
    if method is None:
        library = loading.choose([features], "RoIAlign of rotated boxes")
    align = _by_sparse_sum if library is None else _by_op
    pooled = align(features, tf.stop_gradient(tf.cast(boxes, tf.float32)), stride, bins, sampling_ratio, valid)
    channels = features.shape[-1] if features.shape[-1] is not None else tf.shape(features)[3]
    return tf.cast(tf.reshape(pooled, [tf.shape(features)[0], -1, *bins, channels]), features.dtype)


def _by_op(features: Tensor, boxes: Tensor, stride: float, bins: tuple[int, int], ratio: int, valid: Any) -> Tensor:
    """[B * S, h, w, C]."""
    return loading.require().mrcnn_rotated_roi_align(
        features=features,
        boxes=tf.reshape(boxes, [-1, 5]),
        box_index=loading.image_index(boxes, valid),
        crop_height=bins[0],
        crop_width=bins[1],
        stride=float(stride),
        sampling_ratio=ratio,
    )


def _by_sparse_sum(
    features: Tensor, boxes: Tensor, stride: float, bins: tuple[int, int], sampling_ratio: int, valid: Tensor | None
) -> Tensor:
    """f32[B * S * h * w, C]."""
    shape = tf.shape(features)
    rois = tf.reshape(boxes, [-1, 5])
    usable = tf.reduce_all(tf.math.is_finite(rois), axis=-1)
    if valid is not None:
        usable &= tf.reshape(valid, [-1])
    rois = tf.where(usable[:, tf.newaxis], rois, 0.0)
    num_rois = tf.shape(rois)[0]
    center = rois[:, :2] / stride - 0.5
    bin_size = rois[:, 2:4] / stride / tf.constant(bins, tf.float32)
    if sampling_ratio:
        samples = tf.fill([num_rois, 2], sampling_ratio)
    else:
        samples = tf.cast(tf.clip_by_value(tf.math.ceil(bin_size), 0.0, MAX_SAMPLES), tf.int32)
    samples = tf.where(usable[:, tf.newaxis], samples, 0)
    # Every sample of every bin of every RoI, one after the other.
    per_bin = samples[:, 0] * samples[:, 1]
    number = per_bin * (bins[0] * bins[1])
    owner = tf.repeat(tf.range(num_rois), number)  # [K]
    place = tf.range(tf.size(owner)) - tf.gather(tf.cumsum(number, exclusive=True), owner)
    per_bin, samples = tf.gather(per_bin, owner), tf.gather(samples, owner)
    bin_index, sample = place // per_bin, place % per_bin
    of_bin = tf.stack([bin_index // bins[1], bin_index % bins[1]], axis=-1)
    of_sample = tf.stack([sample // samples[:, 1], sample % samples[:, 1]], axis=-1)
    within = tf.cast(of_bin, tf.float32) + (tf.cast(of_sample, tf.float32) + 0.5) / tf.cast(samples, tf.float32)
    local = tf.gather(bin_size, owner) * (within - 0.5 * tf.constant(bins, tf.float32))  # [K, 2], before the turn
    angle = tf.gather(rois[:, 4], owner) * (math.pi / 180.0)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    turned = tf.stack([local[:, 0] * cosine - local[:, 1] * sine, local[:, 0] * sine + local[:, 1] * cosine], axis=-1)
    position = turned + tf.gather(center, owner)
    share = 1.0 / tf.cast(per_bin, tf.float32)
    rois_per_image = tf.maximum(num_rois // tf.maximum(shape[0], 1), 1)
    cell, weight = _corner_cells(position, share, owner // rois_per_image, shape)
    row = owner * (bins[0] * bins[1]) + bin_index
    return _sparse_sum(features, cell, weight, row, num_rois * (bins[0] * bins[1]))


def _corner_cells(position: Tensor, share: Tensor, image: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """The four cells each sample reads, i32[K, 4] into the cells of the batch, and their weights f32[K, 4]."""
    size = shape[1:3]
    limit = tf.cast(size, tf.float32)
    # Up to one cell beyond the center of the border cell the border value holds; further out a sample is 0.
    inside = tf.reduce_all((position >= -1.0) & (position <= limit), axis=-1)
    position = tf.clip_by_value(position, 0.0, limit - 1.0)
    low = tf.floor(position)
    fraction = position - low
    low = tf.cast(low, tf.int32)
    high = tf.minimum(low + 1, size - 1)
    share = tf.where(inside, share, 0.0)
    cells, weights = [], []
    for y, weight_y in ((low[:, 0], 1.0 - fraction[:, 0]), (high[:, 0], fraction[:, 0])):
        for x, weight_x in ((low[:, 1], 1.0 - fraction[:, 1]), (high[:, 1], fraction[:, 1])):
            cells.append((image * size[0] + y) * size[1] + x)
            weights.append(share * weight_y * weight_x)
    return tf.stack(cells, axis=-1), tf.stack(weights, axis=-1)


def _sparse_sum(features: Tensor, cell: Tensor, weight: Tensor, row: Tensor, num_rows: Tensor) -> Tensor:
    """f32[num_rows, C]: weighted sums of cells."""
    shape = tf.shape(features)
    table = tf.reshape(tf.cast(features, tf.float32), [-1, shape[3]])
    rows = tf.broadcast_to(row[:, tf.newaxis], tf.shape(cell))
    index = tf.stack([tf.reshape(rows, [-1]), tf.reshape(cell, [-1])], axis=-1)
    matrix = tf.SparseTensor(
        tf.cast(index, tf.int64),
        tf.reshape(weight, [-1]),
        tf.cast(tf.stack([num_rows, tf.shape(table)[0]]), tf.int64),
    )
    return tf.sparse.sparse_dense_matmul(matrix, table)
