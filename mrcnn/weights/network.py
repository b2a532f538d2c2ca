"""The network a foreign checkpoint belongs to, as changes of its family's config.

Importers read it off the names and shapes of a file's arrays; `mrcnn.weights.profile` makes a model's config of it. A
family is a code base whose conventions (pixels, anchors, RoI operator, ...) no shape can tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from mrcnn.modeling.backbones.convnext import ConvNeXtConfig
from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.backbones.vit import ViTConfig

Family = Literal[
    "torchvision",  # *_resnet50_fpn and its like
    "torchvision_v2",  # *_resnet50_fpn_v2: batch norm everywhere, deeper heads
    "detectron2",  # BGR pixels less their mean
    "detectron2_imagenet_pixels",  # ... and divided by ImageNet's standard deviation
    "detectron",  # Caffe2
    "matterport",  # Keras
    "mmdetection",  # 2 and 3; pixels as the checkpoint's own configuration says
]
Overrides = Mapping[str, Any]
"""Fields of a model's config by dotted path, e.g. {"backbone.depth": 50, "mask_head.conv_norm": "gn"}.

Heads beside the box head are called by name, and exist if one of their fields is named: "mask_head.…",
"keypoint_head.…"; so does a semantic branch, "semantic_head.…", whose classes "stuff_names" and "stuff_category_ids"
name. "pool.…" is what all heads see their RoIs through. Three entries choose components: "backbone" is "resnet", also
where there is no such entry, "convnext", "swin", "mvit", "vit", "regnet" or "mobilenet_v3"; "neck" is "fpn" (a feature
pyramid), "simple_fpn" (one of a single map), "c4" (the map c4, res5 running on each RoI) or "dc5" (the map c5 at stride
16, its 3x3 convolutions dilated); "box_head.num_stages" is 1, or 3 for a cascade, and "mask_head.num_stages" as many
where each stage has masks of its own.
"""


@dataclasses.dataclass(frozen=True)
class Network:
    """A whole network, as far as its weights tell, and what was decided where they do not.

    `network["backbone.depth"]` is an override.

    Args:
        family: whose conventions it follows.
        overrides: of the family's config.
        anchors_per_cell: anchors of each feature cell.
        class_names, category_ids: C of each, where the number of classes reveals the data set, else None.
        assumptions: one sentence for each thing that neither names nor shapes say.

    Raises:
        ValueError: not as many names or ids as classes.
    """

    family: Family
    overrides: Overrides
    anchors_per_cell: int = 3
    class_names: tuple[str, ...] | None = None
    category_ids: tuple[int, ...] | None = None
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("class_names", "category_ids"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_classes:
                raise ValueError(f"{name}: expected {self.num_classes} entries, one per class, got {len(values)}")

    def __getitem__(self, path: str) -> Any:
        """An override.

        Raises:
            KeyError: there is none of this path.
        """
        return self.overrides[path]

    @property
    def num_classes(self) -> int:
        """C, things only."""
        return self.overrides["num_classes"]

    @property
    def is_resnet(self) -> bool:
        """True if the backbone is a ResNet or ResNeXt, whose strides and batch norm are to be decided."""
        return self.overrides.get("backbone", "resnet") == "resnet"

    def has_head(self, name: str) -> bool:
        """True if the network has a head, "mask_head", "keypoint_head" or "semantic_head"."""
        return any(path.startswith(f"{name}.") for path in self.overrides)

    def changed(self, overrides: Overrides, **fields: Any) -> Network:
        """A copy with further overrides, and other fields."""
        return dataclasses.replace(self, overrides={**self.overrides, **overrides}, **fields)

    def __str__(self) -> str:
        """One line, such as "detectron2 R-50-FPN, 80 classes, box + mask"."""
        get = self.overrides.get
        backbone = f"R-{get('backbone.depth')}"
        if get("backbone") == "convnext":
            backbone = ConvNeXtConfig(depths=self["backbone.depths"], widths=self["backbone.widths"]).title
        elif get("backbone") == "regnet":
            fields = ("depths", "widths", "group_widths", "bottleneck", "squeeze", "stem_width")
            backbone = RegNetConfig(**{name: self[f"backbone.{name}"] for name in fields}).title
        elif get("backbone") == "mobilenet_v3":
            backbone = MobileNetV3Config().title
        elif get("backbone") == "swin":
            sizes = ("depths", "num_heads", "width", "window", "mlp_ratio")
            backbone = SwinConfig(**{name: self[f"backbone.{name}"] for name in sizes}).title
        elif get("backbone") == "mvit":
            of_mvit = ("depths", "width", "num_heads")
            backbone = MViTConfig(**{name: self[f"backbone.{name}"] for name in of_mvit}).title
        elif get("backbone") == "vit":
            of_vit = ("depth", "width", "num_heads", "global_blocks")
            backbone = ViTConfig(**{name: self[f"backbone.{name}"] for name in of_vit}).title
        elif get("backbone.groups", 1) > 1:
            backbone = f"X-{get('backbone.depth')}-{get('backbone.groups')}x{get('backbone.width_per_group')}d"
        if (deformable := get("backbone.deformable")) is not None:
            backbone += f"-DCNv{2 if deformable.modulated else 1}"
        norm = {"gn": " GN", "bn": " BN", "sync_bn": " SyncBN"}.get(get("backbone.norm", ""), "")
        heads = ["cascade box" if get("box_head.num_stages", 1) > 1 else "box"]
        is_cascade = get("mask_head.num_stages", 1) > 1
        heads += (
            [
                "PointRend mask"
                if "mask_head.coarse_side" in self.overrides
                else "cascade mask"
                if is_cascade
                else "mask"
            ]
            if self.has_head("mask_head")
            else []
        )
        heads += [f"{get('keypoint_head.num_joints')} keypoints"] if self.has_head("keypoint_head") else []
        heads += ["semantic"] if self.has_head("semantic_head") else []
        classes = f"{self.num_classes} class{'es' if self.num_classes > 1 else ''}"
        neck = "simple FPN" if get("neck") == "simple_fpn" else get("neck", "fpn").upper()
        return f"{self.family} {backbone}-{neck}{norm}, {classes}, {' + '.join(heads)}"
