"""What the networks of inverted residual blocks have in common. Ref: MobileNetV2, arXiv 1801.04381, section 3."""

from __future__ import annotations

from typing import Any, Protocol

import keras

from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.normalize import NormKind


class Normed(Protocol):
    """A config that says how convolutions are normalized."""

    @property
    def norm(self) -> NormKind: ...

    @property
    def epsilon(self) -> float: ...


def conv_unit(
    config: Normed,
    filters: int | None,
    kernel_size: int,
    stride: int,
    name: str,
    activation: str | None,
    **options: Any,
) -> ConvNorm:
    """A convolution with its norm and activation.

    Args:
        config: of the backbone.
        filters: output channels; None: depthwise.
        kernel_size, stride, name, activation, options: see `ConvNorm`.
    """
    return ConvNorm(
        filters,
        kernel_size,
        stride,
        depthwise=filters is None,
        norm=config.norm,
        epsilon=config.epsilon,
        momentum=0.99,
        activation=activation,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
        **options,
    )


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, never more than 10 % below.

    Example:
        >>> [round_channels(channels) for channels in (3, 18, 30, 11.9)]
        [8, 24, 32, 16]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
