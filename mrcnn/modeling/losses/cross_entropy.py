"""Cross-entropy, of classes and of masks."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import ClassLoss, MaskLogits, MaskLoss
from mrcnn.ops import losses


@dataclasses.dataclass(frozen=True)
class ClassCrossEntropy(ClassLoss):
    """Cross-entropy of the softmax over the classes, on request focal or weighted by class. Ref: Fast R-CNN, eq. 1."""

    focal_gamma: float = 0.0  # weights the loss by (1 - p)^gamma; 0: not; RetinaNet: 2
    class_weights: tuple[float, ...] = ()  # background, class 1, ..., class C; (): all 1

    def __post_init__(self) -> None:
        if self.focal_gamma < 0:
            raise ConfigError(f"class_loss.focal_gamma: expected at least 0, got {self.focal_gamma}")
        if any(not 0 <= weight < math.inf for weight in self.class_weights):
            raise ConfigError(f"class_loss.class_weights: expected numbers from 0, got {list(self.class_weights)}")

    def check(self, num_classes: int) -> None:
        """See `ClassLoss.check`."""
        if self.class_weights and len(self.class_weights) != num_classes + 1:
            raise ConfigError(
                f"class_loss.class_weights: expected {num_classes + 1}, background first and then one for each class, "
                f"got {len(self.class_weights)}"
            )

    def __call__(self, logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
        """See `ClassLoss.__call__`."""
        values = losses.softmax_focal_loss(logits, class_ids, self.focal_gamma)
        if self.class_weights:
            values *= tf.gather(tf.constant(self.class_weights, tf.float32), class_ids)
        return values


@dataclasses.dataclass(frozen=True)
class MaskCrossEntropy(MaskLoss):
    """Cross-entropy, the mean over a mask's pixels; with sigmoid, of the true class' mask alone.

    Ref: Mask R-CNN, section 3; with softmax table 2b.
    """

    short_name: ClassVar[str] = "bce"

    def __call__(self, pred: MaskLogits, targets: tf.Tensor) -> tf.Tensor:
        """See `MaskLoss.__call__`."""
        if pred.activation == "softmax":
            per_pixel = losses.softmax_cross_entropy(pred.logits, pred.pixel_classes(targets))
        else:
            per_pixel = losses.sigmoid_cross_entropy(pred.own_logits(), targets)
        return tf.reduce_mean(per_pixel, [-2, -1])
