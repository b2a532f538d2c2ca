"""Cascade of box heads, each refining the boxes of the one before.

Ref: Cascade R-CNN, arXiv 1712.00726.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import HeadLoss, RoiHead
from mrcnn.modeling.heads.box import BoxHead, BoxHeadConfig, BoxPrediction, class_probs, detections_of
from mrcnn.modeling.padding import trim_rois
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.modeling.roi_sampler import sample_rois
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
    stage_loss_weights: tuple[float, ...] = ()  # factors of each stage's terms; none: 1 for every stage
    # RoIs of the later stages. "keep": all that the stage before has refined. "sample": the true boxes leave and join
    # again as they are, and the model's sampler draws, at the stage's own IoU.
    stage_rois: Literal["keep", "sample"] = "keep"
    # What the features see of the stages' losses: their mean, or their sum as the weights of each stage do.
    feature_gradient: Literal["mean", "sum"] = "mean"
    scores: Literal["probs", "logits"] = "probs"  # what is averaged over the stages to score detections

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stage_ious or len(self.stage_ious) != len(self.stage_delta_weights):
            ious, weights = len(self.stage_ious), len(self.stage_delta_weights)
            raise ConfigError(f"box_head: expected one IoU and one set of weights per stage, got {ious} and {weights}")
        expect_weights("box_head", self.stage_loss_weights, self.num_stages)
        if not self.class_agnostic:
            raise ConfigError("box_head.class_agnostic: a cascade refines one box per RoI, expected true")
        if self.train_on_pred_boxes:
            raise ConfigError("box_head.train_on_pred_boxes: a cascade hands on the RoIs of its stages, expected false")

    @property
    def num_stages(self) -> int:
        """See `RoiHeadConfig.num_stages`."""
        return len(self.stage_ious)

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`: those of a box head for each stage, from 1."""
        stages = range(1, self.num_stages + 1)
        return tuple(HeadLoss(f"{name}_{k}") for k in stages for name in ("roi_class", "roi_box"))

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "box_head") -> CascadeBoxHead:
        """See `RoiHeadConfig.build`."""
        layer = CascadeBoxHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer

    def stages(self) -> list[BoxHeadConfig]:
        """Configuration of each stage."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(BoxHeadConfig)}
        box_weight = self.loss_weight if self.box_loss_weight is None else self.box_loss_weight
        own = zip(self.stage_delta_weights, self.stage_loss_weights or (1.0,) * self.num_stages, strict=True)
        return [
            BoxHeadConfig(
                **shared
                | {
                    "delta_weights": deltas,
                    "loss_weight": factor * self.loss_weight,
                    "box_loss_weight": factor * box_weight,
                }
            )
            for deltas, factor in own
        ]


def expect_weights(head: str, weights: Sequence[float], num_stages: int) -> None:
    """Raise ConfigError unless there is no weight, or one for each stage."""
    if weights and len(weights) != num_stages:
        raise ConfigError(
            f"{head}.stage_loss_weights: expected none or {num_stages}, one per stage, got {len(weights)}"
        )


class StagePrediction(NamedTuple):
    """The RoIs of one stage and what it says about them."""

    boxes: tf.Tensor  # f32[B, S, 4]
    valid: tf.Tensor  # bool[B, S]
    pred: BoxPrediction
    rois: RoiSample | tuple[()] = ()  # what the RoIs are, where the stage drew its own


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


class StagedHead(RoiHead):
    """A head of several stages, each a head of its own."""

    stages: Sequence[RoiHead]

    def build(self, input_shape: Shape) -> None:
        """Create the weights of all stages for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        for stage in self.stages:
            stage.build(input_shape)
        self.built = True


class CascadeBoxHead(StagedHead):
    """Box heads in a row: each stage pools from, and is trained on, the boxes the stage before has refined."""

    config: CascadeBoxHeadConfig

    def __init__(self, config: CascadeBoxHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, pooler, **kwargs)
        stages = config.stages()
        if config.feature_gradient == "mean":
            pooler = _ScaledGradient(pooler, 1.0 / len(stages))
        self.stages = [BoxHead(stage, num_classes, pooler, name=f"stage{k}") for k, stage in enumerate(stages, start=1)]

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
            rois: RoiSample | tuple[()] = ()
            if k > 0:
                before, refined = boxes, self.stages[k - 1].refine(predictions[-1].pred, boxes, window)  # [B, S, 1, 4]
                boxes = tf.stop_gradient(refined[:, :, 0])
                valid &= box_ops.is_nonempty(boxes)
                if targets is not None and seed is not None and self.config.stage_rois == "sample":
                    valid &= ~_is_ground_truth(before, targets)
                    rois = self._sample(boxes, valid, targets, seed, k)
                    boxes, valid = rois.boxes, rois.valid
            pred = stage(features, boxes, valid, window, training=training)
            predictions.append(StagePrediction(boxes, valid, pred, rois))
        return predictions

    def _sample(self, boxes: tf.Tensor, valid: tf.Tensor, batch: Batch, seed: tf.Tensor, stage: int) -> RoiSample:
        """The RoIs of a later stage, of the boxes it was handed and the true ones."""
        sampler = dataclasses.replace(self.sampler, fg_iou=self.config.stage_ious[stage])
        own = seed + _stream(stage)
        return trim_rois(
            sample_rois(Proposals(boxes, tf.cast(valid, tf.float32), valid), batch | {"seed": own}, sampler)
        )

    def targets(self, rois: RoiSample, batch: Batch) -> Batch:
        """The ground truth itself: which object a refined box belongs to is known only when the box is."""
        return {key: batch[key] for key in ("gt_boxes", "gt_class_ids", "gt_valid", "gt_crowd", "seed") if key in batch}

    def loss(self, pred: list[StagePrediction], targets: Batch, rois: RoiSample) -> dict[str, LossTerm]:
        """The terms of a box head for each stage, its RoIs matched at the stage's own IoU."""
        return self._loss(pred, targets, self.rois_of_stages(pred, targets, rois))

    def _loss(self, pred: list[StagePrediction], targets: Batch, stages: Sequence[RoiSample]) -> dict[str, LossTerm]:
        terms: dict[str, LossTerm] = {}
        for k, (stage, of_stage, rois) in enumerate(zip(self.stages, pred, stages, strict=True)):
            own_seed = {"seed": targets["seed"] + _stream(k)} if "seed" in targets else {}
            own = stage.loss(of_stage.pred, stage.targets(rois, targets | own_seed), rois)
            terms |= {f"{name}_{k + 1}": term for name, term in own.items()}
        return terms

    def rois_of_stages(self, pred: list[StagePrediction], targets: Batch, rois: RoiSample) -> list[RoiSample]:
        """What the RoIs of each stage are, in the order in which it saw them.

        Args:
            pred: of `call`; on the ground truth where stages draw.
            targets: of `targets`.
            rois: of the first stage.
        """
        ious = self.config.stage_ious
        later = [s.rois or label_rois(s.boxes, s.valid, targets, ious[k]) for k, s in enumerate(pred) if k > 0]
        return [rois, *later]

    def loss_terms(
        self,
        features: Mapping[str, tf.Tensor],
        stages: Sequence[RoiSample],
        batch: Batch,
        window: tf.Tensor,
        seed: tf.Tensor,
        training: bool | None = None,
    ) -> tuple[dict[str, LossTerm], Sequence[RoiSample]]:
        """See `RoiHead.loss_terms`; the RoIs of all stages are for the heads behind this one."""
        own = trim_rois(self.rois_for(stages[0]))
        targets = self.targets(own, {**batch, "seed": seed})
        context = {"class_ids": own.class_ids, "seed": seed, "targets": targets}
        pred = self(features, own.boxes, own.valid, window, training=training, **context)
        of_stages = self.rois_of_stages(pred, targets, own)
        return self._loss(pred, targets, of_stages), of_stages

    def detect(self, pred: list[StagePrediction], proposals: Proposals, window: tf.Tensor) -> Detections:
        """As `BoxHead.detect`, from the mean of the stages' class scores and the last stage's boxes."""
        logits, activation = [of_stage.pred.class_logits for of_stage in pred], self.config.activation
        if self.config.scores == "logits":
            probs = class_probs(tf.add_n(logits) / len(pred), activation)
        else:
            probs = tf.add_n([class_probs(of_stage, activation) for of_stage in logits]) / len(pred)
        last = pred[-1]
        boxes = self.stages[-1].refine(last.pred, last.boxes, window)
        return detections_of(probs, boxes, proposals.valid, self.config)


def _stream(stage: int) -> tf.Tensor:
    """What is added to the head's seed for the draws of a stage, far from the streams of the other heads."""
    return tf.constant([0, 1000 * stage])


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


def _is_ground_truth(boxes: tf.Tensor, batch: Batch) -> tf.Tensor:
    """bool[B, S], is a box a true one, to the last bit: one that the sampler took as it is."""
    same = tf.reduce_all(boxes[:, :, tf.newaxis] == batch["gt_boxes"][:, tf.newaxis], -1)  # [B, S, G]
    return tf.reduce_any(same & batch["gt_valid"][:, tf.newaxis], -1)
