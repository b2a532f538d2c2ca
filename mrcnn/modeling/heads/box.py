"""Box head: class and refined box of each RoI. Ref: Fast R-CNN; Feature Pyramid Networks, section 4.2."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mrcnn.modeling.base import (
    ConvStack,
    RoiHead,
    RoiHeadConfig,
    RoiPoolConfig,
    float32_output,
    merge_rois,
    normal_initializer,
    select_class,
    split_rois,
)
from mrcnn.modeling.normalize import NormKind
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import losses
from mrcnn.ops.nms import batched_nms
from mrcnn.structures import Batch, Detections, LossTerm, Proposals, RoiSample


@dataclasses.dataclass(frozen=True)
class BoxHeadConfig(RoiHeadConfig):
    """Settings of the box head; defaults are the paper's for FPN."""

    pool: RoiPoolConfig = RoiPoolConfig(size=7)
    conv_dims: tuple[int, ...] = ()  # 3x3 convolutions before the fully connected layers
    conv_norm: NormKind = "none"
    fc_dims: tuple[int, ...] = (1024, 1024)
    class_agnostic: bool = False  # one box per RoI instead of one per class
    delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)  # (dy, dx, dh, dw)
    smooth_l1_beta: float = 1.0
    score_threshold: float = 0.05  # detections need a score above this
    nms_iou: float = 0.5  # within a class
    max_detections: int = 100  # per picture, over all classes

    @property
    def loss_names(self) -> tuple[str, ...]:
        """See `RoiHeadConfig.loss_names`."""
        return ("roi_class", "roi_box")

    def build(self, num_classes: int, in_channels: int, strides: Mapping[str, int], name: str = "box_head") -> BoxHead:
        """See `RoiHeadConfig.build`."""
        layer = BoxHead(self, num_classes, strides, name=name)
        layer.build((None, None, self.pool.size, self.pool.size, in_channels))
        return layer


class BoxPrediction(NamedTuple):
    """What the box head says about each RoI."""

    class_logits: tf.Tensor  # f32[B, S, C + 1], background first
    deltas: tf.Tensor  # f32[B, S, 4, C] or [B, S, 4, 1] when class-agnostic


class BoxTarget(NamedTuple):
    """What the box head should say."""

    class_ids: tf.Tensor  # i32[B, S], 0 for background
    deltas: tf.Tensor  # f32[B, S, 4]


class BoxHead(RoiHead):
    """RoIAlign, optional convolutions, fully connected layers, then class logits and per-class box deltas."""

    config: BoxHeadConfig

    def __init__(self, config: BoxHeadConfig, num_classes: int, strides: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(config, strides, **kwargs)
        self.num_classes = num_classes
        self.num_boxes = 1 if config.class_agnostic else num_classes
        self.convs = ConvStack(config.conv_dims, config.conv_norm, name="convs") if config.conv_dims else None
        xavier = {"kernel_initializer": keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")}
        self.fcs = [
            keras.layers.Dense(dim, activation="relu", name=f"fc{i}", **xavier)
            for i, dim in enumerate(config.fc_dims, start=1)
        ]
        self.class_logits = keras.layers.Dense(
            num_classes + 1, kernel_initializer=normal_initializer(0.01), name="class_logits"
        )
        self.deltas = keras.layers.Dense(
            4 * self.num_boxes, kernel_initializer=normal_initializer(0.001), name="deltas"
        )

    def build(self, input_shape: tuple) -> None:
        """Create the weights for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        shape = (None, *input_shape[2:])
        if self.convs is not None:
            self.convs.build(shape)
            shape = self.convs.compute_output_shape(shape)
        width = shape[1] * shape[2] * shape[3]
        for fc in self.fcs:
            fc.build((None, width))
            width = fc.units
        self.class_logits.build((None, width))
        self.deltas.build((None, width))
        self.built = True

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        training: bool | None = None,
    ) -> BoxPrediction:
        """Class and deltas of each RoI; see `RoiHead.call`."""
        pooled = merge_rois(self.config.pool.pool(features, self.strides, boxes, valid))
        if self.convs is not None:
            pooled = self.convs(pooled, training=training)
        x = tf.reshape(pooled, [-1, pooled.shape[1] * pooled.shape[2] * pooled.shape[3]])
        for fc in self.fcs:
            x = fc(x)
        deltas = tf.reshape(float32_output(self.deltas(x)), [-1, 4, self.num_boxes])
        return BoxPrediction(split_rois(float32_output(self.class_logits(x)), boxes), split_rois(deltas, boxes))

    def targets(self, rois: RoiSample, batch: Batch) -> BoxTarget:
        """Class of each RoI and the deltas to its object."""
        gt_boxes = tf.gather(batch["gt_boxes"], rois.gt_index, batch_dims=1)  # [B, S, 4]
        return BoxTarget(rois.class_ids, box_ops.encode_deltas(gt_boxes, rois.boxes, self.config.delta_weights))

    def loss(self, pred: BoxPrediction, targets: BoxTarget, rois: RoiSample) -> dict[str, LossTerm]:
        """Both terms are divided by the number of sampled RoIs. Ref: Fast R-CNN, equation 1."""
        count = tf.maximum(tf.reduce_sum(tf.cast(rois.valid, tf.float32)), 1.0)
        deltas = select_class(pred.deltas, tf.maximum(targets.class_ids - 1, 0))  # [B, S, 4]
        box = tf.reduce_sum(losses.smooth_l1(deltas, targets.deltas, self.config.smooth_l1_beta), -1)
        classes = losses.softmax_cross_entropy(pred.class_logits, targets.class_ids)
        weight = self.config.loss_weight
        return {
            "roi_class": LossTerm(weight * losses.masked_sum(classes, rois.valid), count),
            "roi_box": LossTerm(weight * losses.masked_sum(box, rois.foreground), count),
        }

    def detect(self, pred: BoxPrediction, proposals: Proposals, content_shape: tf.Tensor) -> Detections:
        """Final boxes: score threshold, NMS within each class, the best over all classes.

        Args:
            pred: predictions on `proposals.boxes`.
            proposals: P boxes per picture.
            content_shape: i32[B, 2]; boxes are clipped to it.

        Returns:
            Detections with D = max_detections slots.
        """
        config = self.config
        probs = tf.nn.softmax(pred.class_logits)[..., 1:]  # [B, P, C]
        batch, num_proposals = tf.shape(probs)[0], tf.shape(probs)[1]
        deltas = tf.einsum("bpkc->bpck", pred.deltas)  # [B, P, C or 1, 4]
        boxes = box_ops.decode_deltas(deltas, proposals.boxes[:, :, tf.newaxis], config.delta_weights)
        boxes = box_ops.clip_boxes(boxes, content_shape[:, tf.newaxis])
        boxes = tf.broadcast_to(boxes, [batch, num_proposals, self.num_classes, 4])
        boxes = tf.reshape(boxes, [batch, -1, 4])  # [B, P * C, 4]
        scores = tf.reshape(probs, [batch, -1])
        classes = tf.broadcast_to(tf.range(self.num_classes), tf.shape(probs))
        valid = tf.repeat(proposals.valid, self.num_classes, axis=1) & box_ops.is_nonempty(boxes)
        classes = tf.reshape(classes, [batch, -1])
        index, keep = batched_nms(
            boxes, scores, classes, config.nms_iou, config.max_detections, config.score_threshold, valid
        )
        zero_padding = tf.cast(keep, tf.float32)
        return Detections(
            boxes=tf.gather(boxes, index, batch_dims=1) * zero_padding[..., tf.newaxis],  # [B, D, 4]
            class_ids=(tf.gather(classes, index, batch_dims=1) + 1) * tf.cast(keep, tf.int32),
            scores=tf.gather(scores, index, batch_dims=1) * zero_padding,
            valid=keep,
        )
