"""From a row of a table to a recipe, data sets and the weights to start from, at one of three scales.

laptop  minutes a row on two cores: EfficientNet-Lite0 in place of ResNet-50, crops of small images, light heads
gpu     minutes a row on one H200: the paper's networks, short training at 512 pixels
paper   the paper's networks, images and schedule, on COCO 2017 or Cityscapes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tables import Row, Table
from transfer import load_shared_classes

import mrcnn

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "samples/nuclei"
SCALES = ("laptop", "gpu", "paper")
STARTS = ("imagenet", "imagenet5k", "coco")
NETWORKS = {  # at scales gpu and paper
    "r50_c4": "mask_rcnn_r50_c4",
    "r101_c4": "mask_rcnn_r101_c4",
    "r50_c5": "mask_rcnn_r50_c5",
    "r50_fpn": "mask_rcnn_r50_fpn",
    "r101_fpn": "mask_rcnn_r101_fpn",
    "x101_fpn": "mask_rcnn_x101_32x8d_fpn",
    "x152_fpn": "mask_rcnn_x152_32x8d_fpn",
}
HEADS = ("mask", "mlp", "mlp3", "boxes", "keypoints", "keypoints+mask", "cityscapes")
BACKBONES: dict[str, dict[str, Any]] = {
    "r50": {"depth": 50},
    "r101": {"depth": 101},
    "x101": {"depth": 101, "groups": 32, "width_per_group": 8},
    "x152": {"depth": 152, "groups": 32, "width_per_group": 8},
}


class PaperError(Exception):
    """A row that cannot be run here; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Where data sets and weights are.

    Attributes:
        data: folder of data sets, each with its name.
        weights: a file for each kind of start: "imagenet", "imagenet5k", "coco".
    """

    data: Path
    weights: Mapping[str, Path]


def recipe(table: Table, row: Row, scale: str, places: Places) -> mrcnn.Recipe:
    """What a row trains at a scale."""
    if scale == "laptop":
        made = _laptop(table, row)
    elif scale == "gpu":
        made = _gpu(table, row, from_random=row.start not in places.weights)
    else:
        made = _paper(table, row)
    return made.override(dict(row.changes))


def _paper(table: Table, row: Row) -> mrcnn.Recipe:
    """Ref: Mask R-CNN, section 3.1: 64 RoIs and 300 proposals with C4; ResNeXt with one image a GPU, as many steps."""
    if row.heads == "cityscapes":
        return mrcnn.recipes.get("cityscapes_mask_rcnn_r50_fpn" + ("_from_coco" if row.start == "coco" else ""))
    changes: dict[str, Any] = {}
    if row.network.endswith("_c4"):
        changes |= {"model.roi_sampler.num_rois": 64, "model.heads.0.num_foreground": 16}
        changes |= {"model.rpn.post_nms_test": 300}
    length = "1x" if table.data == "joints" else "paper"
    base = mrcnn.recipes.get(f"{NETWORKS[row.network]}_{length}").override(changes)
    if row.network.startswith("x"):
        base = base.override({"train.batch_size": 1, "train.images": base.train.images // 2})
    if table.data == "joints":
        base = base.override({"data.short_sides": list(range(640, 801, 32))})
    lengths = dict(row.lengths)
    if "train.images" in lengths:
        lengths["train.images"] = lengths["train.images"] // (2 if row.network.startswith("x") else 1)
    return base.override(_heads(row.heads, {}) | lengths)


def _gpu(table: Table, row: Row, from_random: bool) -> mrcnn.Recipe:
    """16,000 images of 512 pixels; group norm, which trains from random weights, where there are no others."""
    changes = _GPU | ({"model.heads.0.num_foreground": 32} if row.heads != "boxes" else {})
    if from_random:
        changes |= {"model.backbone.norm": "gn", "model.backbone.freeze_at": 0}
        changes |= {"model.roi_stage.norm": "gn"} if row.network.endswith("_c4") else {}
    return _paper(table, row).override(changes)


_GPU = {
    "model.input.short_side": 512,
    "model.input.long_side": 832,
    "model.roi_sampler.num_rois": 128,
    "data.short_sides": [448, 480, 512, 544, 576],
    "train.images": 16_000,
    "train.batch_size": 8,
    "train.warmup_images": 1_600,
    "train.schedule": "cosine",
    "train.clip_norm": 5.0,
}


def _laptop(table: Table, row: Row) -> mrcnn.Recipe:
    """Crops of small images and heads of a quarter of the width; of every network the family, C4, C5 or FPN."""
    if table.data == "cityscapes":
        raise PaperError('Cityscapes is not trained at scale "laptop"; expected --scale gpu or paper')
    backbone, family = row.network.split("_")
    base = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn").override(_LAPTOP | _LAPTOP_DATA[table.small_data])
    if table.compares_backbones:
        network = {"kind": "ResNetConfig", "norm": "gn", "freeze_at": 0, **BACKBONES[backbone]}
        network |= {"last_stage": 4} if family == "c4" else {}
        base = base.override({"model.backbone": network, "train.train_layers": "all"})
    if family != "fpn":
        base = base.override(_one_map(family))
    return base.override(_heads(row.heads, _LIGHT, base.model.heads[0].pool.levels))


_LAPTOP = {
    "model.rpn.post_nms_train": 300,
    "model.rpn.post_nms_test": 300,
    "model.roi_sampler.num_rois": 64,
    "model.box_head.fc_dims": [128, 128],
    "data.short_sides": [],
    "data.max_instances": 150,
    "train.batch_size": 4,
    "train.learning_rate": 4e-3,
    "train.train_layers": "4+",
    "train.warmup_images": 80,
    "train.keep_checkpoints": 1,
}
_LAPTOP_DATA: dict[str, dict[str, Any]] = {
    "nuclei": {
        "model.input.short_side": 512,
        "model.input.long_side": 1024,
        "data.crop": [256, 256],
        "data.flip_vertical": 0.5,
        "train.images": 1600,
    },
    "nuts3": {
        "model.input.short_side": 256,
        "model.input.long_side": 352,
        "data.flip_vertical": 0.5,
        "train.images": 400,
    },
    "coco_person_320": {
        "model.input.short_side": 224,
        "model.input.long_side": 320,
        "train.images": 960,
    },
}
_LIGHT: dict[str, dict[str, Any]] = {
    "mask": {"num_foreground": 16, "conv_dims": [32] * 4, "deconv_dim": 32},
    "mlp": {"num_foreground": 16, "fc_dims": [256, 256]},
    "mlp3": {"num_foreground": 16, "fc_dims": [256, 256, 256]},
    "keypoints": {"num_foreground": 16, "conv_dims": [64] * 4},
}


def _one_map(family: str) -> dict[str, Any]:
    """RPN and heads on one map of the backbone."""
    heads = ("box_head", "heads.0")
    return {
        "model.neck": {"kind": "PassThroughConfig", "levels": [family]},
        "model.rpn.levels": [family],
        "model.rpn.anchors.sizes": [[16.0, 32.0, 64.0, 128.0]],
        **{f"model.{head}.pool.levels": [family] for head in heads},
    }


def _heads(name: str, sizes: Mapping[str, dict[str, Any]], levels: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Overrides that give a recipe the heads of a name; `sizes` are further fields of each, by name."""
    if name == "mask" and levels is None:
        return {}
    kinds = {"mask": "MaskHeadConfig", "mlp": "MLPMaskHeadConfig", "mlp3": "MLPMaskHeadConfig"}
    kinds["keypoints"] = "KeypointHeadConfig"
    named = [] if name == "boxes" else name.split("+")
    heads = []
    for head in named:
        fields = {"kind": kinds[head], **({"fc_dims": [1024] * 3} if head == "mlp3" else {}), **sizes.get(head, {})}
        if levels is not None:
            size = 14 if head in ("mask", "keypoints") else 7
            fields["pool"] = {"kind": "RoiPoolConfig", "size": size, "levels": list(levels)}
        heads.append(fields)
    best = {"boxes": "val_box/AP", "keypoints": "val_keypoints/AP"}.get(name.split("+")[0], "val_mask/AP")
    joints = {"data.num_joints": 17} if "keypoints" in named else {}
    return {"model.heads": heads, "train.best_by": best} | joints


def data(table: Table, scale: str, places: Places) -> tuple[mrcnn.Dataset, mrcnn.Dataset]:
    """Training and validation set of a table at a scale.

    Raises:
        PaperError: they are not there, and nothing that ships with the package stands for them.
    """
    if scale == "laptop":
        return _small(table, places.data)
    if table.data == "cityscapes":
        folder = _existing(places.data / "cityscapes", "Cityscapes: gtFine/ and leftImg8bit/")
        return tuple(mrcnn.load_dataset(folder, split=split) for split in ("train", "val"))
    coco = places.data / "coco"
    if scale == "gpu" and not coco.exists():
        return _small(table, places.data)
    _existing(coco, "COCO 2017: annotations/, train2017/, val2017/")
    kind = "person_keypoints" if table.data == "joints" else "instances"
    train, val = (
        mrcnn.load_coco(coco / f"annotations/{kind}_{split}2017.json", coco / f"{split}2017")
        for split in ("train", "val")
    )
    return train, val.subset(range(0, len(val), 10)) if scale == "gpu" else val


def _existing(folder: Path, content: str) -> Path:
    if not folder.is_dir():
        raise PaperError(f"{folder} is not there; expected {content}; --data names the folder that holds it")
    return folder


def _small(table: Table, root: Path) -> tuple[mrcnn.Dataset, mrcnn.Dataset]:
    """A small set of the data folder, or the images that ship with the package."""
    folder = root / table.small_data
    if folder.is_dir():
        train, val = (
            mrcnn.load_coco(folder / f"annotations_{split}.json", folder / "images") for split in ("train", "val")
        )
        return train, val.subset(range(0, len(val), max(1, len(val) // 30)))
    if table.data == "joints":
        raise PaperError(f"{folder} is not there, and no image with joints ships with the package; see --data")
    if table.small_data == "nuts3":
        nuts = ROOT / "samples/nuts/images"
        return mrcnn.load_coco(nuts / "train.json", nuts), mrcnn.load_coco(nuts / "val.json", nuts)
    nuclei = mrcnn.load_coco(SHIPPED / "images/annotations.json", SHIPPED / "images")
    return nuclei.subset(range(8)), nuclei.subset(range(8, len(nuclei)))


def load_start(model: mrcnn.MaskRCNN, table: Table, row: Row, scale: str, places: Places) -> str:
    """Load the weights that a row starts from, and say in a few words which."""
    if scale == "laptop":
        if table.compares_backbones:
            return "random weights"
        try:
            mrcnn.load_imagenet(model.backbone, model.config.backbone)
        except mrcnn.WeightsError:  # they come with a package, which is optional
            model.backbone.set_weights(mrcnn.load_model(SHIPPED / "run").backbone.get_weights())
            return "backbone of samples/nuclei/run"
        return "ImageNet"
    file = places.weights.get(row.start)
    if file is None:
        if scale == "paper":
            raise PaperError(f"starts from weights {row.start!r}; expected --weights {row.start}=FILE")
        return "random weights"
    if row.start == "coco":
        load_shared_classes(model, mrcnn.load_pretrained(file))
    else:
        mrcnn.load_imagenet(model.backbone, model.config.backbone, file, roi_stage=model.roi_stage)
    return str(file)
