"""A small network of every family of backbones, and every set of heads, for tests of how they combine."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.convnext import ConvNeXtConfig
from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.heads.base import RoiHeadConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.cascade_mask import CascadeMaskHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.point_rend import PointRendMaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramidConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.preprocessing import InputConfig
from tests.tiny_model import tiny_config

NUM_JOINTS = 2
BACKBONES: dict[str, BackboneConfig] = {
    "vit": ViTConfig(depth=2, width=16, num_heads=2, window=2, grid=3, position_grid=2, global_blocks=(1,)),
    "swin": SwinConfig(depths=(1, 2, 1, 1), num_heads=(1, 1, 2, 2), width=8, window=3),
    "convnext": ConvNeXtConfig(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), layer_scale=0.5),
    "regnet": RegNetConfig(
        depths=(1, 1, 2, 1), widths=(8, 8, 16, 16), group_widths=(4, 8, 8, 16), squeeze=0.25, stem_width=8, norm="bn"
    ),
    "mvit": MViTConfig(depths=(1, 1, 2, 1), width=8, window=8, grid=8),
    "deformable": ResNetConfig(deformable=DeformableConfig(modulated=True)),
}
BOXES: dict[str, BoxHeadConfig] = {
    "box": BoxHeadConfig(fc_dims=(32,), max_detections=8),
    "cascade": CascadeBoxHeadConfig(fc_dims=(32,), max_detections=8),
}
_POINTS = PointRendMaskHeadConfig(
    pool=RoiPoolConfig(size=4, levels=("p2",)),
    conv_dim=8,
    fc_dims=(16,),
    coarse_side=3,
    point_fc_dims=(8,),
    train_points=12,
    subdivisions=2,
    subdivision_points=36,
)
HEADS: dict[str, RoiHeadConfig] = {
    "mask": MaskHeadConfig(pool=RoiPoolConfig(size=4), conv_dims=(8,), deconv_dim=8),
    "points": _POINTS,
    "joints": KeypointHeadConfig(pool=RoiPoolConfig(size=4), conv_dims=(8,), num_joints=NUM_JOINTS),
    "cascade masks": CascadeMaskHeadConfig(pool=RoiPoolConfig(size=4), conv_dims=(8,), deconv_dim=8),
}


def family_config(
    backbone: str, box: str = "box", heads: tuple[str, ...] = ("mask",), **changes: Any
) -> MaskRCNNConfig:
    """Two classes, images of 64 pixels, squares for a ViT; see `tiny_config`."""
    base = tiny_config()
    is_vit = backbone == "vit"
    return dataclasses.replace(
        base,
        backbone=BACKBONES[backbone],
        neck=SimpleFeaturePyramidConfig(channels=16) if is_vit else FPNConfig(channels=16),
        rpn=dataclasses.replace(base.rpn, channels=16, pre_nms_train=40, post_nms_train=20, pre_nms_test=40),
        roi_sampler=RoiSamplerConfig(num_rois=16),
        box_head=BOXES[box],
        heads=tuple(HEADS[name] for name in heads),
        input=InputConfig(64, 64, canvas="square" if is_vit else "divisor"),
        **changes,
    )


def family_model(config: MaskRCNNConfig, seed: int = 0) -> MaskRCNN:
    """The model with random weights, its scores spread so that it finds something in noise."""
    keras.utils.set_random_seed(seed)
    model = MaskRCNN(config)
    for head in getattr(model.box_head, "stages", [model.box_head]):
        head.class_logits.kernel.assign(head.class_logits.kernel * 30.0)
    return model
