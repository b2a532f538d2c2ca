"""Normalization of pixels at the input of the model and of activations inside it."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling.batch_norm import BatchNorm
from mrcnn.structures.tensors import Shape, known_sizes

NormKind = Literal["frozen_bn", "eval_bn", "affine_bn", "bn", "sync_bn", "gn", "ln", "none"]
NUM_GROUPS = 32  # Group Normalization, section 4.1


@dataclasses.dataclass(frozen=True)
class PixelNorm(BaseConfig):
    """How raw pixels become network input: (pixel - mean) / std per channel, RGB, 0-255.

    The defaults are the ImageNet statistics.
    """

    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    bgr: bool = False  # reverse the channels after normalizing, for weights trained on BGR images

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ConfigError(f"PixelNorm: {len(self.mean)} values in mean but {len(self.std)} in std")
        if any(s <= 0 for s in self.std):
            raise ConfigError(f"PixelNorm.std: expected positive values, got {self.std}")


@keras.saving.register_keras_serializable("mrcnn")
class StoredNormalization(keras.layers.Layer):
    """(x - mean) / sqrt(variance) by two weights that do not train, one value for each channel.

    As Keras' `Normalization`, which takes constants of its weights when it is built, so that weights assigned later
    count for nothing.

    Args:
        epsilon: the least divisor.

    Example:
        >>> layer = StoredNormalization()
        >>> layer.build((None, None, None, 1))
        >>> layer.set_weights([tf.constant([2.0]), tf.constant([4.0])])
        >>> layer(tf.constant([[[[6.0]]]])).numpy().item()
        2.0
    """

    def __init__(self, epsilon: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        """Create `mean`, zeros, and `variance`, ones, f32[channels]."""
        shape = known_sizes(input_shape[-1:])
        options: dict[str, Any] = {"shape": shape, "trainable": False, "autocast": False}
        self.mean = self.add_weight(name="mean", initializer="zeros", **options)
        self.variance = self.add_weight(name="variance", initializer="ones", **options)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[..., channels] -> same shape and dtype."""
        deviation = tf.maximum(tf.sqrt(tf.convert_to_tensor(self.variance)), self.epsilon)
        outputs = (tf.cast(inputs, tf.float32) - tf.convert_to_tensor(self.mean)) / deviation
        return tf.cast(outputs, inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("mrcnn")
class NormalizePixels(keras.layers.Layer):
    """Raw pixels to network input; padding becomes exactly 0, whatever it held.

    Args:
        config: mean, standard deviation and channel order.
    """

    def __init__(self, config: PixelNorm | dict[str, Any] | None = None, **kwargs: Any) -> None:
        # A float image under a half-precision policy must not lose gray levels before the mean is subtracted.
        super().__init__(autocast=False, **kwargs)
        self.config = PixelNorm.from_dict(config) if isinstance(config, dict) else config or PixelNorm()

    def build(self, *_: Any) -> None:
        """Nothing to build: the layer has no weights."""

    def call(self, image: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
        """Normalize.

        Args:
            image: u8 or float [B, H, W, channels], RGB, 0-255.
            window: i32 or f32[B, 4], (y1, x1, y2, x2) of the image inside the padding; None: no padding, or padding
                that is to be normalized like pixels.

        Returns:
            [B, H, W, channels] in the compute dtype.
        """
        mean, std = self.config.mean, self.config.std
        if image.shape[-1] is not None and image.shape[-1] != len(mean):
            raise InputError(f"image has {image.shape[-1]} channels but the pixel mean has {len(mean)} values")
        pixels = (tf.cast(image, tf.float32) - tf.constant(mean)) * tf.constant([1.0 / s for s in std])
        if self.config.bgr:
            pixels = tf.reverse(pixels, [-1])
        if window is not None:
            shape = tf.shape(image)
            edges = tf.cast(window, tf.int32)[:, tf.newaxis]  # [B, 1, 4]
            y, x = tf.range(shape[1]), tf.range(shape[2])
            rows = (y >= edges[..., 0]) & (y < edges[..., 2])  # [B, H]
            columns = (x >= edges[..., 1]) & (x < edges[..., 3])  # [B, W]
            inside = rows[:, :, None, None] & columns[:, None, :, None]  # [B, H, W, 1]
            pixels = tf.where(inside, pixels, 0.0)
        return tf.cast(pixels, self.compute_dtype)

    def compute_output_shape(self, image_shape: Shape, window: Shape | None = None) -> Shape:
        """Shape of the image."""
        return tuple(image_shape)

    def compute_output_spec(self, image: Any, window: Any = None) -> keras.KerasTensor:
        """The image's shape in the compute dtype."""
        return keras.KerasTensor(image.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "config": self.config.to_dict()}


@keras.saving.register_keras_serializable("mrcnn")
class FrozenBatchNorm(keras.layers.Layer):
    """Batch norm as a constant affine map: statistics and affine parameters never train and never move.

    Detection batches are too small for batch statistics, so those of pre-training are kept.
    Ref: Deep Residual Learning, appendix A ("fix the BN layers").
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        """Create the four vectors; none of them is trainable, even if the layer is set to be."""
        for name, initializer in (
            ("gamma", "ones"),
            ("beta", "zeros"),
            ("moving_mean", "zeros"),
            ("moving_variance", "ones"),
        ):
            weight = self.add_weight(
                name=name, shape=(input_shape[-1],), initializer=initializer, trainable=False, autocast=False
            )
            setattr(self, name, weight)

    def scale_shift(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The affine map as (scale f32[channels], shift f32[channels])."""
        variance = tf.cast(self.moving_variance, tf.float32)
        scale = tf.cast(self.gamma, tf.float32) * tf.math.rsqrt(variance + self.epsilon)
        return scale, tf.cast(self.beta, tf.float32) - tf.cast(self.moving_mean, tf.float32) * scale

    def call(self, inputs: tf.Tensor, mask: None = None) -> tf.Tensor:
        """inputs [..., channels] -> scale * inputs + shift, same shape and dtype.

        `mask` takes the place of that of Keras' batch norm, for networks that pass one on; it has no effect.
        """
        scale, shift = self.scale_shift()
        return inputs * tf.cast(scale, inputs.dtype) + tf.cast(shift, inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("mrcnn")
class EvalBatchNorm(FrozenBatchNorm):
    """Batch norm with fixed statistics whose gamma and beta train.

    Ref: mmdetection, `norm_eval=True` of its ResNets.
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create the four vectors; the statistics do not train."""
        for name, initializer, trains in (
            ("gamma", "ones", True),
            ("beta", "zeros", True),
            ("moving_mean", "zeros", False),
            ("moving_variance", "ones", False),
        ):
            weight = self.add_weight(
                name=name, shape=(input_shape[-1],), initializer=initializer, trainable=trains, autocast=False
            )
            setattr(self, name, weight)


@keras.saving.register_keras_serializable("mrcnn")
class AffineBatchNorm(FrozenBatchNorm):
    """Batch norm with fixed statistics that trains the rest: gamma, beta, and the bias of the convolution before it.

    A fifth vector, `bias`, is added to the input. In `FrozenBatchNorm` the mean has taken it over; here it is a
    parameter of its own, for its gradient is not that of beta.
    Ref: matterport/Mask_RCNN, mrcnn/model.py, BatchNorm with `TRAIN_BN = False`.
    """

    def build(self, input_shape: Shape) -> None:
        """Create the five vectors; the statistics do not train."""
        for name, initializer, trains in (
            ("gamma", "ones", True),
            ("beta", "zeros", True),
            ("bias", "zeros", True),
            ("moving_mean", "zeros", False),
            ("moving_variance", "ones", False),
        ):
            weight = self.add_weight(
                name=name, shape=(input_shape[-1],), initializer=initializer, trainable=trains, autocast=False
            )
            setattr(self, name, weight)

    def scale_shift(self) -> tuple[tf.Tensor, tf.Tensor]:
        """As `FrozenBatchNorm.scale_shift`, the bias included."""
        scale, shift = super().scale_shift()
        return scale, shift + tf.cast(self.bias, tf.float32) * scale


GroupNormOp = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int, float], tf.Tensor]
"""Group norm of x [B, H, W, C] with gamma and beta f32[C], a number of groups, and epsilon -> [B, H, W, C]."""

_group_norm: contextvars.ContextVar[GroupNormOp | None] = contextvars.ContextVar("group_norm", default=None)


@contextlib.contextmanager
def group_norm_by(op: GroupNormOp) -> Iterator[None]:
    """Inside, in this thread, `GroupNorm` is what `op` makes: for formats that have an operator for it."""
    token = _group_norm.set(op)
    try:
        yield
    finally:
        _group_norm.reset(token)


@keras.saving.register_keras_serializable("mrcnn")
class GroupNorm(keras.layers.GroupNormalization):
    """Keras' group norm with means taken in two steps, over columns and channels, then over rows.

    On the CPU TensorFlow sums in one running float32 per group: over a map of 160 x 224 the mean is off by 2e-5, and
    fifty such layers in a row put the features off by 1e-4. In two steps it is 4e-7, in less time.
    Ref: Group Normalization, arXiv 1803.08494, section 3.
    """

    def call(self, inputs: tf.Tensor, mask: None = None) -> tf.Tensor:
        """[B, H, W, channels] -> same shape, in the compute dtype; statistics in float32 or better."""
        if (op := _group_norm.get()) is not None:
            gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
            return op(inputs, gamma, beta, self.groups, self.epsilon)
        dtype = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        x = tf.cast(inputs, dtype)
        batch, height, width = (tf.shape(x)[i] for i in range(3))
        channels = x.shape[-1]
        grouped = tf.reshape(x, [batch, height, width, self.groups, channels // self.groups])

        def mean(values: tf.Tensor) -> tf.Tensor:
            rows = tf.reduce_mean(values, [2, 4], keepdims=True)  # [B, H, 1, groups, 1]
            return tf.reduce_mean(rows, 1, keepdims=True)  # [B, 1, 1, groups, 1]

        center = mean(grouped)
        deviation = tf.math.rsqrt(mean(tf.math.squared_difference(grouped, center)) + self.epsilon)

        def per_channel(values: tf.Tensor) -> tf.Tensor:
            values = tf.repeat(values, channels // self.groups, axis=4)
            return tf.reshape(values, [batch, 1, 1, channels])

        scale = per_channel(deviation) * tf.cast(self.gamma, dtype)
        shift = tf.cast(self.beta, dtype) - per_channel(center) * scale
        return tf.cast(x * scale + shift, self.compute_dtype)


def make_norm(
    kind: NormKind,
    epsilon: float = 1e-5,
    name: str = "norm",
    momentum: float = 0.9,
    dtype: Any = None,
    channels: int = NUM_GROUPS,
) -> keras.layers.Layer | None:
    """The normalization layer of a name, or None for "none".

    Args:
        kind: "frozen_bn" constant affine map; "eval_bn" constant statistics, gamma and beta train; "affine_bn" these
            and the bias of the convolution before it; "bn" batch statistics of one device; "sync_bn" of all devices;
            "gn" group norm with 32 groups, or the most that divide both 32 and the channels;
            "ln" layer norm, over the channels of each cell; "none".
        epsilon: added to the variance.
        name: layer name.
        momentum: share of the old moving statistics kept at each step ("bn", "sync_bn").
        dtype: Keras dtype policy; None: the global one.
        channels: of the map to be normalized; group norm needs it if they are no multiple of 32.
    """
    if kind == "none":
        return None
    if kind == "frozen_bn":
        return FrozenBatchNorm(epsilon, name=name, dtype=dtype)
    if kind == "eval_bn":
        return EvalBatchNorm(epsilon, name=name, dtype=dtype)
    if kind == "affine_bn":
        return AffineBatchNorm(epsilon, name=name, dtype=dtype)
    if kind in ("bn", "sync_bn"):
        return BatchNorm(momentum=momentum, epsilon=epsilon, synchronized=kind == "sync_bn", name=name, dtype=dtype)
    if kind == "gn":
        return GroupNorm(math.gcd(NUM_GROUPS, channels), epsilon=epsilon, name=name, dtype=dtype)
    if kind == "ln":
        return keras.layers.LayerNormalization(epsilon=epsilon, name=name, dtype=dtype)
    raise InputError(f"norm: expected frozen_bn, eval_bn, affine_bn, bn, sync_bn, gn, ln or none, got {kind!r}")
