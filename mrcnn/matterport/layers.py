"""matterport's layers: in which order its model has them, and what kind each is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

RPN = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
"""Layers of the model inside the model, `rpn_model`."""
_PYRAMID = ("fpn_c5p5", "fpn_c4p4", "fpn_c3p3", "fpn_c2p2", "fpn_p5", "fpn_p2", "fpn_p3", "fpn_p4")
# As Keras sorts the graph: by how far a layer is from the outputs.
_HEADS = (
    *("mrcnn_mask_conv1", "mrcnn_mask_bn1", "mrcnn_mask_conv2", "mrcnn_mask_bn2"),
    *("mrcnn_class_conv1", "mrcnn_class_bn1", "mrcnn_mask_conv3", "mrcnn_mask_bn3"),
    *("mrcnn_class_conv2", "mrcnn_class_bn2", "mrcnn_mask_conv4", "mrcnn_mask_bn4"),
    *("mrcnn_bbox_fc", "mrcnn_mask_deconv", "mrcnn_class_logits", "mrcnn_mask"),
)
_AFTER_BACKBONE = (*_PYRAMID, *RPN, *_HEADS)
_BRANCHES = ("res2a", "bn2a", "res2b", "bn2b", "res2c", "res1", "bn2c", "bn1")
_BACKBONE = re.compile(r"(res|bn)(\d)([a-z])_branch(2a|2b|2c|1)")


def in_order(names: Iterable[str]) -> list[str]:
    """Names of layers in the order of matterport's model; others at the end."""

    def place(name: str) -> tuple[int, int, str, int, str]:
        match = _BACKBONE.fullmatch(name)
        if match:
            return 1, int(match[2]), match[3], _BRANCHES.index(match[1] + match[4]), name
        if name in ("conv1", "bn_conv1"):
            return 0, int(name != "conv1"), "", 0, name
        if name in _AFTER_BACKBONE:
            return 2, _AFTER_BACKBONE.index(name), "", 0, name
        return 3, 0, "", 0, name

    return sorted(names, key=place)


def layer_type(name: str) -> str:
    """The class of a layer with weights: Conv2D, BatchNorm, or TimeDistributed for those that see RoIs."""
    if name.startswith("mrcnn_"):
        return "TimeDistributed"
    return "BatchNorm" if name.startswith("bn") else "Conv2D"


def layer_listing(names: Iterable[str]) -> Iterator[str]:
    """The lines that `set_trainable` prints: `fpn_c5p5               (Conv2D)`; those of the RPN below their model."""
    inside = False
    for name in names:
        if name in RPN and not inside:
            yield "In model:  rpn_model"
        inside = name in RPN
        yield f"{'    ' * inside}{name:20}   ({layer_type(name)})"
