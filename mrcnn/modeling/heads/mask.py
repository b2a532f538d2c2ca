"""Mask heads: what all have in common, and the paper's, a small fully convolutional network per RoI.

Ref: Mask R-CNN, section 3 and figure 4 (right).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import (
    HeadLoss,
    HeadOutput,
    Pasting,
    RoiHead,
    RoiHeadConfig,
    foreground_rois,
    merge_rois,
    split_rois,
)
from mrcnn.modeling.initializers import fan_out_initializer, normal_initializer
from mrcnn.modeling.layers import ConvNorm, ConvStack, float32_output
from mrcnn.modeling.losses.base import Activation, MaskLogits, MaskLoss
from mrcnn.modeling.losses.cross_entropy import MaskCrossEntropy
from mrcnn.modeling.normalize import NormKind
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.ops import losses
from mrcnn.ops import masks as mask_ops
from mrcnn.ops.mask_crops import crop_masks_by_corners
from mrcnn.ops.rotated_masks import crop_rotated_masks
from mrcnn.structures.outputs import MASKS
from mrcnn.structures.tensors import Batch, Detections, LossTerm, RoiSample, Shape


@dataclasses.dataclass(frozen=True)
class BaseMaskHeadConfig(RoiHeadConfig):
    """What the config of every mask head has, whichever network makes its logits."""

    abstract: ClassVar[bool] = True

    pool: RoiPoolConfig = RoiPoolConfig(size=14)
    num_foreground: int = 128  # foreground RoIs per image it trains on; F of the sampler or fewer
    class_agnostic: bool = False  # one mask per RoI instead of one per class. Ref: section 4.2
    # "sigmoid": every class has a mask of its own. "softmax": one mask for all classes, which compete for each pixel
    # with each other and with background. The paper (table 2b) has "a per-pixel softmax and a multinomial loss (as
    # commonly used in FCN)", and FCN's classes include background: most RoIs hold pixels of no object, which a softmax
    # over things alone would have to give to one.
    activation: Activation = "sigmoid"
    loss: MaskLoss = MaskCrossEntropy()  # or its short name: "bce", "dice", "focal"
    # What the mask should be. "grid": the object's mask in its box (gt_masks), seen through the RoI. "project": where
    # RoIAlign of the mask in the image is at least one half; "project_soft": what RoIAlign gives. Both need batches
    # that hold gt_full_masks (`DataConfig.full_masks`) and are as "grid" without them.
    # "corners": sampled from corner to corner of the RoI.
    target: Literal["grid", "project", "project_soft", "corners"] = "grid"
    # How a mask is laid on the image, see `structures.masks.paste_masks`.
    paste: Literal["exact", "padded_integer", "integer_resize"] = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.loss, str):
            object.__setattr__(self, "loss", MaskLoss.from_short_name(self.loss, "loss"))
        if self.activation == "softmax" and self.class_agnostic:
            raise ConfigError(
                'activation and class_agnostic: with activation "softmax" the classes compete for each pixel, a'
                ' class-agnostic head has none; expected class_agnostic false or activation "sigmoid"'
            )

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`."""
        return (HeadLoss("roi_mask", ground_truth=("gt_masks",)),)

    @property
    def outputs(self) -> tuple[HeadOutput, ...]:
        """See `RoiHeadConfig.outputs`: the mask of each detection, as probabilities."""
        pasting = Pasting(self.paste, self.pool.end_offset if self.paste == "padded_integer" else 0.0)
        return (dataclasses.replace(MASKS, paste=pasting),)


@dataclasses.dataclass(frozen=True)
class MaskHeadConfig(BaseMaskHeadConfig):
    """Configuration of the fully convolutional mask head; defaults are the paper's for FPN."""

    takes_rotated: ClassVar[bool] = True

    conv_dims: tuple[int, ...] = (256, 256, 256, 256)  # none: the transposed convolution takes what was pooled
    conv_norm: NormKind = "none"
    norm_epsilon: float = 1e-5
    deconv_dim: int = 256

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "mask_head") -> MaskHead:
        """See `RoiHeadConfig.build`."""
        layer = MaskHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer


class BaseMaskHead(RoiHead):
    """What every mask head does beside its network: targets, the loss of the RoI's class, masks of detections.

    With sigmoid, masks of different classes do not compete: the box head alone decides the class. With softmax they do,
    and mask and class are no longer decoupled. Ref: section 4.2, "Multinomial vs. Independent Masks".
    """

    config: BaseMaskHeadConfig

    def __init__(self, config: BaseMaskHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, pooler, **kwargs)
        num_masks = 1 if config.class_agnostic else num_classes
        self.num_masks = num_masks + (config.activation == "softmax")  # background first

    @property
    def mask_side(self) -> int:
        """M, side of the predicted mask."""
        raise NotImplementedError

    def logits_of(self, pooled: tf.Tensor, valid: tf.Tensor, training: bool | None) -> tf.Tensor:
        """The network: [N, h, w, channels] of RoIs -> [N, M, M, num_masks]; `valid` bool[N]."""
        raise NotImplementedError

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
    ) -> tf.Tensor:
        """Mask logits f32[B, S, M, M, C], or 1 when class-agnostic, and 1 more with softmax; see `RoiHead.call`."""
        pooled = merge_rois(self.pooler(features, boxes, valid, training=training))
        logits = self.logits_of(pooled, tf.reshape(valid, [-1]), training)
        return split_rois(float32_output(logits), boxes)

    def rois_for(self, rois: RoiSample) -> RoiSample:
        """Foreground only: the mask loss is defined on positive RoIs."""
        return foreground_rois(rois, self.config.num_foreground)

    def targets(self, rois: RoiSample, batch: Batch) -> tf.Tensor:
        """f32[B, F, M, M] in {0, 1}, or between when soft: the matched object's mask inside each RoI."""
        config, side = self.config, self.mask_side
        if config.pool.op == "align_rotated":
            return crop_rotated_masks(batch["gt_masks"], batch["gt_boxes"], rois.gt_index, rois.boxes, side)
        if config.target == "corners":
            masks, frames = batch["gt_masks"], batch["gt_boxes"]
            if "gt_full_masks" in batch:
                masks = batch["gt_full_masks"]
                last = tf.cast(tf.shape(masks)[2:] - 1, tf.float32)
                frames = tf.zeros_like(frames) + tf.concat([[0.0, 0.0], last], 0)
            return crop_masks_by_corners(masks, frames, rois.gt_index, rois.boxes, side)
        if config.target == "grid" or "gt_full_masks" not in batch:
            return mask_ops.crop_masks(batch["gt_masks"], batch["gt_boxes"], rois.gt_index, rois.boxes, side)
        return mask_ops.project_masks(
            batch["gt_full_masks"],
            rois.gt_index,
            rois.boxes,
            side,
            config.pool.aligned,
            soft=config.target == "project_soft",
            content_shape=batch["content_shape"],
        )

    def loss(self, pred: tf.Tensor, targets: tf.Tensor, rois: RoiSample) -> dict[str, LossTerm]:
        """The configured loss of each mask, averaged over the foreground RoIs."""
        per_roi = self.config.loss(self.masks_of(pred, rois.class_ids), targets)  # [B, F]
        count = tf.reduce_sum(tf.cast(rois.foreground, tf.float32))
        total = self.config.loss_weight * losses.masked_sum(per_roi, rois.foreground)
        return {"roi_mask": LossTerm(total, count)}

    def predict(self, pred: tf.Tensor, detections: Detections) -> dict[str, tf.Tensor]:
        """The mask of each detection's class, as probabilities: with softmax its share of every pixel.

        As every mask they are pasted at the size of the box and cut off at one half ("binarized at a threshold of 0.5",
        section 3): with softmax a pixel is the object's where its class outweighs all others and background together.
        """
        return {"masks": self.masks_of(pred, detections.class_ids).probs()}

    def masks_of(self, pred: tf.Tensor, class_ids: tf.Tensor) -> MaskLogits:
        """Which of the predicted masks counts for each RoI.

        Args:
            pred: of `call`.
            class_ids: i32[B, S], from 1; for background it is some mask.
        """
        first = 1 if self.config.activation == "softmax" else 0
        index = tf.zeros_like(class_ids) if self.config.class_agnostic else tf.maximum(class_ids - 1, 0)
        return MaskLogits(pred, index + first, self.config.activation)


class MaskHead(BaseMaskHead):
    """Pooling, convolutions, a transposed convolution that doubles the resolution, one mask logit per class."""

    config: MaskHeadConfig

    def __init__(self, config: MaskHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, num_classes, pooler, **kwargs)
        self.convs = ConvStack(config.conv_dims, config.conv_norm, config.norm_epsilon, name="convs")
        self.deconv = keras.layers.Conv2DTranspose(
            config.deconv_dim,
            2,
            strides=2,
            activation="relu",
            kernel_initializer=fan_out_initializer(),
            name="deconv",
        )
        self.mask_logits = ConvNorm(self.num_masks, 1, kernel_initializer=normal_initializer(0.001), name="mask_logits")

    @property
    def mask_side(self) -> int:
        """M, side of the predicted mask."""
        return 2 * self.pooler.out_size

    def build(self, input_shape: Shape) -> None:
        """Create the weights for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        shape = (None, *input_shape[2:])
        self.convs.build(shape)
        self.deconv.build(self.convs.compute_output_shape(shape))
        self.mask_logits.build((None, self.mask_side, self.mask_side, self.config.deconv_dim))
        self.built = True

    def logits_of(self, pooled: tf.Tensor, valid: tf.Tensor, training: bool | None) -> tf.Tensor:
        """See `BaseMaskHead.logits_of`."""
        return self.mask_logits(self.deconv(self.convs(pooled, valid, training=training)))
