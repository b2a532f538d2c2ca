"""matterport's losses, as functions of tensors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mrcnn.matterport.graph_boxes import batch_pack_graph
from mrcnn.ops import losses


def smooth_l1_loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Element by element, quadratic up to a difference of 1."""
    return losses.smooth_l1(y_pred, y_true, 1.0)


def _mean(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """f32[], mean of the chosen elements; 0 without any."""
    weights = tf.cast(chosen, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights * tf.ones_like(values)))


def rpn_class_loss_graph(rpn_match: tf.Tensor, rpn_class_logits: tf.Tensor) -> tf.Tensor:
    """f32[], of anchors that match (1) or do not (-1) in rpn_match [B, A, 1]; logits [B, A, 2]."""
    match = tf.squeeze(rpn_match, -1)
    classes = tf.cast(match == 1, tf.int32)
    return _mean(losses.softmax_cross_entropy(rpn_class_logits, classes), match != 0)


def rpn_bbox_loss_graph(config: Any, target_bbox: tf.Tensor, rpn_match: tf.Tensor, rpn_bbox: tf.Tensor) -> tf.Tensor:
    """f32[], of the positive anchors, whose targets come first in target_bbox [B, T, 4]."""
    positive = tf.squeeze(rpn_match, -1) == 1  # [B, A]
    counts = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    targets = tf.cast(batch_pack_graph(target_bbox, counts, int(config.IMAGES_PER_GPU)), tf.float32)
    loss = smooth_l1_loss(targets, tf.boolean_mask(rpn_bbox, positive))
    return _mean(loss, tf.ones_like(loss))


def mrcnn_class_loss_graph(
    target_class_ids: tf.Tensor, pred_class_logits: tf.Tensor, active_class_ids: tf.Tensor
) -> tf.Tensor:
    """f32[], of RoIs whose predicted class belongs to the image's source.

    Args:
        target_class_ids: [B, N]. pred_class_logits: [B, N, NUM_CLASSES].
        active_class_ids: [B, NUM_CLASSES], 1 for classes of the source.
    """
    target = tf.cast(target_class_ids, tf.int32)
    active = tf.gather(active_class_ids[0], tf.argmax(pred_class_logits, axis=2))
    return _mean(losses.softmax_cross_entropy(pred_class_logits, target), active != 0)


def _of_positive(target_class_ids: tf.Tensor, *fields: tf.Tensor) -> list[tf.Tensor]:
    """Class ids of the positive RoIs and what else is said of them, over all images, [P, ...]."""
    flat = tf.reshape(tf.cast(target_class_ids, tf.int32), [-1])
    index = tf.where(flat > 0)[:, 0]
    return [tf.gather(tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0)), index) for x in (target_class_ids, *fields)]


def mrcnn_bbox_loss_graph(target_bbox: tf.Tensor, target_class_ids: tf.Tensor, pred_bbox: tf.Tensor) -> tf.Tensor:
    """f32[], of positive RoIs; targets [B, N, 4], predictions [B, N, NUM_CLASSES, 4]."""
    classes, target, pred = _of_positive(target_class_ids, target_bbox, pred_bbox)
    loss = smooth_l1_loss(target, tf.gather(pred, tf.cast(classes, tf.int32), batch_dims=1))
    return _mean(loss, tf.ones_like(loss))


def mrcnn_mask_loss_graph(target_masks: tf.Tensor, target_class_ids: tf.Tensor, pred_masks: tf.Tensor) -> tf.Tensor:
    """f32[], of positive RoIs; targets [B, N, h, w], predictions [B, N, h, w, NUM_CLASSES], probabilities."""
    classes, target, pred = _of_positive(target_class_ids, target_masks, pred_masks)
    chosen = tf.gather(tf.transpose(pred, [0, 3, 1, 2]), tf.cast(classes, tf.int32), batch_dims=1)
    chosen = tf.clip_by_value(chosen, 1e-7, 1.0 - 1e-7)
    loss = -(target * tf.math.log(chosen) + (1.0 - target) * tf.math.log(1.0 - chosen))
    return _mean(loss, tf.ones_like(loss))
