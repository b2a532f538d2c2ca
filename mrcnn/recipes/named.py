"""The recipes that come with the package, by name, and lengths of training."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from mrcnn.base_config import ConfigError
from mrcnn.data.pipeline import DataConfig
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.point_rend import PointRendMaskHeadConfig
from mrcnn.modeling.heads.rotated_box import RotatedBoxHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.roi_pooling import RoiOp, RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.modeling.rpn.rotated import RotatedRPNConfig
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.recipes.recipe import Recipe, load
from mrcnn.recipes.train_config import TrainConfig
from mrcnn.recipes.vitdet import vitdet
from mrcnn.weights.coco_classes import STUFF


def _paper(**model: Any) -> Recipe:
    """The paper's FPN recipe, some components replaced.

    Ref: Mask R-CNN, section 3.1; Feature Pyramid Networks, section 5.1.
    """
    return Recipe(
        model=MaskRCNNConfig(**model),
        data=DataConfig(flip_horizontal=0.5, max_instances=100, mask_side=112),
    )


def _mask_rcnn_c4(depth: Literal[50, 101] = 50, op: RoiOp = "align") -> Recipe:
    """RPN and heads on the stride-16 map, res5 on each RoI. Ref: Mask R-CNN, figure 4 (left), table 2c."""
    pool = RoiPoolConfig(size=14, levels=("c4",), op=op)
    return _paper(
        backbone=ResNetConfig(depth=depth, last_stage=4),
        neck=PassThroughConfig(levels=("c4",)),
        rpn=RPNConfig(channels=1024).on_one_map("c4"),
        roi_stage=Res5Config(),
        box_head=BoxHeadConfig(pool=pool, fc_dims=(), reduce="mean"),
        heads=(MaskHeadConfig(pool=pool, conv_dims=()),),
        input=InputConfig(divisor=16),
    )


def _mask_rcnn_c5(depth: Literal[50, 101] = 50, dilate: bool = False, op: RoiOp = "align") -> Recipe:
    """RPN and the pyramid's heads on res5, whose cells are 32 pixels, or 16 if it is dilated.

    Ref: Mask R-CNN, table 2d and its text: "the same head as in Figure 4 (right), as the res5 head is not applicable";
    dilated: Deformable ConvNets, section 4.1.
    """
    pool = RoiPoolConfig(size=7, levels=("c5",), op=op)
    return _paper(
        backbone=ResNetConfig(depth=depth, dilate_c5=dilate),
        neck=PassThroughConfig(levels=("c5",)),
        rpn=RPNConfig(channels=2048).on_one_map("c5"),
        box_head=BoxHeadConfig(pool=pool),
        heads=(MaskHeadConfig(pool=dataclasses.replace(pool, size=14)),),
    )


def _mask_rcnn_gn() -> Recipe:
    """Group norm throughout, four convolutions in the box head. Ref: Group Normalization, section 4.2."""
    return _paper(
        backbone=ResNetConfig(norm="gn"),
        neck=FPNConfig(norm="gn"),
        box_head=BoxHeadConfig(conv_dims=(256,) * 4, conv_norm="gn", fc_dims=(1024,)),
        heads=(MaskHeadConfig(conv_norm="gn"),),
    )


def _pointrend(backbone: ResNetConfig) -> Recipe:
    """Masks refined point by point, trained at several scales. Ref: PointRend, arXiv 1912.08193, section 4."""
    boxes = BoxHeadConfig(train_on_pred_boxes=True)
    recipe = _paper(backbone=backbone, box_head=boxes, heads=(PointRendMaskHeadConfig(),))
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, short_sides=tuple(range(640, 801, 32))))


def _mask_rcnn_lsj(backbone: BackboneConfig) -> Recipe:
    """Large-scale jitter, batch norm everywhere, deeper RPN and box head, from random weights; 100 epochs of COCO.

    The model trains in squares of 1024 and, unlike detectron2's, is evaluated at that size, too.
    Ref: Simple Copy-Paste, arXiv 2012.07177, section 3; detectron2, configs/new_baselines.
    """
    recipe = _paper(
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


def _resnet_lsj(depth: Literal[50, 101]) -> ResNetConfig:
    return ResNetConfig(depth=depth, norm="sync_bn", freeze_at=0)


def _regnety_4gf() -> RegNetConfig:
    return RegNetConfig.of_rule(22, 31.41, 96, 2.24, 64, squeeze=0.25, norm="sync_bn")


def _cascade_mask_rcnn_x152() -> Recipe:
    """ResNeXt-152 with deformable convolutions, a cascade, deep heads with group norm.

    Ref: detectron2, configs/Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml.
    """
    recipe = _paper(
        backbone=ResNetConfig(depth=152, groups=32, width_per_group=8, deformable=DeformableConfig()),
        box_head=CascadeBoxHeadConfig(conv_dims=(256,) * 4, conv_norm="gn", fc_dims=(1024,)),
        heads=(MaskHeadConfig(conv_dims=(256,) * 8, conv_norm="gn"),),
    )
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, short_sides=tuple(range(640, 865, 32))))


def _keypoint_rcnn(non_local: NonLocalConfig | None = None) -> Recipe:
    """People and their 17 joints, trained at several scales. Ref: Mask R-CNN, section 5.

    With `non_local` a block in res4 and four in the head. Ref: Non-local Neural Networks, table 6.
    """
    backbone, head = ResNetConfig(non_local=non_local), KeypointHeadConfig(non_local=non_local)
    recipe = _paper(num_classes=1, backbone=backbone, heads=(head,))
    scales = tuple(range(640, 801, 32))
    data = dataclasses.replace(recipe.data, short_sides=scales, num_joints=17)
    return dataclasses.replace(recipe, data=data, train=TrainConfig(best_by="val_keypoints/AP"))


def _cityscapes(steps: int = 24_000) -> Recipe:
    """Streets of 2048 x 1024 pixels: 64 RoIs, one image on each of eight GPUs, the rate 0.01 and a tenth after 3 / 4.

    Ref: Mask R-CNN, appendix A: 24,000 steps from ImageNet weights, 4,000 from a model trained on COCO.
    """
    recipe = _paper(
        num_classes=8,
        roi_sampler=RoiSamplerConfig(num_rois=64),
        heads=(MaskHeadConfig(num_foreground=16),),
        input=InputConfig(short_side=1024, long_side=2048),
    )
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, short_sides=tuple(range(800, 1025, 32))),
        train=TrainConfig(images=8 * steps, batch_size=1, milestones=(3 / 4,)),
    )


def _rotated_mask_rcnn() -> Recipe:
    """Boxes that turn with their objects, for elongated ones in any direction. Ref: Ma et al., arXiv 1703.01086."""
    recipe = _paper(
        rpn=RotatedRPNConfig(),
        box_head=RotatedBoxHeadConfig(),
        heads=(MaskHeadConfig(pool=RoiPoolConfig(size=14, op="align_rotated")),),
    )
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, rotated_boxes=True))


def _panoptic() -> Recipe:
    """Instances and COCO's 53 classes of stuff, trained at several scales.

    Ref: Panoptic Feature Pyramid Networks, sections 3 and 4.1; detectron2, panoptic_fpn_R_50_1x.
    """
    recipe = _paper()
    names, ids = tuple(STUFF.values()), tuple(STUFF)
    model = dataclasses.replace(
        recipe.model, semantic_head=SemanticHeadConfig(), stuff_names=names, stuff_category_ids=ids
    )
    data = dataclasses.replace(recipe.data, short_sides=tuple(range(640, 801, 32)), semantic_maps=True)
    return dataclasses.replace(recipe, model=model, data=data)


def _faster_rcnn() -> Recipe:
    """Boxes only. Ref: Feature Pyramid Networks, section 5.2."""
    return dataclasses.replace(_paper(heads=()), train=TrainConfig(best_by="val_box/AP"))


def _faster_rcnn_mobilenetv3(is_small: bool = False) -> Recipe:
    """Boxes only, on a pyramid of two maps of stride 32, with a network made for telephones.

    Ref: torchvision, models/detection/faster_rcnn.py, fasterrcnn_mobilenet_v3_large_fpn and _320_fpn.
    """
    neck = FPNConfig(levels=("c5", "c6"))
    sizes = ((32.0, 64.0, 128.0, 256.0, 512.0),) * len(neck.outputs)
    rpn = RPNConfig(anchors=AnchorConfig(sizes=sizes), levels=neck.outputs, score_threshold=0.05)
    if is_small:
        rpn = dataclasses.replace(rpn, pre_nms_test=150, post_nms_test=150)
    recipe = _paper(
        backbone=MobileNetV3Config(maps="last_two", freeze_at=3),
        neck=neck,
        rpn=rpn,
        box_head=BoxHeadConfig(pool=RoiPoolConfig(size=7, levels=("p5",))),
        heads=(),
        input=InputConfig(short_side=320, long_side=640) if is_small else InputConfig(),
    )
    return dataclasses.replace(recipe, train=TrainConfig(best_by="val_box/AP"))


def _mask_rcnn_efficientnet_lite0() -> Recipe:
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


def _mask_rcnn_mobilenetv3() -> Recipe:
    """The laptop's recipe with MobileNetV3-Large. Ref: Searching for MobileNetV3, arXiv 1905.02244, table 1."""
    recipe = _mask_rcnn_efficientnet_lite0()
    return dataclasses.replace(
        recipe, model=dataclasses.replace(recipe.model, backbone=KerasApplicationsConfig(name="MobileNetV3Large"))
    )


def _with_adamw(name: str, learning_rate: float, weight_decay: float) -> Recipe:
    """The paper's heads on a network of `keras.applications`, trained at several scales by AdamW.

    Such a network has no norm after its last sum, and its features are several times larger than a ResNet's, so the
    pyramid is group-normalized.
    """
    recipe = _paper(backbone=KerasApplicationsConfig(name=name), neck=FPNConfig(norm="gn"))
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, short_sides=tuple(range(480, 801, 32))),
        train=TrainConfig(optimizer="adamw", learning_rate=learning_rate, weight_decay=weight_decay),
    )


def _mask_rcnn_convnext_tiny() -> Recipe:
    """ConvNeXt-T, its rate, decay and scales. Ref: A ConvNet for the 2020s, arXiv 2201.03545, appendix A.3."""
    return _with_adamw("ConvNeXtTiny", 1e-4, 0.05)


def _mask_rcnn_efficientnetv2_s() -> Recipe:
    """EfficientNetV2-S, trained as ConvNeXt-T is. Ref: EfficientNetV2, arXiv 2104.00298, table 4."""
    return _with_adamw("EfficientNetV2S", 1e-4, 0.05)


def _mask_rcnn_swin_t() -> Recipe:
    """Swin-T, its rate, decay, warm-up, scales and stochastic depth. Ref: arXiv 2103.14030, section 4.2 and A2.2.

    Its maps are normalized, so the pyramid needs no norm. Weight decay leaves out the bias of positions and all norms
    as there, and here the other biases, too.
    """
    recipe = _paper(backbone=SwinConfig(drop_path=0.2))
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, short_sides=tuple(range(480, 801, 32))),
        train=TrainConfig(optimizer="adamw", learning_rate=1e-4, weight_decay=0.05, warmup_images=16_000),
    )


_NAMED: dict[str, Callable[[], Recipe]] = {
    "mask_rcnn_r50_fpn": _paper,
    "mask_rcnn_r101_fpn": lambda: _paper(backbone=ResNetConfig(depth=101)),
    "mask_rcnn_r152_fpn": lambda: _paper(backbone=ResNetConfig(depth=152)),
    "mask_rcnn_x101_32x8d_fpn": lambda: _paper(backbone=ResNetConfig(depth=101, groups=32, width_per_group=8)),
    "mask_rcnn_x152_32x8d_fpn": lambda: _paper(backbone=ResNetConfig(depth=152, groups=32, width_per_group=8)),
    "mask_rcnn_r50_fpn_nl": lambda: _paper(backbone=ResNetConfig(non_local=NonLocalConfig())),
    "mask_rcnn_r50_fpn_dconv": lambda: _paper(backbone=ResNetConfig(deformable=DeformableConfig())),
    "mask_rcnn_x101_32x8d_fpn_dconv": lambda: _paper(
        backbone=ResNetConfig(depth=101, groups=32, width_per_group=8, deformable=DeformableConfig())
    ),
    "mask_rcnn_r50_c4": _mask_rcnn_c4,
    "mask_rcnn_r50_c4_roipool": lambda: _mask_rcnn_c4(op="pool"),
    "mask_rcnn_r50_c4_roiwarp": lambda: _mask_rcnn_c4(op="warp"),
    "mask_rcnn_r101_c4": lambda: _mask_rcnn_c4(101),
    "mask_rcnn_r50_c5": _mask_rcnn_c5,
    "mask_rcnn_r50_c5_roipool": lambda: _mask_rcnn_c5(op="pool"),
    "mask_rcnn_r101_c5": lambda: _mask_rcnn_c5(101),
    "mask_rcnn_r50_dc5": lambda: _mask_rcnn_c5(dilate=True),
    "mask_rcnn_r50_fpn_gn": _mask_rcnn_gn,
    "pointrend_r50_fpn": lambda: _pointrend(ResNetConfig()),
    "pointrend_r101_fpn": lambda: _pointrend(ResNetConfig(depth=101)),
    "pointrend_x101_32x8d_fpn": lambda: _pointrend(ResNetConfig(depth=101, groups=32, width_per_group=8)),
    "mask_rcnn_r50_fpn_lsj": lambda: _mask_rcnn_lsj(_resnet_lsj(50)),
    "mask_rcnn_r101_fpn_lsj": lambda: _mask_rcnn_lsj(_resnet_lsj(101)),
    "mask_rcnn_regnetx_4gf_fpn_lsj": lambda: _mask_rcnn_lsj(RegNetConfig(norm="sync_bn")),
    "mask_rcnn_regnety_4gf_fpn_lsj": lambda: _mask_rcnn_lsj(_regnety_4gf()),
    "cascade_mask_rcnn_r50_fpn": lambda: _paper(box_head=CascadeBoxHeadConfig()),
    "cascade_mask_rcnn_r50_fpn_dconv": lambda: _paper(
        backbone=ResNetConfig(deformable=DeformableConfig()), box_head=CascadeBoxHeadConfig()
    ),
    "cascade_mask_rcnn_x152_32x8d_fpn_gn_dconv": _cascade_mask_rcnn_x152,
    "rotated_mask_rcnn_r50_fpn": _rotated_mask_rcnn,
    "faster_rcnn_r50_fpn": _faster_rcnn,
    "faster_rcnn_mobilenetv3_fpn": _faster_rcnn_mobilenetv3,
    "faster_rcnn_mobilenetv3_320_fpn": lambda: _faster_rcnn_mobilenetv3(is_small=True),
    "panoptic_r50_fpn": _panoptic,
    "keypoint_rcnn_r50_fpn": _keypoint_rcnn,
    "keypoint_rcnn_r50_fpn_nl": lambda: _keypoint_rcnn(NonLocalConfig()),
    "cityscapes_mask_rcnn_r50_fpn": _cityscapes,
    "cityscapes_mask_rcnn_r50_fpn_from_coco": lambda: _cityscapes(4_000),
    "mask_rcnn_efficientnet_lite0_fpn": _mask_rcnn_efficientnet_lite0,
    "mask_rcnn_mobilenetv3_fpn": _mask_rcnn_mobilenetv3,
    "mask_rcnn_convnext_tiny_fpn": _mask_rcnn_convnext_tiny,
    "mask_rcnn_swin_t_fpn": _mask_rcnn_swin_t,
    "mask_rcnn_efficientnetv2_s_fpn": _mask_rcnn_efficientnetv2_s,
    "vitdet_b": lambda: vitdet("b"),
    "vitdet_l": lambda: vitdet("l"),
    "vitdet_h": lambda: vitdet("h"),
    "cascade_vitdet_b": lambda: vitdet("b", is_cascade=True),
    "cascade_vitdet_l": lambda: vitdet("l", is_cascade=True),
    "cascade_vitdet_h": lambda: vitdet("h", is_cascade=True),
}


def named() -> dict[str, Recipe]:
    """All recipes that come with the package, by name."""
    return {name: make() for name, make in _NAMED.items()}


SCHEDULES = {
    # Lengths of the public model zoos, in images, so that they hold for any number of devices; steps are of 16.
    "1x": {"train.images": 1_440_000, "train.milestones": [2 / 3, 8 / 9]},  # 90,000 steps, down at 60,000 and 80,000
    "2x": {"train.images": 2_880_000, "train.milestones": [2 / 3, 8 / 9]},
    "3x": {"train.images": 4_320_000, "train.milestones": [7 / 9, 25 / 27]},  # 270,000; 210,000 and 250,000
    # 200 and 400 epochs of COCO, down near the end. Ref: detectron2, configs/new_baselines
    "200ep": {"train.images": 23_600_000, "train.milestones": [8 / 9, 26 / 27]},
    "400ep": {"train.images": 47_200_000, "train.milestones": [8 / 9, 26 / 27]},
    # 160,000 steps, down at 120,000. Ref: Mask R-CNN, section 3.1
    "paper": {"train.images": 2_560_000, "train.milestones": [3 / 4]},
}
"""By suffix: "mask_rcnn_r50_fpn_3x" is mask_rcnn_r50_fpn with the length "3x"."""


def get(name_or_path: str | os.PathLike[str], *, profile: str | None = None) -> Recipe:
    """A recipe by name, or from a file.

    Args:
        name_or_path: one of `named`, with a suffix of `SCHEDULES` or without, or a YAML or JSON file.
        profile: take the conventions of this program, see `Recipe.with_profile`; None: the recipe's own.

    Raises:
        ConfigError: neither a known name nor a readable file; the message lists close names.
    """
    if profile is not None:
        return get(name_or_path).with_profile(profile)
    name = str(name_or_path)
    if name in _NAMED:
        return _NAMED[name]()
    base, _, suffix = name.rpartition("_")
    if base in _NAMED and suffix in SCHEDULES:
        return _NAMED[base]().override(SCHEDULES[suffix])
    if Path(name).suffix in (".yaml", ".yml", ".json") or Path(name).is_file():
        return load(name)
    close = difflib.get_close_matches(name, _NAMED, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise ConfigError(f"no recipe {name!r}{hint} There are {', '.join(_NAMED)}, or give a YAML file")
