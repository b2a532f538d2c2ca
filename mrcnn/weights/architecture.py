"""What a foreign checkpoint says about the network it belongs to.

Importers read it off the names and shapes of a file's arrays; `mrcnn.profiles` makes a model of it. A family is a
code base whose conventions (pixels, anchors, RoI operator, ...) no shape can tell; the rules by which the remaining
choices were made are listed in `Architecture.assumptions`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from mrcnn.modeling.normalize import NormKind

Family = Literal[
    "torchvision",  # *_resnet50_fpn and its like
    "torchvision_v2",  # *_resnet50_fpn_v2: batch norm everywhere, deeper heads
    "detectron2",  # BGR pixels less their mean
    "detectron2_imagenet_pixels",  # ... and divided by ImageNet's standard deviation
    "detectron",  # Caffe2
    "matterport",  # Keras
]


@dataclasses.dataclass(frozen=True)
class BackboneArchitecture:
    """A bottleneck ResNet or ResNeXt."""

    depth: Literal[50, 101, 152]
    groups: int = 1
    width_per_group: int = 64  # of stage 2; groups x this is the width of its 3x3 convolutions
    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5  # of the norm
    stride_in_1x1: bool = False  # else in the 3x3


@dataclasses.dataclass(frozen=True)
class NeckArchitecture:
    """Which feature maps the RPN and the heads see.

    kind: "fpn" p2..p6 of a feature pyramid; "c4" the map c4, res5 running on each RoI; "dc5" the map c5 at stride 16,
    its 3x3 convolutions dilated.
    """

    kind: Literal["fpn", "c4", "dc5"] = "fpn"
    channels: int = 256
    norm: NormKind = "none"
    epsilon: float = 1e-5


@dataclasses.dataclass(frozen=True)
class RPNArchitecture:
    """The convolutions of the region proposal network, and its anchors where the file has them."""

    anchors_per_cell: int = 3
    num_convs: int = 1
    channels: int = 256
    anchor_sizes: tuple[tuple[float, ...], ...] | None = None  # of each level, pixels; None: the family's
    anchor_ratios: tuple[float, ...] | None = None  # height / width; None: the family's
    objectness: Literal["sigmoid", "softmax"] = "sigmoid"  # one logit for each anchor, or two that compete


@dataclasses.dataclass(frozen=True)
class BoxHeadArchitecture:
    """The box head; of a cascade, each of its stages."""

    conv_dims: tuple[int, ...] = ()
    conv_norm: NormKind = "none"
    fc_dims: tuple[int, ...] = (1024, 1024)  # empty: the mean over the RoI goes to the predictors
    fc_norm: NormKind = "none"
    norm_epsilon: float = 1e-5
    pool_size: int = 7  # bins per axis of what the first fully connected layer, or the res5 stage's mean, sees
    class_agnostic: bool = False
    num_stages: int = 1  # 3: a cascade


@dataclasses.dataclass(frozen=True)
class MaskHeadArchitecture:
    """The mask head."""

    conv_dims: tuple[int, ...] = (256, 256, 256, 256)  # empty: the deconvolution follows res5 directly
    norm: NormKind = "none"
    norm_epsilon: float = 1e-5
    deconv_dim: int = 256
    class_agnostic: bool = False


@dataclasses.dataclass(frozen=True)
class KeypointHeadArchitecture:
    """The keypoint head."""

    num_keypoints: int = 17
    conv_dims: tuple[int, ...] = (512,) * 8


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A whole network, as far as its weights tell, and what was decided where they do not.

    num_classes: C, things only. class_names and category_ids: C of each, where the number of classes betrays the data
    set, else None. assumptions: one sentence for each thing that neither names nor shapes say.
    """

    family: Family
    num_classes: int
    backbone: BackboneArchitecture
    neck: NeckArchitecture = NeckArchitecture()
    rpn: RPNArchitecture = RPNArchitecture()
    box_head: BoxHeadArchitecture = BoxHeadArchitecture()
    mask_head: MaskHeadArchitecture | None = None
    keypoint_head: KeypointHeadArchitecture | None = None
    class_names: tuple[str, ...] | None = None
    category_ids: tuple[int, ...] | None = None
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("class_names", "category_ids"):
            values = getattr(self, name)
            if values is not None and len(values) != self.num_classes:
                raise ValueError(f"{name}: expected {self.num_classes} entries, one per class, got {len(values)}")

    def __str__(self) -> str:
        """One line, such as "detectron2 R-50-FPN, 80 classes, box + mask"."""
        backbone = f"R-{self.backbone.depth}"
        if self.backbone.groups > 1:
            backbone = f"X-{self.backbone.depth}-{self.backbone.groups}x{self.backbone.width_per_group}d"
        norm = {"gn": " GN", "bn": " BN", "sync_bn": " SyncBN"}.get(self.backbone.norm, "")
        heads = ["cascade box" if self.box_head.num_stages > 1 else "box"]
        heads += ["mask"] if self.mask_head else []
        heads += [f"{self.keypoint_head.num_keypoints} keypoints"] if self.keypoint_head else []
        classes = f"{self.num_classes} class{'es' if self.num_classes > 1 else ''}"
        return f"{self.family} {backbone}-{self.neck.kind.upper()}{norm}, {classes}, {' + '.join(heads)}"
