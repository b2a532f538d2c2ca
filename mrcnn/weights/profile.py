"""Profiles: what a family of weights fixes beyond its arrays, one frozen value per family.

Two programs that share every array still see different images, lay different anchors and paste masks differently.
A profile states all of that in terms of the components' own config; a network's architecture (depth, heads, classes) is
filled in by `Profile.model_config`. No other place knows a family by name.

Sources: the public code and configuration files of torchvision (models/detection), detectron2 (config/defaults.py,
the Base-*.yaml files), Detectron (core/config.py, the 12_2017 baselines) and matterport/Mask_RCNN (config.py).
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Literal

from mrcnn.base_config import BaseConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.input import InputConfig
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.base import NeckConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.weights.architecture import Architecture, Family


@dataclasses.dataclass(frozen=True)
class Profile(BaseConfig):
    """The conventions of one family of weights, as config of the components.

    Fields that an architecture decides (sizes, channels, numbers of layers and classes) hold the family's most common
    value here.
    """

    family: Family
    pixel_norm: PixelNorm
    input: InputConfig
    rpn: RPNConfig  # on a pyramid; `RPNConfig.on_one_map` makes of it what c4 and c5 have
    pool: RoiPoolConfig  # on a pyramid
    single_map_sampling_ratio: int = 0  # on c4 or c5; 0: adaptive
    roi_sampler: RoiSamplerConfig = RoiSamplerConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    mask_head: MaskHeadConfig = MaskHeadConfig()
    keypoint_head: KeypointHeadConfig = KeypointHeadConfig()
    keypoint_box_beta: float | None = None  # smooth L1 beta of the box head in keypoint networks; None: the same
    keypoint_post_nms_train: int | None = None  # proposals in training of keypoint networks; None: the same
    norm_epsilon: float = 1e-5  # of batch norm, where the arrays are of the family's usual kind
    background: Literal["first", "last"] = "first"  # where class scores have it; with "first" boxes and masks have one
    stem_pool: str = "symmetric"
    freeze_at: int = 2

    def model_config(self, network: Architecture) -> MaskRCNNConfig:
        """Configuration of a model of this family.

        Args:
            network: what the arrays say about it.
        """
        backbone = ResNetConfig(
            depth=network.backbone.depth,
            groups=network.backbone.groups,
            width_per_group=network.backbone.width_per_group,
            norm=network.backbone.norm,
            epsilon=network.backbone.epsilon,
            stride_in_1x1=network.backbone.stride_in_1x1,
            last_stage=4 if network.neck.kind == "c4" else 5,
            dilate_c5=network.neck.kind == "dc5",
            stem_pool=self.stem_pool,
            pixel_norm=self.pixel_norm,
            freeze_at=self.freeze_at,
        )
        stage = None
        if network.neck.kind == "c4":
            stage = Res5Config(
                norm=backbone.norm,
                epsilon=backbone.epsilon,
                stride_in_1x1=backbone.stride_in_1x1,
                groups=backbone.groups,
                width_per_group=backbone.width_per_group,
            )
        pool = self._pool(network)
        heads = []
        if network.mask_head is not None:
            heads.append(
                replace(
                    self.mask_head,
                    pool=replace(pool, size=14),
                    conv_dims=network.mask_head.conv_dims,
                    conv_norm=network.mask_head.norm,
                    norm_epsilon=network.mask_head.norm_epsilon,
                    deconv_dim=network.mask_head.deconv_dim,
                    class_agnostic=network.mask_head.class_agnostic,
                )
            )
        if network.keypoint_head is not None:
            heads.append(
                replace(
                    self.keypoint_head,
                    pool=replace(pool, size=14),
                    num_joints=network.keypoint_head.num_keypoints,
                    conv_dims=network.keypoint_head.conv_dims,
                )
            )
        return MaskRCNNConfig(
            num_classes=network.num_classes,
            backbone=backbone,
            neck=self._neck(network),
            rpn=self._rpn(network),
            roi_sampler=self.roi_sampler,
            roi_stage=stage,
            box_head=self._box_head(network, pool),
            heads=tuple(heads),
            input=self.input if network.neck.kind == "fpn" else replace(self.input, divisor=1),
            profile=self.family,
        )

    def _neck(self, network: Architecture) -> NeckConfig:
        if network.neck.kind == "fpn":
            return FPNConfig(channels=network.neck.channels, norm=network.neck.norm, epsilon=network.neck.epsilon)
        return PassThroughConfig(levels=(network.neck.kind.removeprefix("d"),))

    def _rpn(self, network: Architecture) -> RPNConfig:
        rpn = self.rpn
        if network.neck.kind != "fpn":
            rpn = rpn.on_one_map(network.neck.kind.removeprefix("d"))
        anchors = {"sizes": network.rpn.anchor_sizes, "ratios": network.rpn.anchor_ratios}
        stated = {name: values for name, values in anchors.items() if values is not None}
        rpn = replace(rpn, anchors=replace(rpn.anchors, **stated))
        if network.keypoint_head is not None and self.keypoint_post_nms_train is not None:
            rpn = replace(rpn, post_nms_train=self.keypoint_post_nms_train)
        return replace(rpn, channels=network.rpn.channels, num_convs=network.rpn.num_convs)

    def _pool(self, network: Architecture) -> RoiPoolConfig:
        if network.neck.kind == "fpn":
            return self.pool
        return replace(
            self.pool, levels=(network.neck.kind.removeprefix("d"),), sampling_ratio=self.single_map_sampling_ratio
        )

    def _box_head(self, network: Architecture, pool: RoiPoolConfig) -> BoxHeadConfig:
        head = network.box_head
        on_res5 = network.neck.kind == "c4"
        box_loss = self.box_head.box_loss
        if network.keypoint_head is not None and self.keypoint_box_beta is not None:
            box_loss = SmoothL1(self.keypoint_box_beta)
        changes = {
            "pool": replace(pool, size=14 if on_res5 else head.pool_size),
            "conv_dims": head.conv_dims,
            "conv_norm": head.conv_norm,
            "fc_dims": head.fc_dims,
            "fc_norm": head.fc_norm,
            "norm_epsilon": head.norm_epsilon,
            "reduce": "flatten" if head.fc_dims else "mean",
            "class_agnostic": head.class_agnostic,
            "box_loss": box_loss,
        }
        config = replace(self.box_head, **changes)
        if head.num_stages == 1:
            return config
        return CascadeBoxHeadConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)})


TORCHVISION = Profile(
    family="torchvision",
    pixel_norm=PixelNorm(
        mean=tuple(255 * m for m in (0.485, 0.456, 0.406)), std=tuple(255 * s for s in (0.229, 0.224, 0.225))
    ),
    input=InputConfig(rounding="floor", interpolation="linear"),
    rpn=RPNConfig(
        anchors=AnchorConfig(rounding="corners", order="ratio_major", stride="from_sizes"),
        min_size=1e-3,
        normalizer="sampled",
    ),
    pool=RoiPoolConfig(level_rule="floor_after", level_epsilon=1e-6),
    box_head=BoxHeadConfig(box_loss=SmoothL1(1.0 / 9.0), min_size=1e-2),
    mask_head=MaskHeadConfig(paste="padded_integer", target="project_soft"),
    keypoint_head=KeypointHeadConfig(score="logit"),
    norm_epsilon=0.0,
)

TORCHVISION_V2 = replace(TORCHVISION, family="torchvision_v2", norm_epsilon=1e-5)

DETECTRON2 = Profile(
    family="detectron2",
    pixel_norm=PixelNorm(mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0), bgr=True),
    input=InputConfig(),
    rpn=RPNConfig(smooth_l1_beta=0.0, post_nms_train=1000),
    pool=RoiPoolConfig(sampling_ratio=0, aligned=True, level_epsilon=1e-8),
    box_head=BoxHeadConfig(box_loss=SmoothL1(0.0)),
    mask_head=MaskHeadConfig(target="project"),
    keypoint_box_beta=0.5,
    keypoint_post_nms_train=1500,
    background="last",
)

DETECTRON2_IMAGENET_PIXELS = replace(
    DETECTRON2,
    family="detectron2_imagenet_pixels",
    pixel_norm=PixelNorm(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr=True),
)

DETECTRON = Profile(
    family="detectron",
    pixel_norm=PixelNorm(mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0), bgr=True),
    input=InputConfig(interpolation="linear", rounding="half_even", clip_to="canvas"),
    rpn=RPNConfig(anchors=AnchorConfig(rounding="detectron", order="ratio_major", offset=0.5)),
    pool=RoiPoolConfig(end_offset=-1.0),
    mask_head=MaskHeadConfig(paste="padded_integer", target="project"),
)

MATTERPORT = Profile(
    family="matterport",
    pixel_norm=PixelNorm(mean=(123.7, 116.8, 103.9), std=(1.0, 1.0, 1.0)),
    input=InputConfig(
        short_side=800,
        long_side=1024,
        divisor=64,
        never_shrink_for_short=True,
        rounding="half_even",
        interpolation="linear_black_u8",
        canvas="square",
        padding="center",
        padding_pixels="black",
        clip_to="canvas",
        end_offset=-1.0,
        whole_pixels=True,
    ),
    rpn=RPNConfig(
        anchors=AnchorConfig(ratio_is="width_over_height", end_offset=-1.0),
        delta_weights=(10.0, 10.0, 5.0, 5.0),
        max_log_scale=None,
        nms_across_levels=True,
        pre_nms_train=6000,
        pre_nms_test=6000,
        min_size=-1.0,
        smooth_l1_beta=1.0,
        normalizer="sampled",
        channels=512,
    ),
    pool=RoiPoolConfig(op="crop", level_rule="round_image_area"),
    roi_sampler=RoiSamplerConfig(num_rois=200, positive_fraction=0.33),
    box_head=BoxHeadConfig(
        detection_rule="best_class",
        score_threshold=0.7,
        nms_iou=0.3,
        max_log_scale=None,
        min_size=-1.0,
    ),
    mask_head=MaskHeadConfig(paste="integer_resize"),
    norm_epsilon=1e-3,  # Keras' own
    stem_pool="same",
    freeze_at=0,
)

PROFILES: dict[str, Profile] = {
    profile.family: profile
    for profile in (TORCHVISION, TORCHVISION_V2, DETECTRON2, DETECTRON2_IMAGENET_PIXELS, DETECTRON, MATTERPORT)
}
"""Every family of weights that can be read, by name."""
