"""Recipes with other backbones than the paper's, trained as their authors did; and large-scale jitter."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mrcnn.data.pipeline import DataConfig
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.convnext import ConvNeXtConfig
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.recipes.paper import paper
from mrcnn.recipes.recipe import Recipe
from mrcnn.recipes.train_config import TrainConfig


def mask_rcnn_lsj(backbone: BackboneConfig) -> Recipe:
    """Large-scale jitter, batch norm everywhere, deeper RPN and box head, from random weights; 100 epochs of COCO.

    The model trains in squares of 1024 and, unlike detectron2's, is evaluated at that size, too.
    Ref: Simple Copy-Paste, arXiv 2012.07177, section 3; detectron2, configs/new_baselines.
    """
    recipe = paper(
        backbone=backbone,
        neck=FPNConfig(norm="sync_bn"),
        rpn=RPNConfig(num_convs=2),
        box_head=BoxHeadConfig(conv_dims=(256,) * 4, conv_norm="sync_bn", fc_dims=(1024,)),
        heads=(MaskHeadConfig(conv_norm="sync_bn"),),
        input=InputConfig(short_side=1024, long_side=1024),
    )
    data = dataclasses.replace(
        recipe.data, crop=(1024, 1024), scale_jitter=(0.1, 2.0), scale_distribution="uniform", min_visible=0.0
    )
    train = TrainConfig(
        images=11_800_000,  # 184,375 steps of 64; the rate of 0.1 there is 0.025 for 16
        learning_rate=0.025,
        weight_decay=4e-5,
        milestones=(8 / 9, 26 / 27),
        warmup_images=32_000,
    )
    return dataclasses.replace(recipe, data=data, train=train)


def resnet_lsj(depth: Literal[50, 101]) -> ResNetConfig:
    return ResNetConfig(depth=depth, norm="sync_bn", freeze_at=0)


def regnety_4gf() -> RegNetConfig:
    return RegNetConfig.of_rule(22, 31.41, 96, 2.24, 64, squeeze=0.25, norm="sync_bn")


def faster_rcnn_mobilenetv3(is_small: bool = False) -> Recipe:
    """Boxes only, on a pyramid of two maps of stride 32, with a network made for telephones.

    Ref: torchvision, models/detection/faster_rcnn.py, fasterrcnn_mobilenet_v3_large_fpn and _320_fpn.
    """
    neck = FPNConfig(levels=("c5", "c6"))
    sizes = ((32.0, 64.0, 128.0, 256.0, 512.0),) * len(neck.outputs)
    rpn = RPNConfig(anchors=AnchorConfig(sizes=sizes), levels=neck.outputs, score_threshold=0.05)
    if is_small:
        rpn = dataclasses.replace(rpn, pre_nms_test=150, post_nms_test=150)
    recipe = paper(
        backbone=MobileNetV3Config(maps="last_two", freeze_at=3),
        neck=neck,
        rpn=rpn,
        box_head=BoxHeadConfig(pool=RoiPoolConfig(size=7, levels=("p5",))),
        heads=(),
        input=InputConfig(short_side=320, long_side=640) if is_small else InputConfig(),
    )
    return dataclasses.replace(recipe, train=TrainConfig(best_by="val_box/AP"))


def mask_rcnn_efficientnet_lite0() -> Recipe:
    """A recipe for a laptop: a light backbone, a narrow pyramid, light heads, small images.

    The backbone's ImageNet features are several times larger than a ResNet's, so the pyramid is group-normalized.
    """
    return Recipe(
        model=MaskRCNNConfig(
            backbone=EfficientNetLiteConfig(),
            neck=FPNConfig(channels=128, norm="gn"),
            rpn=RPNConfig(channels=128, pre_nms_train=1000, pre_nms_test=1000, post_nms_train=500, post_nms_test=500),
            roi_sampler=RoiSamplerConfig(num_rois=128),
            box_head=BoxHeadConfig(fc_dims=(256, 256)),
            heads=(MaskHeadConfig(pool=RoiPoolConfig(size=14), num_foreground=32, conv_dims=(64,) * 4, deconv_dim=64),),
            input=InputConfig(short_side=512, long_side=832),
        ),
        data=DataConfig(short_sides=(416, 448, 480, 512), flip_horizontal=0.5, mask_side=56),
        train=TrainConfig(
            images=16_000,
            batch_size=4,
            optimizer="adamw",
            learning_rate=2.4e-3,
            weight_decay=0.01,
            schedule="cosine",
            warmup_images=800,
            clip_norm=5.0,
        ),
    )


def mask_rcnn_mobilenetv3() -> Recipe:
    """The laptop's recipe with MobileNetV3-Large. Ref: Searching for MobileNetV3, arXiv 1905.02244, table 1."""
    recipe = mask_rcnn_efficientnet_lite0()
    return dataclasses.replace(
        recipe, model=dataclasses.replace(recipe.model, backbone=KerasApplicationsConfig(name="MobileNetV3Large"))
    )


def _with_adamw(name: str, learning_rate: float, weight_decay: float) -> Recipe:
    """The paper's heads on a network of `keras.applications`, trained at several scales by AdamW.

    Such a network has no norm after its last sum, and its features are several times larger than a ResNet's, so the
    pyramid is group-normalized.
    """
    recipe = paper(backbone=KerasApplicationsConfig(name=name), neck=FPNConfig(norm="gn"))
    return _at_several_scales(recipe, learning_rate=learning_rate, weight_decay=weight_decay)


def _at_several_scales(recipe: Recipe, **train: Any) -> Recipe:
    """Short sides of 480 to 800 pixels, and AdamW."""
    data = dataclasses.replace(recipe.data, short_sides=tuple(range(480, 801, 32)))
    return dataclasses.replace(recipe, data=data, train=TrainConfig(optimizer="adamw", **train))


def mask_rcnn_convnext_tiny() -> Recipe:
    """ConvNeXt-T of `keras.applications`, its rate, decay and scales. Ref: arXiv 2201.03545, appendix A.3."""
    return _with_adamw("ConvNeXtTiny", 1e-4, 0.05)


def mask_rcnn_convnext_t() -> Recipe:
    """ConvNeXt-T as its authors fine-tune it, with stochastic depth and rates that fall from layer to layer.

    Ref: arXiv 2201.03545, appendix A.3; github.com/facebookresearch/ConvNeXt, object_detection.
    """
    backbone = ConvNeXtConfig(drop_path=0.4, layer_scale=1.0)
    return _at_several_scales(
        paper(backbone=backbone),
        learning_rate=1e-4,
        weight_decay=0.05,
        warmup_images=8_000,
        layer_rates=backbone.layer_rates(0.95),
    )


def mvitv2(size: Literal["t", "s", "b"], is_cascade: bool = True) -> Recipe:
    """MViTv2-T, -S or -B under a plain pyramid, 36 epochs at several scales; the published rate is 1.6e-4 at 64 images.

    A cascade has four convolutions in each stage, synchronized batch norm in the heads and two convolutions in the RPN.
    As published but for random crops before the resize in half of the images. Weight decay does not leave out relative
    positions.

    Ref: MViTv2, arXiv 2112.01526, appendix B.2; detectron2, projects/MViTv2/configs.

    Example:
        >>> mvitv2("b").model.backbone.title
        'MViTv2 B'
    """
    depths, drop_path = {"t": ((1, 2, 5, 2), 0.2), "s": ((1, 2, 11, 2), 0.2), "b": ((2, 3, 16, 3), 0.4)}[size]
    heads: dict[str, Any] = {}
    if is_cascade:
        norm: dict[str, Any] = {"conv_dims": (256,) * 4, "conv_norm": "sync_bn"}
        heads = {
            "box_head": CascadeBoxHeadConfig(fc_dims=(1024,), **norm),
            "heads": (MaskHeadConfig(**norm),),
            "rpn": RPNConfig(num_convs=2),
        }
    return _at_several_scales(
        paper(backbone=MViTConfig(depths=depths, drop_path=drop_path), **heads),
        images=4_320_000,
        learning_rate=4e-5,
        weight_decay=0.1,
        warmup_images=16_000,
        milestones=(7 / 9, 25 / 27),
    )


def mask_rcnn_efficientnetv2_s() -> Recipe:
    """EfficientNetV2-S, trained as ConvNeXt-T is. Ref: EfficientNetV2, arXiv 2104.00298, table 4."""
    return _with_adamw("EfficientNetV2S", 1e-4, 0.05)


def mask_rcnn_swin_t() -> Recipe:
    """Swin-T, its rate, decay, warm-up, scales and stochastic depth. Ref: arXiv 2103.14030, section 4.2 and A2.2.

    Its maps are normalized, so the pyramid needs no norm. Weight decay leaves out the bias of positions and all norms
    as there, and here the other biases, too.
    """
    recipe = paper(backbone=SwinConfig(drop_path=0.2))
    return _at_several_scales(recipe, learning_rate=1e-4, weight_decay=0.05, warmup_images=16_000)
