"""EfficientNet-Lite0 to -Lite4: EfficientNet without squeeze-and-excitation, with ReLU6; made for small devices.

Ref: EfficientNet: Rethinking Model Scaling for CNNs, table 1; the Lite variants are described in the
tensorflow/tpu repository, models/official/efficientnet/lite.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import keras

from mrcnn.modeling.backbones.base import BackboneConfig, freeze_stages
from mrcnn.modeling.backbones.inverted_residual import conv_unit, round_channels
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.normalize import NormKind, PixelNorm

_SCALING = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}
"""Width and depth multipliers."""

_GROUPS = (  # prefix, blocks, kernel side, stride, expansion, channels
    ("stem", 1, 3, 1, 1, 16),
    ("stage2", 2, 3, 2, 6, 24),
    ("stage3", 2, 5, 2, 6, 40),
    ("stage4", 3, 3, 2, 6, 80),
    ("stage4", 3, 5, 1, 6, 112),
    ("stage5", 4, 5, 2, 6, 192),
    ("stage5", 1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One inverted-residual block: where it stands and what it does."""

    name: str  # "stage3_block2"
    kernel_size: int
    stride: int
    expansion: int
    channels: int  # out


@dataclasses.dataclass(frozen=True)
class EfficientNetLiteConfig(BackboneConfig):
    """Configuration of an EfficientNet-Lite."""

    variant: Literal["lite0", "lite1", "lite2", "lite3", "lite4"] = "lite0"
    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-3
    freeze_at: int = 0
    pixel_norm: PixelNorm = PixelNorm(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))

    @property
    def title(self) -> str:
        """E.g. "EfficientNetLite lite0"."""
        return f"{super().title} {self.variant}"

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """All blocks in order, scaled to the variant."""
        width, depth = _SCALING[self.variant]
        specs: list[BlockSpec] = []
        counts: dict[str, int] = {}
        for index, (prefix, repeats, kernel_size, stride, expansion, channels) in enumerate(_GROUPS):
            if index not in (0, len(_GROUPS) - 1):  # Lite does not deepen the first and the last group
                repeats = math.ceil(depth * repeats)
            for repeat in range(repeats):
                counts[prefix] = counts.get(prefix, 0) + 1
                name = f"{prefix}_block{counts[prefix]}"
                specs.append(
                    BlockSpec(
                        name, kernel_size, stride if repeat == 0 else 1, expansion, round_channels(channels * width)
                    )
                )
        return tuple(specs)

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5."""
        last = {block.name.split("_")[0]: block.channels for block in self.blocks}
        return {f"c{stage}": last[f"stage{stage}"] for stage in (2, 3, 4, 5)}

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = self._unit(_STEM_CHANNELS, 3, 2, "stem_conv1", "relu6")(image)
        features = {}
        for block in self.blocks:
            x = self._block(x, block)
            if block.name.startswith("stage"):
                features[f"c{block.name[5]}"] = x  # the last block of a stage stays
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def _block(self, x: Any, block: BlockSpec) -> Any:
        """1x1 expand, depthwise, linear 1x1 project, plus the input where shapes agree. Ref: MobileNetV2, section 3."""
        inputs, channels = x, x.shape[-1]
        if block.expansion != 1:
            x = self._unit(channels * block.expansion, 1, 1, f"{block.name}_expand", "relu6")(x)
        x = self._unit(None, block.kernel_size, block.stride, f"{block.name}_depthwise", "relu6")(x)
        x = self._unit(block.channels, 1, 1, f"{block.name}_project", None)(x)
        if block.stride == 1 and channels == block.channels:
            x = keras.layers.Add(name=f"{block.name}_add")([inputs, x])
        return x

    def _unit(self, filters: int | None, kernel_size: int, stride: int, name: str, activation: str | None) -> ConvNorm:
        return conv_unit(self, filters, kernel_size, stride, name, activation, padding="same")
