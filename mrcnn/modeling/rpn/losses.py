"""Losses of the network on sampled anchors. Ref: Faster R-CNN, equation 1."""

from __future__ import annotations

import tensorflow as tf

from mrcnn.modeling.rpn.config import RPNConfig
from mrcnn.modeling.rpn.targets import AnchorSample, in_target_frame
from mrcnn.ops import losses
from mrcnn.structures.tensors import LossTerm


def anchor_losses(
    logits: tf.Tensor, deltas: tf.Tensor, anchors: tf.Tensor, sample: AnchorSample, config: RPNConfig
) -> dict[str, LossTerm]:
    """Objectness and box loss on sampled anchors, both divided by what `config.normalizer` says.

    Args:
        logits: f32[B, n], objectness of the sampled anchors before the sigmoid.
        deltas: f32[B, n, k], k = config.geometry.size, predicted for them.
        anchors: f32[B, n, k], the sampled anchors, pixels of the padded image.
        sample: which of them are foreground, and their objects.
        config: of the network.

    Returns:
        "rpn_objectness" and "rpn_box".
    """
    foreground, valid = sample.foreground, sample.valid
    anchors, gt_boxes = (in_target_frame(boxes, config) for boxes in (anchors, sample.gt_boxes))
    targets = config.geometry.encode(gt_boxes, anchors, config.delta_weights)
    objectness = losses.sigmoid_cross_entropy(logits, tf.cast(foreground, tf.float32))
    box = tf.reduce_sum(losses.smooth_l1(deltas, targets, config.smooth_l1_beta), -1)
    count = tf.cast(config.batch_per_image * tf.shape(logits)[0], tf.float32)
    if config.normalizer != "batch_per_image":
        count = tf.reduce_sum(tf.cast(valid, tf.float32))
    num_elements = config.geometry.size * tf.reduce_sum(tf.cast(foreground, tf.float32))
    box_count = num_elements if config.normalizer == "means" else count
    weight, box_weight = config.loss_weight, config.box_loss_weight
    box_weight = weight if box_weight is None else box_weight
    return {
        "rpn_objectness": LossTerm(weight * losses.masked_sum(objectness, valid), count),
        "rpn_box": LossTerm(box_weight * losses.masked_sum(box, foreground), box_count),
    }
