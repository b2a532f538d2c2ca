"""A mask head for each stage of a cascade of box heads.

Ref: Cascade R-CNN, arXiv 1906.09756, section 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import HeadLoss
from mrcnn.modeling.heads.cascade import StagedHead, expect_weights
from mrcnn.modeling.heads.mask import MaskHead, MaskHeadConfig
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.structures.tensors import Batch, Detections, LossTerm, RoiSample


@dataclasses.dataclass(frozen=True)
class CascadeMaskHeadConfig(MaskHeadConfig):
    """Configuration of a mask head for each stage of a cascade of box heads; alike but for their weights.

    Each trains on the RoIs of its stage. In inference all see the final boxes, and their probabilities are averaged.
    """

    stages: int = 3  # as many as the box head has
    stage_loss_weights: tuple[float, ...] = ()  # factors of each stage's term; none: 1 for every stage

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages < 1:
            raise ConfigError(f"{self.layer_name}.stages: expected at least 1, got {self.stages}")
        expect_weights(self.layer_name, self.stage_loss_weights, self.stages)

    @property
    def num_stages(self) -> int:
        """See `RoiHeadConfig.num_stages`."""
        return self.stages

    @property
    def layer_name(self) -> str:
        """See `RoiHeadConfig.layer_name`: as of a lone mask head."""
        return self.full_name("mask_head")

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`: that of a mask head for each stage, from 1."""
        return tuple(
            dataclasses.replace(loss, name=f"{loss.name}_{k}")
            for k in range(1, self.stages + 1)
            for loss in super(CascadeMaskHeadConfig, self).losses
        )

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "mask_head") -> CascadeMaskHead:
        """See `RoiHeadConfig.build`."""
        layer = CascadeMaskHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer

    def heads(self) -> list[MaskHeadConfig]:
        """Configuration of each stage."""
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(MaskHeadConfig)}
        weights = self.stage_loss_weights or (1.0,) * self.stages
        return [MaskHeadConfig(**shared | {"loss_weight": factor * self.loss_weight}) for factor in weights]


class CascadeMaskHead(StagedHead):
    """A mask head for each stage of a cascade of box heads."""

    config: CascadeMaskHeadConfig

    def __init__(self, config: CascadeMaskHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, pooler, **kwargs)
        heads = enumerate(config.heads(), start=1)
        self.stages = [MaskHead(head, num_classes, pooler, name=f"stage{k}") for k, head in heads]

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        window: tf.Tensor,
        training: bool | None = None,
        class_ids: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
        targets: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """What each stage predicts on the same RoIs; see `MaskHead.call`."""
        return [stage(features, boxes, valid, window, training=training) for stage in self.stages]

    def rois_for(self, rois: RoiSample) -> RoiSample:
        """As a mask head of one stage."""
        return self.stages[0].rois_for(rois)

    def targets(self, rois: RoiSample, batch: Batch) -> tf.Tensor:
        """As a mask head of one stage."""
        return self.stages[0].targets(rois, batch)

    def loss(self, pred: list[tf.Tensor], targets: tf.Tensor, rois: RoiSample) -> dict[str, LossTerm]:
        """The term of each stage, where all are on the same RoIs; `loss_terms` gives each its own."""
        own = (stage.loss(of_stage, targets, rois) for stage, of_stage in zip(self.stages, pred, strict=True))
        return {f"{name}_{k}": term for k, terms in enumerate(own, start=1) for name, term in terms.items()}

    def loss_terms(
        self,
        features: Mapping[str, tf.Tensor],
        stages: Sequence[RoiSample],
        batch: Batch,
        window: tf.Tensor,
        seed: tf.Tensor,
        training: bool | None = None,
    ) -> tuple[dict[str, LossTerm], Sequence[RoiSample]]:
        """See `RoiHead.loss_terms`; each stage on its own RoIs."""
        terms: dict[str, LossTerm] = {}
        for k, (stage, rois) in enumerate(zip(self.stages, stages, strict=True), start=1):
            own, _ = stage.loss_terms(features, (_foreground_first(rois),), batch, window, seed, training)
            terms |= {f"{name}_{k}": term for name, term in own.items()}
        return terms, stages

    def predict(self, pred: list[tf.Tensor], detections: Detections) -> dict[str, tf.Tensor]:
        """The mean over the stages of each detection's mask, as probabilities."""
        of_stages = [stage.predict(own, detections) for stage, own in zip(self.stages, pred, strict=True)]
        return {"masks": tf.add_n([outputs["masks"] for outputs in of_stages]) / len(of_stages)}


def _foreground_first(rois: RoiSample) -> RoiSample:
    """The RoIs with the foreground in front, where a mask head looks for it; `label_rois` leaves it anywhere."""
    order = tf.argsort(tf.cast(~rois.foreground, tf.int32), stable=True)
    return RoiSample(*(tf.gather(field, order, batch_dims=1) for field in rois))
