"""The recipes that come with the package, by name, and lengths of training."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.recipes import lvis, other_backbones, paper
from mrcnn.recipes.recipe import Recipe, load
from mrcnn.recipes.vitdet import hierarchical, vitdet

_NAMED: dict[str, Callable[[], Recipe]] = {
    "mask_rcnn_r50_fpn": paper.paper,
    "mask_rcnn_r101_fpn": lambda: paper.paper(backbone=ResNetConfig(depth=101)),
    "mask_rcnn_r152_fpn": lambda: paper.paper(backbone=ResNetConfig(depth=152)),
    "mask_rcnn_x101_32x8d_fpn": lambda: paper.paper(backbone=ResNetConfig(depth=101, groups=32, width_per_group=8)),
    "mask_rcnn_x152_32x8d_fpn": lambda: paper.paper(backbone=ResNetConfig(depth=152, groups=32, width_per_group=8)),
    "mask_rcnn_r50_fpn_nl": lambda: paper.paper(backbone=ResNetConfig(non_local=NonLocalConfig())),
    "mask_rcnn_r50_fpn_dconv": lambda: paper.paper(backbone=ResNetConfig(deformable=DeformableConfig())),
    "mask_rcnn_x101_32x8d_fpn_dconv": lambda: paper.paper(
        backbone=ResNetConfig(depth=101, groups=32, width_per_group=8, deformable=DeformableConfig())
    ),
    "mask_rcnn_r50_c4": paper.mask_rcnn_c4,
    "mask_rcnn_r50_c4_roipool": lambda: paper.mask_rcnn_c4(op="pool"),
    "mask_rcnn_r50_c4_roiwarp": lambda: paper.mask_rcnn_c4(op="warp"),
    "mask_rcnn_r101_c4": lambda: paper.mask_rcnn_c4(101),
    "mask_rcnn_r50_c5": paper.mask_rcnn_c5,
    "mask_rcnn_r50_c5_roipool": lambda: paper.mask_rcnn_c5(op="pool"),
    "mask_rcnn_r101_c5": lambda: paper.mask_rcnn_c5(101),
    "mask_rcnn_r50_dc5": lambda: paper.mask_rcnn_c5(dilate=True),
    "mask_rcnn_r50_fpn_gn": paper.mask_rcnn_gn,
    "pointrend_r50_fpn": lambda: paper.pointrend(ResNetConfig()),
    "pointrend_r101_fpn": lambda: paper.pointrend(ResNetConfig(depth=101)),
    "pointrend_x101_32x8d_fpn": lambda: paper.pointrend(ResNetConfig(depth=101, groups=32, width_per_group=8)),
    "mask_rcnn_r50_fpn_lsj": lambda: other_backbones.mask_rcnn_lsj(other_backbones.resnet_lsj(50)),
    "mask_rcnn_r101_fpn_lsj": lambda: other_backbones.mask_rcnn_lsj(other_backbones.resnet_lsj(101)),
    "mask_rcnn_regnetx_4gf_fpn_lsj": lambda: other_backbones.mask_rcnn_lsj(RegNetConfig(norm="sync_bn")),
    "mask_rcnn_regnety_4gf_fpn_lsj": lambda: other_backbones.mask_rcnn_lsj(other_backbones.regnety_4gf()),
    "cascade_mask_rcnn_r50_fpn": lambda: paper.paper(box_head=CascadeBoxHeadConfig()),
    "cascade_mask_rcnn_r50_fpn_dconv": lambda: paper.paper(
        backbone=ResNetConfig(deformable=DeformableConfig()), box_head=CascadeBoxHeadConfig()
    ),
    "cascade_mask_rcnn_x152_32x8d_fpn_gn_dconv": paper.cascade_mask_rcnn_x152,
    "rotated_mask_rcnn_r50_fpn": paper.rotated_mask_rcnn,
    "faster_rcnn_r50_fpn": paper.faster_rcnn,
    "faster_rcnn_mobilenetv3_fpn": other_backbones.faster_rcnn_mobilenetv3,
    "faster_rcnn_mobilenetv3_320_fpn": lambda: other_backbones.faster_rcnn_mobilenetv3(is_small=True),
    "panoptic_r50_fpn": paper.panoptic,
    "keypoint_rcnn_r50_fpn": paper.keypoint_rcnn,
    "keypoint_rcnn_r50_fpn_nl": lambda: paper.keypoint_rcnn(NonLocalConfig()),
    "cityscapes_mask_rcnn_r50_fpn": paper.cityscapes,
    "cityscapes_mask_rcnn_r50_fpn_from_coco": lambda: paper.cityscapes(4_000),
    "mask_rcnn_efficientnet_lite0_fpn": other_backbones.mask_rcnn_efficientnet_lite0,
    "mask_rcnn_mobilenetv3_fpn": other_backbones.mask_rcnn_mobilenetv3,
    "mask_rcnn_convnext_tiny_fpn": other_backbones.mask_rcnn_convnext_tiny,
    "mask_rcnn_convnext_t_fpn": other_backbones.mask_rcnn_convnext_t,
    "mask_rcnn_swin_t_fpn": other_backbones.mask_rcnn_swin_t,
    "mask_rcnn_mvitv2_t_fpn": lambda: other_backbones.mvitv2("t", is_cascade=False),
    "cascade_mask_rcnn_mvitv2_t_fpn": lambda: other_backbones.mvitv2("t"),
    "cascade_mask_rcnn_mvitv2_s_fpn": lambda: other_backbones.mvitv2("s"),
    "cascade_mask_rcnn_mvitv2_b_fpn": lambda: other_backbones.mvitv2("b"),
    "mask_rcnn_efficientnetv2_s_fpn": other_backbones.mask_rcnn_efficientnetv2_s,
    "vitdet_b": lambda: vitdet("b"),
    "vitdet_l": lambda: vitdet("l"),
    "vitdet_h": lambda: vitdet("h"),
    "cascade_vitdet_b": lambda: vitdet("b", is_cascade=True),
    "cascade_vitdet_l": lambda: vitdet("l", is_cascade=True),
    "cascade_vitdet_h": lambda: vitdet("h", is_cascade=True),
    "cascade_mask_rcnn_swin_b_fpn_lsj": lambda: hierarchical("swin_b"),
    "cascade_mask_rcnn_swin_l_fpn_lsj": lambda: hierarchical("swin_l"),
    "cascade_mask_rcnn_mvitv2_b_fpn_lsj": lambda: hierarchical("mvitv2_b"),
    "cascade_mask_rcnn_mvitv2_l_fpn_lsj": lambda: hierarchical("mvitv2_l"),
    "cascade_mask_rcnn_mvitv2_h_fpn_lsj": lambda: hierarchical("mvitv2_h"),
    "lvis_mask_rcnn_r50_fpn": lambda: lvis.mask_rcnn_lvis(ResNetConfig()),
    "lvis_mask_rcnn_r101_fpn": lambda: lvis.mask_rcnn_lvis(ResNetConfig(depth=101)),
    "lvis_mask_rcnn_x101_32x8d_fpn": lambda: lvis.mask_rcnn_lvis(ResNetConfig(depth=101, groups=32, width_per_group=8)),
    "lvis_vitdet_b": lambda: lvis.vitdet_lvis("b"),
    "lvis_vitdet_l": lambda: lvis.vitdet_lvis("l"),
    "lvis_vitdet_h": lambda: lvis.vitdet_lvis("h"),
    "lvis_cascade_vitdet_b": lambda: lvis.vitdet_lvis("b", is_cascade=True),
    "lvis_cascade_vitdet_l": lambda: lvis.vitdet_lvis("l", is_cascade=True),
    "lvis_cascade_vitdet_h": lambda: lvis.vitdet_lvis("h", is_cascade=True),
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
