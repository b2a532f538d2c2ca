"""Matching: which ground-truth object, if any, each anchor or proposal belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from mrcnn.ops import boxes as box_ops
from mrcnn.structures.tensors import Tensor

POSITIVE, NEGATIVE, IGNORE = 1, 0, -1
Overlap = Callable[[Tensor, Tensor], Tensor]


class Matches(NamedTuple):
    """The object each box belongs to and how it counts in the losses."""

    gt_index: Tensor  # i32[..., N], entry of the best overlapping object; 0 where there is none
    labels: Tensor  # i32[..., N], 1 positive, 0 negative, -1 ignore
    max_iou: Tensor  # f32[..., N], overlap with that object


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    gt_valid: Tensor,
    gt_crowd: Tensor,
    fg_iou: float,
    bg_iou: float,
    allow_low_quality: bool,
    crowd_coverage: float = 0.5,
    crowd_iou: float | None = None,
    low_quality_iou: float = 0.0,
    best_belongs: bool = False,
    iou: Overlap = box_ops.pairwise_iou,
    coverage: Overlap = box_ops.pairwise_coverage,
) -> Matches:
    """Labels the boxes of one image by their overlap with its objects.

    A box whose best IoU reaches `fg_iou` is positive, below `bg_iou` negative, in between ignored. Invalid entries and
    crowd regions match nothing, but a box that would be negative and lies to `crowd_coverage` or more inside a crowd
    region is ignored: nobody annotated what is in there. One image at a time, so that memory stays N * G.

    Args:
        boxes: f32[N, 4], pixels, anchors or proposals; or boxes of another kind, whose overlaps are given.
        gt_boxes: f32[G, 4], same frame and kind.
        gt_valid: bool[G].
        gt_crowd: bool[G].
        fg_iou: lowest IoU of a positive.
        bg_iou: IoU below which a box is negative.
        allow_low_quality: also make positive, for each object, every box that shares the highest IoU (if above 0)
            with it, however low; such a box still belongs to the object it overlaps most.
        crowd_coverage: part of a negative box inside a crowd region from which it is ignored.
        low_quality_iou: an object whose highest IoU is below this makes nothing positive by `allow_low_quality`.
        best_belongs: what `allow_low_quality` makes positive belongs to the object that made it so (to the last of
            several), even where it overlaps another one more.
        crowd_iou: IoU with a crowd region from which a negative box is ignored, in place of `crowd_coverage`.
        iou, coverage: overlaps of every pair of boxes, see `ops.boxes`; 0 with a box of zeros.

    Returns:
        `Matches` for N boxes. Compiles under XLA.

    Empty: no valid object makes every box negative (outside crowds); N = 0 gives empty fields.

    Ref: Faster R-CNN, section 3.1.2.
    """
    boxes, gt_boxes = tf.cast(boxes, tf.float32), tf.cast(gt_boxes, tf.float32)
    # A padded entry at the end keeps every reduction over G defined for G = 0.
    gt_boxes = tf.pad(gt_boxes, [[0, 1], [0, 0]])
    gt_valid = tf.pad(tf.cast(gt_valid, tf.bool), [[0, 1]])
    gt_crowd = tf.pad(tf.cast(gt_crowd, tf.bool), [[0, 1]])

    # Emptying a box is cheaper than masking a column of [N, G]: its IoU with everything becomes 0.
    is_object = gt_valid & ~gt_crowd
    overlaps = iou(boxes, tf.where(is_object[:, tf.newaxis], gt_boxes, 0.0))  # [N, G + 1]
    max_iou = tf.reduce_max(overlaps, axis=1)
    gt_index = tf.argmax(overlaps, axis=1, output_type=tf.int32)

    labels = tf.where(max_iou >= fg_iou, POSITIVE, tf.where(max_iou < bg_iou, NEGATIVE, IGNORE))
    if allow_low_quality:
        best_iou = tf.reduce_max(overlaps, axis=0)  # [G + 1]
        # an object nothing overlaps makes nothing positive
        best_iou = tf.where((best_iou > 0.0) & (best_iou >= low_quality_iou), best_iou, 2.0)
        is_best = overlaps >= best_iou  # [N, G + 1]
        any_best = tf.reduce_any(is_best, axis=1)
        labels = tf.where(any_best, POSITIVE, labels)
        if best_belongs:
            numbers = tf.range(tf.shape(overlaps)[1])
            last = tf.reduce_max(tf.where(is_best, numbers, -1), axis=1)
            gt_index = tf.where(any_best, last, gt_index)

    is_crowd = gt_valid & gt_crowd

    def crowd_cover() -> Tensor:
        crowd_boxes = tf.where(is_crowd[:, tf.newaxis], gt_boxes, 0.0)
        overlap = coverage if crowd_iou is None else iou
        return tf.reduce_max(overlap(boxes, crowd_boxes), axis=1)

    # A second pass over [N, G], as expensive as the first; most images have no crowd.
    covered = tf.cond(tf.reduce_any(is_crowd), crowd_cover, lambda: tf.zeros_like(max_iou))
    labels = tf.where(
        (labels == NEGATIVE) & (covered >= (crowd_coverage if crowd_iou is None else crowd_iou)), IGNORE, labels
    )
    return Matches(gt_index, labels, max_iou)
