"""MobileNetV3-Large as torchvision builds and trains it; `keras.applications` pads and normalizes otherwise.

Ref: Searching for MobileNetV3, arXiv 1905.02244, table 1 and section 5; torchvision, models/mobilenetv3.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import keras

from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.backbones.inverted_residual import conv_unit, round_channels
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.normalize import NormKind

STEM_CHANNELS, LAST_CHANNELS = 16, 960


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One inverted-residual block: where it stands and what it does."""

    name: str  # "stage3_block2"
    kernel_size: int
    expanded: int  # channels inside
    channels: int  # out
    squeezes: bool  # channels are weighed by what the whole image holds
    hard_swish: bool  # else ReLU
    stride: int


BLOCKS: tuple[BlockSpec, ...] = (
    BlockSpec("stem_block1", 3, 16, 16, False, False, 1),
    BlockSpec("stage2_block1", 3, 64, 24, False, False, 2),
    BlockSpec("stage2_block2", 3, 72, 24, False, False, 1),
    BlockSpec("stage3_block1", 5, 72, 40, True, False, 2),
    BlockSpec("stage3_block2", 5, 120, 40, True, False, 1),
    BlockSpec("stage3_block3", 5, 120, 40, True, False, 1),
    BlockSpec("stage4_block1", 3, 240, 80, False, True, 2),
    BlockSpec("stage4_block2", 3, 200, 80, False, True, 1),
    BlockSpec("stage4_block3", 3, 184, 80, False, True, 1),
    BlockSpec("stage4_block4", 3, 184, 80, False, True, 1),
    BlockSpec("stage4_block5", 3, 480, 112, True, True, 1),
    BlockSpec("stage4_block6", 3, 672, 112, True, True, 1),
    BlockSpec("stage5_block1", 5, 672, 160, True, True, 2),
    BlockSpec("stage5_block2", 5, 960, 160, True, True, 1),
    BlockSpec("stage5_block3", 5, 960, 160, True, True, 1),
)


@dataclasses.dataclass(frozen=True)
class MobileNetV3Config(BackboneConfig):
    """Configuration of a MobileNetV3-Large.

    Example:
        >>> MobileNetV3Config(maps="last_two").strides
        {'c5': 32, 'c6': 32}
    """

    norm: NormKind = "frozen_bn"
    # "strides": c2..c5, the last map of each stride. "last_two": of stride 32 both the first block's, c5, and the last
    # convolution's, c6, as torchvision's Faster R-CNN has them.
    maps: Literal["strides", "last_two"] = "strides"

    @property
    def title(self) -> str:
        """The network's name."""
        return "MobileNetV3-Large"

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name."""
        if self.maps == "last_two":
            return {"c5": 160, "c6": LAST_CHANNELS}
        return dict(zip(LEVELS, (24, 40, 112, LAST_CHANNELS), strict=True))

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each feature map, by name."""
        return {"c5": 32, "c6": 32} if self.maps == "last_two" else super().strides

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> its maps by name; see `BackboneConfig.build`."""
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = conv_unit(self, STEM_CHANNELS, 3, 2, "stem_conv1", "hard_swish")(image)
        ends = {}
        for block in BLOCKS:
            x = self._block(x, block)
            ends[block.name] = x
        last = conv_unit(self, LAST_CHANNELS, 1, 1, "stage5_conv", "hard_swish")(x)
        if self.maps == "last_two":
            features = {"c5": ends["stage5_block1"], "c6": last}
        else:
            features = {
                "c2": ends["stage2_block2"],
                "c3": ends["stage3_block3"],
                "c4": ends["stage4_block6"],
                "c5": last,
            }
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def _block(self, x: Any, block: BlockSpec) -> Any:
        """1x1 expand, depthwise, squeeze and excite, linear 1x1 project, plus the input where shapes agree."""
        inputs, channels = x, x.shape[-1]
        activation = "hard_swish" if block.hard_swish else "relu"
        if block.expanded != channels:
            x = conv_unit(self, block.expanded, 1, 1, f"{block.name}_expand", activation)(x)
        x = conv_unit(self, None, block.kernel_size, block.stride, f"{block.name}_depthwise", activation)(x)
        if block.squeezes:
            weights = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{block.name}_mean")(x)
            weights = ConvNorm(squeezed(block), activation="relu", name=f"{block.name}_squeeze")(weights)
            weights = ConvNorm(block.expanded, activation="hard_sigmoid", name=f"{block.name}_excite")(weights)
            x = keras.layers.Multiply(name=f"{block.name}_weigh")([x, weights])
        x = conv_unit(self, block.channels, 1, 1, f"{block.name}_project", None)(x)
        if block.stride == 1 and channels == block.channels:
            x = keras.layers.Add(name=f"{block.name}_add")([inputs, x])
        return x


def squeezed(block: BlockSpec) -> int:
    """Channels between a block's squeeze and excitation: a quarter, the nearest multiple of 8 not 10 % below."""
    return round_channels(block.expanded // 4)
