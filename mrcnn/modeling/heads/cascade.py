"""Cascade of box heads, each refining the boxes of the one before. Ref: Cascade R-CNN, arXiv 1712.00726."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import HeadLoss, RoiHead
from mrcnn.modeling.heads.box import BoxHead, BoxHeadConfig, BoxPrediction, detections_of
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.custom_gradient import custom_gradient
from mrcnn.ops.matching import IGNORE, POSITIVE, match_boxes
from mrcnn.structures.tensors import Batch, Detections, LossTerm, Proposals, RoiSample, Shape


@dataclasses.dataclass(frozen=True)
class CascadeBoxHeadConfig(BoxHeadConfig):
    """Configuration of a cascade of box heads that are alike but for what is listed per stage here.

    `delta_weights` is not used: every stage has its own.
    """

    class_agnostic: bool = True  # a stage refines one box per RoI, whatever its class
    # RoIs that overlap an object at least so much are foreground. The first stage trains on the sampled RoIs as the
    # sampler matched them.
    stage_ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    # (dy, dx, dh, dw): deltas shrink from stage to stage
    stage_delta_weights: tuple[tuple[float, float, float, float], ...] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stage_ious or len(self.stage_ious) != len(self.stage_delta_weights):
            ious, weights = len(self.stage_ious), len(self.stage_delta_weights)
            raise ConfigError(f"box_head: expected one IoU and one set of weights per stage, got {ious} and {weights}")
        if not self.class_agnostic:
            raise ConfigError("box_head.class_agnostic: a cascade refines one box per RoI, expected true")

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`: those of a box head for each stage, from 1."""
        stages = range(1, len(self.stage_ious) + 1)
        return tuple(HeadLoss(f"{name}_{k}") for k in stages for name in ("roi_class", "roi_box"))

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "box_head") -> CascadeBoxHead:
        """See `RoiHeadConfig.build`."""
        layer = CascadeBoxHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer

    def stages(self) -> list[BoxHeadConfig]:
        """Configuration of each stage."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(BoxHeadConfig)}
        return [BoxHeadConfig(**(shared | {"delta_weights": weights})) for weights in self.stage_delta_weights]


class StagePrediction(NamedTuple):
    """The RoIs of one stage and what it says about them."""

    boxes: tf.Tensor  # f32[B, S, 4]
    valid: tf.Tensor  # bool[B, S]
    pred: BoxPrediction


@custom_gradient
def _scaled_gradient(x: tf.Tensor, *, factor: float) -> tuple[tf.Tensor, Any]:
    return tf.identity(x), lambda upstream: upstream * tf.cast(factor, upstream.dtype)


class _ScaledGradient(RoiPooler):
    """A pooler whose gradient is scaled.

    The losses of all stages are added up; with 1 / stages here the features see their mean, while every stage's own
    weights see its full loss.
    """

    def __init__(self, pooler: RoiPooler, factor: float) -> None:
        super().__init__(pooler.config, pooler.strides, pooler.channels, pooler.stage)
        self.pooler, self.factor = pooler, factor

    def __call__(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        return _scaled_gradient(self.pooler(*args, **kwargs), factor=self.factor)


class CascadeBoxHead(RoiHead):
    """Box heads in a row: each stage pools from, and is trained on, the boxes the stage before has refined."""

    config: CascadeBoxHeadConfig

    def __init__(self, config: CascadeBoxHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, pooler, **kwargs)
        stages = config.stages()
        pooler = _ScaledGradient(pooler, 1.0 / len(stages))
        self.stages = [BoxHead(stage, num_classes, pooler, name=f"stage{k}") for k, stage in enumerate(stages, start=1)]

    def build(self, input_shape: Shape) -> None:
        """Create the weights of all stages for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        for stage in self.stages:
            stage.build(input_shape)
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
        targets: Batch | None = None,
    ) -> list[StagePrediction]:
        """What each stage says, on the boxes of the stage before; see `RoiHead.call`."""
        predictions: list[StagePrediction] = []
        for k, stage in enumerate(self.stages):
            if k > 0:
                refined = self.stages[k - 1].refine(predictions[-1].pred, boxes, window)  # [B, S, 1, 4]
                boxes = tf.stop_gradient(refined[:, :, 0])
                valid &= box_ops.is_nonempty(boxes)
            pred = stage(features, boxes, valid, window, training=training)
            predictions.append(StagePrediction(boxes, valid, pred))
        return predictions

    def targets(self, rois: RoiSample, batch: Batch) -> Batch:
        """The ground truth itself: which object a refined box belongs to is known only when the box is."""
        return {key: batch[key] for key in ("gt_boxes", "gt_class_ids", "gt_valid", "gt_crowd")}

    def loss(self, pred: list[StagePrediction], targets: Batch, rois: RoiSample) -> dict[str, LossTerm]:
        """The terms of a box head for each stage, its RoIs matched at the stage's own IoU."""
        terms: dict[str, LossTerm] = {}
        for k, (stage, of_stage) in enumerate(zip(self.stages, pred, strict=True)):
            if k > 0:
                rois = label_rois(of_stage.boxes, of_stage.valid, targets, self.config.stage_ious[k])
            own = stage.loss(of_stage.pred, stage.targets(rois, targets), rois)
            terms |= {f"{name}_{k + 1}": term for name, term in own.items()}
        return terms

    def detect(self, pred: list[StagePrediction], proposals: Proposals, window: tf.Tensor) -> Detections:
        """As `BoxHead.detect`, from the mean of the stages' class probabilities and the last stage's boxes."""
        probs = tf.add_n([tf.nn.softmax(of_stage.pred.class_logits) for of_stage in pred]) / len(pred)
        last = pred[-1]
        boxes = self.stages[-1].refine(last.pred, last.boxes, window)
        return detections_of(probs, boxes, proposals.valid, self.config)


def label_rois(boxes: tf.Tensor, valid: tf.Tensor, batch: Batch, fg_iou: float) -> RoiSample:
    """Says what given boxes are, without drawing: the order stays.

    Args:
        boxes: f32[B, S, 4], pixels of the padded image.
        valid: bool[B, S].
        batch: with ground truth; a box inside a crowd region becomes invalid unless it is foreground.
        fg_iou: boxes that overlap an object at least so much are foreground, the rest background.

    Returns:
        RoiSample of S RoIs; foreground lies anywhere among them.
    """

    def one_image(x: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        matches = match_boxes(
            x["boxes"], x["gt_boxes"], x["gt_valid"], x["gt_crowd"], fg_iou, fg_iou, allow_low_quality=False
        )
        return matches.gt_index, matches.labels

    one_each = tf.TensorSpec([boxes.shape[1]], tf.int32)
    ground_truth = {k: batch[k] for k in ("gt_boxes", "gt_valid", "gt_crowd")}
    gt_index, labels = tf.map_fn(one_image, {"boxes": boxes, **ground_truth}, fn_output_signature=(one_each, one_each))
    foreground = valid & (labels == POSITIVE)
    class_ids = tf.where(foreground, tf.gather(batch["gt_class_ids"], gt_index, batch_dims=1), 0)
    rois = RoiSample(boxes, class_ids, gt_index, foreground, valid & (labels != IGNORE))
    return RoiSample(*(tf.stop_gradient(field) for field in rois))
