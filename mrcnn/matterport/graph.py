"""matterport's building blocks by name, for models of a script's own: layers, heads and losses over this package's.

Boxes are normalized, (y1, x1, y2, x2) / (height - 1, width - 1) with y2 and x2 the last pixel. All functions take and
give tensors; those that make layers (`resnet_graph`, `build_rpn_model`, `fpn_classifier_graph`,
`build_fpn_mask_graph`, the blocks) take Keras tensors too. Losses belong into a layer, as they always did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from mrcnn.matterport.config import Config
from mrcnn.matterport.native_config import std_weights
from mrcnn.modeling.backbones.resnet import ResNetConfig, ResNetStage
from mrcnn.modeling.heads.box import BoxHeadConfig, BoxPrediction, detections_of
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.modeling.roi_sampler import sample_rois
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig, proposals_of
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import losses
from mrcnn.ops.mask_crops import crop_masks_by_corners
from mrcnn.structures.tensors import Proposals, RPNOutput
from mrcnn.weights.profile import MATTERPORT

_STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}


class Step(keras.layers.Layer):
    """A function of tensors as a layer.

    Args:
        function: tensors to a tensor, or to a list of them.
        components: the layers whose weights it uses.
    """

    def __init__(self, function: Callable[..., Any], components: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.function, self.components = function, list(components)

    def call(self, *inputs: Any) -> Any:
        """The function's value."""
        return self.function(*inputs)


def is_filled(boxes: tf.Tensor) -> tf.Tensor:
    """bool[B, N], rows that are not padding: padding is all zeros."""
    return tf.reduce_any(boxes != 0.0, axis=-1)


def sides(image_shape: tf.Tensor) -> tf.Tensor:
    """f32[4], what normalized boxes are multiplied by to be pixels, of a shape i32[2 or 3]."""
    return tf.tile(tf.cast(image_shape[:2], tf.float32) - 1.0, [2])


# Boxes


def norm_boxes_graph(boxes: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """f32[..., 4], boxes in pixels, y2 and x2 just outside, normalized by a shape i32[2]."""
    return (tf.cast(boxes, tf.float32) - tf.constant([0.0, 0.0, 1.0, 1.0])) / sides(tf.convert_to_tensor(shape))


def denorm_boxes_graph(boxes: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """i32[..., 4], the inverse of `norm_boxes_graph`."""
    pixels = boxes * sides(tf.convert_to_tensor(shape)) + tf.constant([0.0, 0.0, 1.0, 1.0])
    return tf.cast(tf.round(pixels), tf.int32)


def clip_boxes_graph(boxes: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """f32[n, 4], boxes clipped to a window f32[4]."""
    return box_ops.clip_boxes(boxes, tf.reshape(tf.cast(window, tf.float32), [4]))


def apply_box_deltas_graph(boxes: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
    """f32[n, 4], boxes moved by (dy, dx, log dh, log dw)."""
    return box_ops.decode_deltas(deltas, boxes, max_log_scale=None)


def overlaps_graph(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
    """f32[n, m], intersection over union of each pair."""
    return box_ops.pairwise_iou(boxes1, boxes2)


def log2_graph(x: tf.Tensor) -> tf.Tensor:
    """The logarithm to base 2."""
    return tf.math.log(x) / math.log(2.0)


def trim_zeros_graph(boxes: tf.Tensor, name: str = "trim_zeros") -> tuple[tf.Tensor, tf.Tensor]:
    """The rows of [n, 4] that are not all zero, and bool[n], which they are."""
    filled = tf.cast(tf.reduce_sum(tf.abs(boxes), axis=1), tf.bool)
    return tf.boolean_mask(boxes, filled, name=name), filled


def batch_pack_graph(x: tf.Tensor, counts: tf.Tensor, num_rows: int) -> tf.Tensor:
    """The first counts[i] rows of image i, one image after the other."""
    return tf.concat([x[i, : counts[i]] for i in range(num_rows)], axis=0)


# Layers


class BatchNorm(keras.layers.BatchNormalization):
    """Batch norm that is frozen with `training=False`; None: as the model it is in trains or not."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        """As Keras'."""
        return super().call(inputs, training=training)


class PyramidROIAlign(keras.layers.Layer):
    """Features under boxes, each from the pyramid level that suits its size; matterport's sampling.

    Called with [boxes f32[B, N, 4], image_meta, P2, P3, P4, P5], gives [B, N, height, width, channels].

    Args:
        pool_shape: (height, width).
    """

    def __init__(self, pool_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.pool_shape = tuple(pool_shape)

    def call(self, inputs: Sequence[Any]) -> Any:
        """See the class."""
        boxes, image_meta, *maps = inputs
        boxes = tf.cast(boxes, tf.float32) * sides(image_meta[0, 4:6])
        pool = replace(MATTERPORT.pool, size=int(self.pool_shape[0]))
        return pool.pool(dict(zip(_STRIDES, maps, strict=True)), _STRIDES, boxes, tf.ones(tf.shape(boxes)[:2], tf.bool))

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the layer."""
        return {**super().get_config(), "pool_shape": self.pool_shape}


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
    return _refine(*(x[tf.newaxis] for x in (rois, probs, deltas, window)), config)[0]


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
    outputs = _targets(*(x[tf.newaxis] for x in (proposals, gt_class_ids, gt_boxes, gt_masks)), config)
    return tuple(x[0] for x in outputs)


def _targets(proposals: Any, class_ids: Any, gt_boxes: Any, gt_masks: Any, config: Any) -> tuple[Any, ...]:
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
        return list(_targets(*inputs, self.config))


# Networks


def resnet_graph(input_image: Any, architecture: Any, stage5: bool = False, train_bn: Any = True) -> list[Any]:
    """[C1, ..., C5] of a ResNet; C5 is None without `stage5`."""
    if callable(architecture):
        return architecture(input_image, stage5=stage5, train_bn=train_bn)
    assert architecture in ["resnet50", "resnet101"]
    backbone = ResNetConfig(
        depth=50 if architecture == "resnet50" else 101,
        norm="frozen_bn" if train_bn is False else "bn",
        epsilon=MATTERPORT.norm_epsilon,
        freeze_at=0,
        stride_in_1x1=True,
        last_stage=5 if stage5 else 4,
        stem_pool="same",
        pixel_norm=replace(
            MATTERPORT.pixel_norm, mean=(0.0,) * input_image.shape[-1], std=(1.0,) * input_image.shape[-1]
        ),
    ).build(architecture)
    maps = keras.Model(backbone.input, [backbone.get_layer("stem_pool").output, *backbone.output.values()])(input_image)
    return [*maps, *([] if stage5 else [None])]


def _block(
    x: Any, kernel_size: int, filters: Sequence[int], stage: int, block: str, strides: int, train_bn: Any
) -> Any:
    wide = [16 * 2**stage, 16 * 2**stage, 64 * 2**stage]
    if kernel_size != 3 or list(filters) != wide:
        raise ValueError(f"res{stage}{block}: expected kernel_size 3 and filters {wide}, got {kernel_size}, {filters}")
    norm = "frozen_bn" if train_bn is False else "bn"
    component = ResNetStage(stage, stride_in_1x1=True, norm=norm, epsilon=MATTERPORT.norm_epsilon)
    return component.block(x, strides, f"res{stage}{block}", project=strides > 1 or x.shape[-1] != wide[-1])


def identity_block(
    input_tensor: Any,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    use_bias: bool = True,
    train_bn: Any = True,
) -> Any:
    """A bottleneck of a ResNet that keeps resolution and channels."""
    del use_bias  # the norm has one
    return _block(input_tensor, kernel_size, filters, stage, block, 1, train_bn)


def conv_block(
    input_tensor: Any,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: Sequence[int] = (2, 2),
    use_bias: bool = True,
    train_bn: Any = True,
) -> Any:
    """A bottleneck of a ResNet that changes resolution and channels."""
    del use_bias
    return _block(input_tensor, kernel_size, filters, stage, block, int(strides[0]), train_bn)


def build_rpn_model(anchor_stride: int, anchors_per_location: int, depth: int) -> keras.Model:
    """A feature map [B, h, w, depth] to [logits [B, A, 2], probabilities [B, A, 2], deltas [B, A, 4]]."""
    if anchor_stride != 1:
        raise ValueError(f"build_rpn_model: expected anchor_stride 1, got {anchor_stride}")
    anchors = AnchorConfig(sizes=((1.0,) * anchors_per_location,), ratios=(1.0,))
    rpn = RPNConfig(anchors=anchors, levels=("map",), channels=512).build(depth, {"map": 1}, "rpn")

    def predict(feature: tf.Tensor) -> list[tf.Tensor]:
        output = rpn({"map": feature})
        logits = two_class_logits(output.logits)
        return [logits, tf.nn.softmax(logits), output.deltas]

    feature = keras.Input((None, None, depth), name="input_rpn_feature_map")
    return keras.Model(feature, Step(predict, [rpn], name="rpn_outputs")(feature), name="rpn_model")


def rpn_graph(feature_map: Any, anchors_per_location: int, anchor_stride: int) -> list[Any]:
    """[logits, probabilities, deltas] of a region proposal network on a feature map."""
    return build_rpn_model(anchor_stride, anchors_per_location, feature_map.shape[-1])(feature_map)


def two_class_logits(logits: tf.Tensor) -> tf.Tensor:
    """[B, A, (background, object)] of the difference [B, A]."""
    return tf.stack([tf.zeros_like(logits), logits], axis=-1)


def with_background(values: tf.Tensor, axis: int) -> tf.Tensor:
    """Zeros for the background before the things along an axis."""
    first = tf.zeros_like(tf.gather(values, [0], axis=axis))
    return tf.concat([first, values], axis=axis)


def class_outputs(pred: BoxPrediction) -> list[tf.Tensor]:
    """[logits [B, N, K], probabilities [B, N, K], deltas [B, N, K, 4]] of a box head, K with the background."""
    deltas = with_background(tf.einsum("bskc->bsck", pred.deltas), axis=2)
    return [pred.class_logits, tf.nn.softmax(pred.class_logits), deltas]


def fpn_classifier_graph(
    rois: Any,
    feature_maps: Sequence[Any],
    image_meta: Any,
    pool_size: int,
    num_classes: int,
    train_bn: Any = True,
    fc_layers_size: int = 1024,
) -> list[Any]:
    """[logits [B, N, NUM_CLASSES], probabilities, deltas [B, N, NUM_CLASSES, 4]] of RoIs on P2 to P5."""
    channels = feature_maps[0].shape[-1]
    native = BoxHeadConfig(
        pool=replace(MATTERPORT.pool, size=pool_size),
        fc_dims=(fc_layers_size, fc_layers_size),
        fc_norm="frozen_bn" if train_bn is False else "bn",
        norm_epsilon=MATTERPORT.norm_epsilon,
    )
    head = native.build(num_classes - 1, RoiPooler(native.pool, _STRIDES, channels), "mrcnn_classifier")
    return _head_step(head, class_outputs, "mrcnn_class_outputs")(rois, image_meta, *feature_maps)


def build_fpn_mask_graph(
    rois: Any, feature_maps: Sequence[Any], image_meta: Any, pool_size: int, num_classes: int, train_bn: Any = True
) -> Any:
    """Masks f32[B, N, 2 x pool_size, 2 x pool_size, NUM_CLASSES], probabilities, of RoIs on P2 to P5."""
    channels = feature_maps[0].shape[-1]
    native = MaskHeadConfig(
        pool=replace(MATTERPORT.pool, size=pool_size),
        conv_norm="frozen_bn" if train_bn is False else "bn",
        norm_epsilon=MATTERPORT.norm_epsilon,
    )
    head = native.build(num_classes, RoiPooler(native.pool, _STRIDES, channels), "mrcnn_masks")
    return _head_step(head, tf.sigmoid, "mrcnn_mask")(rois, image_meta, *feature_maps)


def _head_step(head: Any, outputs: Callable[[Any], Any], name: str) -> Step:
    def run(rois: tf.Tensor, image_meta: tf.Tensor, *maps: tf.Tensor) -> Any:
        boxes = rois * sides(image_meta[0, 4:6])
        window = tf.cast(image_meta[:, 7:11], tf.float32)
        return outputs(head(dict(zip(_STRIDES, maps, strict=True)), boxes, is_filled(rois), window))

    return Step(run, [head], name=name)


# Losses


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
