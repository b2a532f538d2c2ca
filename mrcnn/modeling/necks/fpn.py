"""Feature pyramid network. Ref: Feature Pyramid Networks for Object Detection, section 3."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import LEVELS
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.necks.base import Neck, NeckConfig, check_levels
from mrcnn.modeling.normalize import NormKind
from mrcnn.structures.tensors import Shape


@dataclasses.dataclass(frozen=True)
class FPNConfig(NeckConfig):
    """Configuration of the pyramid."""

    channels: int = 256  # of every level
    norm: NormKind = "none"  # none: the convolutions have a bias
    epsilon: float = 1e-5  # of the norm

    def build(self, in_channels: Mapping[str, int], strides: Mapping[str, int], name: str = "fpn") -> FPN:
        """The layer with its weights created; see `NeckConfig.build`."""
        check_levels(LEVELS, in_channels, "neck")
        if any(strides[coarse] != 2 * strides[fine] for fine, coarse in itertools.pairwise(LEVELS)):
            present = ", ".join(f"{level} {strides[level]}" for level in LEVELS)
            raise ConfigError(f"neck: a pyramid needs every map at twice the stride of the one before, got {present}")
        layer = FPN(self, in_channels, strides, name=name)
        layer.build()
        return layer


@keras.saving.register_keras_serializable("mrcnn")
class FPN(Neck):
    """Feature maps c2..c5 to a pyramid p2..p6 of equal channels.

    Every map passes a 1x1 lateral convolution; from the top down the coarser sum is enlarged twofold (nearest) and
    added; a 3x3 convolution of each sum is the level. p6 is every second cell of p5 and serves the RPN only.
    """

    def __init__(
        self,
        config: FPNConfig | dict[str, Any],
        in_channels: Mapping[str, int],
        in_strides: Mapping[str, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = FPNConfig.from_dict(config) if isinstance(config, dict) else config
        self.in_channels, self.in_strides = dict(in_channels), dict(in_strides)
        self.laterals = [self._conv(1, f"lateral{level[1:]}") for level in LEVELS]
        self.outputs = [self._conv(3, f"output{level[1:]}") for level in LEVELS]

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of p2..p6."""
        levels = {f"p{level[1:]}": self.in_strides[level] for level in LEVELS}
        return {**levels, "p6": 2 * levels["p5"]}

    @property
    def channels(self) -> int:
        """Channels of every level."""
        return self.config.channels

    def _conv(self, kernel_size: int, name: str) -> ConvNorm:
        # Uniform by fan-in, gain 1: what Caffe2's XavierFill does in the published training code.
        initializer = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
        return ConvNorm(
            self.config.channels,
            kernel_size,
            norm=self.config.norm,
            epsilon=self.config.epsilon,
            kernel_initializer=initializer,
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, *_: Any) -> None:
        """Create all weights."""
        if self.built:
            return
        for level, lateral, output in zip(LEVELS, self.laterals, self.outputs, strict=True):
            lateral.build((None, None, None, self.in_channels[level]))
            output.build((None, None, None, self.config.channels))
        self.built = True

    def call(self, features: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Build the pyramid.

        Args:
            features: c2..c5, each [B, ceil(H / stride), ceil(W / stride), in_channels[name]].
            training: for norms with batch statistics.

        Returns:
            p2..p6, each [B, ceil(H / stride), ceil(W / stride), channels].
        """
        levels: dict[str, tf.Tensor] = {}
        coarser = None
        for level, lateral, output in reversed(list(zip(LEVELS, self.laterals, self.outputs, strict=True))):
            merged = lateral(features[level], training=training)
            if coarser is not None:
                merged = merged + _upsample(coarser, merged)
            levels[f"p{level[1:]}"] = output(merged, training=training)
            coarser = merged
        # Every other cell. Of the slice [::2, ::2] OpenVINO 2026.4 believes that it has the sides of p5.
        levels["p6"] = tf.nn.max_pool2d(levels["p5"], 1, 2, "VALID")
        return dict(sorted(levels.items()))

    def compute_output_shape(self, features_shape: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of p2..p6."""
        shapes: dict[str, Shape] = {
            f"p{level[1:]}": (*features_shape[level][:3], self.config.channels) for level in LEVELS
        }
        batch, height, width, channels = shapes["p5"]
        height, width = (None if side is None else -(-side // 2) for side in (height, width))
        return {**shapes, "p6": (batch, height, width, channels)}

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {
            **super().get_config(),
            "config": self.config.to_dict(),
            "in_channels": dict(self.in_channels),
            "in_strides": dict(self.in_strides),
        }


def _upsample(coarse: tf.Tensor, fine: tf.Tensor) -> tf.Tensor:
    """Each cell of `coarse` [B, h, w, C] repeated 2 x 2, cut to the height and width of `fine` [B, H, W, C]."""
    repeated = tf.repeat(tf.repeat(coarse, 2, axis=1), 2, axis=2)  # [B, 2h, 2w, C]
    height, width = (fine.shape[i] if fine.shape[i] is not None else tf.shape(fine)[i] for i in (1, 2))
    return tf.ensure_shape(repeated[:, :height, :width], fine.shape)
