"""ResNet and ResNeXt of 50, 101 and 152 layers.

Ref: Deep Residual Learning for Image Recognition, table 1; Aggregated Residual Transformations for Deep Neural
Networks, table 1.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import keras

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import BackboneConfig, freeze_stages
from mrcnn.modeling.deformable import DeformableConfig, DeformableConvNorm
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.non_local import NonLocalBlock, NonLocalConfig
from mrcnn.modeling.normalize import NormKind

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of stages 2 to 5 by depth."""


@dataclasses.dataclass(frozen=True)
class ResNetConfig(BackboneConfig):
    """Configuration of a ResNet, or with groups of a ResNeXt."""

    depth: Literal[50, 101, 152] = 50
    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5
    freeze_at: int = 2  # stem and stage 2, as in the Mask R-CNN code base
    # The paper halves the resolution in a block's first 1x1 convolution; most weights published since do it in the
    # 3x3, which loses less and is a little better.
    stride_in_1x1: bool = False
    groups: int = 1  # of the 3x3 convolutions; ResNeXt-50-32x4d: 32
    width_per_group: int = 64  # channels of a group's 3x3 in stage 2, doubled per stage; ResNeXt-50-32x4d: 4
    last_stage: Literal[4, 5] = 5  # 4: features end at c4, and stage 5 may serve as a head ("C4")
    dilate_c5: bool = False  # stage 5 keeps the stride of c4 and spreads its 3x3 kernels instead ("DC5")
    # Which cells the 3x3 max-pooling sees at an even side: one row more before (Caffe, PyTorch) or after (TensorFlow).
    stem_pool: Literal["symmetric", "same"] = "symmetric"
    # A block before the last one of stage 4 in which every cell looks at all others; none: none.
    # Ref: Non-local Neural Networks, section 5.3
    non_local: NonLocalConfig | None = None
    # Stages whose 3x3 convolutions are deformable; none: none.
    deformable: DeformableConfig | None = None

    def __post_init__(self) -> None:
        if self.groups < 1 or self.width_per_group < 1:
            raise ConfigError(
                f"groups and width_per_group: expected at least 1, got {self.groups} and {self.width_per_group}"
            )
        if self.dilate_c5 and self.last_stage < 5:
            raise ConfigError(f"dilate_c5: there is no stage 5 with last_stage {self.last_stage}")
        if self.deformable is not None and self.deformable.stages[-1] > self.last_stage:
            raise ConfigError(
                f"deformable.stages: {list(self.deformable.stages)} go beyond last_stage {self.last_stage}; stage 5"
                " that runs on RoIs has none"
            )

    @property
    def title(self) -> str:
        """E.g. "ResNet 50", "ResNeXt 101 32x8d", "ResNet 50 DCNv2" with modulated deformable convolutions."""
        name = f"ResNet {self.depth}"
        if self.groups > 1:
            name = f"ResNeXt {self.depth} {self.groups}x{self.width_per_group}d"
        if self.deformable is None:
            return name
        return f"{name} DCNv{2 if self.deformable.modulated else 1}"

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5 (or c4)."""
        return {f"c{stage}": ResNetStage(stage).channels for stage in range(2, self.last_stage + 1)}

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each feature map, by name c2..c5 (or c4)."""
        return {level: 16 if level == "c5" and self.dilate_c5 else 2 ** int(level[1:]) for level in self.channels}

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = _conv(64, 7, 2, "relu", self.norm, self.epsilon, name="stem_conv1")(image)
        if self.stem_pool == "symmetric":
            x = keras.layers.ZeroPadding2D(1, name="stem_pad")(x)  # neutral: nothing after a ReLU is below 0
        padding = "valid" if self.stem_pool == "symmetric" else "same"
        x = keras.layers.MaxPooling2D(3, 2, padding=padding, name="stem_pool")(x)
        features = {}
        for number in range(2, self.last_stage + 1):
            dilated = number == 5 and self.dilate_c5
            is_deformable = self.deformable is not None and number in self.deformable.stages
            stage = ResNetStage(
                number,
                num_blocks=BLOCKS[self.depth][number - 2],
                stride=1 if number == 2 or dilated else 2,
                dilation=2 if dilated else 1,
                stride_in_1x1=self.stride_in_1x1,
                groups=self.groups,
                width_per_group=self.width_per_group,
                norm=self.norm,
                epsilon=self.epsilon,
                non_local=self.non_local if number == 4 else None,
                deformable=self.deformable if is_deformable else None,
            )
            x = stage(x, f"stage{number}_")
            features[f"c{number}"] = x
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model


@dataclasses.dataclass(frozen=True)
class ResNetStage:
    """One stage of a ResNet: bottleneck blocks, of which the first changes resolution and channels."""

    number: int  # 2 to 5
    num_blocks: int = 3
    stride: int = 2
    dilation: int = 1  # of all its 3x3 convolutions
    stride_in_1x1: bool = False
    groups: int = 1
    width_per_group: int = 64  # in stage 2
    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5
    non_local: NonLocalConfig | None = None  # of a block before its last one
    deformable: DeformableConfig | None = None  # of all its 3x3 convolutions

    @property
    def channels(self) -> int:
        """Channels the stage yields: 256 for stage 2, 2048 for stage 5."""
        return 64 * 2**self.number

    def __call__(self, x: Any, prefix: str) -> Any:
        """Append the stage to the Keras tensor `x`; its layers are named prefix + "block1_conv1" and so on."""
        for block in range(1, self.num_blocks + 1):
            if self.non_local is not None and block == self.num_blocks:
                x = NonLocalBlock(self.non_local, name=f"{prefix}non_local")(x)
            x = self.block(x, self.stride if block == 1 else 1, f"{prefix}block{block}", block == 1)
        return x

    def block(self, x: Any, stride: int, name: str, project: bool) -> Any:
        """Bottleneck: 1x1 reduce, 3x3, 1x1 expand, plus the input (projected in the first block of a stage)."""
        width = self.groups * self.width_per_group * 2 ** (self.number - 2)
        strides = (stride, 1) if self.stride_in_1x1 else (1, stride)
        norm = (self.norm, self.epsilon)
        y = _conv(width, 1, strides[0], "relu", *norm, name=f"{name}_conv1")(x)
        options: dict[str, Any] = {"groups": self.groups, "dilation": self.dilation, "name": f"{name}_conv2"}
        if self.deformable is None:
            y = _conv(width, 3, strides[1], "relu", *norm, **options)(y)
        else:
            offsets = self.deformable.offsets(strides[1], self.dilation, f"{name}_conv2_offset")(y)
            y = _conv(width, 3, strides[1], "relu", *norm, config=self.deformable, **options)([y, offsets])
        y = _conv(self.channels, 1, 1, None, *norm, name=f"{name}_conv3")(y)
        if project:
            x = _conv(self.channels, 1, stride, None, *norm, name=f"{name}_shortcut")(x)
        y = keras.layers.Add(name=f"{name}_add")([x, y])
        return keras.layers.ReLU(name=f"{name}_out")(y)


def _conv(
    filters: int, kernel_size: int, stride: int, activation: str | None, norm: NormKind, epsilon: float, **kwargs: Any
) -> ConvNorm:
    """ConvNorm, deformable if there is a `config` of that, with He et al.'s normal initialization by fan-out."""
    # An initializer of its own for each: one shared instance would draw equal kernels.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    layer = DeformableConvNorm if "config" in kwargs else ConvNorm
    return layer(
        filters,
        kernel_size,
        stride,
        activation=activation,
        norm=norm,
        epsilon=epsilon,
        kernel_initializer=initializer,
        **kwargs,
    )
