"""What each component of a model returns, for inspection: intermediate results of inference, and training targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from mrcnn.modeling.heads.box import class_probs
from mrcnn.modeling.input import detection_window, proposal_window
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.roi_sampler import sample_rois
from mrcnn.modeling.rpn import AnchorSample
from mrcnn.structures.tensors import Batch, Proposals, RoiSample, RPNOutput


class Stages(NamedTuple):
    """A batch on its way through a model. Boxes are in pixels of the padded images; rotated ones have 5 numbers."""

    features: dict[str, tf.Tensor]  # pyramid level -> [B, h, w, channels]
    rpn: RPNOutput
    anchors_refined: tf.Tensor  # f32[B, A, 4], anchors moved by the RPN's deltas, not clipped
    proposals: Proposals
    class_probs: tf.Tensor  # f32[B, P, C + 1], background first; 0 for it where each class has a sigmoid
    proposals_refined: tf.Tensor  # f32[B, P, 4], each proposal moved as the box head says for its best class
    detections: dict[str, tf.Tensor]  # as the model returns them


class Targets(NamedTuple):
    """What a model trains on in a batch."""

    anchors: AnchorSample
    rois: RoiSample
    heads: dict[str, Any]  # targets of each head by its name; "mask_head": f32[B, F, M, M], the first F RoIs' masks


def run_stages(model: MaskRCNN, batch: Batch) -> Stages:
    """Detection with everything on the way.

    Args:
        model: with a plain box head (no cascade).
        batch: as `structures.batch_spec` states it; ground truth in it is not looked at.
    """
    config = model.rpn.config
    side = tf.shape(batch["image"])[1:3]
    features = model.extract_features(batch, training=False)
    output = model.rpn(features, training=False)
    moved = config.geometry.decode(output.deltas, output.anchors, config.delta_weights, config.max_log_scale)
    window = proposal_window(side, batch["content_shape"], model.config.input)
    proposals = model.rpn.propose(output, window, for_training=False)
    window = detection_window(side, batch["content_shape"], model.config.input)
    pred = model.box_head(features, proposals.boxes, proposals.valid, window, training=False)
    probs = class_probs(pred.class_logits, model.box_head.config.activation)
    best = tf.argmax(probs[..., 1:], axis=-1, output_type=tf.int32)
    boxes = model.box_head.refine(pred, proposals.boxes, window)  # [B, P, C or 1, 4]
    refined = tf.gather(boxes, tf.minimum(best, boxes.shape[2] - 1), batch_dims=2)
    detections = model.box_head.detect(pred, proposals, window)
    for head in model.heads:
        rois = (features, detections.rois, detections.valid, window)
        pred = head(*rois, training=False, class_ids=detections.class_ids)
        detections = head.attach(detections, pred)
    return Stages(features, output, moved, proposals, probs, refined, detections.to_dict())


def training_targets(model: MaskRCNN, batch: Batch) -> Targets:
    """The targets of the RPN and of the heads for a batch with ground truth, drawn as a training step draws them.

    Args:
        model: with its current weights, which decide on the proposals.
        batch: with ground truth; its `seed` decides on the draw.
    """
    end = model.config.input.end_offset
    batch = {**batch, "gt_boxes": batch["gt_boxes"] + tf.constant([0.0, 0.0, end, end])}
    output = model.rpn(model.extract_features(batch, training=False), training=False)
    window = proposal_window(tf.shape(batch["image"])[1:3], batch["content_shape"], model.config.input)
    proposals = model.rpn.propose(output, window, for_training=True)
    rois = sample_rois(proposals, batch, model.config.roi_sampler, model.config.rpn.geometry)
    targets = {head.name: head.targets(head.rois_for(rois), batch) for head in model.heads}
    return Targets(model.rpn.sample_anchors(output, batch), rois, targets)
