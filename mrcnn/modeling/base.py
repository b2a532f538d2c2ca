"""What RoI heads have in common: the interface the model calls, pooling, and small stacks of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.backbones.base import ConvNorm
from mrcnn.modeling.normalize import NormKind
from mrcnn.ops.roi_align import multilevel_roi_align
from mrcnn.settings import Settings
from mrcnn.structures import Batch, Detections, LossTerm, RoiSample


@dataclasses.dataclass(frozen=True)
class RoiPoolConfig(Settings):
    """How a head sees its RoIs: RoIAlign on the pyramid level that suits each RoI's size."""

    size: int = 7  # bins per axis
    sampling_ratio: int = 2  # samples per bin and axis; 0: ceil(RoI side / bins)
    aligned: bool = False  # half-cell shift; False as in the paper
    canonical_size: float = 224.0  # RoIs of this side (pixels) ...
    canonical_level: int = 4  # ... are pooled from this level. Ref: FPN, equation 1
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")

    def pool(
        self, features: Mapping[str, tf.Tensor], strides: Mapping[str, int], boxes: tf.Tensor, valid: tf.Tensor
    ) -> tf.Tensor:
        """Features under each RoI.

        Args:
            features: pyramid levels [B, H / stride, W / stride, C] by name.
            strides: pixels per cell of each level.
            boxes: f32[B, S, 4], pixels of the padded picture.
            valid: bool[B, S]; invalid RoIs give zeros.

        Returns:
            [B, S, size, size, C].
        """
        return multilevel_roi_align(
            [features[level] for level in self.levels],
            boxes,
            [strides[level] for level in self.levels],
            self.size,
            self.sampling_ratio,
            self.aligned,
            valid,
            canonical_level=self.canonical_level,
            canonical_size=self.canonical_size,
        )


@dataclasses.dataclass(frozen=True)
class RoiHeadConfig(Settings):
    """Base of the settings of RoI heads."""

    pool: RoiPoolConfig = RoiPoolConfig()
    loss_weight: float = 1.0

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms of the head."""
        raise NotImplementedError

    def build(self, num_classes: int, in_channels: int, strides: Mapping[str, int], name: str) -> RoiHead:
        """The head with its weights created.

        Args:
            num_classes: C, things only.
            in_channels: channels of every pyramid level.
            strides: pixels per cell of each level, by name.
            name: layer name.
        """
        raise NotImplementedError


class RoiHead(keras.layers.Layer):
    """A branch of the second stage. Subclasses add a file, not a case elsewhere.

    In training the model calls `call` on the RoIs of `rois_for`, then `loss` against `targets`. In inference it calls
    `call` on the detections' boxes, then `attach`.
    """

    config: RoiHeadConfig

    def __init__(self, config: RoiHeadConfig, strides: Mapping[str, int], **kwargs: Any) -> None:
        # Boxes stay float32 under a half-precision policy: bfloat16 knows whole pixels up to 256 only.
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.strides = dict(strides)

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        training: bool | None = None,
    ) -> Any:
        """Predictions of the head for boxes f32[B, S, 4], pixels of the padded picture."""
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


def first_slots(rois: RoiSample, num: int) -> RoiSample:
    """The first `num` RoIs, where the sampler puts the foreground."""
    return RoiSample(*(field[:, :num] for field in rois))


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
    """[B, S, ...] -> [B * S, ...], so that layers for pictures serve RoIs."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def split_rois(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[B * S, ...] -> [B, S, ...] with B and S of `like` [B, S, ...]."""
    shape = _dynamic_shape(like)
    return tf.reshape(x, [*shape[:2], *x.shape[1:]])


class ConvStack(keras.layers.Layer):
    """3x3 convolutions with ReLU, as the mask and keypoint heads and deep box heads use.

    Args:
        filters: output channels of each convolution.
        norm: see `make_norm`; "none" gives the convolutions a bias.
    """

    def __init__(self, filters: Sequence[int], norm: NormKind = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convs = [
            ConvNorm(f, 3, norm=norm, activation="relu", kernel_initializer=fan_out_initializer(), name=f"conv{i}")
            for i, f in enumerate(filters, start=1)
        ]

    def build(self, input_shape: tuple) -> None:
        """Create all weights."""
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[N, h, w, in] -> [N, h, w, filters[-1]]."""
        for conv in self.convs:
            x = conv(x, training=training)
        return x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """[N, h, w, filters[-1]]."""
        return self.convs[-1].compute_output_shape(input_shape) if self.convs else input_shape


def fan_out_initializer() -> keras.initializers.Initializer:
    """He et al.'s normal initialisation by fan-out, as in the published training code of the heads."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def normal_initializer(stddev: float) -> keras.initializers.Initializer:
    """Normal initialisation of an output layer: small, so that training starts near indifference."""
    return keras.initializers.RandomNormal(stddev=stddev)


def float32_output(x: tf.Tensor) -> tf.Tensor:
    """Predictions leave a room in float32, whatever the precision policy."""
    return tf.cast(x, tf.float32)
