"""The semantic branch of a panoptic model: a class of stuff, or "a thing", for every cell of the pyramid.

Ref: Panoptic Feature Pyramid Networks, arXiv 1901.02446, section 3 and figure 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.initializers import fan_out_initializer
from mrcnn.modeling.layers import ConvNorm, float32_output
from mrcnn.modeling.normalize import NormKind
from mrcnn.ops.losses import softmax_cross_entropy
from mrcnn.structures.panoptic import IGNORED
from mrcnn.structures.tensors import LossTerm, Shape

LOSS = "semantic"
"""Name of the loss in the model."""


@dataclasses.dataclass(frozen=True)
class SemanticHeadConfig(BaseConfig):
    """Configuration of the semantic branch. Its classes are the model's `stuff_names`.

    Example:
        >>> SemanticHeadConfig().num_convs({"p2": 4, "p3": 8, "p4": 16, "p5": 32})
        {'p2': 1, 'p3': 1, 'p4': 2, 'p5': 3}
    """

    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5")  # of the pyramid, fine to coarse
    channels: int = 128  # of every convolution but the last
    norm: NormKind = "gn"  # none: the convolutions have a bias
    epsilon: float = 1e-5  # of the norm
    common_stride: int = 4  # pixels per cell of the sum, and of the logits
    loss_weight: float = 0.5  # the paper's choice for COCO, beside 1 for the losses of the instances

    def __post_init__(self) -> None:
        if not self.levels:
            raise ConfigError("semantic_head.levels: expected at least one level, got none")
        for name in ("channels", "common_stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"semantic_head.{name}: expected at least 1, got {getattr(self, name)}")

    def num_convs(self, strides: Mapping[str, int]) -> dict[str, int]:
        """Convolutions of each level's branch: one before each doubling, and one where nothing is doubled.

        Args:
            strides: pixels per cell of the maps there are, by name.

        Raises:
            ConfigError: a level that is not there, or whose stride is not `common_stride` times a power of two.
        """
        counts = {}
        for level in self.levels:
            if level not in strides:
                raise ConfigError(f"semantic_head.levels: no level {level!r}; there are {', '.join(strides)}")
            factor, rest = divmod(strides[level], self.common_stride)
            if rest or factor & (factor - 1) or not factor:
                raise ConfigError(
                    f"semantic_head.common_stride: {self.common_stride}, expected a stride of which that of"
                    f" semantic_head.levels {level!r}, {strides[level]}, is 1, 2, 4, ... times"
                )
            counts[level] = max(1, factor.bit_length() - 1)
        return counts

    def build(self, num_stuff: int, channels: int, strides: Mapping[str, int], name: str) -> SemanticHead:
        """The layer with its weights created.

        Args:
            num_stuff: S, classes of stuff.
            channels: of every level.
            strides: pixels per cell of the levels, by name.
            name: layer name.

        Raises:
            ConfigError: see `num_convs`.
        """
        layer = SemanticHead(self, num_stuff, strides, name=name)
        layer.build((None, None, None, channels))
        return layer


def check_stuff(
    semantic_head: SemanticHeadConfig | None, stuff_names: Sequence[str], stuff_category_ids: Sequence[int]
) -> None:
    """Refuse a semantic branch without stuff classes, stuff classes without a branch, and more than a map can hold.

    Args:
        semantic_head, stuff_names, stuff_category_ids: of `MaskRCNNConfig`.

    Raises:
        ConfigError: names the two fields that do not go together.

    Example:
        >>> check_stuff(SemanticHeadConfig(), (), ())
        Traceback (most recent call last):
        mrcnn.base_config.ConfigError: semantic_head: a panoptic model needs stuff classes, but stuff_names is empty
    """
    number = len(stuff_names)
    if semantic_head is not None and not number:
        raise ConfigError("semantic_head: a panoptic model needs stuff classes, but stuff_names is empty")
    if semantic_head is None and number:
        raise ConfigError(f"stuff_names: {number} stuff classes, but semantic_head, which predicts them, is None")
    if number >= IGNORED:
        raise ConfigError(f"stuff_names: expected at most {IGNORED - 1} stuff classes, got {number}")
    if len(stuff_category_ids) not in (0, number):
        raise ConfigError(
            f"stuff_category_ids: expected one for each of the {number} stuff_names, or none, got"
            f" {len(stuff_category_ids)}"
        )


@keras.saving.register_keras_serializable("mrcnn")
class SemanticHead(keras.layers.Layer):
    """Levels of the pyramid to logits of "thing" and of the stuff classes, at one stride.

    Each level passes 3x3 convolutions with norm and ReLU, each but that of a level at `common_stride` followed by a
    bilinear doubling; the branches are added, and a 1x1 convolution of the sum gives the logits.
    """

    built: bool

    def __init__(
        self, config: SemanticHeadConfig | dict[str, Any], num_stuff: int, strides: Mapping[str, int], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = SemanticHeadConfig.from_dict(config) if isinstance(config, dict) else config
        self.num_stuff, self.strides = num_stuff, dict(strides)
        counts = self.config.num_convs(strides)
        self.branches = {
            level: [self._conv(f"{level}_conv{i}") for i in range(1, number + 1)] for level, number in counts.items()
        }
        self.predictor = ConvNorm(
            num_stuff + 1, kernel_initializer=fan_out_initializer(), name="predictor", dtype=self.dtype_policy
        )

    def _conv(self, name: str) -> ConvNorm:
        return ConvNorm(
            self.config.channels,
            3,
            norm=self.config.norm,
            epsilon=self.config.epsilon,
            activation="relu",
            kernel_initializer=fan_out_initializer(),
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Shape) -> None:
        """Create all weights, for levels [B, H, W, channels]."""
        if self.built:
            return
        for convs in self.branches.values():
            shape = input_shape
            for conv in convs:
                conv.build(shape)
                shape = conv.compute_output_shape(shape)
        self.predictor.build((None, None, None, self.config.channels))
        self.built = True

    def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Logits of the classes.

        Args:
            features: levels [B, ceil(H / stride), ceil(W / stride), channels] by name.
            training: for norms with batch statistics.

        Returns:
            f32[B, h, w, S + 1], h and w those of the first level times its stride over `common_stride`; 0 is "a thing",
            1..S are the stuff classes.
        """
        total: tf.Tensor | None = None
        for level, convs in self.branches.items():
            x = features[level]
            for conv in convs:
                x = conv(x, training=training)
                if self.strides[level] > self.config.common_stride:
                    x = tf.cast(enlarge(x, 2), x.dtype)
            # A coarse level of a map whose side is odd reaches beyond the finer one.
            total = x if total is None else total + x[:, : tf.shape(total)[1], : tf.shape(total)[2]]
        return float32_output(self.predictor(total))

    def loss(self, logits: tf.Tensor, targets: tf.Tensor) -> LossTerm:
        """Cross-entropy of every labeled pixel of the logits enlarged to pixels, times `loss_weight`.

        Args:
            logits: f32[B, h, w, S + 1], of `call`.
            targets: u8[B, H, W], 0 a thing, 1..S stuff, `IGNORED` not labeled; pixels of the padded image.

        Returns:
            the sum, and the number of labeled pixels. Empty: 0 and 0.
        """
        height, width = (tf.shape(targets)[axis] for axis in (1, 2))
        logits = enlarge(logits, self.config.common_stride)[:, :height, :width]
        labeled = targets != IGNORED
        classes = tf.where(labeled, tf.cast(targets, tf.int32), 0)
        losses = softmax_cross_entropy(logits, classes)
        total = tf.reduce_sum(tf.reduce_sum(tf.where(labeled, losses, 0.0), axis=-1))  # by rows: fewer roundings
        return LossTerm(self.config.loss_weight * total, tf.reduce_sum(tf.cast(labeled, tf.float32)))

    def compute_output_shape(self, features_shape: Mapping[str, Shape]) -> Shape:
        """[B, h, w, S + 1]."""
        first = self.config.levels[0]
        batch, height, width, _ = features_shape[first]
        factor = self.strides[first] // self.config.common_stride
        sides = (None if side is None else side * factor for side in (height, width))
        return (batch, *sides, self.num_stuff + 1)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {
            **super().get_config(),
            "config": self.config.to_dict(),
            "num_stuff": self.num_stuff,
            "strides": dict(self.strides),
        }


def enlarge(x: tf.Tensor, factor: int) -> tf.Tensor:
    """f32[B, factor * h, factor * w, C] of [B, h, w, C], bilinear, cells' centers at half integers.

    Example:
        >>> enlarge(tf.constant([[[[0.0], [4.0]]]]), 2)[0, 0, :, 0].numpy().tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    height, width = (x.shape[axis] if x.shape[axis] is not None else tf.shape(x)[axis] for axis in (1, 2))
    return tf.image.resize(tf.cast(x, tf.float32), [factor * height, factor * width], "bilinear")
