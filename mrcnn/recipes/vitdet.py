"""Recipes of ViTDet: plain Vision Transformers under a simple feature pyramid.

Ref: ViTDet, arXiv 2203.16527, appendix A.2; detectron2, projects/ViTDet/configs/COCO. Weight decay leaves out norms as
there, and here biases too.
"""

from __future__ import annotations

from typing import Any, Literal

from mrcnn.data.pipeline import DataConfig
from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
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


def vitdet(size: Literal["b", "l", "h"], is_cascade: bool = False) -> Recipe:
    """ViTDet-B, -L or -H with a box head or a cascade, trained with large-scale jitter in squares of 1024 pixels.

    The published rate is 1e-4 at a batch of 64.

    Example:
        >>> vitdet("h").model.backbone.title
        'ViT H'
    """
    backbone = _BACKBONES[size]
    norm: dict[str, Any] = {"conv_dims": (256,) * 4, "conv_norm": "ln", "norm_epsilon": 1e-6}
    box_head = CascadeBoxHeadConfig if is_cascade else BoxHeadConfig
    model = MaskRCNNConfig(
        backbone=backbone,
        neck=SimpleFeaturePyramidConfig(),
        rpn=RPNConfig(num_convs=2, post_nms_train=1000),
        box_head=box_head(fc_dims=(1024,), **norm),
        heads=(MaskHeadConfig(**norm),),
        input=InputConfig(short_side=1024, long_side=1024, canvas="square"),
    )
    return Recipe(
        model=model,
        data=DataConfig(crop=(1024, 1024), scale_jitter=(0.1, 2.0), scale_distribution="uniform", min_visible=0.0),
        train=TrainConfig(
            images=_EPOCHS[size] * _IMAGES,
            optimizer="adamw",
            learning_rate=2.5e-5,
            weight_decay=0.1,
            warmup_images=16_000,
            milestones=(8 / 9, 26 / 27),
            layer_rates=backbone.layer_rates(_RATE_DECAY[size]),
        ),
    )
