"""Focal loss, of masks."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import MaskLogits, MaskLoss
from mrcnn.ops import losses


@dataclasses.dataclass(frozen=True)
class MaskFocal(MaskLoss):
    """Cross-entropy that counts pixels less the surer they are right, the mean over a mask's pixels.

    With sigmoid it looks at the true class' mask alone, with softmax at the class, or background, of each pixel.
    Ref: Focal Loss for Dense Object Detection, arXiv 1708.02002, equations 4 and 5.

    Example:
        >>> from mrcnn.modeling.heads.mask import MaskHeadConfig
        >>> MaskHeadConfig(loss="focal").loss
        MaskFocal(gamma=2.0, alpha=None)
    """

    short_name: ClassVar[str] = "focal"

    gamma: float = 2.0  # the loss is weighted by (1 - p)^gamma; 0: plain cross-entropy
    alpha: float | None = None  # weight of the object's pixels, 1 - alpha that of the others; None: 1 for all

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < math.inf:
            raise ConfigError(f"loss.gamma: expected a number from 0, got {self.gamma}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ConfigError(f"loss.alpha: expected a number from 0 to 1 or none, got {self.alpha}")

    def __call__(self, pred: MaskLogits, targets: tf.Tensor) -> tf.Tensor:
        """See `MaskLoss.__call__`."""
        if pred.activation == "softmax":
            per_pixel = losses.softmax_focal_loss(pred.logits, pred.pixel_classes(targets), self.gamma)
        else:
            per_pixel = losses.sigmoid_focal_loss(pred.own_logits(), targets, self.gamma)
        if self.alpha is not None:
            per_pixel *= self.alpha * targets + (1.0 - self.alpha) * (1.0 - targets)
        return tf.reduce_mean(per_pixel, [-2, -1])
