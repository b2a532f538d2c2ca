"""Recipes of ViTDet: plain Vision Transformers under a simple feature pyramid, and what it was compared with.

Ref: ViTDet, arXiv 2203.16527, appendix A.2; detectron2, projects/ViTDet/configs/COCO. Weight decay leaves out norms and
absolute positions as there, and here biases too.
"""

from __future__ import annotations

from typing import Any, Literal

from mrcnn.data.pipeline import DataConfig
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.base import NeckConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramidConfig
from mrcnn.modeling.rpn import RPNConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.recipes.recipe import Recipe
from mrcnn.recipes.train_config import TrainConfig

_IMAGES = 118_000  # of COCO train2017: one epoch
_BACKBONES = {
    "b": ViTConfig(drop_path=0.1),
    "l": ViTConfig(depth=24, width=1024, num_heads=16, global_blocks=(5, 11, 17, 23), drop_path=0.4),
    "h": ViTConfig(depth=32, width=1280, num_heads=16, global_blocks=(7, 15, 23, 31), drop_path=0.5),
}
_RATE_DECAY = {"b": 0.7, "l": 0.8, "h": 0.9}  # of the learning rate, from a block to the one before
_EPOCHS = {"b": 100, "l": 100, "h": 75}
_LONG = {"images": 100 * _IMAGES, "milestones": (8 / 9, 26 / 27)}
_SWIN = {"images": 50 * _IMAGES, "learning_rate": 1e-5, "weight_decay": 0.05}
_SWIN_B: dict[str, Any] = {"depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "width": 128}
_SWIN_L: dict[str, Any] = {"depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48), "width": 192}
_MVIT_L: dict[str, Any] = {"depths": (2, 6, 36, 4), "width": 144, "num_heads": 2}
_MVIT_H: dict[str, Any] = {"depths": (4, 8, 60, 8), "width": 192, "num_heads": 3}
_THIRTY_SIX = {"images": 4_320_000, "milestones": (7 / 9, 25 / 27)}
_HIERARCHICAL: dict[str, tuple[BackboneConfig, dict[str, Any]]] = {
    "swin_b": (SwinConfig(**_SWIN_B, drop_path=0.4), _SWIN),
    "swin_l": (SwinConfig(**_SWIN_L, drop_path=0.4), _SWIN),
    "mvitv2_b": (MViTConfig(depths=(2, 3, 16, 3), drop_path=0.4), {"learning_rate": 2e-5}),
    "mvitv2_l": (MViTConfig(**_MVIT_L, drop_path=0.5), {"learning_rate": 2e-5, "images": 50 * _IMAGES}),
    "mvitv2_h": (MViTConfig(**_MVIT_H, drop_path=0.6), {"learning_rate": 4e-5, **_THIRTY_SIX}),
}


def vitdet(size: Literal["b", "l", "h"], is_cascade: bool = False) -> Recipe:
    """ViTDet-B, -L or -H with a box head or a cascade, trained with large-scale jitter in squares of 1024 pixels.

    The published rate is 1e-4 at a batch of 64.

    Example:
        >>> vitdet("h").model.backbone.title
        'ViT H'
    """
    backbone = _BACKBONES[size]
    train = {
        "images": _EPOCHS[size] * _IMAGES,
        "learning_rate": 2.5e-5,
        "layer_rates": backbone.layer_rates(_RATE_DECAY[size]),
    }
    return _recipe(backbone, SimpleFeaturePyramidConfig(), is_cascade, train)


def hierarchical(name: Literal["swin_b", "swin_l", "mvitv2_b", "mvitv2_l", "mvitv2_h"]) -> Recipe:
    """A Swin Transformer or MViTv2 under a pyramid, with ViTDet's cascade, heads and large-scale jitter.

    Published rates at a batch of 64: Swin 4e-5, MViTv2-B and -L 8e-5, -H 1.6e-4.

    Example:
        >>> hierarchical("mvitv2_l").model.backbone.title
        'MViTv2 L'
    """
    backbone, train = _HIERARCHICAL[name]
    return _recipe(backbone, FPNConfig(norm="ln", epsilon=1e-6), True, train)


def _recipe(backbone: BackboneConfig, neck: NeckConfig, is_cascade: bool, train: dict[str, Any]) -> Recipe:
    """What they have in common: heads with layer norm, two convolutions in the RPN, squares, AdamW."""
    norm: dict[str, Any] = {"conv_dims": (256,) * 4, "conv_norm": "ln", "norm_epsilon": 1e-6}
    box_head = CascadeBoxHeadConfig if is_cascade else BoxHeadConfig
    model = MaskRCNNConfig(
        backbone=backbone,
        neck=neck,
        rpn=RPNConfig(num_convs=2, post_nms_train=1000),
        box_head=box_head(fc_dims=(1024,), **norm),
        heads=(MaskHeadConfig(**norm),),
        input=InputConfig(short_side=1024, long_side=1024, canvas="square"),
    )
    usual: dict[str, Any] = {"optimizer": "adamw", "weight_decay": 0.1, "warmup_images": 16_000}
    return Recipe(
        model=model,
        data=DataConfig(crop=(1024, 1024), scale_jitter=(0.1, 2.0), scale_distribution="uniform", min_visible=0.0),
        train=TrainConfig(**(usual | _LONG | train)),
    )
