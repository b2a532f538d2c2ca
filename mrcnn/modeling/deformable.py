"""Deformable convolution as a unit of a network: what its taps read is moved by a convolution of the same map.

Ref: Dai et al., Deformable Convolutional Networks, arXiv 1703.06211; Zhu et al., Deformable ConvNets v2, 1811.11168.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.layers import ConvNorm
from mrcnn.ops.deformable_conv import deformable_conv2d
from mrcnn.structures.tensors import Shape

_TAPS = 9  # of a 3x3 kernel


@dataclasses.dataclass(frozen=True)
class DeformableConfig(BaseConfig):
    """Which 3x3 convolutions of a backbone are deformable, and how."""

    stages: tuple[int, ...] = (3, 4, 5)  # all 3x3 of these stages. Ref: Deformable ConvNets v2, section 3.1
    modulated: bool = False  # v2: each sample has a weight between 0 and 1, too
    groups: int = 1  # of input channels that have offsets (and weights) of their own

    def __post_init__(self) -> None:
        if not self.stages or list(self.stages) != sorted(set(self.stages)) or not set(self.stages) <= {2, 3, 4, 5}:
            raise ConfigError(f"deformable.stages: expected ascending numbers from 2 to 5, got {list(self.stages)}")
        if self.groups < 1:
            raise ConfigError(f"deformable.groups: expected at least 1, got {self.groups}")

    @property
    def offset_channels(self) -> int:
        """Channels that a `DeformableConvNorm` takes: y and x of each tap, and with `modulated` a weight's logit."""
        return (3 if self.modulated else 2) * _TAPS * self.groups

    def offsets(self, stride: int, dilation: int, name: str) -> ConvNorm:
        """The layer that makes them of the map: a 3x3 convolution that begins with zeros, so that nothing is moved."""
        return ConvNorm(self.offset_channels, 3, stride, dilation=dilation, kernel_initializer="zeros", name=name)


@keras.saving.register_keras_serializable("mrcnn")
class DeformableConvNorm(ConvNorm):
    """`ConvNorm` whose 3x3 convolution is deformable; its inputs are a map and the offsets.

    Args:
        config: of the deformable convolution; None: defaults.
        filters, stride, groups, dilation, norm, epsilon, activation, kernel_initializer: see `ConvNorm`.

    Raises:
        ConfigError: groups of offsets that do not divide the channels that come in.
    """

    def __init__(
        self, filters: int, *args: Any, config: DeformableConfig | dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(filters, *args, **kwargs)
        self.config = DeformableConfig.from_dict(config) if isinstance(config, dict) else config or DeformableConfig()

    def build(self, input_shape: Any) -> None:
        """Create the weights for a map [B, H, W, in] and offsets [B, H', W', offset_channels]."""
        channels = input_shape[0][-1]
        if channels is None or channels % self.config.groups:
            raise ConfigError(
                f"deformable.groups: {self.config.groups} groups do not divide the {channels} channels that come in"
            )
        super().build(input_shape[0])

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """[B, H, W, in], [B, H', W', offset_channels] -> [B, H', W', out]."""
        features, offsets = inputs
        mask = None
        if self.config.modulated:
            offsets, logits = tf.split(offsets, [2 * _TAPS * self.config.groups, _TAPS * self.config.groups], -1)
            mask = tf.sigmoid(logits)
        options = (self.stride, self.dilation, self.groups)
        return self.apply_with(
            lambda kernel: deformable_conv2d(features, offsets, kernel, mask, *options), features.dtype, training
        )

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """[B, ceil(H / stride), ceil(W / stride), out]."""
        return super().compute_output_shape(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "config": self.config.to_dict()}
