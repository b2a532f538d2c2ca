"""PointRend: a coarse mask of each RoI, refined where it is least certain, point by point.

Ref: PointRend: Image Segmentation as Rendering, arXiv 1912.08193, sections 3 and 4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import HeadLoss, merge_rois, split_rois
from mrcnn.modeling.heads.mask import BaseMaskHead, BaseMaskHeadConfig
from mrcnn.modeling.initializers import fan_out_initializer, first_kernel, normal_initializer
from mrcnn.modeling.layers import ConvNorm, float32_output
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.ops import losses
from mrcnn.ops import points as point_ops
from mrcnn.ops.classes import select_class
from mrcnn.structures.tensors import Batch, Detections, LossTerm, RoiSample, Shape


@dataclasses.dataclass(frozen=True)
class PointRendMaskHeadConfig(BaseMaskHeadConfig):
    """Configuration of PointRend; the defaults are the paper's.

    Of `pool` only `size` and `levels` count: RoIs are not pooled but sampled at the centers of size x size cells, on
    every level, whose channels lie side by side. It works on any neck that has the levels.

    Example:
        >>> PointRendMaskHeadConfig().schedule
        (28, 3)
    """

    pool: RoiPoolConfig = RoiPoolConfig(size=14, levels=("p2",))
    conv_dim: int = 256  # channels of the coarse head's convolutions
    fc_dims: tuple[int, ...] = (1024, 1024)  # of the coarse head
    coarse_side: int = 7  # cells a side of the coarse mask
    point_levels: tuple[str, ...] = ("p2",)  # maps whose features the points see
    point_fc_dims: tuple[int, ...] = (256, 256, 256)  # hidden layers that all points share
    coarse_each_layer: bool = True  # the coarse prediction enters each of these layers, not only the first
    train_points: int = 196  # per RoI
    oversample: float = 3.0  # so many times train_points are drawn, of which the least certain are kept
    importance: float = 0.75  # part of the points that is kept for its uncertainty; the rest is drawn evenly
    subdivisions: int = 5  # doublings of the coarse resolution: 7 cells become 224
    subdivision_points: int = 784  # refined after each doubling
    point_loss_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("conv_dim", "coarse_side", "train_points", "subdivision_points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if any(dim < 1 for dim in (*self.fc_dims, *self.point_fc_dims)) or not self.fc_dims or not self.point_fc_dims:
            raise ConfigError(
                f"fc_dims and point_fc_dims: expected one layer or more, of at least 1 each, got {list(self.fc_dims)}"
                f" and {list(self.point_fc_dims)}"
            )
        if not 0 <= self.subdivisions <= 8 or self.oversample < 1 or not 0 <= self.importance <= 1:
            raise ConfigError(
                "expected subdivisions from 0 to 8, oversample from 1 and importance from 0 to 1, got"
                f" {self.subdivisions}, {self.oversample} and {self.importance}"
            )
        if not self.point_levels:
            raise ConfigError("point_levels: expected at least one level name, got none")
        if self.pool.size % 2:
            raise ConfigError(f"pool.size: the coarse head halves it, expected an even number, got {self.pool.size}")
        if self.activation != "sigmoid" or self.class_agnostic:
            raise ConfigError(
                "activation and class_agnostic: PointRend refines a mask of each class by itself, expected activation"
                f' "sigmoid" and class_agnostic false, got "{self.activation}" and {self.class_agnostic}'
            )

    @property
    def schedule(self) -> tuple[int, int]:
        """Cells a side that are all computed, and how often they are doubled after that.

        Where refining would compute every cell of the doubled grid, that grid is begun with.
        """
        side, steps = self.coarse_side, self.subdivisions
        while steps and 4 * side**2 <= self.subdivision_points:
            side, steps = 2 * side, steps - 1
        return side, steps

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`: of the coarse mask and of the points."""
        return tuple(HeadLoss(name, ground_truth=("gt_masks",)) for name in ("roi_mask", "roi_mask_point"))

    @property
    def layer_name(self) -> str:
        """See `RoiHeadConfig.layer_name`: as of any mask head."""
        return self.full_name("mask_head")

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "mask_head") -> PointRendMaskHead:
        """See `RoiHeadConfig.build`.

        Raises:
            ConfigError: a level is not there, or RoIs pass a stage of the backbone.
        """
        if pooler.stage is not None:
            raise ConfigError(f"{self.layer_name} and roi_stage: PointRend samples maps itself, expected no roi_stage")
        missing = [level for level in self.point_levels if level not in pooler.strides]
        if missing:
            there = ", ".join(pooler.strides)
            raise ConfigError(f"{self.layer_name}.point_levels: no level {missing[0]!r} in the neck, there are {there}")
        layer = PointRendMaskHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.channels * len(self.pool.levels)))
        return layer


class PointPrediction(NamedTuple):
    """What the head says in training."""

    coarse: tf.Tensor  # f32[B, S, m, m, C], logits
    points: tf.Tensor  # f32[B, S, P, 2], parts of each RoI
    logits: tf.Tensor  # f32[B, S, P, C], at the points


class PointTarget(NamedTuple):
    """What it should say."""

    coarse: tf.Tensor  # f32[B, S, m, m], the object's mask
    masks: tf.Tensor  # u8[B, G, h, w], of all objects
    frames: tf.Tensor  # f32[B, G, 4], what each of these masks covers
    margin: tf.Tensor  # f32[], cells at the border in which the value of their center holds


class PointRendMaskHead(BaseMaskHead):
    """A coarse mask by convolution and fully connected layers; a network that all points share, for fine ones."""

    config: PointRendMaskHeadConfig

    def __init__(self, config: PointRendMaskHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, num_classes, pooler, **kwargs)
        self.coarse_channels = None
        if pooler.channels * len(config.pool.levels) > config.conv_dim:
            self.coarse_channels = _conv(config.conv_dim, 1, "coarse_channels")
        self.coarse_reduce = _conv(config.conv_dim, 2, "coarse_reduce")
        xavier = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
        self.coarse_fcs = [
            keras.layers.Dense(dim, "relu", kernel_initializer=first_kernel(xavier), name=f"coarse_fc{i}")
            for i, dim in enumerate(config.fc_dims, start=1)
        ]
        outputs = num_classes * config.coarse_side**2
        normal = [normal_initializer(0.001) for _ in range(2)]
        self.coarse_logits = keras.layers.Dense(outputs, kernel_initializer=normal[0], name="coarse_logits")
        self.point_fcs = [
            keras.layers.Dense(dim, "relu", kernel_initializer=fan_out_initializer(), name=f"point_fc{i}")
            for i, dim in enumerate(config.point_fc_dims, start=1)
        ]
        self.point_logits = keras.layers.Dense(num_classes, kernel_initializer=normal[1], name="point_logits")

    @property
    def mask_side(self) -> int:
        """Cells a side of the coarse mask, which targets are made for."""
        return self.config.coarse_side

    def build(self, input_shape: Shape) -> None:
        """Create the weights for sampled features [B, S, h, w, channels]."""
        if self.built:
            return
        side, channels, config = self.config.pool.size, input_shape[-1], self.config
        if self.coarse_channels is not None:
            self.coarse_channels.build((None, side, side, channels))
            channels = config.conv_dim
        self.coarse_reduce.build((None, side, side, channels))
        width = config.conv_dim * (side // 2) ** 2
        for layer in (*self.coarse_fcs, self.coarse_logits):
            layer.build((None, width))
            width = layer.units
        width = self.pooler.channels * len(config.point_levels) + self.num_masks
        for layer in self.point_fcs:
            layer.build((None, None, width))
            width = layer.units + (self.num_masks if config.coarse_each_layer else 0)
        self.point_logits.build((None, None, width))
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
        targets: PointTarget | None = None,
    ) -> Any:
        """With targets a `PointPrediction`, else logits f32[B, S, M, M] of each RoI's class; see `RoiHead.call`."""
        if class_ids is None:
            raise ValueError("PointRend needs the class of each RoI")
        coarse = self.coarse_masks(features, boxes)
        index = tf.maximum(class_ids - 1, 0)
        if targets is None:
            return self.subdivide(features, boxes, coarse, index)
        points = tf.stop_gradient(self.draw_train_points(coarse, index, seed))
        return PointPrediction(coarse, points, self.logits_at(features, boxes, coarse, points))

    def coarse_masks(self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Logits f32[B, S, m, m, C] of the coarse masks of RoIs f32[B, S, 4]."""
        size, side = self.config.pool.size, self.config.coarse_side
        points = tf.broadcast_to(point_ops.regular_points(size), [*tf.unstack(tf.shape(boxes)[:2]), size**2, 2])
        x = merge_rois(self.features_at(features, boxes, points, self.config.pool.levels))
        x = tf.reshape(x, [-1, size, size, x.shape[-1]])
        for conv in (self.coarse_channels, self.coarse_reduce):
            x = x if conv is None else conv(x)
        x = tf.reshape(x, [-1, self.config.conv_dim * (size // 2) ** 2])
        for layer in (*self.coarse_fcs, self.coarse_logits):
            x = layer(x)
        return split_rois(float32_output(tf.reshape(x, [-1, side, side, self.num_masks])), boxes)

    def features_at(
        self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor, points: tf.Tensor, levels: tuple[str, ...]
    ) -> tf.Tensor:
        """[B, S, P, channels of all levels] at points f32[B, S, P, 2] of RoIs f32[B, S, 4]."""
        shape = tf.shape(points)
        place = tf.reshape(point_ops.points_in_image(points, boxes), [shape[0], shape[1] * shape[2], 2])
        maps = [point_ops.sample_points(features[level], place / float(self.pooler.strides[level])) for level in levels]
        sampled = tf.concat(maps, -1) if len(maps) > 1 else maps[0]
        return tf.reshape(sampled, [shape[0], shape[1], shape[2], sampled.shape[-1]])

    def logits_at(
        self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor, coarse: tf.Tensor, points: tf.Tensor
    ) -> tf.Tensor:
        """Logits f32[B, S, P, C] at points f32[B, S, P, 2] of RoIs f32[B, S, 4]."""
        fine = merge_rois(self.features_at(features, boxes, points, self.config.point_levels))
        given = tf.cast(point_ops.sample_grids(merge_rois(coarse), merge_rois(points)), fine.dtype)
        x = tf.concat([fine, given], -1)
        for layer in self.point_fcs:
            x = layer(x)
            if self.config.coarse_each_layer:
                x = tf.concat([x, tf.cast(given, x.dtype)], -1)
        return split_rois(float32_output(self.point_logits(x)), boxes)

    def draw_train_points(self, coarse: tf.Tensor, class_index: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """f32[B, S, P, 2]: of many drawn points those where the coarse mask is least certain, and some of any kind.

        Ref: section 3.2, "Point selection for training".
        """
        config = self.config
        num, many = config.train_points, int(config.train_points * config.oversample)
        kept = int(config.importance * num)
        drawn = point_ops.draw_points(seed, tf.shape(coarse)[1], many + num - kept)
        candidates, anywhere = drawn[:, :, :many], drawn[:, :, many:]
        logits = split_rois(point_ops.sample_grids(merge_rois(coarse), merge_rois(candidates)), coarse)
        own = _of_class(logits, class_index)  # [B, S, many]
        uncertain = tf.gather(candidates, point_ops.least_certain(own, kept), batch_dims=2)
        return tf.concat([uncertain, anywhere], 2)

    def subdivide(
        self, features: Mapping[str, tf.Tensor], boxes: tf.Tensor, coarse: tf.Tensor, class_index: tf.Tensor
    ) -> tf.Tensor:
        """Logits f32[B, S, M, M] of each RoI's class: doubled again and again, the least certain cells computed anew.

        Ref: section 3.1, "Inference".
        """

        def logits_at(points: tf.Tensor) -> tf.Tensor:
            own = _of_class(self.logits_at(features, boxes, coarse, points), class_index)
            return tf.reshape(own, [-1, own.shape[-1]])  # [B * S, P]

        side, steps = self.config.schedule
        everywhere = point_ops.regular_points(side)
        grid = logits_at(tf.broadcast_to(everywhere, [*tf.unstack(tf.shape(boxes)[:2]), side**2, 2]))
        grid = tf.reshape(grid, [-1, side, side])
        for _ in range(steps):
            grid, side = point_ops.double(grid), 2 * side
            num = min(self.config.subdivision_points, side**2)
            index = point_ops.least_certain(tf.reshape(grid, [-1, side**2]), num)
            cell = tf.stack([index // side, index % side], -1)
            points = split_rois((tf.cast(cell, tf.float32) + 0.5) / side, boxes)
            grid = point_ops.replace_points(grid, index, logits_at(points))
        return split_rois(grid, boxes)

    def targets(self, rois: RoiSample, batch: Batch) -> PointTarget:
        """The coarse mask as of any mask head, and the masks that points are looked up in."""
        coarse = super().targets(rois, batch)
        if "gt_full_masks" not in batch:
            return PointTarget(coarse, batch["gt_masks"], batch["gt_boxes"], tf.constant(0.5))
        masks = batch["gt_full_masks"]
        side = tf.cast(tf.shape(masks)[2:], tf.float32)
        frames = tf.zeros_like(batch["gt_boxes"]) + tf.concat([[0.0, 0.0], side], 0)
        return PointTarget(coarse, masks, frames, tf.constant(0.0))  # around the image there is nothing

    def loss(self, pred: PointPrediction, targets: PointTarget, rois: RoiSample) -> dict[str, LossTerm]:
        """The coarse mask's loss, and the cross-entropy of the points, averaged over those of the foreground RoIs."""
        terms = super().loss(pred.coarse, targets.coarse, rois)
        labels = _labels(pred.points, targets, rois)
        own = _of_class(pred.logits, tf.maximum(rois.class_ids - 1, 0))
        per_roi = tf.reduce_mean(losses.sigmoid_cross_entropy(own, labels), -1)  # [B, S]
        total = self.config.point_loss_weight * losses.masked_sum(per_roi, rois.foreground)
        return {**terms, "roi_mask_point": LossTerm(total, terms["roi_mask"].count)}

    def predict(self, pred: tf.Tensor, detections: Detections) -> dict[str, tf.Tensor]:
        """The refined mask of each detection, as probabilities."""
        return {"masks": tf.sigmoid(pred)}


def _labels(points: tf.Tensor, targets: PointTarget, rois: RoiSample) -> tf.Tensor:
    """f32[B, S, P]: each RoI's object at its points; between two pixels between 0 and 1."""
    frames = tf.gather(targets.frames, rois.gt_index, batch_dims=1)[:, :, tf.newaxis]  # [B, S, 1, 4]
    corner, side = frames[..., :2], frames[..., 2:] - frames[..., :2]
    place = tf.math.divide_no_nan(point_ops.points_in_image(points, rois.boxes) - corner, side)  # parts of the frame
    inside = tf.reduce_all((place >= 0.0) & (place <= 1.0), -1)
    cells = tf.cast(tf.shape(targets.masks)[2:], tf.float32)
    place = tf.clip_by_value(place * cells, targets.margin, cells - targets.margin)
    return tf.where(inside, point_ops.sample_masks(targets.masks, rois.gt_index, place), 0.0)


def _of_class(logits: tf.Tensor, class_index: tf.Tensor) -> tf.Tensor:
    """[B, S, P, C] -> [B, S, P]."""
    return select_class(logits, class_index)


def _conv(filters: int, side: int, name: str) -> ConvNorm:
    """Cells of side x side that do not overlap, with ReLU."""
    return ConvNorm(filters, side, side, activation="relu", kernel_initializer=fan_out_initializer(), name=name)
