"""A pyramid out of a single map. Ref: ViTDet, arXiv 2203.16527, section 3, figure 2 (c)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.initializers import first_kernel
from mrcnn.modeling.layers import ConvNorm, exact_gelu
from mrcnn.modeling.necks.base import Neck, NeckConfig, check_levels
from mrcnn.modeling.normalize import NormKind, make_norm
from mrcnn.structures.tensors import Shape

_STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
_IN_STRIDE = 16


@dataclasses.dataclass(frozen=True)
class SimpleFeaturePyramidConfig(NeckConfig):
    """Configuration of a pyramid p2..p6 made of one map of stride 16."""

    channels: int = 256  # of every level
    norm: NormKind = "ln"  # none: the convolutions have a bias
    epsilon: float = 1e-6  # of the norm
    level: str = "c4"  # the backbone's map

    def build(
        self, in_channels: Mapping[str, int], strides: Mapping[str, int], name: str = "fpn"
    ) -> SimpleFeaturePyramid:
        """The layer with its weights created; see `NeckConfig.build`."""
        check_levels((self.level,), in_channels, "neck")
        if strides[self.level] != _IN_STRIDE:
            raise ConfigError(
                f"neck.level: a simple feature pyramid needs a map of stride {_IN_STRIDE}, {self.level} has"
                f" {strides[self.level]}"
            )
        if in_channels[self.level] % 4:
            raise ConfigError(
                f"neck.level: a simple feature pyramid needs a multiple of 4 channels, {self.level} has"
                f" {in_channels[self.level]}"
            )
        layer = SimpleFeaturePyramid(self, in_channels[self.level], name=name)
        layer.build()
        return layer


@keras.saving.register_keras_serializable("mrcnn")
class SimpleFeaturePyramid(Neck):
    """One map of stride 16 to a pyramid p2..p6 of equal channels; levels do not see each other.

    p3 and p2 are enlarged by one and by two transposed convolutions, p5 is the maximum of 2 x 2 cells; a 1x1 and a 3x3
    convolution, each with a norm, make every level. p6 is every second cell of p5 and serves the RPN only.
    """

    def __init__(self, config: SimpleFeaturePyramidConfig | dict[str, Any], in_channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = SimpleFeaturePyramidConfig.from_dict(config) if isinstance(config, dict) else config
        self.in_channels = in_channels
        half, quarter = in_channels // 2, in_channels // 4
        self.enlarge3 = self._enlarge(half, "enlarge3")
        self.enlarge2 = [self._enlarge(half, "enlarge2_first"), self._enlarge(quarter, "enlarge2_second")]
        self.enlarge2_norm = make_norm(
            self.config.norm, self.config.epsilon, "enlarge2_norm", dtype=self.dtype_policy, channels=half
        )
        self.laterals = {number: self._conv(1, f"lateral{number}") for number in "2345"}
        self.outputs = {number: self._conv(3, f"output{number}") for number in "2345"}

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of p2..p6."""
        return dict(_STRIDES)

    @property
    def channels(self) -> int:
        """Channels of every level."""
        return self.config.channels

    def _enlarge(self, filters: int, name: str) -> keras.layers.Layer:
        initializer = first_kernel(keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"))
        return keras.layers.Conv2DTranspose(
            filters, 2, 2, kernel_initializer=initializer, name=name, dtype=self.dtype_policy
        )

    def _conv(self, kernel_size: int, name: str) -> ConvNorm:
        return ConvNorm(
            self.config.channels,
            kernel_size,
            norm=self.config.norm,
            epsilon=self.config.epsilon,
            kernel_initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, *_: Any) -> None:
        """Create all weights."""
        if self.built:
            return
        width = self.in_channels
        for layer in (self.enlarge3, self.enlarge2[0]):
            layer.build((None, None, None, width))
        self.enlarge2[1].build((None, None, None, width // 2))
        if self.enlarge2_norm is not None:
            self.enlarge2_norm.build((None, None, None, width // 2))
        for number, channels in (("2", width // 4), ("3", width // 2), ("4", width), ("5", width)):
            self.laterals[number].build((None, None, None, channels))
            self.outputs[number].build((None, None, None, self.config.channels))
        self.built = True

    def call(self, features: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Build the pyramid.

        Args:
            features: with the map `config.level`, [B, ceil(H / 16), ceil(W / 16), in_channels].
            training: for norms with batch statistics.

        Returns:
            p2..p6, each [B, ceil(H / stride), ceil(W / stride), channels], where H and W are multiples of 16.
        """
        x = features[self.config.level]
        finer = self.enlarge2[0](x)
        if self.enlarge2_norm is not None:
            is_of_one_cell = self.config.norm in ("ln", "gn")
            finer = self.enlarge2_norm(finer) if is_of_one_cell else self.enlarge2_norm(finer, training=training)
        scaled = {
            "2": self.enlarge2[1](exact_gelu(finer)),
            "3": self.enlarge3(x),
            "4": x,
            "5": tf.nn.max_pool2d(x, 2, 2, "SAME"),
        }
        levels = {
            f"p{number}": self.outputs[number](self.laterals[number](x, training=training), training=training)
            for number, x in scaled.items()
        }
        return {**levels, "p6": tf.nn.max_pool2d(levels["p5"], 1, 2, "VALID")}

    def compute_output_shape(self, features_shape: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of p2..p6."""
        batch, *sides, _ = features_shape[self.config.level]

        def of(stride: int) -> Shape:
            height, width = (None if side is None else -(-side * _IN_STRIDE // stride) for side in sides)
            return batch, height, width, self.config.channels

        return {level: of(stride) for level, stride in _STRIDES.items()}

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "config": self.config.to_dict(), "in_channels": self.in_channels}
