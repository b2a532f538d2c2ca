"""ResNet-50, -101 and -152. Ref: Deep Residual Learning for Image Recognition, table 1."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import keras

from mrcnn.modeling.backbones.base import BackboneConfig, ConvNorm, freeze_stages
from mrcnn.modeling.normalize import NormKind

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclasses.dataclass(frozen=True)
class ResNetConfig(BackboneConfig):
    """Settings of a ResNet."""

    depth: Literal[50, 101, 152] = 50
    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5
    freeze_at: int = 2  # stem and stage 2, as in the Mask R-CNN code base
    # The paper halves the resolution in a block's first 1x1 convolution; most weights published since do it in the
    # 3x3, which loses less and is a little better.
    stride_in_1x1: bool = False

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5."""
        return {"c2": 256, "c3": 512, "c4": 1024, "c5": 2048}

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: pictures [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        unit = {"norm": self.norm, "epsilon": self.epsilon, "kernel_initializer": _initializer}
        picture = keras.Input((None, None, len(self.pixel_norm.mean)), name="picture")
        x = ConvNorm(64, 7, 2, activation="relu", name="stem_conv1", **_fresh(unit))(picture)
        x = keras.layers.ZeroPadding2D(1, name="stem_pad")(x)  # zeros are neutral: nothing after a ReLU is below 0
        x = keras.layers.MaxPooling2D(3, 2, padding="valid", name="stem_pool")(x)
        features = {}
        for stage, num_blocks in enumerate(_BLOCKS[self.depth], start=2):
            for block in range(1, num_blocks + 1):
                stride = 2 if stage > 2 and block == 1 else 1
                x = self._block(x, 64 * 2 ** (stage - 2), stride, f"stage{stage}_block{block}", block == 1, unit)
            features[f"c{stage}"] = x
        model = keras.Model(picture, features, name=name)
        freeze_stages(model, self.freeze_at)
        return model

    def _block(self, x: Any, width: int, stride: int, name: str, project: bool, unit: dict) -> Any:
        """Bottleneck: 1x1 reduce, 3x3, 1x1 expand, plus the input (projected in the first block of a stage)."""
        strides = (stride, 1) if self.stride_in_1x1 else (1, stride)
        y = ConvNorm(width, 1, strides[0], activation="relu", name=f"{name}_conv1", **_fresh(unit))(x)
        y = ConvNorm(width, 3, strides[1], activation="relu", name=f"{name}_conv2", **_fresh(unit))(y)
        y = ConvNorm(4 * width, 1, name=f"{name}_conv3", **_fresh(unit))(y)
        if project:
            x = ConvNorm(4 * width, 1, stride, name=f"{name}_shortcut", **_fresh(unit))(x)
        y = keras.layers.Add(name=f"{name}_add")([x, y])
        return keras.layers.ReLU(name=f"{name}_out")(y)


def _initializer() -> keras.initializers.Initializer:
    """He et al.'s normal initialisation by fan-out, as in the published training code."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _fresh(unit: dict) -> dict:
    """The unit's arguments with an initializer of its own: one shared instance would draw equal kernels."""
    return {**unit, "kernel_initializer": unit["kernel_initializer"]()}
