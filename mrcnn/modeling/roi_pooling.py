"""How heads see their RoIs: the config of the RoI operator, and the pooler that applies it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.ops.pyramid import LevelAssignment, LevelRule
from mrcnn.ops.roi_align import multilevel_roi_align
from mrcnn.ops.roi_pool import multilevel_roi_pool
from mrcnn.ops.roi_warp import multilevel_crop_and_resize, multilevel_roi_warp
from mrcnn.ops.rotated_pyramid import multilevel_rotated_roi_align

RoiOp = Literal["align", "pool", "warp", "crop", "align_rotated"]


@dataclasses.dataclass(frozen=True)
class RoiPoolConfig(BaseConfig):
    """How a head sees its RoIs: one operator on the pyramid level that suits each RoI's size.

    `op` is one of

        "align"  RoIAlign: bilinear samples, no coordinate rounded
        "pool"   RoIPool: the maximum in bins rounded to whole cells
        "warp"   RoIWarp: bilinear samples of a box rounded to whole cells
        "crop"   one bilinear sample per bin, the outermost on the corners of the box
        "align_rotated"  RoIAlign of rotated RoIs, which `RotatedRPNConfig` proposes; always aligned
    """

    size: int = 7  # bins per axis
    sampling_ratio: int = 2  # samples per bin and axis; 0: ceil(RoI side / bins). "align" and, from 1, "warp"
    aligned: bool = False  # half-cell shift; False as in the paper. "align" only
    canonical_size: float = 224.0  # RoIs of this side (pixels) ...
    canonical_level: int = 4  # ... are pooled from this level. Ref: FPN, equation 1
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")
    op: RoiOp = "align"
    reduce: Literal["mean", "max"] = "mean"  # of a bin's samples. "align" and "warp"; the paper found no difference
    level_rule: LevelRule = "floor_inside"  # see `pyramid.assign_levels`
    level_epsilon: float = 1e-6  # keeps a RoI of exactly canonical_size on its level; where it is added, the rule says
    end_offset: float = 0.0  # pixels added to y2 and x2 before pooling; -1: they become the last pixels inside

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"pool.size: expected at least 1, got {self.size}")
        if self.sampling_ratio < 0:
            raise ConfigError(f"pool.sampling_ratio: expected 0 (adaptive) or more, got {self.sampling_ratio}")
        if self.sampling_ratio == 0 and (self.op == "warp" or (self.op == "align" and self.reduce == "max")):
            raise ConfigError(f'pool.sampling_ratio: expected at least 1 with op "{self.op}", reduce "{self.reduce}"')
        if self.op == "align_rotated" and self.reduce == "max":
            raise ConfigError('pool.op and pool.reduce: op "align_rotated" takes means, expected reduce "mean"')
        if self.op == "align_rotated" and self.end_offset:
            raise ConfigError("pool.op and pool.end_offset: a rotated box has no last pixel, expected end_offset 0")
        if not self.levels:
            raise ConfigError("pool.levels: expected at least one level name, got none")

    def pool(
        self, features: Mapping[str, tf.Tensor], strides: Mapping[str, int], boxes: tf.Tensor, valid: tf.Tensor
    ) -> tf.Tensor:
        """Features under each RoI.

        Args:
            features: pyramid levels [B, H / stride, W / stride, C] by name.
            strides: pixels per cell of each level.
            boxes: f32[B, S, 4], pixels of the padded image; [B, S, 5] for "align_rotated".
            valid: bool[B, S]; invalid RoIs give zeros.

        Returns:
            [B, S, size, size, C].
        """
        maps = [features[level] for level in self.levels]
        steps = [strides[level] for level in self.levels]
        if self.op == "align_rotated":
            rule = LevelAssignment(self.canonical_size, self.canonical_level, self.level_rule, self.level_epsilon)
            return multilevel_rotated_roi_align(maps, boxes, steps, self.size, self.sampling_ratio, valid, rule)
        options = {
            "valid": valid,
            "canonical_level": self.canonical_level,
            "canonical_size": self.canonical_size,
            "level_rule": self.level_rule,
            "level_epsilon": self.level_epsilon,
            "end_offset": self.end_offset,
        }
        if self.op == "pool":
            return multilevel_roi_pool(maps, boxes, steps, self.size, **options)
        if self.op == "crop":
            return multilevel_crop_and_resize(maps, boxes, steps, self.size, **options)
        if self.op == "align" and self.reduce == "mean":
            return multilevel_roi_align(maps, boxes, steps, self.size, self.sampling_ratio, self.aligned, **options)
        fine = self.size * self.sampling_ratio
        if self.op == "align":
            samples = multilevel_roi_align(maps, boxes, steps, fine, 1, self.aligned, **options)
        else:
            samples = multilevel_roi_warp(maps, boxes, steps, fine, **options)
        return _reduce_samples(samples, self.sampling_ratio, self.reduce)


def _reduce_samples(samples: tf.Tensor, ratio: int, reduce: Literal["mean", "max"]) -> tf.Tensor:
    """[B, S, h * ratio, w * ratio, C] -> [B, S, h, w, C]; the gradient of a maximum goes to the first of equal ones."""
    if ratio == 1:
        return samples
    # Not tf.nn.max_pool2d and avg_pool2d: in a graph they abort the process where there is no RoI.
    height, width, channels = samples.shape[2] // ratio, samples.shape[3] // ratio, samples.shape[4]
    batch = tf.unstack(tf.shape(samples)[:2])
    bins = tf.reshape(samples, [-1, height, ratio, width, ratio, channels])
    if reduce == "mean":
        reduced = tf.reduce_mean(bins, axis=(2, 4))
    else:
        bins = tf.reshape(tf.transpose(bins, [0, 1, 3, 2, 4, 5]), [-1, height, width, ratio**2, channels])
        first = tf.one_hot(tf.argmax(bins, axis=3), ratio**2, on_value=True, off_value=False, axis=3)
        reduced = tf.reduce_sum(tf.where(first, bins, tf.zeros([], bins.dtype)), axis=3)
    reduced = tf.reshape(reduced, [*batch, height, width, channels])
    return tf.ensure_shape(reduced, [*samples.shape[:2], height, width, channels])


class RoiPooler:
    """Features of each RoI as a head receives them: pooled, then passed through a stage that heads may share.

    Not a layer, so that Keras does not take `stage` for a part of every head that holds the pooler.

    Args:
        config: the operator.
        strides: pixels per cell of each level, by name.
        channels: channels of every level.
        stage: layer [N, size, size, channels] -> [N, h, h, out_channels] run on all RoIs, as the fifth stage of a
            ResNet in a C4 model; None: what was pooled is what the head receives.
    """

    def __init__(
        self, config: RoiPoolConfig, strides: Mapping[str, int], channels: int, stage: keras.layers.Layer | None = None
    ) -> None:
        missing = [level for level in config.levels if level not in strides]
        if missing:
            raise ConfigError(f"pool.levels: no level {missing[0]!r} in the neck, there are {', '.join(strides)}")
        self.config, self.strides, self.channels, self.stage = config, dict(strides), channels, stage
        shape = (None, config.size, config.size, channels)
        if stage is not None:
            shape = tuple(stage.compute_output_shape(shape))
        self.out_size: int = shape[1]  # bins per axis of the result
        self.out_channels: int = shape[3]

    def __call__(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Features under each RoI.

        Args:
            features: pyramid levels [B, H / stride, W / stride, channels] by name.
            boxes: f32[B, S, 4 or 5], pixels of the padded image; no gradient flows into them.
            valid: bool[B, S]; for invalid RoIs zeros are pooled.
            training: handed to the stage.

        Returns:
            [B, S, out_size, out_size, out_channels] in the dtype of the features.

        Empty: S = 0 gives an empty result.
        """
        pooled = self.config.pool(features, self.strides, boxes, valid)  # [B, S, size, size, channels]
        if self.stage is None:
            return pooled
        merged = self.stage(tf.reshape(pooled, [-1, *pooled.shape[2:]]), training=training)  # [B * S, ...]
        shape = [*tf.unstack(tf.shape(pooled)[:2]), self.out_size, self.out_size, self.out_channels]
        return tf.ensure_shape(tf.reshape(merged, shape), [*pooled.shape[:2], *shape[2:]])
