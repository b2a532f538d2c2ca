"""What every backbone has in common: its config, and the convolution + norm + activation unit."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import keras

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.normalize import NormKind, PixelNorm

LEVELS = ("c2", "c3", "c4", "c5")


@dataclasses.dataclass(frozen=True)
class BackboneConfig(BaseConfig):
    """Configuration shared by all backbones.

    Stage n yields feature map cn; the stem is stage 1. `stage_of` says which layers belong to a stage: by default those
    named "stem_..." and "stage2_..." to "stage5_...".
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

    def stage_of(self, layer_name: str) -> int | None:
        """The stage a layer of the backbone belongs to by its name, for freezing; None: to none.

        Example:
            >>> from mrcnn.modeling.backbones.resnet import ResNetConfig
            >>> [ResNetConfig().stage_of(name) for name in ("stem_conv1", "stage3_block2_conv1", "other")]
            [1, 3, None]
        """
        match = re.match(r"stage(\d+)_", layer_name)
        if match:
            return int(match.group(1))
        return 1 if layer_name.startswith("stem_") else None

    def build(self, name: str = "backbone") -> keras.Model:
        """The backbone: images [B, H, W, 3] -> {"c2": [B, ceil(H/4), ceil(W/4), channels["c2"]], ... "c5"}."""
        raise NotImplementedError


def frozen_layers(model: keras.Model, config: BackboneConfig, freeze_at: int) -> list[keras.layers.Layer]:
    """The layers with weights of the stages up to and including `freeze_at`.

    Args:
        model: the backbone.
        config: what it was built from, which says of each layer what stage it belongs to.
        freeze_at: 1: the stem; 0: no layer.

    Raises:
        ConfigError: a layer with weights belongs to no stage, or none of the layers to one of these stages: the
            wrong weights, or none at all, would be frozen.
    """
    if freeze_at < 1:
        return []
    stages = {layer.name: config.stage_of(layer.name) for layer in model.layers if layer.weights}
    advice = f"{type(config).__name__}.stage_of has to give the stage of every layer with weights, 1 for the stem"
    known = {name: stage for name, stage in stages.items() if stage is not None}
    unknown = [name for name in stages if name not in known]
    if unknown:
        raise ConfigError(
            f"backbone: stages up to {freeze_at} cannot be frozen, no stage is known of {len(unknown)} layers of"
            f" {len(stages)}, such as {unknown[0]!r}; {advice}"
        )
    chosen = [layer for layer in model.layers if known.get(layer.name, freeze_at + 1) <= freeze_at]
    if not chosen:
        raise ConfigError(
            f"backbone: stages up to {freeze_at} cannot be frozen, no layer belongs to them; there are the stages"
            f" {sorted(set(known.values()))}; {advice}"
        )
    return chosen


def freeze_stages(model: keras.Model, config: BackboneConfig) -> None:
    """Stop training of all layers up to and including stage `config.freeze_at`; 0 changes nothing.

    Raises:
        ConfigError: see `frozen_layers`.
    """
    for layer in frozen_layers(model, config, config.freeze_at):
        layer.trainable = False
