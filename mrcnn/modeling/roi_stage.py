"""A stage of the backbone that runs on RoIs instead of images, shared by all heads.

Ref: Mask R-CNN, section 3, "Network Architecture": the C4 model's heads begin with res5.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras

from mrcnn.base_config import BaseConfig
from mrcnn.modeling.backbones.resnet import ResNetStage
from mrcnn.modeling.normalize import NormKind


@dataclasses.dataclass(frozen=True)
class RoiStageConfig(BaseConfig):
    """Base of the config of RoI stages."""

    abstract: ClassVar[bool] = True

    @property
    def out_channels(self) -> int:
        """Channels of what comes out."""
        raise NotImplementedError

    @property
    def stride(self) -> int:
        """How many cells of what goes in, per axis, make one of what comes out."""
        raise NotImplementedError

    def build(self, in_channels: int, name: str = "roi_stage") -> keras.Model:
        """The stage with its weights created: [N, h, w, in_channels] -> [N, h / stride, w / stride, out_channels]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Res5Config(RoiStageConfig):
    """Configuration of a ResNet's stage 5 on RoIs: [N, 14, 14, 1024] -> [N, 7, 7, 2048].

    The fields mean what they mean in `ResNetConfig` and are to agree with the backbone's. The layers are named
    "block1_conv1" to "block3_conv3".
    """

    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5
    stride_in_1x1: bool = False
    groups: int = 1
    width_per_group: int = 64

    @property
    def out_channels(self) -> int:
        """Channels of what comes out."""
        return self._stage().channels

    @property
    def stride(self) -> int:
        """How many cells of what goes in, per axis, make one of what comes out."""
        return self._stage().stride

    def build(self, in_channels: int = 1024, name: str = "roi_stage") -> keras.Model:
        """The stage; see `RoiStageConfig.build`."""
        rois = keras.Input((None, None, in_channels), name="rois")
        return keras.Model(rois, self._stage()(rois, ""), name=name)

    def _stage(self) -> ResNetStage:
        return ResNetStage(
            5,
            stride_in_1x1=self.stride_in_1x1,
            groups=self.groups,
            width_per_group=self.width_per_group,
            norm=self.norm,
            epsilon=self.epsilon,
        )
