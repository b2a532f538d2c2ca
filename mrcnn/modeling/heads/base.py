"""What RoI heads have in common: the interface the model calls, and small stacks of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.structures.tensors import Batch, Detections, LossTerm, RoiSample


@dataclasses.dataclass(frozen=True)
class RoiHeadConfig(BaseConfig):
    """Base of the config of RoI heads."""

    components: ClassVar[str | None] = "mrcnn.modeling.heads"
    abstract: ClassVar[bool] = True

    pool: RoiPoolConfig = RoiPoolConfig()
    loss_weight: float = 1.0

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms of the head."""
        raise NotImplementedError

    def build(self, num_classes: int, pooler: RoiPooler, name: str) -> RoiHead:
        """The head with its weights created.

        Args:
            num_classes: C, things only.
            pooler: what the head sees its RoIs through, made from `pool`.
            name: layer name.
        """
        raise NotImplementedError


class RoiHead(keras.layers.Layer):
    """A branch of the second stage. Subclasses add a file, not a case elsewhere.

    In training the model calls `call` on the RoIs of `rois_for`, then `loss` against `targets`. In inference it calls
    `call` on the detections' boxes, then `attach`.
    """

    config: RoiHeadConfig

    def __init__(self, config: RoiHeadConfig, pooler: RoiPooler, **kwargs: Any) -> None:
        # Boxes stay float32 under a half-precision policy: bfloat16 knows whole pixels up to 256 only.
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.pooler = pooler

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        window: tf.Tensor,
        training: bool | None = None,
    ) -> Any:
        """Predictions of the head for each RoI.

        Args:
            features: pyramid levels [B, H / stride, W / stride, C] by name.
            boxes: f32[B, S, 4], the RoIs in pixels of the padded image.
            valid: bool[B, S]; the others are padding: what is predicted for them means nothing, and they take no part
                in batch statistics.
            window: f32[B, 4], (y1, x1, y2, x2) of the image inside the padding; boxes a head makes are clipped to it.
            training: whether batch norm uses, and learns from, the statistics of this batch.
        """
        raise NotImplementedError

    def rois_for(self, rois: RoiSample) -> RoiSample:
        """The sampled RoIs this head trains on; by default all of them."""
        return rois

    def targets(self, rois: RoiSample, batch: Batch) -> Any:
        """What the head should predict for `rois`."""
        raise NotImplementedError

    def loss(self, pred: Any, targets: Any, rois: RoiSample) -> dict[str, LossTerm]:
        """Loss terms by name, each as sum and count."""
        raise NotImplementedError

    def attach(self, detections: Detections, pred: Any) -> Detections:
        """The detections with this head's predictions added; `pred` was computed on `detections.boxes`."""
        raise NotImplementedError


def foreground_rois(rois: RoiSample, num: int) -> RoiSample:
    """The first `num` RoIs, where the sampler puts the foreground; those that are background count as padding."""
    first = RoiSample(*(field[:, :num] for field in rois))
    return first._replace(valid=first.valid & first.foreground)


def select_class(values: tf.Tensor, class_index: tf.Tensor) -> tf.Tensor:
    """The predictions for one class per RoI.

    Args:
        values: [B, S, ..., K] with K classes last.
        class_index: i32[B, S], 0 .. K - 1.

    Returns:
        [B, S, ...].
    """
    num_classes = values.shape[-1]
    if num_classes == 1:
        return tf.squeeze(values, -1)
    inner = len(values.shape) - 3
    # A product with one-hot rows reads the map once and, unlike a gather, has a cheap gradient.
    one_hot = tf.one_hot(class_index, num_classes, dtype=values.dtype)
    one_hot = tf.reshape(one_hot, [*_dynamic_shape(class_index), *[1] * inner, num_classes])
    return tf.reduce_sum(values * one_hot, axis=-1)


def _dynamic_shape(x: tf.Tensor) -> list[Any]:
    shape = tf.shape(x)
    return [shape[i] if size is None else size for i, size in enumerate(x.shape)]


def merge_rois(x: tf.Tensor) -> tf.Tensor:
    """[B, S, ...] -> [B * S, ...], so that layers for images serve RoIs."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def split_rois(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[B * S, ...] -> [B, S, ...] with B and S of `like` [B, S, ...]."""
    shape = _dynamic_shape(like)
    return tf.reshape(x, [*shape[:2], *x.shape[1:]])
