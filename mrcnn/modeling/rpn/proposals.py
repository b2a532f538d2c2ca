"""From predictions for anchors to proposals: top-k, decoding, clipping, NMS. Ref: Feature Pyramid Networks, 4.1."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from mrcnn.modeling.rpn.config import RPNConfig
from mrcnn.structures.tensors import Proposals, RPNOutput


class Candidates(NamedTuple):
    """Boxes that enter NMS: the best of each level, K per image; of k numbers, see `BoxGeometry`."""

    anchors: tf.Tensor  # f32[B, K, k]
    boxes: tf.Tensor  # f32[B, K, k], the anchors refined, not yet clipped
    scores: tf.Tensor  # f32[B, K], logits
    levels: tf.Tensor  # i32[B, K], place of the level


def candidates_of(output: RPNOutput, config: RPNConfig, for_training: bool) -> Candidates:
    """The best anchors of each level, refined; without gradient. Arguments as for `proposals_of`."""
    pre_nms = config.pre_nms_train if for_training else config.pre_nms_test
    logits, deltas = tf.stop_gradient(output.logits), tf.stop_gradient(output.deltas)
    level_sizes = [sum(output.level_sizes)] if config.nms_across_levels else output.level_sizes
    candidates = []
    start: Any = 0
    for level, size in enumerate(level_sizes):
        count = min(pre_nms, size) if isinstance(size, int) else tf.minimum(pre_nms, size)
        level_logits, index = tf.math.top_k(logits[:, start : start + size], count)
        level_deltas = tf.gather(deltas[:, start : start + size], index, batch_dims=1)  # [B, n, k]
        level_anchors = tf.gather(output.anchors[start : start + size], index)  # [B, n, k]
        boxes = config.geometry.decode(level_deltas, level_anchors, config.delta_weights, config.max_log_scale)
        candidates.append((level_anchors, boxes, level_logits, tf.fill(tf.shape(level_logits), level)))
        start += size
    return Candidates(*(tf.concat(parts, 1) for parts in zip(*candidates, strict=True)))


def select_candidates(
    candidates: Candidates, window: tf.Tensor, config: RPNConfig, for_training: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What NMS keeps of candidates.

    Returns:
        the candidates' boxes clipped to the window, f32[B, K, k]; which of them are kept, best first, i32[B, P], and
        bool[B, P], whether that entry is valid.
    """
    boxes = config.geometry.clip(candidates.boxes, window)
    is_candidate = config.geometry.is_nonempty(boxes, config.min_size)
    if config.score_threshold > 0:
        is_candidate &= tf.sigmoid(candidates.scores) >= config.score_threshold
    index, valid = config.geometry.nms(
        boxes,
        candidates.scores,
        None if config.nms_across_levels else candidates.levels,
        config.nms_iou,
        config.post_nms_train if for_training else config.post_nms_test,
        valid=is_candidate,
    )
    return boxes, index, valid


def proposals_of(output: RPNOutput, window: tf.Tensor, config: RPNConfig, for_training: bool) -> Proposals:
    """The best boxes of each image: top-k per level, decoded, clipped, then NMS within each level.

    Args:
        output: the network's predictions.
        window: f32[B, 4], (y1, x1, y2, x2), pixels of the padded image; boxes are clipped to it.
        config: config.
        for_training: use the larger training counts.

    Returns:
        Proposals, without gradient. Ref: Feature Pyramid Networks, section 4.1.
    """
    candidates = candidates_of(output, config, for_training)
    boxes, index, valid = select_candidates(candidates, window, config, for_training)
    kept_scores = tf.sigmoid(tf.gather(candidates.scores, index, batch_dims=1))
    return Proposals(
        tf.gather(boxes, index, batch_dims=1),  # [B, P, k]
        tf.where(valid, kept_scores, 0.0),
        valid,
    )
