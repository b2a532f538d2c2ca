"""Feature pyramid network. Ref: Feature Pyramid Networks for Object Detection, section 3."""

from __future__ import annotations

import dataclasses
import itertools
import re
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
    levels: tuple[str, ...] = LEVELS  # the backbone's maps, fine to coarse

    def build(self, in_channels: Mapping[str, int], strides: Mapping[str, int], name: str = "fpn") -> FPN:
        """The layer with its weights created; see `NeckConfig.build`."""
        check_levels(self.levels, in_channels, "neck")
        numbers = [int(level[1:]) if re.fullmatch(r"c\d{1,2}", level) else 0 for level in self.levels]
        if 0 in numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise ConfigError(f"neck.levels: expected names one after the other, as c2, c3, c4; got {self.levels}")
        if any(strides[coarse] not in (strides[fine], 2 * strides[fine]) for fine, coarse in self._pairs()):
            present = ", ".join(f"{level} {strides[level]}" for level in self.levels)
            raise ConfigError(
                f"neck: a pyramid needs every map at the stride of the one before or at twice it, got {present}"
            )
        layer = FPN(self, in_channels, strides, name=name)
        layer.build()
        return layer

    def _pairs(self) -> list[tuple[str, str]]:
        return list(itertools.pairwise(self.levels))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the pyramid's levels: p2..p6 of c2..c5, the last of which has every second cell of the one before.

        Example:
            >>> FPNConfig(levels=("c5", "c6")).outputs
            ('p5', 'p6', 'p7')
        """
        names = [f"p{level[1:]}" for level in self.levels]
        return (*names, f"p{int(self.levels[-1][1:]) + 1}")


@keras.saving.register_keras_serializable("mrcnn")
class FPN(Neck):
    """Feature maps c2..c5 (`config.levels`) to a pyramid p2..p6 of equal channels.

    Every map passes a 1x1 lateral convolution; from the top down the coarser sum is enlarged twofold (nearest) and
    added; a 3x3 convolution of each sum is the level. p6 is every second cell of p5 and serves the RPN only.
    Of two maps of the same stride the second is added as it is.
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
        self.laterals = [self._conv(1, f"lateral{level[1:]}") for level in self.config.levels]
        self.outputs = [self._conv(3, f"output{level[1:]}") for level in self.config.levels]

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of p2..p6."""
        steps = [self.in_strides[level] for level in self.config.levels]
        return dict(zip(self.config.outputs, [*steps, 2 * steps[-1]], strict=True))

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
        for level, lateral, output in zip(self.config.levels, self.laterals, self.outputs, strict=True):
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
        coarser, above = None, ""
        for level, lateral, output in reversed(list(zip(self.config.levels, self.laterals, self.outputs, strict=True))):
            merged = lateral(features[level], training=training)
            if coarser is not None:
                is_as_fine = self.in_strides[above] == self.in_strides[level]
                merged = merged + (coarser if is_as_fine else _upsample(coarser, merged))
            levels[f"p{level[1:]}"] = output(merged, training=training)
            coarser, above = merged, level
        *own, last = self.config.outputs
        # Every other cell. Of the slice [::2, ::2] OpenVINO 2026.4 believes that it has the sides of p5.
        levels[last] = tf.nn.max_pool2d(levels[own[-1]], 1, 2, "VALID")
        return {level: levels[level] for level in self.config.outputs}

    def compute_output_shape(self, features_shape: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of p2..p6."""
        shapes: dict[str, Shape] = {
            f"p{level[1:]}": (*features_shape[level][:3], self.config.channels) for level in self.config.levels
        }
        *own, last = self.config.outputs
        batch, height, width, channels = shapes[own[-1]]
        height, width = (None if side is None else -(-side // 2) for side in (height, width))
        return {**shapes, last: (batch, height, width, channels)}

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
