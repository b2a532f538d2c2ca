"""The paper's tables as data: what each row changes, and the numbers the paper prints for it.

Ref: Mask R-CNN, arXiv 1703.06870v3. Numbers are in percent, as printed. A row without a network is another program's,
printed and not trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

MASK = ("mask/AP", "mask/AP50", "mask/AP75")
MASK_BY_SIZE = (*MASK, "mask/APs", "mask/APm", "mask/APl")
BOX = ("box/AP", "box/AP50", "box/AP75")
BOX_BY_SIZE = (*BOX, "box/APs", "box/APm", "box/APl")
JOINTS = ("keypoints/AP", "keypoints/AP50", "keypoints/AP75", "keypoints/APm", "keypoints/APl")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: as in the paper.
        network: "r50_c4", "r101_fpn", ...: see `scales.NETWORKS`; None: not trained here.
        published: in percent, in the order of the table's metrics; None: not printed in the paper.
        heads: a name of `scales.HEADS`.
        changes: dotted fields of the recipe, at every scale.
        lengths: further ones that say how long the paper trains, at scale "paper" only.
        start: "imagenet"; "imagenet5k"; "coco": a detector trained on COCO.
        augmented: evaluated at several sizes and mirrored.
    """

    name: str
    network: str | None = None
    published: tuple[float | None, ...] = ()
    heads: str = "mask"
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lengths: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: str = "imagenet"
    augmented: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it compares.
        metrics: of `mrcnn.evaluate`, the one that matters most first.
        rows: in the paper's order.
        reference: name of the row that the others are compared with.
        data: what it is trained on: "coco", "joints" (COCO's people), "cityscapes".
        small_data: the same at scale "laptop".
        compares_backbones: every row has a network of its own, at scale "laptop" too.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str
    data: str = "coco"
    small_data: str = "nuclei"
    compares_backbones: bool = False

    def published(self, row: Row) -> dict[str, float]:
        """The paper's numbers of a row by metric, in percent."""
        return {name: value for name, value in zip(self.metrics, row.published, strict=False) if value is not None}


def _pool(op: str, reduce: str = "mean") -> dict[str, Any]:
    fields = {"op": op, "reduce": reduce}
    return {f"model.{head}.pool.{key}": value for head in ("box_head", "heads.0") for key, value in fields.items()}


_STAGE_WISE = {
    "train.train_layers": "rpn",
    "train.unfreeze": [[0.25, "detector"], [0.5, "rpn_only"], [0.75, "detector_only"]],
}
_180K = {"train.images": 2_880_000, "train.milestones": [2 / 3, 8 / 9]}  # 180,000 steps of 16
_260K = {"train.images": 4_160_000, "train.milestones": [10 / 13, 12 / 13]}  # 260,000: 200,000 and 240,000
_SCALES = {"data.short_sides": list(range(640, 801, 32))}
_OLD_NMS = {"model.box_head.nms_iou": 0.3}
_NON_LOCAL = {"model.backbone.non_local": {"kind": "NonLocalConfig"}}


def _enhanced() -> tuple[Row, ...]:
    """Appendix B's gains, one on top of the other; alternating training stands for the paper's stage-wise one."""
    x101 = {"network": "x101_fpn", "lengths": _180K}
    scales = {"changes": _SCALES, "lengths": _260K, "start": "imagenet5k"}
    x152 = {"network": "x152_fpn", "lengths": _260K, "start": "imagenet5k", "changes": _SCALES | _NON_LOCAL}
    return (
        Row("original baseline", "x101_fpn", (36.7, 39.6), changes=_STAGE_WISE | _OLD_NMS),
        Row("+ updated baseline", published=(37.0, 40.5), changes=_STAGE_WISE, **x101),
        Row("+ end-to-end training", published=(37.6, 41.7), **x101),
        Row("+ ImageNet-5k pre-training", published=(38.6, 42.7), start="imagenet5k", **x101),
        Row("+ train-time augmentation", "x101_fpn", (39.2, 43.5), **scales),
        Row("+ deeper", "x152_fpn", (39.7, 44.1), **scales),
        Row("+ non-local", published=(40.3, 45.0), **x152),
        Row("+ test-time augmentation", published=(41.8, 47.3), augmented=True, **x152),
    )


_RAM = "Faster R-CNN, RoIAlign"
TABLES = {
    "1": Table(
        "instance segmentation: mask AP on test-dev",
        MASK_BY_SIZE,
        (
            Row("MNC, ResNet-101-C4", published=(24.6, 44.3, 24.8, 4.7, 25.9, 43.6)),
            Row("FCIS + OHEM, ResNet-101-C5-dilated", published=(29.2, 49.5, None, 7.1, 31.3, 50.0)),
            Row("FCIS+++ + OHEM, ResNet-101-C5-dilated", published=(33.6, 54.5)),
            Row("Mask R-CNN, ResNet-101-C4", "r101_c4", (33.1, 54.9, 34.8, 12.1, 35.6, 51.1)),
            Row("Mask R-CNN, ResNet-101-FPN", "r101_fpn", (35.7, 58.0, 37.8, 15.5, 38.1, 52.4)),
            Row("Mask R-CNN, ResNeXt-101-FPN", "x101_fpn", (37.1, 60.0, 39.4, 16.9, 39.9, 53.5)),
        ),
        reference="Mask R-CNN, ResNet-101-C4",
        compares_backbones=True,
    ),
    "2a": Table(
        "backbones",
        MASK,
        (
            Row("ResNet-50-C4", "r50_c4", (30.3, 51.2, 31.5)),
            Row("ResNet-101-C4", "r101_c4", (32.7, 54.2, 34.3)),
            Row("ResNet-50-FPN", "r50_fpn", (33.6, 55.2, 35.3)),
            Row("ResNet-101-FPN", "r101_fpn", (35.4, 57.3, 37.5)),
            Row("ResNeXt-101-FPN", "x101_fpn", (36.7, 59.5, 38.9)),
        ),
        reference="ResNet-50-C4",
        compares_backbones=True,
    ),
    "2b": Table(
        "masks of all classes compete or not (ResNet-50-C4)",
        MASK,
        (
            Row("softmax", "r50_c4", (24.8, 44.1, 25.1), changes={"model.heads.0.activation": "softmax"}),
            Row("sigmoid", "r50_c4", (30.3, 51.2, 31.5)),
        ),
        reference="softmax",
        small_data="nuts3",
    ),
    "2c": Table(
        "RoI layers (ResNet-50-C4)",
        MASK,
        (
            Row("RoIPool, max", "r50_c4", (26.9, 48.8, 26.4), changes=_pool("pool")),
            Row("RoIWarp, max", "r50_c4", (27.2, 49.2, 27.1), changes=_pool("warp", "max")),
            Row("RoIWarp, ave", "r50_c4", (27.1, 48.9, 27.1), changes=_pool("warp")),
            Row("RoIAlign, max", "r50_c4", (30.2, 51.0, 31.8), changes=_pool("align", "max")),
            Row("RoIAlign, ave", "r50_c4", (30.3, 51.2, 31.5), changes=_pool("align")),
        ),
        reference="RoIPool, max",
        small_data="nuts3",
    ),
    "2d": Table(
        "RoI layers at stride 32 (ResNet-50-C5)",
        (*MASK, *BOX),
        (
            Row("RoIPool", "r50_c5", (23.6, 46.5, 21.6, 28.2, 52.7, 26.9), changes=_pool("pool")),
            Row("RoIWarp (not in the paper)", "r50_c5", changes=_pool("warp")),
            Row("RoIAlign", "r50_c5", (30.9, 51.8, 32.1, 34.0, 55.3, 36.4), changes=_pool("align")),
        ),
        reference="RoIPool",
        small_data="nuts3",
    ),
    "2e": Table(
        "mask heads (ResNet-50-FPN)",
        MASK,
        (
            Row("MLP, 2 hidden layers", "r50_fpn", (31.5, 53.7, 32.8), heads="mlp"),
            Row("MLP, 3 hidden layers", "r50_fpn", (31.5, 54.0, 32.6), heads="mlp3"),
            Row("FCN", "r50_fpn", (33.6, 55.2, 35.3)),
        ),
        reference="MLP, 2 hidden layers",
        small_data="coco_person_320",
    ),
    "4.2": Table(
        "a mask of each class, or one of all (ResNet-50-C4; in the text of section 4.2)",
        MASK[:1],
        (
            Row("class-agnostic", "r50_c4", (29.7,), changes={"model.heads.0.class_agnostic": True}),
            Row("class-specific", "r50_c4", (30.3,)),
        ),
        reference="class-agnostic",
        small_data="nuts3",
    ),
    "3": Table(
        "object detection: box AP on test-dev",
        BOX_BY_SIZE,
        (
            Row("Faster R-CNN+++, ResNet-101-C4", published=(34.9, 55.7, 37.4, 15.6, 38.7, 50.9)),
            Row("Faster R-CNN with FPN, ResNet-101-FPN", published=(36.2, 59.1, 39.0, 18.2, 39.0, 48.2)),
            Row(f"{_RAM}, ResNet-101-FPN", "r101_fpn", (37.3, 59.6, 40.3, 19.8, 40.2, 48.8), heads="boxes"),
            Row("Mask R-CNN, ResNet-101-FPN", "r101_fpn", (38.2, 60.3, 41.7, 20.1, 41.1, 50.2)),
            Row("Mask R-CNN, ResNeXt-101-FPN", "x101_fpn", (39.8, 62.3, 43.4, 22.1, 43.2, 51.2)),
        ),
        reference=f"{_RAM}, ResNet-101-FPN",
        compares_backbones=True,
    ),
    "4": Table(
        "keypoints on test-dev (ResNet-50-FPN)",
        JOINTS,
        (
            Row("CMU-Pose+++", published=(61.8,)),
            Row("G-RMI", published=(62.4,)),
            Row("keypoints only", "r50_fpn", (62.7, 87.0, 68.4, 57.4, 71.1), heads="keypoints"),
            Row("keypoints and masks", "r50_fpn", (63.1, 87.3, 68.7, 57.8, 71.4), heads="keypoints+mask"),
        ),
        reference="keypoints only",
        data="joints",
        small_data="coco_person_320",
    ),
    "5": Table(
        "tasks trained together, people only (ResNet-50-FPN)",
        ("box/AP", "mask/AP", "keypoints/AP"),
        (
            Row("Faster R-CNN", "r50_fpn", (52.5,), heads="boxes"),
            Row("Mask R-CNN, mask only", "r50_fpn", (53.6, 45.8)),
            Row("Mask R-CNN, keypoints only", "r50_fpn", (50.7, None, 64.2), heads="keypoints"),
            Row("Mask R-CNN, keypoints and masks", "r50_fpn", (52.0, 45.1, 64.7), heads="keypoints+mask"),
        ),
        reference="Mask R-CNN, keypoints only",
        data="joints",
        small_data="coco_person_320",
    ),
    "6": Table(
        "RoI layers for keypoints (ResNet-50-FPN)",
        JOINTS,
        (
            Row("RoIPool", "r50_fpn", (59.8, 86.2, 66.7, 55.1, 67.4), heads="keypoints", changes=_pool("pool")),
            Row("RoIAlign", "r50_fpn", (64.2, 86.6, 69.7, 58.7, 73.0), heads="keypoints", changes=_pool("align")),
        ),
        reference="RoIPool",
        data="joints",
        small_data="coco_person_320",
    ),
    "7": Table(
        "Cityscapes val (ResNet-50-FPN; appendix A)",
        ("cityscapes/AP", "cityscapes/AP50"),
        (
            Row("fine", "r50_fpn", (31.5,), heads="cityscapes"),
            Row("fine + COCO", "r50_fpn", (36.4,), heads="cityscapes", start="coco"),
        ),
        reference="fine",
        data="cityscapes",
        small_data="cityscapes",
    ),
    "8": Table(
        "enhanced results, each on top of the one before (appendix B)",
        ("mask/AP", "box/AP"),
        _enhanced(),
        reference="original baseline",
        compares_backbones=True,
    ),
}
GROUPS = {"A": ("7",), "7-8": ("7", "8"), "B": ("8",)}
"""Appendices and ranges: the tables they hold."""


def find(name: str) -> tuple[str, ...]:
    """The tables that a name stands for, e.g. ("2c",) of "2c", ("7", "8") of "7-8".

    Raises:
        KeyError: no such table; the message lists those there are.
    """
    if name in TABLES:
        return (name,)
    if name not in GROUPS:
        raise KeyError(f"no table {name!r}; there are {', '.join((*TABLES, *GROUPS))}")
    return GROUPS[name]
