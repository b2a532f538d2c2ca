"""The two kinds of boxes a detector can be made of, and what each stage needs to know of them.

`ALIGNED` are boxes (y1, x1, y2, x2), `ROTATED` boxes (cy, cx, h, w, angle in degrees counter-clockwise), which are
rectangles without head and foot: their deltas are to the nearest of the four descriptions, and what comes of deltas is
described with w the longer side. The stages call these functions and know no kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import rotated_boxes as rotated_ops
from mrcnn.ops.matching import Overlap
from mrcnn.ops.nms import batched_nms
from mrcnn.ops.rotated_iou import (
    batched_rotated_nms,
    matching_rotated_iou,
    pairwise_rotated_coverage,
    pairwise_rotated_iou,
)
from mrcnn.structures.tensors import Tensor


class BoxGeometry(NamedTuple):
    """A kind of boxes of k numbers.

    Attributes:
        size: k.
        ground_truth: key of the true boxes in a batch, f32[B, G, k].
        iou, coverage: see `ops.boxes.pairwise_iou` and `pairwise_coverage`.
        matching_iou: (a, b, least) -> `iou` as far as it decides on a match, see `rotated_iou.matching_rotated_iou`.
        encode, decode: see `ops.boxes.encode_deltas` and `decode_deltas`; deltas have k numbers.
        clip: see `ops.boxes.clip_boxes`.
        is_nonempty: see `ops.boxes.is_nonempty`.
        nms: see `ops.nms.batched_nms`.
    """

    size: int
    ground_truth: str
    iou: Overlap
    coverage: Overlap
    matching_iou: Callable[[Tensor, Tensor, float], Tensor]
    encode: Callable[..., Tensor]
    decode: Callable[..., Tensor]
    clip: Callable[[Tensor, Tensor], Tensor]
    is_nonempty: Callable[..., Tensor]
    nms: Callable[..., tuple[Tensor, Tensor]]


def encode_to_nearest(boxes: Tensor, reference: Tensor, weights: tuple[float, ...] = (1.0,) * 5) -> Tensor:
    """`encode_rotated_deltas` of each rectangle's description that turns least from its reference; arguments as there.

    Example:
        >>> box, anchor = tf.constant([5.0, 5.0, 2.0, 4.0, 90.0]), tf.constant([5.0, 5.0, 4.0, 2.0, 0.0])
        >>> encode_to_nearest(box, anchor).numpy().tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    nearest = rotated_ops.nearest_description(boxes, reference)
    return rotated_ops.encode_rotated_deltas(nearest, reference, weights)


def decode_to_canonical(
    deltas: Tensor,
    reference: Tensor,
    weights: tuple[float, ...] = (1.0,) * 5,
    max_log_scale: float | None = box_ops.MAX_LOG_SCALE,
) -> Tensor:
    """`decode_rotated_deltas`, the result described with w the longer side; arguments as there.

    So elongated objects come out of RoIAlign lying, whatever their anchor's description.
    """
    decoded = rotated_ops.decode_rotated_deltas(deltas, reference, weights, max_log_scale)
    return rotated_ops.canonical_rotated_boxes(decoded)


def clip_rotated_to_window(boxes: Tensor, window: Tensor) -> Tensor:
    """`clip_rotated_boxes` to a window: boxes that are nearly axis-aligned are clipped, the others are left.

    Args:
        boxes: f32[..., N, 5], pixels and degrees.
        window: f32[..., 4], (y1, x1, y2, x2), one per leading index of `boxes`.

    Returns:
        f32[..., N, 5], angles in [-180, 180).
    """
    window = tf.cast(window, tf.float32)[..., tf.newaxis, :]  # [..., 1, 4]
    corner = tf.pad(window[..., :2], [[0, 0]] * (len(window.shape) - 1) + [[0, 3]])
    return rotated_ops.clip_rotated_boxes(boxes - corner, window[..., 2:] - window[..., :2]) + corner


def is_rotated_nonempty(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """bool[...]: which boxes f32[..., 5] have both sides longer than `min_size` pixels (NaN boxes do not)."""
    return tf.reduce_all(tf.cast(boxes, tf.float32)[..., 2:4] > min_size, axis=-1)


ALIGNED = BoxGeometry(
    4,
    "gt_boxes",
    box_ops.pairwise_iou,
    box_ops.pairwise_coverage,
    lambda a, b, _: box_ops.pairwise_iou(a, b),
    box_ops.encode_deltas,
    box_ops.decode_deltas,
    box_ops.clip_boxes,
    box_ops.is_nonempty,
    batched_nms,
)
ROTATED = BoxGeometry(
    5,
    "gt_rotated_boxes",
    pairwise_rotated_iou,
    pairwise_rotated_coverage,
    matching_rotated_iou,
    encode_to_nearest,
    decode_to_canonical,
    clip_rotated_to_window,
    is_rotated_nonempty,
    batched_rotated_nms,
)
