"""matterport's layers between the networks: proposals, detections and detection targets.

Of matterport's building blocks for models of a script's own, `graph_boxes` has the functions of boxes,
`graph_networks` the networks and `graph_losses` the losses. Boxes are normalized, (y1, x1, y2, x2) / (height - 1,
width - 1) with y2 and x2 the last pixel. All functions take and give tensors; those that make layers (`resnet_graph`,
`build_rpn_model`, `fpn_classifier_graph`, `build_fpn_mask_graph`, the blocks) take Keras tensors too. Losses belong
into a layer, as they always did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from mrcnn.matterport.config import Config
from mrcnn.matterport.graph_boxes import is_filled, norm_boxes_graph
from mrcnn.matterport.native_config import std_weights
from mrcnn.modeling.heads.box import detections_of
from mrcnn.modeling.roi_sampler import sample_rois
from mrcnn.modeling.rpn import RPNConfig, proposals_of
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.mask_crops import crop_masks_by_corners
from mrcnn.structures.tensors import Proposals, RPNOutput
from mrcnn.weights.profiles import MATTERPORT


def native_rpn_config(config: Any, proposal_count: int | None = None, nms_threshold: float | None = None) -> RPNConfig:
    """The RPN config that a `Config` states."""
    count = config.POST_NMS_ROIS_INFERENCE if proposal_count is None else proposal_count
    return replace(
        MATTERPORT.rpn,
        nms_iou=float(config.RPN_NMS_THRESHOLD if nms_threshold is None else nms_threshold),
        pre_nms_test=int(config.PRE_NMS_LIMIT),
        post_nms_test=int(count),
        delta_weights=std_weights(config.RPN_BBOX_STD_DEV),
    )


class ProposalLayer(keras.layers.Layer):
    """The best boxes of each image: called with [rpn_class [B, A, 2], rpn_bbox [B, A, 4], anchors [B, A, 4]].

    Gives f32[B, proposal_count, 4], normalized, zero padded.
    """

    def __init__(self, proposal_count: int, nms_threshold: float, config: Any = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.native = native_rpn_config(config or Config(), proposal_count, nms_threshold)

    def call(self, inputs: Sequence[Any]) -> Any:
        """See the class."""
        probs, deltas, anchors = inputs
        logits = tf.math.log(tf.maximum(probs[..., 1], 1e-30)) - tf.math.log(tf.maximum(probs[..., 0], 1e-30))
        output = RPNOutput(logits, deltas, anchors[0], [tf.shape(logits)[1]])
        window = tf.tile([[0.0, 0.0, 1.0, 1.0]], [tf.shape(logits)[0], 1])
        proposals = proposals_of(output, window, self.native, for_training=False)
        return proposals.boxes * tf.cast(proposals.valid, tf.float32)[..., tf.newaxis]


def refine_detections_graph(
    rois: tf.Tensor, probs: tf.Tensor, deltas: tf.Tensor, window: tf.Tensor, config: Any
) -> tf.Tensor:
    """f32[DETECTION_MAX_INSTANCES, 6], detections (box, class, score) of one image, normalized, zero padded.

    Args:
        rois: f32[N, 4]. probs: f32[N, NUM_CLASSES]. deltas: f32[N, NUM_CLASSES, 4].
        window: f32[4], of the image in the padded one, normalized.
    """
    rois, probs, deltas, window = (x[tf.newaxis] for x in (rois, probs, deltas, window))
    return _refine(rois, probs, deltas, window, config)[0]


def _refine(rois: tf.Tensor, probs: tf.Tensor, deltas: tf.Tensor, window: tf.Tensor, config: Any) -> tf.Tensor:
    native = replace(
        MATTERPORT.box_head,
        delta_weights=std_weights(config.BBOX_STD_DEV),
        score_threshold=float(config.DETECTION_MIN_CONFIDENCE or 0),
        nms_iou=float(config.DETECTION_NMS_THRESHOLD),
        max_detections=int(config.DETECTION_MAX_INSTANCES),
    )
    refined = box_ops.decode_deltas(deltas[:, :, 1:], rois[:, :, tf.newaxis], native.delta_weights, None)
    refined = box_ops.clip_boxes(refined, window[:, tf.newaxis])
    outputs = detections_of(probs, refined, is_filled(rois), native)
    return as_rows(outputs.boxes, outputs.class_ids, outputs.scores)


def as_rows(boxes: tf.Tensor, class_ids: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """f32[B, D, 6], (y1, x1, y2, x2, class, score)."""
    return tf.concat([boxes, tf.cast(class_ids, tf.float32)[..., tf.newaxis], scores[..., tf.newaxis]], axis=-1)


class DetectionLayer(keras.layers.Layer):
    """Final detections: called with [rois, mrcnn_class, mrcnn_bbox, image_meta], gives f32[B, max, 6]."""

    def __init__(self, config: Any = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config or Config()

    def call(self, inputs: Sequence[Any]) -> Any:
        """See the class."""
        rois, probs, deltas, image_meta = inputs
        window = norm_boxes_graph(image_meta[:, 7:11], image_meta[0, 4:6])
        return _refine(rois, probs, deltas, window, self.config)


def detection_targets_graph(
    proposals: tf.Tensor, gt_class_ids: tf.Tensor, gt_boxes: tf.Tensor, gt_masks: tf.Tensor, config: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """`DetectionTargetLayer` for one image."""
    given = (x[tf.newaxis] for x in (proposals, gt_class_ids, gt_boxes, gt_masks))
    rois, class_ids, deltas, masks = _targets(config, *given)
    return rois[0], class_ids[0], deltas[0], masks[0]


def _targets(config: Any, proposals: Any, class_ids: Any, gt_boxes: Any, gt_masks: Any) -> tuple[Any, Any, Any, Any]:
    valid = is_filled(gt_boxes)
    start = tf.shape(gt_boxes)[0]
    ground_truth = {
        "gt_boxes": gt_boxes,
        "gt_class_ids": tf.cast(class_ids, tf.int32),
        "gt_valid": valid,
        "gt_crowd": tf.cast(class_ids, tf.int32) < 0,
        "seed": tf.random.uniform([start, 2], 0, 2**31 - 1, tf.int32),
    }
    native = replace(
        MATTERPORT.roi_sampler,
        num_rois=int(config.TRAIN_ROIS_PER_IMAGE),
        positive_fraction=float(config.ROI_POSITIVE_RATIO),
    )
    filled = is_filled(proposals)
    rois = sample_rois(Proposals(proposals, tf.cast(filled, tf.float32), filled), ground_truth, native)
    filled, foreground = (tf.cast(x, tf.float32)[..., tf.newaxis] for x in (rois.valid, rois.foreground))
    matched = tf.gather(gt_boxes, rois.gt_index, batch_dims=1)
    deltas = box_ops.encode_deltas(matched, rois.boxes, std_weights(config.BBOX_STD_DEV))
    masks = tf.cast(tf.transpose(gt_masks, [0, 3, 1, 2]), tf.uint8)  # [B, G, K, K]
    frames = gt_boxes if config.USE_MINI_MASK else tf.zeros_like(gt_boxes) + tf.constant([0.0, 0.0, 1.0, 1.0])
    targets = crop_masks_by_corners(masks, frames, rois.gt_index, rois.boxes, int(config.MASK_SHAPE[0]))
    deltas = tf.where(foreground > 0, deltas, 0.0)
    return rois.boxes * filled, rois.class_ids, deltas, targets * foreground[..., tf.newaxis]


class DetectionTargetLayer(keras.layers.Layer):
    """RoIs to train the heads on, and what they should say.

    Called with [proposals f32[B, N, 4], gt_class_ids i32[B, G], gt_boxes f32[B, G, 4], gt_masks [B, h, w, G]], gives
    rois [B, T, 4], class ids [B, T], deltas [B, T, 4] and masks [B, T, m, m], T being TRAIN_ROIS_PER_IMAGE; positive
    ones first, then int(positive / ROI_POSITIVE_RATIO) - positive negative ones, then rows of zeros.
    """

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = config

    def call(self, inputs: Sequence[Any]) -> Any:
        """See the class."""
        return list(_targets(self.config, *inputs))
