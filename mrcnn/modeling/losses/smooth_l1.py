"""Smooth L1, of box deltas."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import BoxLoss
from mrcnn.ops import losses


@dataclasses.dataclass(frozen=True)
class SmoothL1(BoxLoss):
    """Quadratic near the target, linear beyond, added up over the four deltas. Ref: Fast R-CNN, section 2.3."""

    beta: float = 1.0  # difference from which on it is linear; 0: the plain absolute difference

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ConfigError(f"box_loss.beta: expected at least 0, got {self.beta}")

    def __call__(self, pred: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """See `BoxLoss.__call__`."""
        return tf.reduce_sum(losses.smooth_l1(pred, targets, self.beta), -1)
