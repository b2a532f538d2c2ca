"""Overlaps of rotated boxes, and non-maximum suppression by them.

Two rectangles meet in a convex polygon whose vertices are among 24 points: the crossings of their sides, and the
corners of each that lie in the other. These are sorted by their direction from their mean, and the polygon's
area follows from its vertices. A point twice among them adds nothing, so neither touching sides nor equal boxes are
special. Only pairs whose axis-aligned bounds overlap are computed; the rest, nearly all, are 0.
"""

from __future__ import annotations

import math

import tensorflow as tf

from mrcnn.ops.nms import for_each_image, usable_entries
from mrcnn.ops.rotated_boxes import rotated_area, rotated_bounds, rotated_corners
from mrcnn.structures.tensors import Tensor

_CHUNK = 2**15  # pairs at a time: about 100 MB
_INSIDE = 1e-5  # how far outside, in sides of the box, a corner still counts as inside
_ROUNDING = 1e-6
_SURELY = 0.999  # of a bound that an overlap may exceed by rounding
_PARALLEL = 1e-14


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 1] * b[..., 0] - a[..., 0] * b[..., 1]


def _crossings(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Where sides of two boxes cross, f32[K, 16, 2], and whether they do, from corners f32[K, 4, 2]."""
    along_a, along_b = tf.roll(a, -1, axis=1) - a, tf.roll(b, -1, axis=1) - b
    along_a, start_a = along_a[:, :, tf.newaxis], a[:, :, tf.newaxis]  # [K, 4, 1, 2]
    along_b, apart = along_b[:, tf.newaxis], b[:, tf.newaxis] - start_a  # [K, 1, 4, 2], [K, 4, 4, 2]
    determinant = _cross(along_a, along_b)
    is_crossing = tf.abs(determinant) > _PARALLEL
    determinant = tf.where(is_crossing, determinant, 1.0)
    at_a, at_b = _cross(apart, along_b) / determinant, _cross(apart, along_a) / determinant
    is_crossing &= (at_a >= 0.0) & (at_a <= 1.0) & (at_b >= 0.0) & (at_b <= 1.0)
    points = start_a + at_a[..., tf.newaxis] * along_a
    return tf.reshape(points, [-1, 16, 2]), tf.reshape(is_crossing, [-1, 16])


def _are_inside(points: Tensor, box: Tensor) -> Tensor:
    """bool[K, 4]: whether points f32[K, 4, 2] lie in the box with corners f32[K, 4, 2]."""
    from_corner = points - box[:, :1]
    # What rounding moves a corner by grows with the largest side of the two, be the other one ever so thin.
    reach = tf.reduce_max(tf.abs(tf.concat([points, box], axis=1)), axis=[1, 2])[:, tf.newaxis]
    inside = tf.fill(tf.shape(points)[:2], True)
    for end in (1, 3):
        side = box[:, end : end + 1] - box[:, :1]
        length = tf.reduce_sum(side * side, axis=-1)
        along = tf.reduce_sum(from_corner * side, axis=-1)
        outside = _INSIDE * length + _ROUNDING * reach * tf.sqrt(length)
        inside &= (along >= -outside) & (along <= length + outside)
    return inside


def _intersections(a: Tensor, b: Tensor) -> Tensor:
    """Area common to each pair, f32[K], of boxes f32[K, 5]."""
    middle = 0.5 * (a[:, :2] + b[:, :2])  # near the origin float32 is finest
    zeros = tf.zeros_like(a[:, 2:])
    origin = tf.concat([middle, zeros], axis=-1)
    corners_a, corners_b = rotated_corners(a - origin), rotated_corners(b - origin)
    crossings, are_crossings = _crossings(corners_a, corners_b)
    points = tf.concat([crossings, corners_a, corners_b], axis=1)  # [K, 24, 2]
    are_vertices = tf.concat(
        [are_crossings, _are_inside(corners_a, corners_b), _are_inside(corners_b, corners_a)], axis=1
    )  # [K, 24]
    weight = tf.cast(are_vertices, tf.float32)
    number = tf.reduce_sum(weight, axis=1)
    mean = tf.reduce_sum(points * weight[..., tf.newaxis], axis=1) / tf.maximum(number, 1.0)[:, tf.newaxis]
    points -= mean[:, tf.newaxis]
    first = tf.gather(points, tf.argmax(weight, axis=1), batch_dims=1)
    points = tf.where(are_vertices[..., tf.newaxis], points, first[:, tf.newaxis])
    order = tf.argsort(tf.atan2(points[..., 0], points[..., 1]), axis=1)
    points = tf.gather(points, order, batch_dims=1)
    doubled = tf.reduce_sum(_cross(points, tf.roll(points, -1, axis=1)), axis=1)
    return tf.where(number > 2.0, 0.5 * tf.abs(doubled), 0.0)


def _bounds_overlap(a: Tensor, b: Tensor) -> Tensor:
    """bool[N, M]: whether the axis-aligned bounds of boxes f32[N, 5] and f32[M, 5] overlap."""
    # Axis by axis: there may be a million anchors.
    y, x = (_common_lengths(rotated_bounds(a), rotated_bounds(b), axis) for axis in (0, 1))
    return (y > 0.0) & (x > 0.0)


def _common_lengths(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """f32[N, M]: how far boxes f32[N, 4] and f32[M, 4] overlap along an axis, negative: how far they are apart."""
    high = tf.minimum(a[:, axis + 2, tf.newaxis], b[:, axis + 2])
    return high - tf.maximum(a[:, axis, tf.newaxis], b[:, axis])


def pairwise_rotated_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair of rotated boxes.

    Args:
        a: f32[N, 5], (cy, cx, h, w, angle), pixels and degrees.
        b: f32[M, 5], same frame.

    Returns:
        f32[N, M] in [0, 1]; 0, never NaN, where a box is empty or not finite. No gradient flows. XLA cannot compile it.

    Empty: N = 0 or M = 0 gives an empty matrix.

    Example:
        >>> square = tf.constant([[0.0, 0.0, 2.0, 2.0, 0.0]])
        >>> turned = tf.constant([[0.0, 0.0, 2.0, 2.0, 45.0]])  # common: a regular octagon of 8 tan(22.5 degrees)
        >>> round(float(pairwise_rotated_iou(square, turned)[0, 0]), 4)
        0.7071
    """
    return _iou_from(a, b, 0.0)


def matching_rotated_iou(a: Tensor, b: Tensor, least: float) -> Tensor:
    """`pairwise_rotated_iou` as far as it decides on a match, with a fraction of the work.

    Args:
        a: f32[N, 5], anchors or RoIs.
        b: f32[M, 5], objects; those that are empty are padding.
        least: IoU below which a pair matches only if the object has no better one.

    Returns:
        f32[N, M], exact for the pairs that reach `least`, and for all pairs if there is an object of which none does;
        else 0 where a pair cannot reach it. No gradient flows.

    Example:
        >>> anchors = tf.constant([[0.0, 0.0, 2.0, 2.0, 0.0], [0.0, 1.0, 2.0, 2.0, 0.0]])
        >>> matching_rotated_iou(anchors, anchors[:1], 0.5).numpy().round(2).tolist()
        [[1.0], [0.0]]
    """
    deciding = _iou_from(a, b, least)
    reached = tf.reduce_any(deciding >= least, axis=0) | ~_are_boxes(tf.cast(b, tf.float32))
    return tf.cond(tf.reduce_all(reached), lambda: deciding, lambda: pairwise_rotated_iou(a, b))


def _iou_from(a: Tensor, b: Tensor, least: float) -> Tensor:
    """f32[N, M], IoU of every pair that may reach `least`, 0 of the others."""
    a, b = (tf.stop_gradient(tf.cast(boxes, tf.float32)) for boxes in (a, b))
    are_boxes = _are_boxes(a)[:, tf.newaxis] & _are_boxes(b)
    pairs = tf.where(are_boxes & _bounds_overlap(a, b))  # [K, 2]
    pairs = tf.boolean_mask(pairs, _may_reach(tf.gather(a, pairs[:, 0]), tf.gather(b, pairs[:, 1]), least))
    return tf.scatter_nd(pairs, _iou_of_pairs(a, b, pairs), tf.shape(are_boxes, tf.int64))


def pairwise_rotated_coverage(a: Tensor, b: Tensor) -> Tensor:
    """The part of each box of `a` that lies inside each box of `b`: intersection / area(a).

    Args:
        a, b: see `pairwise_rotated_iou`.

    Returns:
        f32[N, M] in [0, 1]; 0, never NaN, where a box is empty or not finite.
    """
    iou = pairwise_rotated_iou(a, b)
    areas_a, areas_b = rotated_area(a)[:, tf.newaxis], rotated_area(b)
    common = iou / (1.0 + iou) * (areas_a + areas_b)
    return tf.where(iou > 0.0, tf.minimum(tf.math.divide_no_nan(common, areas_a), 1.0), 0.0)


def _iou_of_pairs(a: Tensor, b: Tensor, pairs: Tensor) -> Tensor:
    """f32[K], IoU of boxes f32[N, 5] and f32[M, 5] that are not empty, for pairs i64[K, 2] of their indices."""
    first, second = tf.gather(a, pairs[:, 0]), tf.gather(b, pairs[:, 1])
    num_pairs = tf.shape(pairs)[0]
    size = tf.clip_by_value(num_pairs, 1, _CHUNK)
    padding = [[0, tf.maximum(num_pairs + -num_pairs % size, size) - num_pairs], [0, 0]]  # whole chunks, at least one
    chunks = tuple(tf.reshape(tf.pad(boxes, padding), [-1, size, 5]) for boxes in (first, second))
    common = tf.map_fn(
        lambda pair: _intersections(*pair),
        chunks,
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None], tf.float32),
    )
    common = tf.reshape(common, [-1])[:num_pairs]
    return common / (rotated_area(first) + rotated_area(second) - common)


def _are_boxes(boxes: Tensor) -> Tensor:
    """bool[N]: whether boxes f32[N, 5] are finite and not empty."""
    return tf.reduce_all(tf.math.is_finite(boxes), axis=-1) & (rotated_area(boxes) > 0.0)


def _may_reach(a: Tensor, b: Tensor, least: float) -> Tensor:
    """bool[K]: whether the IoU of each pair of boxes f32[K, 5] may be above 0 and at least `least`.

    In the frame of either box the other has bounds; what both have in common lies in the bounds and in the box.
    """
    turn = (a[:, 4] - b[:, 4]) * (math.pi / 180.0)
    sine, cosine = tf.abs(tf.sin(turn)), tf.abs(tf.cos(turn))
    areas_a, areas_b = rotated_area(a), rotated_area(b)
    common = tf.minimum(areas_a, areas_b)
    for box, other in ((a, b), (b, a)):
        angle = box[:, 4] * (math.pi / 180.0)
        apart = other[:, :2] - box[:, :2]
        down = apart[:, 0] * tf.cos(angle) + apart[:, 1] * tf.sin(angle)
        right = apart[:, 1] * tf.cos(angle) - apart[:, 0] * tf.sin(angle)
        extents = other[:, 2] * cosine + other[:, 3] * sine, other[:, 2] * sine + other[:, 3] * cosine
        lengths = [
            tf.minimum(tf.minimum(side, extent), 0.5 * (side + extent) - tf.abs(shift))
            for side, extent, shift in zip((box[:, 2], box[:, 3]), extents, (down, right), strict=True)
        ]
        common = tf.minimum(common, tf.nn.relu(lengths[0]) * tf.nn.relu(lengths[1]))
    # A thousandth less, since rounding may take an overlap a little above what its bound says.
    return (common > 0.0) & (common >= _SURELY * least * (areas_a + areas_b - common))


def rotated_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float = float("-inf"),
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Keeps the best rotated boxes of one image, dropping those that overlap a better one of their group.

    Groups are worked on one after the other, so that memory is that of the largest one's overlaps.

    Args:
        boxes: f32[N, 5], pixels and degrees.
        scores, groups, iou_threshold, max_outputs, score_threshold, valid: see `nms.nms`.

    Returns:
        index i32[max_outputs], best score first, 0 in padded entries; keep_valid bool[max_outputs].

    Empty: N = 0 gives no valid entry.
    """
    boxes, scores, usable = usable_entries(boxes, scores, valid)
    entries = tf.where(usable & (scores > score_threshold))[:, 0]  # [K]
    boxes, scores = tf.gather(boxes, entries), tf.gather(scores, entries)
    groups = tf.zeros_like(entries, tf.int32) if groups is None else tf.gather(tf.cast(groups, tf.int32), entries)
    present = tf.unique(groups).y

    def keep_group(i: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        members = tf.where(groups == present[i])  # [k, 1]
        best = tf.raw_ops.NonMaxSuppressionWithOverlaps(
            overlaps=_overlaps_above(tf.gather(boxes, members[:, 0]), iou_threshold),
            scores=tf.gather(scores, members[:, 0]),
            max_output_size=max_outputs,
            overlap_threshold=tf.constant(iou_threshold, tf.float32),
            score_threshold=tf.constant(float("-inf"), tf.float32),
        )
        winners = tf.gather(members, best)
        return i + 1, tf.tensor_scatter_nd_update(kept, winners, tf.ones_like(best, tf.bool))

    kept = tf.while_loop(
        lambda i, _: i < tf.size(present), keep_group, (0, tf.zeros_like(entries, tf.bool)), parallel_iterations=1
    )[1]
    padded = tf.pad(tf.where(kept, scores, float("-inf")), [[0, max_outputs]], constant_values=float("-inf"))
    best_scores, index = tf.math.top_k(padded, max_outputs)
    keep_valid = best_scores > float("-inf")
    index = tf.gather(tf.pad(tf.cast(entries, tf.int32), [[0, max_outputs]]), index)
    return tf.where(keep_valid, index, 0), keep_valid


def batched_rotated_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float = float("-inf"),
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`rotated_nms` for each image of a batch.

    Args:
        boxes: f32[B, N, 5], pixels and degrees.
        scores, groups, iou_threshold, max_outputs, score_threshold, valid: see `nms.batched_nms`.

    Returns:
        index i32[B, max_outputs] into N, best score first; keep_valid bool[B, max_outputs].
    """
    return for_each_image(rotated_nms, boxes, scores, groups, iou_threshold, max_outputs, score_threshold, valid)


def _overlaps_above(boxes: Tensor, threshold: float) -> Tensor:
    """f32[k, k], IoU of boxes f32[k, 5] that are finite, or 0 where it cannot exceed a threshold."""
    boxes = tf.stop_gradient(boxes)
    areas, bounds = rotated_area(boxes), rotated_bounds(boxes)
    common = tf.nn.relu(_common_lengths(bounds, bounds, 0)) * tf.nn.relu(_common_lengths(bounds, bounds, 1))
    common = tf.minimum(common, tf.minimum(areas[:, tf.newaxis], areas))  # at most
    union = areas[:, tf.newaxis] + areas - common
    place = tf.range(tf.size(areas))
    may_exceed = (common > _SURELY * threshold * union) & (common > 0.0) & (place[:, tf.newaxis] < place)
    pairs = tf.where(may_exceed)
    first, second = tf.gather(boxes, pairs[:, 0]), tf.gather(boxes, pairs[:, 1])
    pairs = tf.boolean_mask(pairs, _may_reach(first, second, threshold))
    upper = tf.scatter_nd(pairs, _iou_of_pairs(boxes, boxes, pairs), tf.shape(may_exceed, tf.int64))
    return upper + tf.transpose(upper)
