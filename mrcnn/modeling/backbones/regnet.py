"""RegNetX and RegNetY: bottlenecks without a bottleneck, whose widths grow from stage to stage by a linear rule.

Ref: Designing Network Design Spaces, arXiv 2003.13678, sections 3.3 and 4, appendix B.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.normalize import NormKind

_MAX_BLOCKS, _MAX_WIDTH = 64, 16384  # a config comes from a file as well
_TITLES: dict[tuple[tuple[int, ...], tuple[int, ...], float], str] = {
    ((2, 5, 14, 2), (80, 240, 560, 1360), 0.0): "RegNetX 4GF",
    ((2, 6, 12, 2), (128, 192, 512, 1088), 0.25): "RegNetY 4GF",
}


@dataclasses.dataclass(frozen=True)
class RegNetConfig(BackboneConfig):
    """Configuration of a RegNet; the defaults are those of RegNetX-4GF.

    Example:
        >>> RegNetConfig.of_rule(depth=22, slope=31.41, initial=96, step=2.24, group_width=64, squeeze=0.25).title
        'RegNetY 4GF'
    """

    depths: tuple[int, ...] = (2, 5, 14, 2)  # blocks of each of the four stages
    widths: tuple[int, ...] = (80, 240, 560, 1360)  # channels of each
    group_widths: tuple[int, ...] = (40, 40, 40, 40)  # channels of a group's 3x3 in each stage
    bottleneck: float = 1.0  # channels of the 3x3 as a part of the block's
    # Squeeze and excitation (RegNetY): channels it squeezes to, as a part of those that come into the block; 0: none.
    squeeze: float = 0.0
    stem_width: int = 32

    def __post_init__(self) -> None:
        for name, most in (("depths", _MAX_BLOCKS), ("widths", _MAX_WIDTH), ("group_widths", _MAX_WIDTH)):
            values = getattr(self, name)
            if len(values) != 4 or not all(1 <= value <= most for value in values):
                raise ConfigError(f"backbone.{name}: expected four numbers from 1 to {most}, got {values}")
        if not 1 <= self.stem_width <= _MAX_WIDTH:
            raise ConfigError(f"backbone.stem_width: expected 1 to {_MAX_WIDTH}, got {self.stem_width}")
        if not 0 < self.bottleneck <= 16 or not 0 <= self.squeeze <= 1:
            raise ConfigError(
                "backbone: expected a bottleneck above 0, at most 16, and a squeeze from 0 to 1, got"
                f" {self.bottleneck} and {self.squeeze}"
            )
        for width, group in zip(self.widths, self.group_widths, strict=True):
            if self.inner_width(width) % group:
                raise ConfigError(
                    f"backbone.group_widths: groups of {group} do not divide the {self.inner_width(width)} channels of"
                    f" a 3x3 convolution, which backbone.widths {width} and backbone.bottleneck {self.bottleneck} make"
                )

    @classmethod
    def of_rule(
        cls,
        depth: int,
        slope: float,
        initial: int,
        step: float,
        group_width: int,
        squeeze: float = 0.0,
        **fields: Any,
    ) -> RegNetConfig:
        """The network that the paper's few numbers stand for.

        Args:
            depth: blocks in all.
            slope, initial, step: w_a, w_0 and w_m of section 3.3.
            group_width: of every stage; narrower where a stage is.
            squeeze: see `squeeze`.
            fields: further ones of the config.

        Raises:
            ConfigError: the rule makes another number of stages than four.

        Ref: section 3.3, equations 2 to 4, for a bottleneck of 1.
        """
        linear = initial + slope * np.arange(depth)
        powers = np.round(np.log(linear / initial) / math.log(step))
        quantized = (np.round(initial * step**powers / 8) * 8).astype(int)
        widths, depths = np.unique(quantized, return_counts=True)
        if len(widths) != 4:
            raise ConfigError(f"backbone: the rule makes {len(widths)} stages, expected 4")
        groups = [min(group_width, int(width)) for width in widths]
        fitting = [max(1, round(int(width) / group)) * group for width, group in zip(widths, groups, strict=True)]
        return cls(
            depths=tuple(int(count) for count in depths),
            widths=tuple(fitting),
            group_widths=tuple(groups),
            squeeze=squeeze,
            **fields,
        )

    def inner_width(self, width: int) -> int:
        """Channels of the 3x3 convolutions of a stage of `width` channels."""
        return round(width * self.bottleneck)

    @property
    def title(self) -> str:
        """E.g. "RegNetX 4GF"; of other sizes with their numbers."""
        kind = "Y" if self.squeeze else "X"
        own = f"RegNet{kind} {self.depths} {self.widths}"
        return _TITLES.get((self.depths, self.widths, self.squeeze), own)

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5."""
        return dict(zip(LEVELS, self.widths, strict=True))

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = _conv(self.stem_width, 3, 2, "relu", self.norm, self.epsilon, name="stem_conv")(image)
        features = {}
        for stage, depth in enumerate(self.depths, start=2):
            for block in range(1, depth + 1):
                x = self._block(x, stage, 2 if block == 1 else 1, f"stage{stage}_block{block}")
            features[f"c{stage}"] = x
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def _block(self, x: Any, stage: int, stride: int, name: str) -> Any:
        """1x1, grouped 3x3, squeeze and excitation, 1x1, plus the input (projected where the shape changes)."""
        width, group = self.widths[stage - 2], self.group_widths[stage - 2]
        inner, norm = self.inner_width(width), (self.norm, self.epsilon)
        y = _conv(inner, 1, 1, "relu", *norm, name=f"{name}_conv1")(x)
        y = _conv(inner, 3, stride, "relu", *norm, groups=inner // group, name=f"{name}_conv2")(y)
        squeezed = round(x.shape[-1] * self.squeeze)
        if squeezed:
            factors = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(y)
            factors = ConvNorm(squeezed, activation="relu", name=f"{name}_squeeze")(factors)
            factors = ConvNorm(inner, activation="sigmoid", name=f"{name}_excite")(factors)
            y = keras.layers.Multiply(name=f"{name}_weigh")([y, factors])
        y = _conv(width, 1, 1, None, *norm, name=f"{name}_conv3")(y)
        if stride > 1 or x.shape[-1] != width:
            x = _conv(width, 1, stride, None, *norm, name=f"{name}_shortcut")(x)
        y = keras.layers.Add(name=f"{name}_add")([x, y])
        return keras.layers.ReLU(name=f"{name}_out")(y)


def _conv(
    filters: int, kernel_size: int, stride: int, activation: str | None, norm: NormKind, epsilon: float, **kwargs: Any
) -> ConvNorm:
    """ConvNorm with He et al.'s normal initialization by fan-out, an initializer of its own for each."""
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return ConvNorm(
        filters,
        kernel_size,
        stride,
        activation=activation,
        norm=norm,
        epsilon=epsilon,
        kernel_initializer=initializer,
        **kwargs,
    )
