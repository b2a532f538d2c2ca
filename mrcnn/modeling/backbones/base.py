"""What every backbone has in common: its config, and the convolution + norm + activation unit."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import keras

from mrcnn.base_config import BaseConfig
from mrcnn.modeling.normalize import NormKind, PixelNorm

LEVELS = ("c2", "c3", "c4", "c5")


@dataclasses.dataclass(frozen=True)
class BackboneConfig(BaseConfig):
    """Configuration shared by all backbones.

    A backbone's layers are named "stem_..." (stage 1) and "stage2_..." to "stage5_..."; stage n yields feature map
    cn at stride 2^n.
    """

    components: ClassVar[str | None] = "mrcnn.modeling.backbones"
    abstract: ClassVar[bool] = True

    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5  # of the norm
    freeze_at: int = 0  # stages up to this one do not train (1: the stem); 0: all train
    pixel_norm: PixelNorm = PixelNorm()

    @property
    def title(self) -> str:
        """What the network is called, with its size, e.g. "ResNet 50"."""
        return type(self).__name__.removesuffix("Config")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name: c2..c5, or fewer."""
        raise NotImplementedError

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each feature map, by name c2..c5."""
        return {level: 2 ** int(level[1:]) for level in LEVELS}

    def build(self, name: str = "backbone") -> keras.Model:
        """The backbone: images [B, H, W, 3] -> {"c2": [B, ceil(H/4), ceil(W/4), channels["c2"]], ... "c5"}."""
        raise NotImplementedError


def stage_of(layer_name: str) -> int | None:
    """The stage a layer belongs to by its name: 1 for "stem_conv1", 3 for "stage3_block2_conv1", else None."""
    match = re.match(r"stage(\d+)_", layer_name)
    if match:
        return int(match.group(1))
    return 1 if layer_name.startswith("stem_") else None


def freeze_stages(model: keras.Model, freeze_at: int) -> None:
    """Stop training of all layers up to and including stage `freeze_at`; 0 changes nothing."""
    for layer in model.layers:
        stage = stage_of(layer.name)
        if stage is not None and stage <= freeze_at:
            layer.trainable = False
