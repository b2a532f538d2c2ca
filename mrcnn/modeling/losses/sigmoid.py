"""Sigmoid cross-entropy of classes, of all of them or of a few that are drawn for each image."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from importlib import resources
from typing import ClassVar

import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import Activation, ClassLoss
from mrcnn.ops import losses
from mrcnn.ops.sampling import sample_classes


@functools.cache
def known_image_counts() -> dict[str, tuple[int, ...]]:
    """How many training images show each class, in the order of the ids, by data set; see "source" in the file.

    Example:
        >>> known_image_counts()["lvis_v1"][:3]
        (64, 364, 1911)
    """
    text = resources.files("mrcnn.modeling.losses").joinpath("image_counts.json").read_text(encoding="utf-8")
    return {name: tuple(counts) for name, counts in json.loads(text)["counts"].items()}


@dataclasses.dataclass(frozen=True)
class ClassSigmoidCrossEntropy(ClassLoss):
    """Binary cross-entropy of each class by itself, added up over the classes; background is none of them all.

    Goes with the box head's `activation` "sigmoid".

    Example:
        >>> from mrcnn.modeling.heads.box import BoxHeadConfig
        >>> BoxHeadConfig(activation="sigmoid", class_loss=ClassSigmoidCrossEntropy()).class_loss
        ClassSigmoidCrossEntropy()
    """

    activations: ClassVar[tuple[Activation, ...]] = ("sigmoid",)
    short_name: ClassVar[str] = "sigmoid"

    def __call__(self, logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
        """See `ClassLoss.__call__`."""
        return tf.reduce_sum(_of_each_class(logits, class_ids), -1)


@dataclasses.dataclass(frozen=True)
class ClassFederated(ClassLoss):
    """Sigmoid cross-entropy over a few classes of each image: those of its RoIs, and others drawn, common ones first.

    Of a data set whose images were each searched for some of many classes, an object without annotation then seldom
    counts as background, and a rare class is not pushed down by every image that lacks it. What is drawn depends on
    the image's seed alone. As detectron2 counts, background among the RoIs takes one of the `num_classes`; it draws
    once for all images of a GPU, which are one in its published runs.

    Goes with the box head's `activation` "sigmoid". Ref: Zhou, Koltun and Kraehenbuehl, Probabilistic two-stage
    detection, arXiv 2103.07461 ("federated loss"); detectron2, projects/ViTDet/configs/LVIS.

    Example:
        >>> ClassFederated(image_counts=(3, 40, 1000)).num_classes
        50
    """

    activations: ClassVar[tuple[Activation, ...]] = ("sigmoid",)
    short_name: ClassVar[str] = "federated"

    num_classes: int = 50  # that count in an image, unless its RoIs are of more
    # Training images that show each class, in the order of the classes; "lvis_v1": those of LVIS v1; (): all alike.
    image_counts: tuple[int, ...] | str = ()
    power: float = 0.5  # a class is drawn with a probability proportional to count^power

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ConfigError(f"class_loss.num_classes: expected at least 1, got {self.num_classes}")
        if not 0 <= self.power < math.inf:
            raise ConfigError(f"class_loss.power: expected a number from 0, got {self.power}")
        if isinstance(self.image_counts, str):
            if self.image_counts not in known_image_counts():
                known = " or ".join(f'"{name}"' for name in known_image_counts())
                raise ConfigError(
                    f"class_loss.image_counts: expected numbers, one for each class, or {known}, got"
                    f" {self.image_counts!r}"
                )
        elif self.image_counts and (min(self.image_counts) < 0 or not any(self.image_counts)):
            raise ConfigError("class_loss.image_counts: expected numbers from 0, at least one of them above")

    def counts(self) -> tuple[int, ...]:
        """Training images that show each class; (): all alike."""
        if isinstance(self.image_counts, str):
            return known_image_counts()[self.image_counts]
        return self.image_counts

    def check(self, num_classes: int) -> None:
        """See `ClassLoss.check`."""
        counts = self.counts()
        if counts and len(counts) != num_classes:
            of = f" of {self.image_counts}" if isinstance(self.image_counts, str) else ""
            raise ConfigError(
                f"class_loss.image_counts: expected {num_classes}, one for each class, or none, got {len(counts)}{of}"
            )

    def for_classes(self, num_classes: int) -> ClassFederated:
        """See `ClassLoss.for_classes`: counts of a data set by name are left out where its classes are others."""
        is_other = isinstance(self.image_counts, str) and len(self.counts()) != num_classes
        return dataclasses.replace(self, image_counts=()) if is_other else self

    def __call__(self, logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
        """Refused: which classes count depends on all of an image's RoIs.

        Raises:
            ValueError: always.
        """
        raise ValueError("ClassFederated depends on all RoIs of an image: call `of_images`, with the images' seeds")

    def of_images(
        self, logits: tf.Tensor, class_ids: tf.Tensor, valid: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """See `ClassLoss.of_images`.

        Raises:
            ValueError: there is no seed.
        """
        if seed is None:
            raise ValueError("ClassFederated draws classes: it needs the seed of each image")
        counted = self.counted(class_ids, valid, seed, logits.shape[-1] - 1)
        each = _of_each_class(logits, class_ids)
        return tf.reduce_sum(tf.where(counted[:, tf.newaxis], each, 0.0), -1)

    def counted(self, class_ids: tf.Tensor, valid: tf.Tensor, seed: tf.Tensor, num_classes: int) -> tf.Tensor:
        """bool[B, C], the classes that count in each image.

        Args:
            class_ids, valid, seed: as of `of_images`.
            num_classes: C, things only.
        """
        of_rois = tf.one_hot(class_ids, num_classes + 1, on_value=True, off_value=False) & valid[..., tf.newaxis]
        present = tf.reduce_any(of_rois, 1)  # [B, C + 1]
        weights = tf.cast(self.counts() or (1,) * num_classes, tf.float32) ** self.power
        drawn = self.num_classes - tf.cast(present[:, 0], tf.int32)
        return sample_classes(present[:, 1:], weights, drawn, seed)


def _of_each_class(logits: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
    """f32[B, S, C], the binary cross-entropy of each class; background's logit, the first, has none."""
    targets = tf.one_hot(class_ids, logits.shape[-1])[..., 1:]
    return losses.sigmoid_cross_entropy(logits[..., 1:], targets)
