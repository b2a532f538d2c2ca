"""What the losses of RoI heads have in common: one base class for each kind of prediction.

A loss is a frozen dataclass with a `__call__`; its fields are its parameters. It says how far a prediction is from its
target, element by element; which elements count, and what their sum is divided by, is the head's business. What turns
logits into probabilities is a field of the head, not of the loss.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, NamedTuple

import tensorflow as tf

from mrcnn.base_config import BaseConfig
from mrcnn.ops.classes import select_class

PACKAGE = "mrcnn.modeling.losses"
Activation = Literal["sigmoid", "softmax"]


class MaskLogits(NamedTuple):
    """The masks a head predicts for RoIs, and which of them counts for each.

    With the activation "sigmoid" every class has a mask of its own; with "softmax" the classes and background, which is
    channel 0, compete for each pixel.
    """

    logits: tf.Tensor  # f32[B, F, M, M, K]
    channel: tf.Tensor  # i32[B, F], the mask of the RoI's class
    activation: Activation

    def probs(self) -> tf.Tensor:
        """f32[B, F, M, M], the probability that each pixel belongs to an object of the RoI's class."""
        if self.activation == "softmax":
            return select_class(tf.nn.softmax(self.logits), self.channel)
        return tf.sigmoid(self.own_logits())

    def pixel_classes(self, targets: tf.Tensor) -> tf.Tensor:
        """i32[B, F, M, M], with "softmax" the channel that should win each pixel: the RoI's class, or background.

        Args:
            targets: f32[B, F, M, M], 0 to 1; from one half on a pixel belongs to the object.
        """
        return tf.where(targets >= 0.5, self.channel[..., tf.newaxis, tf.newaxis], 0)

    def own_logits(self) -> tf.Tensor:
        """f32[B, F, M, M], the logits of the mask of each RoI's class."""
        return select_class(self.logits, self.channel)


@dataclasses.dataclass(frozen=True)
class MaskLoss(BaseConfig):
    """Base of the losses of mask heads."""

    components: ClassVar[str | None] = PACKAGE
    abstract: ClassVar[bool] = True

    def __call__(self, pred: MaskLogits, targets: tf.Tensor) -> tf.Tensor:
        """The loss of each RoI's mask.

        Args:
            pred: the predicted masks.
            targets: f32[B, F, M, M], 0 to 1.

        Returns:
            f32[B, F]. Those that are not foreground do not count, whatever they are.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ClassLoss(BaseConfig):
    """Base of the class losses of box heads."""

    components: ClassVar[str | None] = PACKAGE
    abstract: ClassVar[bool] = True
    activations: ClassVar[tuple[Activation, ...]] = ("softmax",)  # of the head, that the loss is made for

    def check(self, num_classes: int) -> None:
        """Refuses parameters that do not fit the number of classes C, with a `ConfigError`; by default none."""

    def for_classes(self, num_classes: int) -> ClassLoss:
        """The loss of a model that is given other classes, C of them, than it was trained on; by default as it is."""
        return self

    def __call__(self, logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
        """The loss of each RoI's class.

        Args:
            logits: f32[B, S, C + 1], background first.
            class_ids: i32[B, S], 0 for background.

        Returns:
            f32[B, S]. Padding does not count, whatever it is.
        """
        raise NotImplementedError

    def of_images(
        self, logits: tf.Tensor, class_ids: tf.Tensor, valid: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """As `__call__`, for a loss that depends on an image's other RoIs or draws; by default neither.

        Args:
            logits, class_ids: as of `__call__`.
            valid: bool[B, S]; the others are padding.
            seed: i32[B, 2], stateless seed of each image; None: there is none, as outside of training.
        """
        return self(logits, class_ids)


@dataclasses.dataclass(frozen=True)
class BoxLoss(BaseConfig):
    """Base of the box losses of box heads."""

    components: ClassVar[str | None] = PACKAGE
    abstract: ClassVar[bool] = True

    def __call__(self, pred: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """The loss of each RoI's deltas.

        Args:
            pred: f32[B, S, 4], (dy, dx, log dh, log dw) for the RoI's class, times the head's `delta_weights`.
            targets: f32[B, S, 4], the same to the RoI's object.

        Returns:
            f32[B, S]. Background does not count, whatever it is.
        """
        raise NotImplementedError
