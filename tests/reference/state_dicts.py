"""Names and shapes of whole detectors in other programs' terms, with few channels, so that tests stay quick."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.reference.drawn_weights import draw

_GOLDEN = Path(__file__).parents[1] / "golden" / "data"
_NARROW = {2048: 32, 1024: 16, 512: 8, 256: 4, 128: 2, 256 * 49: 4 * 49, 2048 * 49: 32 * 49}
_BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}


class Shape:
    """An array of which only the shape is known."""

    def __init__(self, *sides: int) -> None:
        self.shape = sides


def golden_shapes(name: str) -> dict[str, Shape]:
    """The state dict of a golden file (tests/golden/data), shapes only."""
    state = json.loads(str(np.load(_GOLDEN / f"{name}.npz")["meta"]))["state"]
    return {key: Shape(*shape) for key, shape in state.items()}


def of_classes(shapes: Mapping[str, Shape], num_classes: int) -> dict[str, Shape]:
    """The state dict of one of detectron2's detectors, for another number of things."""
    outputs = {"cls_score": num_classes + 1, "bbox_pred": 4 * num_classes, "mask_head.predictor": num_classes}
    changed = dict(shapes)
    for name, shape in shapes.items():
        for layer, size in outputs.items():
            if f"{layer}." in name and shape.shape[0] != 4:  # 4: one box for all classes
                changed[name] = Shape(size, *shape.shape[1:])
    return changed


def narrow(shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Drawn arrays of the same names with few channels; stem, classes, anchors and joints keep their numbers."""
    drawn = {}
    for name, shape in shapes.items():
        sides = shape.shape
        if not ("stem.conv1" in name or "body.conv1" in name or "body.bn1" in name or name.startswith("conv1")):
            sides = tuple(_NARROW.get(side, side) for side in sides)
        drawn[name] = draw(name, sides)
    return drawn


def detectron_shapes(
    kind: str = "fpn", classes: int = 81, group_norm: bool = False, keypoints: bool = False, mask: bool = True
) -> dict[str, Shape]:
    """Blobs of a ResNet-50 detector of Detectron.

    Args:
        kind: "fpn" or "c4".
        classes: with background.
        group_norm: norms everywhere, four convolutions in the box head.
        keypoints: a keypoint head.
        mask: a mask head.
    """
    blobs: dict[str, Shape] = {}

    def norm(prefix: str, channels: int) -> None:
        for leaf in "sb":
            blobs[f"{prefix}_{'gn' if group_norm else 'bn'}_{leaf}"] = Shape(channels)

    def conv(prefix: str, *sides: int) -> None:
        blobs[f"{prefix}_w"] = Shape(*sides)
        blobs[f"{prefix}_b"] = Shape(sides[1] if "conv5_mask" in prefix or "kps" in prefix else sides[0])

    def conv_norm(prefix: str, *sides: int) -> None:
        if group_norm:
            blobs[f"{prefix}_w"] = Shape(*sides)
            norm(prefix, sides[0])
        else:
            conv(prefix, *sides)

    blobs["conv1_w"] = Shape(64, 3, 7, 7)
    norm("conv1" if group_norm else "res_conv1", 64)
    channels = 64
    for stage, num in _BLOCKS.items():
        inner, outer = 64 * 2 ** (stage - 2), 256 * 2 ** (stage - 2)
        for block in range(num):
            sides = {"2a": (inner, channels, 1, 1), "2b": (inner, inner, 3, 3), "2c": (outer, inner, 1, 1)}
            if block == 0:
                sides["1"] = (outer, channels, 1, 1)
            for branch, shape in sides.items():
                blobs[f"res{stage}_{block}_branch{branch}_w"] = Shape(*shape)
                norm(f"res{stage}_{block}_branch{branch}", shape[0])
            channels = outer
    features, level = (256, "_fpn2") if kind == "fpn" else (1024, "")
    if kind == "fpn":
        for stage, last, lateral in ((5, 2, ""), (4, 5, "_lateral"), (3, 3, "_lateral"), (2, 2, "_lateral")):
            conv_norm(f"fpn_inner_res{stage}_{last}_sum{lateral}", 256, 256 * 2 ** (stage - 2), 1, 1)
            conv_norm(f"fpn_res{stage}_{last}_sum", 256, 256, 3, 3)
    anchors = 3 if kind == "fpn" else 15
    conv(f"conv_rpn{level}", features, features, 3, 3)
    conv(f"rpn_cls_logits{level}", anchors, features, 1, 1)
    conv(f"rpn_bbox_pred{level}", 4 * anchors, features, 1, 1)
    hidden = 2048
    if kind == "fpn":
        hidden = 1024
        for i in range(1, 5 if group_norm else 1):
            conv_norm(f"head_conv{i}", 256, 256, 3, 3)
        conv("fc6", 1024, 256 * 49)
        if not group_norm:
            conv("fc7", 1024, 1024)
    conv("cls_score", classes, hidden)
    conv("bbox_pred", 4 * classes, hidden)
    if mask:
        for i in range(1, 5 if kind == "fpn" else 1):
            conv_norm(f"_mask_fcn{i}" if group_norm else f"_[mask]_fcn{i}", 256, 256, 3, 3)
        conv("conv5_mask", 256 if kind == "fpn" else 2048, 256, 2, 2)
        conv("mask_fcn_logits", classes, 256, 1, 1)
    if keypoints:
        for i in range(1, 9):
            conv(f"conv_fcn{i}", 512, 256 if i == 1 else 512, 3, 3)
        conv("kps_score_lowres", 512, 17, 4, 4)
        conv("kps_score", 17, 17, 4, 4)
    return blobs
