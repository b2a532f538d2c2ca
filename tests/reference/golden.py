"""Names of detectron2's weights for the layers of a ResNet and a feature pyramid, and the weights drawn for them."""

from __future__ import annotations

import re

import numpy as np

from tests.reference.drawn_weights import draw

_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "norm.weight",
    "beta": "norm.bias",
    "moving_mean": "norm.running_mean",
    "moving_variance": "norm.running_var",
}


def detectron2_name(layer: str, leaf: str) -> str:
    """State-dict key, e.g. ("stage3_block1_conv2", "kernel") -> backbone.bottom_up.res3.0.conv2.weight."""
    leaf = _LEAVES[leaf]
    if layer == "stem_conv1":
        return f"backbone.bottom_up.stem.conv1.{leaf}"
    match = re.match(r"stage(\d)_block(\d+)_(\w+)", layer)
    if match:
        return f"backbone.bottom_up.res{match[1]}.{int(match[2]) - 1}.{match[3]}.{leaf}"
    return f"backbone.fpn_{layer}.{leaf}"


def drawn(layer: str, leaf: str, shape: tuple[int, ...], cls_gain: float = 0.5) -> np.ndarray:
    """The drawn weight in HWIO."""
    name = detectron2_name(layer, leaf)
    if len(shape) == 4:
        return draw(name, (shape[3], shape[2], shape[0], shape[1]), cls_gain=cls_gain).transpose(2, 3, 1, 0)
    return draw(name, shape, cls_gain=cls_gain)
