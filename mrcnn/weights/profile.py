"""Profiles: what a family of weights fixes beyond its arrays, one frozen value per family.

Two programs that share every array still see different images, lay different anchors and paste masks differently.
A profile states all of that in terms of the components' own config, over which `Profile.model_config` lays what a
network's arrays say (depth, heads, classes). No other place knows a family by name.

Sources: the public code and configuration files of torchvision (models/detection), detectron2 (config/defaults.py,
the Base-*.yaml files), Detectron (core/config.py, the 12_2017 baselines), matterport/Mask_RCNN (config.py) and
mmdetection (configs/_base_/models, mmdet/models/task_modules).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.convnext import ConvNeXtConfig
from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.modeling.heads.base import RoiHeadConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.cascade_mask import CascadeMaskHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import BaseMaskHeadConfig, MaskHeadConfig
from mrcnn.modeling.heads.point_rend import PointRendMaskHeadConfig
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.base import NeckConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramidConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.modeling.rpn import RPNConfig
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.weights.network import Family, Overrides


@dataclasses.dataclass(frozen=True)
class Profile(BaseConfig):
    """The conventions of one family of weights, as config of the components.

    Fields that the arrays decide (sizes, channels, numbers of layers and classes) hold the family's most common value
    here.
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
    # Of these two only what is a cascade's own counts, where a network is one.
    cascade_box_head: CascadeBoxHeadConfig = CascadeBoxHeadConfig()
    cascade_mask_head: CascadeMaskHeadConfig = CascadeMaskHeadConfig()
    keypoint_head: KeypointHeadConfig = KeypointHeadConfig()
    semantic_head: SemanticHeadConfig = SemanticHeadConfig()
    keypoint_box_beta: float | None = None  # smooth L1 beta of the box head in keypoint networks; None: the same
    keypoint_post_nms_train: int | None = None  # proposals in training of keypoint networks; None: the same
    norm_epsilon: float = 1e-5  # of batch norm, where the arrays are of the family's usual kind
    background: Literal["first", "last"] = "first"  # where class scores have it; with "first" boxes and masks have one
    stem_pool: Literal["symmetric", "same"] = "symmetric"
    freeze_at: int = 2

    def model_config(self, overrides: Overrides) -> MaskRCNNConfig:
        """Configuration of a model of this family.

        Args:
            overrides: what the arrays say about it, see `Overrides`.

        Raises:
            ConfigError: an override names no field, or has a value that cannot be.
        """
        kind, own = overrides["neck"], by_component(overrides)
        map_name = kind.removeprefix("d")  # c4 or c5, where there is no pyramid
        fixed: dict[str, Any] = {
            "stem_pool": self.stem_pool,
            "pixel_norm": self.pixel_norm,
            "freeze_at": self.freeze_at,
            "last_stage": 4 if kind == "c4" else 5,
            "dilate_c5": kind == "dc5",
        }
        backbone: BackboneConfig
        others: dict[str, type[BackboneConfig]] = {
            "convnext": ConvNeXtConfig,
            "swin": SwinConfig,
            "vit": ViTConfig,
            "mvit": MViTConfig,
            "regnet": RegNetConfig,
            "mobilenet_v3": MobileNetV3Config,
        }
        other = others.get(overrides.get("backbone", "resnet"))
        if other is not None:
            backbone = other(**({"pixel_norm": self.pixel_norm} | own["backbone"]))
        else:
            backbone = ResNetConfig(**(fixed | own["backbone"]))
        stage = None
        if kind == "c4":
            shared = ("norm", "epsilon", "stride_in_1x1", "groups", "width_per_group")
            stage = Res5Config(**{name: getattr(backbone, name) for name in shared})
        pool = replace(self.pool, **own["pool"])
        necks: dict[str, type[NeckConfig]] = {"fpn": FPNConfig, "simple_fpn": SimpleFeaturePyramidConfig}
        is_pyramid = kind in necks
        if not is_pyramid:
            pool = replace(pool, levels=(map_name,), sampling_ratio=self.single_map_sampling_ratio)
        heads: list[RoiHeadConfig] = []
        if own["mask_head"]:
            norms: dict[str, Any] = {"conv_norm": "none", "norm_epsilon": 1e-5}
            heads.append(self._mask_head(replace(pool, size=14), norms | own["mask_head"]))
        if own["keypoint_head"]:
            heads.append(replace(self.keypoint_head, pool=replace(pool, size=14), **own["keypoint_head"]))
        return MaskRCNNConfig(
            num_classes=overrides["num_classes"],
            backbone=backbone,
            neck=necks[kind](**own["neck"]) if is_pyramid else PassThroughConfig(levels=(map_name,)),
            rpn=self._rpn(own, map_name, is_pyramid),
            roi_sampler=replace(self.roi_sampler, **own["roi_sampler"]),
            roi_stage=stage,
            box_head=self._box_head(own, pool, on_res5=kind == "c4"),
            heads=tuple(heads),
            semantic_head=replace(self.semantic_head, **own["semantic_head"]) if own["semantic_head"] else None,
            stuff_names=overrides.get("stuff_names", ()),
            stuff_category_ids=overrides.get("stuff_category_ids", ()),
            input=replace(self.input, **({} if is_pyramid else {"divisor": 1}) | own["input"]),
            profile=self.family,
        )

    def _rpn(self, own: Mapping[str, dict[str, Any]], map_name: str, is_pyramid: bool) -> RPNConfig:
        rpn = self.rpn if is_pyramid else self.rpn.on_one_map(map_name)
        changes = dict(own["rpn"])
        anchors = {name: changes.pop(f"anchors.{name}", None) for name in ("sizes", "ratios")}
        stated = {name: values for name, values in anchors.items() if values is not None}
        if own["keypoint_head"] and self.keypoint_post_nms_train is not None:
            changes["post_nms_train"] = self.keypoint_post_nms_train
        return replace(rpn, anchors=replace(rpn.anchors, **stated), **changes)

    def _box_head(self, own: Mapping[str, dict[str, Any]], pool: RoiPoolConfig, on_res5: bool) -> BoxHeadConfig:
        changes: dict[str, Any] = {"fc_norm": "none", "norm_epsilon": 1e-5} | own["box_head"]
        num_stages, size = changes.pop("num_stages", 1), changes.pop("pool.size", 7)
        changes |= {
            "pool": replace(pool, size=14 if on_res5 else size),
            "reduce": "flatten" if changes["fc_dims"] else "mean",  # without layers, the mean over the RoI
        }
        if own["keypoint_head"] and self.keypoint_box_beta is not None:
            changes["box_loss"] = SmoothL1(self.keypoint_box_beta)
        of_cascade = _taken(changes, self.cascade_box_head, self.box_head)
        config = replace(self.box_head, **changes)
        return config if num_stages == 1 else replace(self.cascade_box_head, **vars(config) | of_cascade)

    def _mask_head(self, pool: RoiPoolConfig, changes: dict[str, Any]) -> BaseMaskHeadConfig:
        num_stages = changes.pop("num_stages", 1)
        if "coarse_side" in changes:
            return self._point_rend(pool, changes)
        of_cascade = _taken(changes, self.cascade_mask_head, self.mask_head)
        config = replace(self.mask_head, pool=pool, **changes)
        if num_stages == 1:
            return config
        return replace(self.cascade_mask_head, **vars(config) | of_cascade | {"stages": num_stages})

    def _point_rend(self, pool: RoiPoolConfig, changes: dict[str, Any]) -> PointRendMaskHeadConfig:
        """Of the family's mask head what all mask heads have; of the pyramid its finest map."""
        shared = {f.name: getattr(self.mask_head, f.name) for f in dataclasses.fields(BaseMaskHeadConfig)}
        own = {name: value for name, value in changes.items() if name not in ("conv_norm", "norm_epsilon")}
        fine = replace(pool, size=own.pop("pool.size", 14), levels=("p2",))
        return PointRendMaskHeadConfig(**shared | {"pool": fine} | own)


def _taken(changes: dict[str, Any], config: BaseConfig, base: BaseConfig) -> dict[str, Any]:
    """Removes from `changes` those of fields that `config` has and `base` has not, and returns them."""
    own = {f.name for f in dataclasses.fields(config)} - {f.name for f in dataclasses.fields(base)}
    return {name: changes.pop(name) for name in own & set(changes)}


_COMPONENTS = (
    "input",
    "backbone",
    "neck",
    "rpn",
    "roi_sampler",
    "pool",
    "box_head",
    "mask_head",
    "keypoint_head",
    "semantic_head",
)


def by_component(overrides: Overrides) -> dict[str, dict[str, Any]]:
    """The overrides of each component, by the path below it.

    Raises:
        ConfigError: an override of no component.
    """
    own: dict[str, dict[str, Any]] = {name: {} for name in _COMPONENTS}
    for path, value in overrides.items():
        component, dot, field = path.partition(".")
        if dot and component in own:
            own[component][field] = value
        elif path not in ("num_classes", "neck", "backbone", "stuff_names", "stuff_category_ids"):
            raise ConfigError(f"{path}: no field of a network; there are {', '.join(_COMPONENTS)}")
    return own
