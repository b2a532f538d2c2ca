"""Box head: class and refined box of each RoI. Ref: Fast R-CNN; Feature Pyramid Networks, section 4.2."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import HeadLoss, RoiHead, RoiHeadConfig, merge_rois, select_class, split_rois
from mrcnn.modeling.initializers import first_kernel, normal_initializer
from mrcnn.modeling.layers import ConvStack, float32_output, norm_of_rois
from mrcnn.modeling.losses.base import Activation, BoxLoss, ClassLoss
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.normalize import NormKind, make_norm
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import losses
from mrcnn.ops.box_geometry import ALIGNED, ROTATED, BoxGeometry
from mrcnn.ops.rotated_boxes import rotated_bounds
from mrcnn.structures.tensors import Batch, Detections, LossTerm, Proposals, RoiSample, Shape, known_sizes


@dataclasses.dataclass(frozen=True)
class BoxHeadConfig(RoiHeadConfig):
    """Configuration of the box head; defaults are the paper's for FPN."""

    geometry: ClassVar[BoxGeometry] = ALIGNED  # what the boxes are that it refines

    pool: RoiPoolConfig = RoiPoolConfig(size=7)
    conv_dims: tuple[int, ...] = ()  # 3x3 convolutions before the fully connected layers
    conv_norm: NormKind = "none"
    reduce: Literal["flatten", "mean"] = "flatten"  # of the bins of a RoI: all of them, or their mean as in C4 models
    fc_dims: tuple[int, ...] = (1024, 1024)
    fc_norm: NormKind = "none"
    norm_epsilon: float = 1e-5  # of conv_norm and fc_norm
    class_agnostic: bool = False  # one box per RoI instead of one per class
    delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # (dy, dx, dh, dw)
    max_log_scale: float | None = box_ops.MAX_LOG_SCALE  # bound of log dh and log dw; None: no bound
    # What makes class scores of logits. "softmax": classes and background compete; "sigmoid": each class by itself, and
    # the logit of background means nothing.
    activation: Activation = "softmax"
    class_loss: ClassLoss = ClassCrossEntropy()
    box_loss: BoxLoss = SmoothL1()
    # "per_class": every class whose score is above the threshold may give a detection; "best_class": only the most
    # probable one, if it is a thing and its score reaches the threshold.
    detection_rule: Literal["per_class", "best_class"] = "per_class"
    score_threshold: float = 0.05
    min_size: float = 0.0  # detections with a side of at most this many pixels are dropped
    nms_iou: float = 0.5  # within a class
    max_detections: int = 100  # per image, over all classes
    box_loss_weight: float | None = None  # of the box term alone; None: loss_weight
    # The box loss is divided by the number of sampled RoIs, or is the mean over its elements, four for each foreground
    # RoI (five of a rotated one).
    box_normalizer: Literal["rois", "elements"] = "rois"
    # The heads behind this one train on the boxes it refines, as they see them in inference, not on the sampled RoIs.
    train_on_pred_boxes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in self.class_loss.activations:
            kinds = " or ".join(f'"{kind}"' for kind in self.class_loss.activations)
            raise ConfigError(
                f"box_head.activation and class_loss: {type(self.class_loss).__name__} is made for {kinds}, got"
                f' activation "{self.activation}"'
            )
        if self.activation == "sigmoid" and self.detection_rule == "best_class":
            raise ConfigError(
                'box_head.activation and detection_rule: "best_class" asks whether background is the most probable, of'
                ' which "sigmoid" says nothing; expected activation "softmax" or detection_rule "per_class"'
            )

    @property
    def layer_name(self) -> str:
        """See `RoiHeadConfig.layer_name`: the same for every kind of box head, as a model has one."""
        return self.full_name("box_head")

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`."""
        return (HeadLoss("roi_class"), HeadLoss("roi_box"))

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "box_head") -> BoxHead:
        """See `RoiHeadConfig.build`."""
        layer = BoxHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer


class BoxPrediction(NamedTuple):
    """What the box head says about each RoI."""

    class_logits: tf.Tensor  # f32[B, S, C + 1], background first
    deltas: tf.Tensor  # f32[B, S, k, C] or [B, S, k, 1] when class-agnostic; k = geometry.size


class BoxTarget(NamedTuple):
    """What the box head should say."""

    class_ids: tf.Tensor  # i32[B, S], 0 for background
    deltas: tf.Tensor  # f32[B, S, k]
    seed: tf.Tensor | None = None  # i32[B, 2], for losses that draw


class BoxHead(RoiHead):
    """Pooling, optional convolutions, fully connected layers, then class logits and per-class box deltas."""

    config: BoxHeadConfig

    def __init__(self, config: BoxHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, pooler, **kwargs)
        config.class_loss.check(num_classes)
        self.num_classes = num_classes
        self.num_boxes = 1 if config.class_agnostic else num_classes
        self.convs = None
        if config.conv_dims:
            self.convs = ConvStack(config.conv_dims, config.conv_norm, config.norm_epsilon, name="convs")
        xavier = {"kernel_initializer": first_kernel(keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"))}
        normed = config.fc_norm != "none"
        self.fcs = [
            keras.layers.Dense(dim, None if normed else "relu", not normed, name=f"fc{i}", **xavier)
            for i, dim in enumerate(config.fc_dims, start=1)
        ]
        self.fc_norms = [
            norm
            for i, dim in enumerate(config.fc_dims, start=1)
            if (norm := make_norm(config.fc_norm, config.norm_epsilon, f"fc{i}_norm", channels=dim)) is not None
        ]
        self.class_logits = keras.layers.Dense(
            num_classes + 1, kernel_initializer=normal_initializer(0.01), name="class_logits"
        )
        self.deltas = keras.layers.Dense(
            config.geometry.size * self.num_boxes, kernel_initializer=normal_initializer(0.001), name="deltas"
        )

    def build(self, input_shape: Shape) -> None:
        """Create the weights for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        shape = (None, *input_shape[2:])
        if self.convs is not None:
            self.convs.build(shape)
            shape = self.convs.compute_output_shape(shape)
        width = math.prod(known_sizes(shape[3:] if self.config.reduce == "mean" else shape[1:]))
        for fc in self.fcs:
            fc.build((None, width))
            width = fc.units
        for norm, fc in zip(self.fc_norms, self.fcs, strict=False):
            norm.build((None, fc.units))
        self.class_logits.build((None, width))
        self.deltas.build((None, width))
        self.built = True

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        window: tf.Tensor,
        training: bool | None = None,
        class_ids: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
        targets: Any = None,
    ) -> BoxPrediction:
        """Class and deltas of each RoI; see `RoiHead.call`."""
        x = merge_rois(self.pooler(features, boxes, valid, training=training))
        valid = tf.reshape(valid, [-1])  # [B * S]
        if self.convs is not None:
            x = self.convs(x, valid, training=training)
        if self.config.reduce == "mean":
            x = tf.reduce_mean(x, [1, 2])
        else:
            x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
        for i, fc in enumerate(self.fcs):
            x = fc(x)
            if self.fc_norms:
                x = tf.nn.relu(norm_of_rois(self.fc_norms[i], x, valid, training))
        deltas = tf.reshape(float32_output(self.deltas(x)), [-1, self.config.geometry.size, self.num_boxes])
        return BoxPrediction(split_rois(float32_output(self.class_logits(x)), boxes), split_rois(deltas, boxes))

    def refine(self, pred: BoxPrediction, boxes: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        """The boxes the deltas make of the RoIs.

        Args:
            pred: predictions on `boxes`.
            boxes: f32[B, S, k], pixels of the padded image.
            window: f32[B, 4], (y1, x1, y2, x2) the boxes are clipped to.

        Returns:
            f32[B, S, C, k], or [B, S, 1, k] when class-agnostic.
        """
        config = self.config
        deltas = tf.einsum("bskc->bsck", pred.deltas)
        geometry, references = config.geometry, boxes[:, :, tf.newaxis]
        refined = geometry.decode(deltas, references, config.delta_weights, config.max_log_scale)
        return geometry.clip(refined, window[:, tf.newaxis])

    def next_rois(self, pred: BoxPrediction, rois: RoiSample, stages: Sequence[RoiSample]) -> Sequence[RoiSample]:
        """See `RoiHead.next_rois`: with `train_on_pred_boxes` the box of each RoI's class, not clipped; no gradient."""
        if not self.config.train_on_pred_boxes:
            return stages
        config = self.config
        deltas = select_class(pred.deltas, tf.maximum(rois.class_ids - 1, 0))  # [B, S, k]
        refined = config.geometry.decode(deltas, rois.boxes, config.delta_weights, config.max_log_scale)
        return (rois._replace(boxes=tf.stop_gradient(refined)), *stages[1:])

    def targets(self, rois: RoiSample, batch: Batch) -> BoxTarget:
        """Class of each RoI and the deltas to its object."""
        geometry = self.config.geometry
        gt_boxes = tf.gather(batch[geometry.ground_truth], rois.gt_index, batch_dims=1)  # [B, S, k]
        deltas = geometry.encode(gt_boxes, rois.boxes, self.config.delta_weights)
        seed = batch.get("seed")
        # Far from the streams of the other heads, which begin at seeds nearby.
        return BoxTarget(rois.class_ids, deltas, None if seed is None else seed + tf.constant([0, 500]))

    def loss(self, pred: BoxPrediction, targets: BoxTarget, rois: RoiSample) -> dict[str, LossTerm]:
        """The terms, each divided by the number of sampled RoIs unless `box_normalizer` says otherwise.

        Ref: Fast R-CNN, equation 1.
        """
        count = tf.reduce_sum(tf.cast(rois.valid, tf.float32))
        deltas = select_class(pred.deltas, tf.maximum(targets.class_ids - 1, 0))  # [B, S, k]
        box = self.config.box_loss(deltas, targets.deltas)
        classes = self.config.class_loss.of_images(pred.class_logits, targets.class_ids, rois.valid, targets.seed)
        weight = self.config.loss_weight
        box_weight = weight if self.config.box_loss_weight is None else self.config.box_loss_weight
        box_count = count
        if self.config.box_normalizer == "elements":
            box_count = self.config.geometry.size * tf.reduce_sum(tf.cast(rois.foreground, tf.float32))
        return {
            "roi_class": LossTerm(weight * losses.masked_sum(classes, rois.valid), count),
            "roi_box": LossTerm(box_weight * losses.masked_sum(box, rois.foreground), box_count),
        }

    def detect(self, pred: BoxPrediction, proposals: Proposals, window: tf.Tensor) -> Detections:
        """Final boxes: score threshold, NMS within each class, the best over all classes.

        Args:
            pred: predictions on `proposals.boxes`.
            proposals: P boxes per image.
            window: f32[B, 4], (y1, x1, y2, x2) in pixels of the padded image; boxes are clipped to it.

        Returns:
            Detections with D = max_detections entries, padded ones included.
        """
        probs = class_probs(pred.class_logits, self.config.activation)
        return detections_of(probs, self.refine(pred, proposals.boxes, window), proposals.valid, self.config)


def class_probs(logits: tf.Tensor, activation: Activation) -> tf.Tensor:
    """Class probabilities of logits.

    Args:
        logits: f32[..., C + 1], background first.
        activation: see `BoxHeadConfig.activation`.

    Returns:
        f32[..., C + 1]; with "sigmoid" 0 for background, of which it says nothing.
    """
    if activation == "softmax":
        return tf.nn.softmax(logits)
    probs = tf.sigmoid(logits)
    return tf.concat([tf.zeros_like(probs[..., :1]), probs[..., 1:]], -1)


def detections_of(probs: tf.Tensor, boxes: tf.Tensor, valid: tf.Tensor, config: BoxHeadConfig) -> Detections:
    """Detections from class probabilities and refined boxes.

    Args:
        probs: f32[B, P, C + 1], background first.
        boxes: f32[B, P, C, k] or, one for all classes, [B, P, 1, k]; pixels of the padded image.
        valid: bool[B, P].
        config: what the boxes are, the rule, its thresholds and `max_detections`.

    Returns:
        Detections with D = max_detections entries, padded ones included.
    """
    batch, num, num_classes = tf.shape(probs)[0], tf.shape(probs)[1], probs.shape[-1] - 1
    threshold, geometry = config.score_threshold, config.geometry
    if config.detection_rule == "best_class":
        best = tf.argmax(probs, -1, output_type=tf.int32)
        classes = tf.maximum(best - 1, 0)  # [B, P]
        scores = tf.reduce_max(probs, -1)
        valid &= (best > 0) & (scores >= threshold)
        boxes = tf.gather(boxes, classes, batch_dims=2) if boxes.shape[2] != 1 else boxes[:, :, 0]  # [B, P, k]
        threshold = -math.inf
        # In TensorFlow 1, on which this rule was run, a kept box without area suppresses every later one of its class.
        flat = valid & ~geometry.is_nonempty(boxes)
        ends = tf.one_hot(classes, num_classes, on_value=True, off_value=False) & flat[..., tf.newaxis]  # [B, P, C]
        ends = tf.reduce_max(tf.where(ends, scores[..., tf.newaxis], -math.inf), axis=1)  # [B, C]
        valid &= scores >= tf.gather(ends, classes, batch_dims=1)
    else:
        classes = tf.broadcast_to(tf.range(num_classes), [batch, num, num_classes])
        classes = tf.reshape(classes, [batch, -1])  # [B, P * C]
        scores = tf.reshape(probs[..., 1:], [batch, -1])
        valid = tf.repeat(valid, num_classes, axis=1)
        boxes = tf.broadcast_to(boxes, [batch, num, num_classes, geometry.size])
        boxes = tf.reshape(boxes, [batch, -1, geometry.size])
    valid &= geometry.is_nonempty(boxes, config.min_size)
    index, keep = geometry.nms(boxes, scores, classes, config.nms_iou, config.max_detections, threshold, valid)
    zero_padding = tf.cast(keep, tf.float32)
    kept = tf.gather(boxes, index, batch_dims=1) * zero_padding[..., tf.newaxis]  # [B, D, k]
    is_rotated = geometry.size == ROTATED.size
    return Detections(
        boxes=rotated_bounds(kept) if is_rotated else kept,
        class_ids=(tf.gather(classes, index, batch_dims=1) + 1) * tf.cast(keep, tf.int32),
        scores=tf.gather(scores, index, batch_dims=1) * zero_padding,
        valid=keep,
        rotated_boxes=kept if is_rotated else None,
    )
