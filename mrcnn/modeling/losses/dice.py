"""Dice loss, of masks."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import MaskLogits, MaskLoss


@dataclasses.dataclass(frozen=True)
class MaskDice(MaskLoss):
    """1 less the overlap of a mask's probabilities p with the target t: 1 - (2 sum(p t) + s) / (sum(p^2 + t^2) + s).

    It does not depend on how many of the RoI's pixels the object fills. With softmax p is the share of the RoI's class.
    Ref: V-Net, arXiv 1606.04797, section 3.

    Example:
        >>> from mrcnn.modeling.heads.mask import MaskHeadConfig
        >>> MaskHeadConfig(loss=MaskDice(smooth=2.0)).loss
        MaskDice(smooth=2.0)
    """

    short_name: ClassVar[str] = "dice"

    smooth: float = 1.0  # s, in pixels: keeps the loss of an empty mask finite

    def __post_init__(self) -> None:
        if not 0 < self.smooth < math.inf:
            raise ConfigError(f"loss.smooth: expected a positive number, got {self.smooth}")

    def __call__(self, pred: MaskLogits, targets: tf.Tensor) -> tf.Tensor:
        """See `MaskLoss.__call__`."""
        probs = pred.probs()
        common = tf.reduce_sum(probs * targets, [-2, -1])
        total = tf.reduce_sum(probs**2 + targets**2, [-2, -1])
        return 1.0 - (2.0 * common + self.smooth) / (total + self.smooth)
